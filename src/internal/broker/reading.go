// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"io"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
)

// Limits of a page of Reading.Next.
const (
	// MaxGroups is how many groups a page has at most.
	MaxGroups = 1000
	// MaxPage is how many bytes its groups have together at most, unless it is
	// one alone.
	MaxPage = 4 << 20
	// pageTime is how long Next looks for groups that pass. A caller who gets
	// none, but a position that moved, asks again.
	pageTime = 5 * time.Second
	// timeCheck is how many bytes of the log are read between two looks at the
	// clock.
	timeCheck = 4 << 20
)

// Reading reads a part of the log for a caller. It is for one goroutine.
type Reading struct {
	broker  *Broker
	scanner *scanner
	caller  quota.Holder
	counted bool
}

// Page is what Reading.Next returns.
type Page struct {
	// Groups are Count groups in the form that was asked for.
	Groups []byte
	Count  int
	// Gap precedes the groups, if it is not nil. One of no entries, of the
	// newest segment that cannot be read, is reported once by a Reading.
	Gap *Gap
	// End says that there is nothing more in the log now.
	End bool
}

// Read begins to read behind a cursor, given as text. The errors are those
// about filters and cursors, and *StoreError.
func (b *Broker) Read(caller quota.Holder, after string, f Filter) (*Reading, error) {
	compiled, err := compile(b.options.Registry, f)
	if err != nil {
		return nil, err
	}
	cursor, err := b.resolve(after)
	if err != nil {
		return nil, err
	}
	s, err := openScanner(b.options.LogDir, b.health, compiled, cursor)
	if err != nil {
		return nil, err
	}
	return &Reading{broker: b, scanner: s, caller: caller}, nil
}

// Open begins to read as Read does, for a stream that lasts: their number is
// limited, and an open one keeps the broker running.
func (b *Broker) Open(caller quota.Holder, after string, f Filter) (*Reading, error) {
	if full := b.streams.Take(caller); full != nil {
		return nil, &LimitError{full.Limit, full.Max}
	}
	r, err := b.Read(caller, after, f)
	if err != nil {
		b.streams.Release(caller)
		return nil, err
	}
	r.counted = true
	return r, nil
}

// Undecoded says that Entry.Group will not be looked at.
func (r *Reading) Undecoded() { r.scanner.undecoded = r.scanner.filter.everything }

// Close ends it.
func (r *Reading) Close() {
	r.scanner.close()
	if r.counted {
		r.counted = false
		r.broker.streams.Release(r.caller)
	}
}

// Cursor is the position up to which everything was returned, or did not pass.
func (r *Reading) Cursor() logstore.Cursor { return r.scanner.cursor() }

// Next appends up to most groups that pass to dst, whose length then counts to
// size bytes at most, unless one group alone is longer. Entries that are
// missing end a page, so that a gap always comes first. The error is a
// *StoreError, or that of ctx.
func (r *Reading) Next(ctx context.Context, dst []byte, most, size int, form Form) (Page, error) {
	p := Page{Groups: dst}
	var e Entry
	began, looked := time.Now(), r.scanner.read
	for p.Count < most {
		if r.scanner.read-looked >= timeCheck {
			looked = r.scanner.read
			if ctx.Err() != nil {
				return p, ctx.Err()
			}
			if time.Since(began) >= pageTime {
				return p, nil
			}
		}
		if err := r.scanner.next(ctx, &e); err != nil {
			gap := asGap(err)
			switch {
			case err == io.EOF:
				p.End = true
				return p, nil
			case gap == nil:
				return p, err
			case p.Gap == nil && p.Count == 0:
				p.Gap = gap
				continue
			}
			r.scanner.gap = gap
			r.scanner.position = gap.From.Sequence
			return p, nil
		}
		before := len(p.Groups)
		p.Groups = form(p.Groups, &e)
		if len(p.Groups) > size && p.Count > 0 {
			p.Groups = p.Groups[:before]
			r.scanner.back(&e)
			return p, nil
		}
		p.Count++
	}
	return p, nil
}

// Wait waits until the log may have more than Next has seen.
func (r *Reading) Wait(ctx context.Context) error {
	if err := r.scanner.reader.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &StoreError{err}
	}
	return nil
}
