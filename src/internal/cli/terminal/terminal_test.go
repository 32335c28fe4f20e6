// SPDX-License-Identifier: Apache-2.0

package terminal_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/cli/terminal"
)

func lookup(environment map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}
}

func TestATerminalIsDistinguishedFromAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal.Is(file) {
		t.Error("a file is recognised as a terminal")
	}
	if terminal.Is(new(strings.Builder)) {
		t.Error("memory is recognised as a terminal")
	}
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	if !terminal.Is(pty) {
		t.Error("a pseudo-terminal is not recognised as a terminal")
	}
}

func TestColoursFollowTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		want        bool
	}{
		"an ordinary terminal": {map[string]string{"TERM": "xterm-256color"}, true},
		"a dumb terminal":      {map[string]string{"TERM": "dumb"}, false},
		"NO_COLOR":             {map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := terminal.HasColor(func(name string) string { return c.environment[name] }); got != c.want {
				t.Errorf("colours: %v, want %v", got, c.want)
			}
		})
	}
}

func TestThePagerFollowsTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		want        string // "" for no pager
	}{
		"CRAU_PAGER":               {map[string]string{"CRAU_PAGER": "sed s/^/ours:/", "PAGER": "sed s/^/any:/"}, "ours:text\n"},
		"PAGER":                    {map[string]string{"PAGER": "sed s/^/any:/"}, "any:text\n"},
		"an empty CRAU_PAGER":      {map[string]string{"CRAU_PAGER": "", "PAGER": "sed s/^/any:/"}, ""},
		"a missing pager":          {map[string]string{"CRAU_PAGER": "no-such-pager -x", "PAGER": "sed s/^/any:/"}, "any:text\n"},
		"on a dumb terminal":       {map[string]string{"TERM": "dumb", "PAGER": "sed s/^/any:/"}, ""},
		"less with its options":    {map[string]string{"PAGER": "sh -c 'cat; echo $LESS $LESSCHARSET'", "LESS": "i"}, "text\nFRSXMK utf-8\n"},
		"less with ours":           {map[string]string{"PAGER": "sh -c 'cat; echo $LESS'", "CRAU_LESS": "FR"}, "text\nFR\n"},
		"cat":                      {map[string]string{"PAGER": "cat"}, ""},
		"a pager that exits early": {map[string]string{"PAGER": "head -c 2; exit 5"}, "te"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "screen"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			pager, err := terminal.StartPager(out, lookup(c.environment), false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if pager == nil {
				if c.want != "" {
					t.Fatal("no pager was started")
				}
				return
			}
			if _, err := io.WriteString(pager, "text\n"); err != nil {
				t.Fatal(err)
			}
			if err := pager.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(out.Name()); err != nil || string(got) != c.want {
				t.Errorf("shown is %q (error %v), want %q", got, err, c.want)
			}
		})
	}
}

func TestAMissingPagerIsAnError(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pager, err := terminal.StartPager(out, lookup(map[string]string{"CRAU_PAGER": "{ no-such-pager; } 2>/dev/null"}), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pager.Close(); err == nil || !strings.Contains(err.Error(), "no-such-pager") || !strings.Contains(err.Error(), "--no-pager") {
		t.Errorf("error is %v, want one that names the pager and the remedy", err)
	}
}

func TestQuittingThePagerIsNotAFailure(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pager, err := terminal.StartPager(out, lookup(map[string]string{"PAGER": "true"}), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pager.Close()
	for err == nil {
		_, err = fmt.Fprintln(pager, strings.Repeat("text ", 100))
	}
	if !terminal.OutputClosed(err) {
		t.Errorf("error is %v, want one that reports that the pager was quit", err)
	}
}

func TestThePagerShowsTheEnd(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pager, err := terminal.StartPager(out, lookup(map[string]string{"PAGER": "echo $LESS; cat >/dev/null"}), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := pager.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out.Name()); err != nil || string(got) != "FRSXMK +G\n" {
		t.Errorf("the options are %q (error %v)", got, err)
	}
}

func TestTheLocaleSelectsASCII(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		want        bool
	}{
		"no locale":            {nil, false},
		"UTF-8":                {map[string]string{"LANG": "de_DE.UTF-8"}, false},
		"utf8 with a variant":  {map[string]string{"LANG": "ca_ES.utf8@valencia"}, false},
		"C":                    {map[string]string{"LANG": "C"}, true},
		"Latin":                {map[string]string{"LANG": "en_GB.ISO-8859-1"}, true},
		"LC_ALL before LANG":   {map[string]string{"LC_ALL": "C", "LANG": "C.UTF-8"}, true},
		"LC_CTYPE before LANG": {map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, false},
	} {
		getenv := func(name string) string { return c.environment[name] }
		if got := terminal.IsASCII(getenv); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
