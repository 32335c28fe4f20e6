// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/discover/command"
	"crypto-auditing/src/internal/trace"
)

// exitPoll is the polling interval for the end of processes that outlive the command.
const exitPoll = 20 * time.Millisecond

// run traces a command or processes.
func run(ctx context.Context, e *console.Environment, o *options, arguments []string) error {
	var c *child
	if len(arguments) > 0 {
		var err error
		if c, err = newChild(e, o, arguments); err != nil {
			return err
		}
	} else {
		// No command inherits that the background job of a script ignores them.
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
	}
	v, err := newViewer(e, o)
	if err != nil {
		return err
	}
	settings := trace.Options{Sources: o.used(), Relays: config.DefaultAgent().SuspectedRelays, Take: v.take}
	if c != nil {
		settings.Files = command.Files(c.file, arguments[1:], command.Environment{
			Path: e.Getenv("PATH"), Library: e.Getenv("LD_LIBRARY_PATH"), Preload: e.Getenv("LD_PRELOAD"),
		})
	}
	t, err := trace.New(settings)
	if err != nil {
		var denied *trace.DeniedError
		if errors.As(err, &denied) {
			return &console.StatusError{Status: console.ExitTrace, Err: denied}
		}
		return failed(err)
	}
	recording, stop := context.WithCancel(context.Background())
	defer stop()
	recorded := make(chan error, 1)
	go func() { recorded <- t.Run(recording) }()
	ticking := make(chan struct{})
	go v.run(ticking)

	var result error
	if c != nil {
		result = c.trace(t)
	} else {
		result = watch(ctx, e, t, o)
	}
	stop()
	recordErr := <-recorded
	close(ticking)
	err = errors.Join(recordErr, v.close())
	for _, text := range append(t.Report().Unseen, v.missing()...) {
		note(e.Stderr, text)
	}
	err = errors.Join(err, t.Close())
	if result != nil {
		if err != nil {
			fmt.Fprintf(e.Stderr, "crauctl: %v\n", err)
		}
		return result
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// watch traces processes until ctx is done or all of them have ended.
func watch(ctx context.Context, e *console.Environment, t *trace.Tracer, o *options) error {
	n, err := t.Add(o.pids...)
	if err != nil {
		return failed(err)
	}
	if o.readable() {
		processes := "1 process"
		if n != 1 {
			processes = fmt.Sprintf("%d processes", n)
		}
		fmt.Fprintf(e.Stderr, "crauctl: watching %s; Control-C ends it\n", processes)
	}
	for !t.Ended() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(exitPoll):
		}
	}
	return nil
}

// child is a command to run.
type child struct {
	file       string
	arguments  []string
	credential *syscall.Credential
	process    *os.Process
}

// newChild looks up a command. The errors have the exit statuses of a shell.
func newChild(e *console.Environment, o *options, arguments []string) (*child, error) {
	c := &child{arguments: arguments}
	var err error
	c.file, err = command.LookPath(arguments[0], e.Getenv("PATH"))
	if err != nil {
		return nil, notStarted(arguments[0], err)
	}
	if o.user != "" {
		if c.credential, err = credentialOf(o.user); err != nil {
			return nil, failed(err)
		}
	}
	return c, nil
}

// notStarted explains why a command was not started, with the exit status of a shell.
func notStarted(name string, err error) error {
	status := &console.StatusError{Status: console.ExitNotExecutable}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		status.Status, status.Err = console.ExitNotFound, fmt.Errorf("there is no command %s", name)
	case errors.Is(err, fs.ErrPermission):
		status.Err = fmt.Errorf("%s cannot be executed: permission denied", name)
	default:
		status.Err = fmt.Errorf("%s cannot be executed: %w", name, err)
	}
	return status
}

// credentialOf returns the credentials of a user's process.
func credentialOf(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, fmt.Errorf("run as %s: %w", name, errNoUser)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("list the groups of %s: %w", name, err)
	}
	c := &syscall.Credential{}
	number := func(text string) uint32 {
		n, parseErr := strconv.ParseUint(text, 10, 32)
		err = errors.Join(err, parseErr)
		return uint32(n)
	}
	c.Uid, c.Gid = number(u.Uid), number(u.Gid)
	for _, id := range ids {
		c.Groups = append(c.Groups, number(id))
	}
	return c, err
}

// trace runs the command and waits until it and all its descendants have ended, or the
// user interrupts waiting for the descendants.
func (c *child) trace(t *trace.Tracer) error {
	// The terminal sends these signals to the command as well, which decides how to
	// react.
	interrupts := make(chan os.Signal, 1)
	watchSignals(interrupts, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(interrupts)
	// These are usually sent to crauctl only.
	ends := make(chan os.Signal, 1)
	watchSignals(ends, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(ends)
	if err := t.Start(c.start); err != nil {
		if c.process == nil {
			return notStarted(c.arguments[0], err)
		}
		return failed(err)
	}
	ended := make(chan result, 1)
	go func() {
		state, err := c.process.Wait()
		ended <- result{state, err}
	}()
	var r result
	for running := true; running; {
		select {
		case r = <-ended:
			running = false
		case s := <-ends:
			_ = c.process.Signal(s)
		case <-interrupts:
		}
	}
	for !t.Ended() {
		select {
		case <-interrupts:
			return r.status()
		case <-ends:
			return r.status()
		case <-time.After(exitPoll):
		}
	}
	return r.status()
}

// watchSignals relays signals to c, except for ignored ones: the command inherits that
// they are ignored.
func watchSignals(c chan<- os.Signal, signals ...os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// start starts the command.
func (c *child) start() (err error) {
	c.process, err = os.StartProcess(c.file, c.arguments, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Credential: c.credential},
	})
	return err
}

// result is the result of a command.
type result struct {
	state *os.ProcessState
	err   error
}

// status returns the exit status of the command as an error, nil for 0.
func (r result) status() error {
	if r.err != nil {
		return failed(r.err)
	}
	status := r.state.Sys().(syscall.WaitStatus)
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	if code == 0 {
		return nil
	}
	return &console.StatusError{Status: code}
}
