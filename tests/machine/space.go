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

// Output collects the output of a program. It may be read concurrently.
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

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// Space is a process 1 in new namespaces, with an overlay of / as its root. It is killed
// when the thread that created it ends: lock the thread (runtime.LockOSThread).
type Space struct {
	init *exec.Cmd
	// Console is the output of process 1.
	Console *Output
	// enter are the options with which nsenter(1) enters the namespaces.
	enter []string
}

// start starts a script of this directory as process 1 of new namespaces, with the files of
// the stages in its root. change may modify the attributes of the process.
func start(script string, namespaces uintptr, enter []string, directory string, stages []string, change func(*syscall.SysProcAttr)) (*Space, error) {
	path, err := filepath.Abs(filepath.Join(Root, "tests/machine", script))
	if err != nil {
		return nil, err
	}
	s := &Space{init: exec.Command(path, append([]string{directory}, stages...)...), Console: &Output{}}
	s.enter = append([]string{"--mount", "--ipc", "--pid", "--root", "--wd"}, enter...)
	s.init.Stdout, s.init.Stderr = s.Console, s.Console
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

// World starts a machine without a service manager: only programs that the test starts run
// there. It has the users member, who is in the group crypto-auditing, stranger and other.
func World(directory string, stages ...string) (*Space, error) {
	s, err := start("world.sh", 0, nil, directory, stages, func(*syscall.SysProcAttr) {})
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(Patience); !strings.Contains(s.Console.String(), "ready\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.End()
			return nil, fmt.Errorf("the machine did not start:\n%s", s.Console)
		}
	}
	return s, nil
}

// End kills all processes of the space. It may be called twice.
func (s *Space) End() {
	// When process 1 of a PID namespace exits, the kernel kills the others.
	_ = s.init.Process.Kill()
	_ = s.init.Wait()
}

// Path returns the path of a file of the space on the host.
func (s *Space) Path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", s.init.Process.Pid), name)
}

// CommandContext returns a command that runs in the space as root, and is killed when the
// context ends.
func (s *Space) CommandContext(ctx context.Context, arguments ...string) *exec.Cmd {
	enter := append([]string{"-t", strconv.Itoa(s.init.Process.Pid)}, s.enter...)
	enter = append(enter, "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "TERM=dumb")
	return exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...)
}
