// SPDX-License-Identifier: Apache-2.0

// Package terminal is about the screen a person looks at: whether there is
// one, whether it has colours, and the pager that shows long output on it.
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

// Width returns the number of columns of a terminal, 80 if it does not state it.
func Width(w any) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}

// Foreground reports whether the process is in the foreground of its terminal. It
// is if the terminal does not control it.
func Foreground(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// HasColor reports whether a terminal shows colours, as the environment says
// (https://no-color.org).
func HasColor(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// IsASCII reports whether the locale of the environment has another character
// encoding than UTF-8. Without one it has not.
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

// Pager is a process that shows what is written to it.
type Pager struct {
	command *exec.Cmd
	input   io.WriteCloser
	stop    func() // watching for its end
}

// StartPager starts the pager that the environment names: CRAU_PAGER, PAGER,
// else less or more; one that is not there is passed over. It returns nil if none
// is wanted or to be had: the value "" or "cat" of the variables turns it off,
// and so does a terminal that can do nothing. end has the pager show the end.
// left, if not nil, is called when it is left before Close.
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
	// A pager is a command line for the shell, as everywhere.
	c := exec.Command("/bin/sh", "-c", command)
	c.Stdout, c.Stderr = out, os.Stderr
	c.Env = os.Environ()
	// Quit if it fits one screen, keep colours and the screen, chop long lines,
	// quit on interrupt: journalctl's habits. LESS is set whatever it was, since
	// colours without R cannot be read.
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
		// The pager of another user's session must start no commands.
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

// exists reports whether the program that a command line begins with can be run.
// That of a line which only the shell understands is taken to be there.
func exists(command string) bool {
	program, _, _ := strings.Cut(command, " ")
	if strings.ContainsAny(program, "$`\"'\\=;&|<>(){}[]*?~#") {
		return true
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// Write gives text to the pager. The error wraps EPIPE when the pager has been
// left.
func (p *Pager) Write(b []byte) (int, error) { return p.input.Write(b) }

// Close tells the pager that there is no more and waits until it is left.
func (p *Pager) Close() error {
	p.stop()
	_ = p.input.Close()
	err := p.command.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		// 126 and 127 are the shell's: it could not run the command. How a
		// pager is left otherwise says nothing about the output.
		if code := exit.ExitCode(); code == 126 || code == 127 {
			return fmt.Errorf("cannot run pager %s: set CRAU_PAGER, or use --no-pager", p.command.Args[2])
		}
		return nil
	}
	return err
}

// Left reports whether a write failed because nobody reads any more.
func Left(err error) bool { return errors.Is(err, unix.EPIPE) }
