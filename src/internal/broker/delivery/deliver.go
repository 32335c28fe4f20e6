// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"io"
	"time"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
)

const (
	// retryPause is the time between attempts to read the log or to write a
	// position.
	retryPause = time.Second
	// turnTime is how long a subscription may read the log before others take
	// their turn; turnCheck is the number of bytes read between two checks of the
	// clock.
	turnTime  = 50 * time.Millisecond
	turnCheck = 1 << 20
	// turnBytes bounds the groups collected in a turn, in bytes.
	turnBytes = 128 << 10
)

// ahead are groups that were read from the log but do not fit into a window yet.
type ahead struct {
	groups []byte
	pieces []tail.Piece
	// to is the position after them, or before the gap.
	to  logstore.Cursor
	gap *reading.Gap
}

// sender is the state of a delivery's goroutine.
type sender struct {
	*Subscription
	sink Sink
	feed *tail.Feed
	// at is the position up to which the log has been searched: the window holds
	// the matches after the subscription's position.
	at     logstore.Cursor
	window tail.Window
	// since is when the first group was added to the window.
	since time.Time
	gap   *reading.Gap
	ahead ahead
	// reading is set while groups come from the log instead of the cache.
	reading bool
	// trouble is the last reported reason for a delay.
	trouble string
}

// deliver sends until ctx is done or sending has failed.
func (s *Subscription) deliver(ctx context.Context, d *delivery) {
	defer close(d.done)
	defer s.core.readers.drop(s)
	defer s.leaveFeed(d.feed)
	s.mu.Lock()
	w := &sender{
		Subscription: s, sink: d.sink, feed: d.feed, at: s.position,
		window: tail.Window{Most: s.batch, Size: s.core.Window},
	}
	s.mu.Unlock()
	for ctx.Err() == nil {
		more, err := w.gather(ctx)
		if err == nil && w.due() {
			err = w.send(ctx)
		} else if err == nil && !more {
			w.wait(ctx)
			continue
		}
		switch {
		case err == nil:
			w.trouble = ""
		case errors.Is(err, errUnsendable):
			s.mu.Lock()
			d.failed = true
			s.mu.Unlock()
			return
		case ctx.Err() == nil:
			w.logDelay(err)
			sleep(ctx, retryPause)
		}
	}
}

// logDelay logs a reason for a delay once.
func (w *sender) logDelay(err error) {
	if trouble := err.Error(); trouble != w.trouble {
		w.trouble = trouble
		message.SubscriptionFailed.Log(w.core.Log, "subscription", w.id, "name", w.name, "error", err)
	}
}

// skippedBytes exceeds the size of a message that reports a gap.
const skippedBytes = 512

// errUnsendable indicates that the sink has failed.
var errUnsendable = errors.New("nothing can be sent")

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// gather fills the window with available groups. more reports that more may be
// available immediately.
func (w *sender) gather(ctx context.Context) (more bool, err error) {
	if w.window.Full || w.gap != nil {
		return false, nil
	}
	newest, ok := w.cache().Newest()
	if !ok {
		return false, nil // there is no log yet
	}
	if w.at.Store == [16]byte{} {
		w.at.Store = newest.Store // there was no log either when the subscription began
	}
	if w.untrusted {
		w.gap = &reading.Gap{From: w.at, To: newest, Reason: reading.StateLost}
		if newest.Store == w.at.Store {
			w.gap.Entries = reading.Between(w.at.Sequence, newest.Sequence)
		}
		return false, nil
	}
	empty := w.window.Count == 0
	if len(w.ahead.pieces) == 0 {
		if more, err = w.search(ctx); err != nil {
			return false, err
		}
	}
	if len(w.ahead.pieces) > 0 {
		w.takeAhead()
		more = true // unknown without another look
	}
	if w.window.Count == 0 {
		w.pass()
	} else if empty {
		w.since = time.Now()
	}
	return more, nil
}

// search searches for groups, in the cache or else in the log. more reports that more
// may be available immediately.
func (w *sender) search(ctx context.Context) (more bool, err error) {
	to, gap, ok := w.cache().Take(w.feed, w.at, &w.window)
	if !ok {
		w.reading = true
		if w.form == Operations {
			return w.readOperations(ctx)
		}
		return w.read(ctx)
	}
	if w.reading {
		w.reading = false
		w.core.readers.drop(w.Subscription)
	}
	w.at.Sequence, w.gap = to, gap
	return false, nil
}

// takeAhead moves groups that were read ahead into the window while it has room.
func (w *sender) takeAhead() {
	a := &w.ahead
	for len(a.pieces) > 0 {
		p := a.pieces[0]
		if !w.window.Add(a.groups[p.From:p.To]) {
			return
		}
		w.at.Sequence = p.Sequence
		a.pieces = a.pieces[1:]
	}
	w.at, w.gap = a.to, a.gap
	w.ahead = ahead{}
}

// pass records that nothing needs to be sent up to the searched position.
func (w *sender) pass() {
	if w.gap != nil {
		return
	}
	w.mu.Lock()
	if w.acknowledged == w.position.Sequence {
		w.acknowledged = w.at.Sequence
	}
	w.position = w.at
	w.mu.Unlock()
}

// read reads groups from the log.
func (w *sender) read(ctx context.Context) (more bool, err error) {
	s, err := w.core.readers.get(ctx, w.Subscription, w.at)
	if errors.Is(err, logstore.ErrForeignCursor) {
		return false, w.replace()
	}
	if err != nil {
		return false, err
	}
	defer w.core.readers.put(w.Subscription, s)
	a := ahead{}
	more, err = w.scan(ctx, s, &a)
	if len(a.pieces) > 0 {
		// Errors of this attempt occur again when they are reached.
		w.ahead = a
		return true, nil
	}
	if err == nil {
		w.at, w.gap = a.to, a.gap
	}
	return more, err
}

