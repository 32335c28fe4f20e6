// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"io"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Limits of a page of Pages.Next.
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

// Pages reads a part of the log for a caller, page by page. It is for one
// goroutine.
type Pages struct {
	scanner *Scanner
	closed  func()
}

// Page is what Pages.Next returns.
type Page struct {
	// Groups are Count groups in the form that was asked for.
	Groups []byte
	Count  int
	// Gap precedes the groups, if it is not nil. One of no entries, of the
	// newest segment that cannot be read, is reported once by a Pages.
	Gap *Gap
	// End says that there is nothing more in the log now.
	End bool
}

// Undecoded says that Entry.Group will not be looked at.
func (r *Pages) Undecoded() { r.scanner.undecoded = r.scanner.filter.Everything }

// Close ends it.
func (r *Pages) Close() {
	r.scanner.Close()
	if r.closed != nil {
		r.closed()
		r.closed = nil
	}
}

// Cursor is the position up to which everything was returned, or did not pass.
func (r *Pages) Cursor() logstore.Cursor { return r.scanner.Cursor() }

// Next appends up to most groups that pass to dst, whose length then counts to
// size bytes at most, unless one group alone is longer. Entries that are
// missing end a page, so that a gap always comes first. The error is a
// *fault.StoreError, or that of ctx.
func (r *Pages) Next(ctx context.Context, dst []byte, most, size int, form Form) (Page, error) {
	p := Page{Groups: dst}
	var e event.Entry
	began, looked := time.Now(), r.scanner.Read
	for p.Count < most {
		if r.scanner.Read-looked >= timeCheck {
			looked = r.scanner.Read
			if ctx.Err() != nil {
				return p, ctx.Err()
			}
			if time.Since(began) >= pageTime {
				return p, nil
			}
		}
		if err := r.scanner.Next(ctx, &e); err != nil {
			gap := AsGap(err)
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
func (r *Pages) Wait(ctx context.Context) error {
	if err := r.scanner.reader.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &fault.StoreError{Err: err}
	}
	return nil
}
