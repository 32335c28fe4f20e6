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

// Limits of a page.
const (
	// MaxGroups is the highest number of groups in a page.
	MaxGroups = 1000
	// MaxPage is the largest total size of its groups in bytes, unless it has only
	// one.
	MaxPage = 4 << 20
	// pageTime is the time that Next searches for matching groups. A caller that
	// receives none, but a position that has moved, calls again.
	pageTime = 5 * time.Second
	// timeCheck is the number of bytes of the log read between two checks of the
	// clock.
	timeCheck = 4 << 20
)

// Pages reads a part of the log page by page. It must not be used concurrently.
type Pages struct {
	scanner *Scanner
	closed  func()
}

// Page is the result of Pages.Next.
type Page struct {
	// Groups are Count groups in the requested form.
	Groups []byte
	Count  int
	// Gap precedes the groups, if it is not nil. The gap without entries of a
	// newest segment that cannot be read is reported once per Pages.
	Gap *Gap
	// End reports that the end of the log was reached.
	End bool
}

// Undecoded announces that Entry.Group will not be used.
func (r *Pages) Undecoded() { r.scanner.undecoded = r.scanner.filter.Everything }

// Close ends reading.
func (r *Pages) Close() {
	r.scanner.Close()
	if r.closed != nil {
		r.closed()
		r.closed = nil
	}
}

// Cursor is the position after everything that was returned or did not match.
func (r *Pages) Cursor() logstore.Cursor { return r.scanner.Cursor() }

// Next appends at most most matching groups to dst, up to size bytes including
// the current content of dst, unless a single group is longer. Missing entries end
// a page, so that a gap always comes first. The error is a *fault.StoreError or the
// error of ctx.
func (r *Pages) Next(ctx context.Context, dst []byte, most, size int, encode Encoder) (Page, error) {
	p := Page{Groups: dst}
	var e event.Entry
	began, checked := time.Now(), r.scanner.Read
	for p.Count < most {
		if r.scanner.Read-checked >= timeCheck {
			checked = r.scanner.Read
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
		p.Groups = encode(p.Groups, &e)
		if len(p.Groups) > size && p.Count > 0 {
			p.Groups = p.Groups[:before]
			r.scanner.unread(&e)
			return p, nil
		}
		p.Count++
	}
	return p, nil
}

// Wait waits until the log may have grown.
func (r *Pages) Wait(ctx context.Context) error {
	if err := r.scanner.reader.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &fault.StoreError{Err: err}
	}
	return nil
}
