// SPDX-License-Identifier: Apache-2.0

// Package stream writes a part of the log to a pipe, as returned by Open of the
// D-Bus API.
package stream

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
)

const (
	// pipeSize is the requested capacity of a pipe in bytes, larger than the
	// default to save context switches. The kernel may refuse it (pipe(7)).
	pipeSize = 1 << 20
	// writeSize is the size of a write in bytes.
	writeSize = 256 << 10
	// maxGroups exceeds the number of groups in one write.
	maxGroups = writeSize
)

// Pipe creates a pipe with a non-blocking write end.
func Pipe() (read, write *os.File, err error) {
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

// Stream writes a part of the log to a pipe.
type Stream struct {
	reading *reading.Pages
	pipe    *os.File
	follow  bool
	// unwritten is the unwritten part of an interrupted write.
	unwritten []byte
}

// endTimeout is how long a client may take to read the end of its stream when the
// broker stops.
const endTimeout = time.Second

// stopping is the reason for streams that end with the broker.
const stopping = "the broker is stopping"

// New returns a stream of the entries of a reading to a pipe from Pipe. It is for
// one call of Run, which closes both. With follow it continues at the end of the
// log.
func New(reading *reading.Pages, pipe *os.File, follow bool) *Stream {
	reading.Undecoded()
	return &Stream{reading: reading, pipe: pipe, follow: follow}
}

// Run writes until the end, until the read end is closed, or until ctx is done.
// The last entry reports how the stream ended.
func (s *Stream) Run(ctx context.Context) error {
	defer s.reading.Close()
	defer s.pipe.Close()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
	})
	end, err := s.copy(ctx)
	if end == nil {
		stop()
		return err
	}
	last := reading.AppendEnd(s.unwritten, *end, s.reading.Cursor())
	if s.write(last) != nil {
		last = s.unwritten
	} else {
		last = nil
	}
	if !stop() && len(last) > 0 {
		<-interrupted
		_ = s.pipe.SetWriteDeadline(time.Now().Add(endTimeout))
		_ = s.write(last)
	}
	return err
}

// copy writes the groups. It returns how the stream ended, nil if the read end was
// closed.
func (s *Stream) copy(ctx context.Context) (*event.End, error) {
	var buffer []byte
	stopped := &event.End{Outcome: event.Failed, Reason: stopping}
	for {
		page, err := s.reading.Next(ctx, buffer[:0], maxGroups, writeSize, reading.AppendCBOR)
		buffer = page.Groups
		var written error
		if page.Gap != nil {
			written = s.write(reading.AppendGap(nil, page.Gap))
		}
		if len(buffer) > 0 && written == nil {
			written = s.write(buffer)
		} else if written != nil {
			s.unwritten = append(s.unwritten, buffer...)
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
			closed, err := s.wait(ctx)
			switch {
			case ctx.Err() != nil:
				return stopped, nil
			case closed:
				return nil, nil
			case err != nil:
				return &event.End{Outcome: event.Failed, Reason: err.Error()}, err
			}
		}
	}
}

func (s *Stream) write(b []byte) error {
	n, err := s.pipe.Write(b)
	s.unwritten = b[n:]
	return err
}

// wait waits until the log may have grown or the read end is closed.
func (s *Stream) wait(ctx context.Context) (closed bool, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.awaitClosed()
		cancel()
	}()
	err = s.reading.Wait(waiting)
	// The deadline ends awaitClosed.
	_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
	<-over
	_ = s.pipe.SetWriteDeadline(time.Time{})
	if ctx.Err() != nil {
		_ = s.pipe.SetWriteDeadline(time.Unix(1, 0))
		return false, nil
	}
	if s.isClosed() {
		return true, nil
	}
	if waiting.Err() != nil {
		err = nil // the deadline has expired
	}
	return false, err
}

// awaitClosed returns when the read end is closed, or at the write deadline.
func (s *Stream) awaitClosed() {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return
	}
	// The callback runs after every change of the pipe's state.
	_ = raw.Write(func(fd uintptr) bool { return hungUp(fd) })
}

func (s *Stream) isClosed() bool {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	if err := raw.Control(func(fd uintptr) { closed = hungUp(fd) }); err != nil {
		return true
	}
	return closed
}

// hungUp reports whether the read end of a pipe is closed.
func hungUp(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}}
	for {
		_, err := unix.Poll(poll, 0)
		if err != syscall.EINTR {
			return err != nil || poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
		}
	}
}
