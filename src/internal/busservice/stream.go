// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
)

const (
	// pipeSize is what is asked for a pipe to hold, in bytes: it takes fewer
	// turns then. A user may be refused it (pipe(7)).
	pipeSize = 1 << 20
	// writeSize is how much is written at once.
	writeSize = 256 << 10
	// manyGroups is more than fit into it.
	manyGroups = writeSize
)

// open serves Open.
func (c *call) open() ([]any, error) {
	var after string
	var filter, options dictionary
	if err := c.arguments(&after, &filter, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(actionRead); err != nil {
		return nil, err
	}
	f, err := filterOf(filter)
	if err != nil {
		return nil, err
	}
	var follow bool
	if err := known(options, "follow"); err != nil {
		return nil, invalid("options: " + err.Error())
	}
	if err := get(options, "follow", &follow); err != nil {
		return nil, invalid("options: " + err.Error())
	}
	ctx := c.service.streaming
	if follow {
		ctx = c.service.following
		if c.service.leavingSoon.Load() {
			return nil, errLeaving()
		}
	}
	r, err := c.service.broker.Open(c.service.access.holder(c.who), after, f)
	if err != nil {
		return nil, err
	}
	theirs, ours, err := pipe()
	if err != nil {
		r.Close()
		return nil, err
	}
	c.after = append(c.after, func() {
		theirs.Close()
		s := &stream{reading: r, pipe: ours, follow: follow}
		c.service.streams.Go(func() {
			if err := s.run(ctx); err != nil {
				c.service.log.Error("a stream ended early", "error", err)
			}
		})
	})
	return []any{dbus.UnixFD(theirs.Fd())}, nil
}

// pipe makes a pipe whose other end never blocks us for good.
func pipe() (read, write *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[1], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	// A small pipe works, too.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// stream writes a part of the log to a pipe.
type stream struct {
	reading *reading.Pages
	pipe    *os.File
	follow  bool
	// rest is what a write that was interrupted has not written.
	rest []byte
}

// lastWords is how long a client may take to read how its stream ended when
// the broker stops.
const lastWords = time.Second

// stopping is why streams end with the broker.
const stopping = "the broker is stopping"

// run writes until the end, or until the other end of the pipe is closed, or
// ctx is done. The last entry reports how the stream ended.
func (s *stream) run(ctx context.Context) error {
	defer s.reading.Close()
	defer s.pipe.Close()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
	})
	s.reading.Undecoded()
	end, err := s.copy(ctx)
	if end == nil {
		stop()
		return err
	}
	last := reading.AppendEnd(s.rest, *end, s.reading.Cursor())
	if s.write(last) != nil {
		last = s.rest
	} else {
		last = nil
	}
	if !stop() && len(last) > 0 {
		<-interrupted
		_ = s.pipe.SetWriteDeadline(time.Now().Add(lastWords))
		_ = s.write(last)
	}
	return err
}

// copy writes the groups. It returns how the stream ends; nil if the other end
// of the pipe is closed.
func (s *stream) copy(ctx context.Context) (*event.End, error) {
	var buffer []byte
	stopped := &event.End{Outcome: event.Failed, Reason: stopping}
	for {
		page, err := s.reading.Next(ctx, buffer[:0], manyGroups, writeSize, reading.AppendCBOR)
		buffer = page.Groups
		var written error
		if page.Gap != nil {
			written = s.write(reading.AppendGap(nil, page.Gap))
		}
		if len(buffer) > 0 && written == nil {
			written = s.write(buffer)
		} else if written != nil {
			s.rest = append(s.rest, buffer...)
		}
		switch {
		case ctx.Err() != nil:
			return stopped, nil
		case written != nil:
			return nil, nil
		case err != nil:
			return &event.End{Outcome: event.Failed, Reason: err.Error()}, err
		case page.End && !s.follow:
			return &event.End{Outcome: event.Complete}, nil
		case page.End:
			gone, err := s.wait(ctx)
			switch {
			case ctx.Err() != nil:
				return stopped, nil
			case gone:
				return nil, nil
			case err != nil:
				return &event.End{Outcome: event.Failed, Reason: err.Error()}, err
			}
		}
	}
}

func (s *stream) write(b []byte) error {
	n, err := s.pipe.Write(b)
	s.rest = b[n:]
	return err
}

// wait waits until the log may have grown, or nobody reads any more.
func (s *stream) wait(ctx context.Context) (gone bool, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.awaitGone()
		cancel()
	}()
	err = s.reading.Wait(waiting)
	// The deadline ends awaitGone.
	_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
	<-over
	_ = s.pipe.SetWriteDeadline(time.Time{})
	if ctx.Err() != nil {
		_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
		return false, nil
	}
	if s.isGone() {
		return true, nil
	}
	if waiting.Err() != nil {
		err = nil // it was the deadline
	}
	return false, err
}

// awaitGone returns when nobody reads any more, or at the deadline for writing.
func (s *stream) awaitGone() {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return
	}
	// It is called again whenever something changes about the pipe.
	_ = raw.Write(func(fd uintptr) bool { return hungUp(fd) })
}

func (s *stream) isGone() bool {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	if err := raw.Control(func(fd uintptr) { gone = hungUp(fd) }); err != nil {
		return true
	}
	return gone
}

// hungUp reports whether the other end of a pipe is closed.
func hungUp(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}}
	for {
		_, err := unix.Poll(poll, 0)
		if err != syscall.EINTR {
			return err != nil || poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
		}
	}
}
