// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"io"
	"math"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Newest is the value of last for a part that grows with its log.
const Newest = uint64(math.MaxUint64)

// Within returns the part of a log after the entry after, up to the entry last. Closing
// the part closes the log.
func Within(log Store, after, last uint64) Store {
	return &part{Store: log, after: after, last: last}
}

// part is a part of a log.
type part struct {
	Store

	after, last uint64
	ended       bool // its last entry was returned
}

// within returns the cursor in the part that is nearest to c.
func (p *part) within(c logstore.Cursor) logstore.Cursor {
	c.Sequence = min(max(c.Sequence, p.after), p.last)
	return c
}

func (p *part) Resolve(text string) (logstore.Cursor, error) {
	c, err := p.Store.Resolve(text)
	return p.within(c), err
}

func (p *part) Ends() (newest, oldest logstore.Cursor, err error) {
	newest, oldest, err = p.Store.Ends()
	return p.within(newest), p.within(oldest), err
}

func (p *part) Seek(c logstore.Cursor) (missing uint64, err error) {
	p.ended = c.Sequence >= p.last
	return p.Store.Seek(p.within(c))
}

func (p *part) SeekTime(ctx context.Context, since int64) error {
	p.ended = false
	if err := p.Store.SeekTime(ctx, since); err != nil {
		return err
	}
	c, err := p.Store.Cursor()
	if err != nil || c.Sequence >= p.after && c.Sequence < p.last {
		return err
	}
	_, err = p.Seek(c)
	return err
}

func (p *part) Rewind() error {
	p.ended = false
	_, oldest, err := p.Ends()
	if err != nil || oldest.Sequence < p.after || p.after == 0 {
		return errors.Join(err, p.Store.Rewind())
	}
	_, err = p.Seek(oldest)
	return err
}

func (p *part) StepBack(c logstore.Cursor, n uint64) (from logstore.Cursor, ok bool, err error) {
	from, ok, err = p.Store.StepBack(p.within(c), n)
	return from, ok && from.Sequence > p.after, err
}

func (p *part) Next(g *event.Group) ([]byte, int64, error) {
	if p.ended {
		return nil, 0, io.EOF
	}
	raw, boot, err := p.Store.Next(g)
	if err != nil {
		return raw, boot, err
	}
	switch at := p.Sequence(); {
	case at > p.last:
		p.ended = true
		return nil, 0, io.EOF
	default:
		p.ended = at == p.last
		return raw, boot, nil
	}
}

func (p *part) Cursor() (logstore.Cursor, error) {
	c, err := p.Store.Cursor()
	return p.within(c), err
}
