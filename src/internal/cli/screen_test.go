// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/cli"
)

// openTerminal opens a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onScreen runs crauctl on a pseudo-terminal and returns the output.
func onScreen(t *testing.T, variables map[string]string, arguments ...string) (screen, stderr string, code int) {
	t.Helper()
	master, slave := openTerminal(t)
	var shown bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() {
		// ReadFrom fails when the other end is closed.
		_, _ = shown.ReadFrom(master)
	})
	var ignored, errs bytes.Buffer
	e := environment(t, &ignored, &errs)
	e.Stdout = slave
	e.Lookup = func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
	code = cli.Run(context.Background(), arguments, e)
	slave.Close()
	reader.Wait()
	return strings.ReplaceAll(shown.String(), "\r\n", "\n"), errs.String(), code
}

func TestATerminalHasColoursAndAPager(t *testing.T) {
	log := write(t, "log", oddities())
	plain := crauctl(t, "query", "--file", log).stdout
	for name, c := range map[string]struct {
		variables map[string]string
		arguments []string
		want      func(screen string) bool
	}{
		"colours": {
			map[string]string{"TERM": "xterm", "CRAU_PAGER": "cat"}, nil,
			func(screen string) bool {
				return strings.Contains(screen, "\x1b[36mtls::handshake\x1b[0m") && strings.Contains(screen, "\x1b[1;33m— 1,234 events lost")
			},
		},
		"no colours": {
			map[string]string{"TERM": "xterm", "NO_COLOR": "1", "CRAU_PAGER": "cat"}, nil,
			func(screen string) bool { return screen == plain },
		},
		"a pager": {
			map[string]string{"NO_COLOR": "1", "CRAU_PAGER": "sed s/^/paged:/"}, nil,
			func(screen string) bool {
				return screen == "paged:"+strings.ReplaceAll(strings.TrimSuffix(plain, "\n"), "\n", "\npaged:")+"\n"
			},
		},
		"no pager": {
			map[string]string{"NO_COLOR": "1", "CRAU_PAGER": "sed s/^/paged:/"}, []string{"--no-pager"},
			func(screen string) bool { return screen == plain },
		},
		"a pager that exits early": {
			map[string]string{"NO_COLOR": "1", "CRAU_PAGER": "head -n 1"}, nil,
			func(screen string) bool { return screen == plain[:strings.IndexByte(plain, '\n')+1] },
		},
	} {
		t.Run(name, func(t *testing.T) {
			screen, stderr, code := onScreen(t, c.variables, append([]string{"query", "--file", log}, c.arguments...)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, errors %q", code, stderr)
			}
			if !c.want(screen) {
				t.Errorf("shown is:\n%q", screen)
			}
		})
	}
}

func TestRawBytesAreNotWrittenToATerminal(t *testing.T) {
	screen, stderr, code := onScreen(t, nil, "query", "--file", write(t, "log", oddities()), "-o", "cbor")
	if code != 2 || screen != "" || !strings.Contains(stderr, "not for a terminal") {
		t.Errorf("exit code %d, errors %q, shown is %q", code, stderr, screen)
	}
}

func TestWarningsArePrintedAfterThePager(t *testing.T) {
	log := write(t, "log", oddities())
	screen, stderr, code := onScreen(t, map[string]string{"CRAU_PAGER": "cat -"}, "query", "--file", log, "-o", "json-pretty")
	if code != 0 || strings.Count(stderr, " lost ") != 4 || strings.Count(screen, `"context":`) != 4 {
		t.Errorf("exit code %d, errors %q, shown is %q", code, stderr, screen)
	}
}

func TestAnInterruptEndsAQuery(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, []string{"query", "--file", publicLog}, environment(t, &stdout, &stderr))
	if code != 130 || stderr.Len() > 0 {
		t.Errorf("exit code %d, errors %q, want 130 and none", code, stderr.String())
	}
}

func FuzzQueryOfAnyFile(f *testing.F) {
	log := encode(handshakes(f, "openssl-tls13-x25519"))
	f.Add(log)
	f.Add(oddities())
	f.Add(gaps())
	f.Add(compress(f, log))
	f.Add(segment(f, log))
	f.Fuzz(func(t *testing.T, content []byte) {
		file := write(t, "log", content)
		for _, form := range []string{"short", "json"} {
			got := crauctl(t, "query", "--file", file, "-o", form)
			if got.code > 1 || (got.code == 1) != strings.Contains(got.stderr, "crauctl: cannot ") {
				t.Errorf("exit code %d, errors %q", got.code, got.stderr)
			}
			for line := range strings.Lines(got.stdout) {
				if form == "json" && !json.Valid([]byte(line)) {
					t.Errorf("the line %q is not JSON", line)
				}
			}
		}
	})
}
