// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch calls closed as soon as the reader of w, a pipe or a socket, closes it, even if
// nothing is written to it. stop ends watching; w must stay open until then.
func Watch(w any, closed func()) (stop func()) {
	noop := func() {}
	f, ok := w.(*os.File)
	if !ok {
		return noop
	}
	if info, err := f.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return noop
	}
	read, write, err := os.Pipe()
	if err != nil {
		return noop
	}
	var watcher sync.WaitGroup
	output, end := int32(f.Fd()), int32(read.Fd())
	watcher.Go(func() {
		// No event is requested: POLLERR is always reported (poll(2)).
		fds := []unix.PollFd{{Fd: output}, {Fd: end, Events: unix.POLLIN}}
		for {
			_, err := unix.Poll(fds, -1)
			switch {
			case err == unix.EINTR:
			case err != nil || fds[1].Revents != 0:
				return
			case fds[0].Revents != 0:
				closed()
				return
			}
		}
	})
	return func() {
		write.Close()
		watcher.Wait()
		read.Close()
	}
}
