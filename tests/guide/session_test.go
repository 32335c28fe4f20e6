// SPDX-License-Identifier: Apache-2.0

package guide

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// session is root's shell, which runs one command after another.
type session struct {
	input  io.Writer
	output chan string
	// status is the exit status of the last command, for "echo $?".
	status int
}

// mark begins the line with the exit status of a command.
const mark = "\x1e"

func newSession(t *testing.T, shell *exec.Cmd) *session {
	t.Helper()
	input, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stderr = shell.Stdout
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	s := &session{input: input, output: make(chan string)}
	go func() {
		defer close(s.output)
		lines := bufio.NewReader(output)
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				s.output <- line
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		input.Close()
		go func() {
			for range s.output { // so that the shell can end
			}
		}()
		_ = shell.Wait()
	})
	s.run(t, "cd "+sources)
	return s
}

// run runs a command and returns its output and exit status.
func (s *session) run(t *testing.T, command string) (printed string, status int) {
	t.Helper()
	return s.watch(t, command, func(string) {})
}

// watch is run with a function that is called after each line with the output up to then.
func (s *session) watch(t *testing.T, command string, observe func(printed string)) (printed string, status int) {
	t.Helper()
	// The command must not read the shell's input. $? is the status of the last command.
	fmt.Fprintf(s.input, "(exit %d)\n{ %s\n} </dev/null\nprintf '\\n%s%%d\\n' $?\n", s.status, command, mark)
	var text strings.Builder
	for end := time.After(patience); ; {
		select {
		case line, ok := <-s.output:
			if !ok {
				t.Fatalf("%s: the shell has ended:\n%s", command, text.String())
			}
			if n, ok := strings.CutPrefix(line, mark); ok {
				var err error
				if s.status, err = strconv.Atoi(strings.TrimSpace(n)); err != nil {
					t.Fatal(err)
				}
				// The line break before the mark is not part of the command's output.
				return strings.TrimSuffix(text.String(), "\n"), s.status
			}
			text.WriteString(line)
			observe(text.String())
		case <-end:
			t.Fatalf("%s: did not end within %v:\n%s", command, patience, text.String())
		}
	}
}

// asUser runs a command as the user alice, with her current groups.
func (s *session) asUser(t *testing.T, command string) (printed string, status int) {
	t.Helper()
	if command == "echo $?" {
		return s.run(t, command)
	}
	quoted := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
	return s.run(t, "setpriv --reuid=alice --regid=alice --init-groups env -C /home/alice HOME=/home/alice bash -c "+quoted)
}