// scan reads as many groups as fit into a.
func (w *sender) scan(ctx context.Context, s *reading.Scanner, a *ahead) (more bool, err error) {
	began, checked := time.Now(), s.Read
	var e event.Entry
	for {
		a.to = s.Cursor()
		if len(a.groups) >= turnBytes || len(a.pieces) >= MaxBatch {
			return true, nil
		}
		if s.Read-checked >= turnCheck {
			checked = s.Read
			if ctx.Err() != nil || time.Since(began) >= turnTime {
				return true, nil
			}
		}
		if err := s.Next(ctx, &e); err != nil {
			gap := reading.AsGap(err)
			switch {
			case gap != nil && gap.Note():
				continue // it is reported once the extent is known
			case err == io.EOF:
				a.to = s.Cursor()
				// The tail continues from here, unless it does not know the filter
				// yet.
				return w.cache().Holds(w.feed, a.to), nil
			case gap == nil:
				return false, err
			}
			a.to, a.gap = gap.From, gap
			return false, nil
		}
		from := len(a.groups)
		a.groups = w.core.Encoder(a.groups, &e)
		a.pieces = append(a.pieces, tail.Piece{Sequence: e.Sequence, From: uint32(from), To: uint32(len(a.groups))})
	}
}

// replace starts at the beginning of a log that has replaced the previous one.
func (w *sender) replace() error {
	r, err := w.core.Source.Reader(logstore.Query{})
	if err != nil {
		return err
	}
	defer r.Close()
	w.gap = &reading.Gap{From: w.at, To: logstore.Cursor{Store: r.Store()}, Reason: reading.LogReplaced}
	return nil
}

// due reports whether the window should be sent now.
func (w *sender) due() bool {
	if w.window.Count == 0 {
		return w.gap != nil
	}
	return w.window.Full || w.gap != nil || time.Since(w.since) >= w.Subscription.window
}

// wait waits for new work.
func (w *sender) wait(ctx context.Context) {
	var timeout <-chan time.Time
	if w.window.Count > 0 {
		timer := time.NewTimer(w.Subscription.window - time.Since(w.since))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-w.wakes:
	case <-timeout:
	}
}

// send sends the window, or else the gap, and waits until the client can accept
// more.
func (w *sender) send(ctx context.Context) error {
	if w.window.Count == 0 {
		if err := w.sink.Reserve(ctx, skippedBytes); err != nil {
			return sinkError(ctx, err)
		}
		if err := w.skip(); err != nil {
			return err
		}
		if w.flow == Acknowledge {
			return sinkError(ctx, w.sink.Ping(ctx))
		}
		return w.ping(ctx)
	}
	// The position moves only when nothing but the bus remains to wait for.
	if err := w.sink.Reserve(ctx, len(w.window.Groups)); err != nil {
		return sinkError(ctx, err)
	}
	w.mu.Lock()
	err := w.move(w.at, uint64(w.window.Count), 0)
	if err == nil {
		w.position = w.at
		w.delivered += uint64(w.window.Count)
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	send := w.sink.Events
	if w.form == Operations {
		send = w.sink.Operations
	}
	if err := send(w.window.Groups, w.window.Count, w.at); err != nil {
		return errors.Join(errUnsendable, err)
	}
	w.window.Reset()
	if w.flow == Acknowledge {
		// Acknowledging is not reading: only the answer to a ping shows that the bus
		// no longer holds the window.
		answered := make(chan error, 1)
		go func() { answered <- w.sink.Ping(ctx) }()
		w.awaitAcknowledgement(ctx)
		return sinkError(ctx, <-answered)
	}
	return w.ping(ctx)
}

// skip moves past the gap.
func (w *sender) skip() error {
	gap := w.gap
	w.mu.Lock()
	err := w.move(gap.To, 0, gap.Entries)
	if err == nil {
		if w.acknowledged == w.position.Sequence || gap.To.Store != w.position.Store {
			w.acknowledged = gap.To.Sequence
		}
		w.position = gap.To
		w.skipped += gap.Entries
		w.untrusted = false
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	// Groups that were read ahead lie in the gap, or in a log that was replaced.
	w.at, w.gap, w.ahead = gap.To, nil, ahead{}
	if err := w.sink.Skipped(gap); err != nil {
		return errors.Join(errUnsendable, err)
	}
	return nil
}

// ping waits for the client's answer. If it is late, and the groups appended in the
// meantime are no longer cached, the subscription skips forward.
func (w *sender) ping(ctx context.Context) error {
	answered := make(chan error, 1)
	go func() { answered <- w.sink.Ping(ctx) }()
	late := time.NewTimer(w.core.AnswerTime)
	defer late.Stop()
	select {
	case err := <-answered:
		return sinkError(ctx, err)
	case <-ctx.Done():
		return nil
	case <-late.C:
	}
	select {
	case err := <-answered:
		if err != nil {
			return sinkError(ctx, err)
		}
	case <-ctx.Done():
		return nil
	}
	newest, ok := w.cache().Newest()
	if !ok || newest.Store != w.at.Store || w.cache().Holds(w.feed, w.at) || newest.Sequence <= w.at.Sequence {
		return nil
	}
	w.gap = &reading.Gap{From: w.at, To: newest, Entries: reading.Between(w.at.Sequence, newest.Sequence), Reason: reading.Slow}
	return nil
}

func sinkError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return nil
	}
	return errors.Join(errUnsendable, err)
}

// awaitAcknowledgement waits until the client has acknowledged everything sent.
func (w *sender) awaitAcknowledgement(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		done := w.acknowledged >= w.position.Sequence
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
		case <-w.wakes:
		}
	}
}
