// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Output collects what a program writes, while others read it.
type Output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(b)
}

// String returns all that was written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// Space is a process 1 in namespaces of its own, with an overlay of / as its root.
// It is killed when the thread that made it ends: lock that
// (runtime.LockOSThread).
type Space struct {
	init *exec.Cmd
	// Says is what process 1 has printed.
	Says *Output
	// enter are the options by which nsenter(1) enters it.
	enter []string
}

// start starts a script of this directory as process 1 of new namespaces, with what is
// below the stages on its root. change may change how it is started.
func start(script string, namespaces uintptr, enter []string, directory string, stages []string, change func(*syscall.SysProcAttr)) (*Space, error) {
	path, err := filepath.Abs(filepath.Join(Root, "tests/machine", script))
	if err != nil {
		return nil, err
	}
	s := &Space{init: exec.Command(path, append([]string{directory}, stages...)...), Says: &Output{}}
	s.enter = append([]string{"--mount", "--ipc", "--pid", "--root", "--wd"}, enter...)
	s.init.Stdout, s.init.Stderr = s.Says, s.Says
	s.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | namespaces,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	change(s.init.SysProcAttr)
	if err := s.init.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a machine: %w", err)
	}
	return s, nil
}

// World makes a machine without a service manager: no program runs there but those
// that the test starts. It has the users member, of the group crypto-auditing,
// stranger and other.
func World(directory string, stages ...string) (*Space, error) {
	s, err := start("world.sh", 0, nil, directory, stages, func(*syscall.SysProcAttr) {})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(Patience); !strings.Contains(s.Says.String(), "ready\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.End()
			return nil, fmt.Errorf("the world does not begin:\n%s", s.Says)
		}
	}
	return s, nil
}

// End ends it and everything in it. It may be called twice.
func (s *Space) End() {
	// The kernel kills the rest of a PID namespace with its process 1.
	_ = s.init.Process.Kill()
	_ = s.init.Wait()
}

// Path returns where the host sees a file of it.
func (s *Space) Path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", s.init.Process.Pid), name)
}

// CommandContext returns a command that root runs there, killed when the context
// ends.
func (s *Space) CommandContext(ctx context.Context, arguments ...string) *exec.Cmd {
	enter := append([]string{"-t", strconv.Itoa(s.init.Process.Pid)}, s.enter...)
	enter = append(enter, "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "TERM=dumb")
	return exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...)
}
