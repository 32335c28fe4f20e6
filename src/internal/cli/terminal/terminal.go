// SPDX-License-Identifier: Apache-2.0

// Package terminal determines whether output is a terminal and its capabilities, and
// runs the pager that shows long output.
package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Is reports whether w is a terminal.
func Is(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Width returns the number of columns of a terminal, 80 if unknown.
func Width(w any) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}

// Foreground reports whether the process is in the foreground of a terminal. It always
// is if the terminal is not its controlling terminal.
func Foreground(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// HasColor reports whether to use colours, according to the environment
// (https://no-color.org).
func HasColor(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// IsASCII reports whether the locale of the environment has a character encoding other
// than UTF-8. It is false without a locale.
func IsASCII(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := getenv(name); locale != "" {
			_, encoding, _ := strings.Cut(strings.ToLower(locale), ".")
			encoding, _, _ = strings.Cut(encoding, "@")
			return encoding != "utf-8" && encoding != "utf8"
		}
	}
	return false
}

// Pager is a process that shows the text written to it.
type Pager struct {
	command *exec.Cmd
	input   io.WriteCloser
	stop    func() // stops watching for its end
}

// StartPager starts the pager of the environment: CRAU_PAGER, PAGER, else less or more,
// the first that exists. It returns nil if the value of the variable is "" or "cat", if
// the terminal is dumb, or if there is no pager. end makes the pager begin at the end.
// left, unless nil, is called if the pager exits before Close.
func StartPager(out *os.File, lookup func(string) (string, bool), end bool, left func()) (*Pager, error) {
	if term, _ := lookup("TERM"); term == "dumb" {
		return nil, nil
	}
	command := ""
	for _, name := range []string{"CRAU_PAGER", "PAGER"} {
		value, ok := lookup(name)
		if value = strings.TrimSpace(value); ok && (value == "" || value == "cat") {
			return nil, nil
		}
		if ok && exists(value) {
			command = value
			break
		}
	}
	if command == "" {
		for _, name := range []string{"less", "more"} {
			if exists(name) {
				command = name
				break
			}
		}
	}
	if command == "" {
		return nil, nil
	}
	// The value is a command line for the shell, as usual.
	c := exec.Command("/bin/sh", "-c", command)
	c.Stdout, c.Stderr = out, os.Stderr
	c.Env = os.Environ()
	// Quit if the output fits one screen, keep colours and the screen, chop long lines,
	// quit on interrupt, like journalctl. LESS is always set, since colours are not
	// readable without R.
	for name, variable := range map[string]struct{ from, value string }{
		"LESS":        {"CRAU_LESS", "FRSXMK"},
		"LESSCHARSET": {"CRAU_LESSCHARSET", "utf-8"},
	} {
		value, ok := lookup(variable.from)
		if !ok {
			value = variable.value
		}
		if name == "LESS" && end {
			value += " +G"
		}
		c.Env = append(c.Env, name+"="+value)
	}
	if _, sudo := lookup("SUDO_UID"); sudo {
		// Under sudo, the pager must not start commands with another user's privileges.
		c.Env = append(c.Env, "LESSSECURE=1")
	}
	input, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start pager: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start pager %s: %w", command, err)
	}
	p := &Pager{c, input, func() {}}
	if left != nil {
		p.stop = Watch(input, left)
	}
	return p, nil
}

// exists reports whether the program of a command line exists. The program of a line with
// shell syntax is assumed to exist.
func exists(command string) bool {
	program, _, _ := strings.Cut(command, " ")
	if strings.ContainsAny(program, "$`\"'\\=;&|<>(){}[]*?~#") {
		return true
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// Write writes text to the pager. The error wraps EPIPE if the pager has exited.
func (p *Pager) Write(b []byte) (int, error) { return p.input.Write(b) }

// Close ends the pager's input and waits until the pager exits.
func (p *Pager) Close() error {
	p.stop()
	_ = p.input.Close()
	err := p.command.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		// 126 and 127 are from the shell, which could not run the command. Other exit
		// statuses of a pager do not concern the output.
		if code := exit.ExitCode(); code == 126 || code == 127 {
			return fmt.Errorf("cannot run pager %s: set CRAU_PAGER, or use --no-pager", p.command.Args[2])
		}
		return nil
	}
	return err
}

// OutputClosed reports whether a write failed because the reader has closed the output.
func OutputClosed(err error) bool { return errors.Is(err, unix.EPIPE) }
