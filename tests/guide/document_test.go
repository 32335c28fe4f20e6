// SPDX-License-Identifier: Apache-2.0

package guide

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// step is one step of a document: a command to run or a file to write.
type step struct {
	place string // FILE:LINE
	// command is run as root, or as the user; quiet: it is not rendered.
	command     string
	user, quiet bool
	// shows has the lines of the documented output.
	shows []string
	// mayFail is set if the next command shows its exit status.
	mayFail bool
	// interrupted: the command is interrupted when it has printed the documented output.
	interrupted bool
	// file is written with text, for a step without a command.
	file, text string
}

// document has the steps of a document in order, and the blocks that are not run.
type document struct {
	steps  []step
	blocks int
	// skipped has the reasons for blocks that are not run, by place.
	skipped map[string]string
}

var (
	hidden = regexp.MustCompile(`^<!-- (run|not run): (.*)$`)
	// endless marks a block whose first command is interrupted.
	endless = "<!-- until Control-C -->"
	fence   = regexp.MustCompile("^```(\\w*)$")
	// named matches the first line of a block that is a file.
	named = regexp.MustCompile(`^(?:#|//) (/[\w./-]+)$`)
)

// read parses the section of a document that begins with the heading from, or the whole
// document if from is empty.
func read(t *testing.T, path, from string) *document {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	first, last := 0, len(lines)
	if from != "" {
		for first = 0; first < len(lines) && lines[first] != from; first++ {
		}
		if first == len(lines) {
			t.Fatalf("%s has no heading %q", path, from)
		}
		for last = first + 1; last < len(lines) && !strings.HasPrefix(lines[last], "## "); last++ {
		}
	}
	d := &document{skipped: map[string]string{}}
	reason, interrupted := "", false
	for i := first; i < last; i++ {
		place := fmt.Sprintf("%s:%d", path, i+1)
		if match := hidden.FindStringSubmatch(lines[i]); match != nil {
			text := match[2]
			for !strings.HasSuffix(text, "-->") && i+1 < last {
				i++
				text += "\n" + lines[i]
			}
			text = strings.TrimSpace(strings.TrimSuffix(text, "-->"))
			if match[1] == "not run" {
				reason = text
			} else {
				d.steps = append(d.steps, step{place: place, command: text, quiet: true})
			}
			continue
		}
		if lines[i] == endless {
			interrupted = true
			continue
		}
		match := fence.FindStringSubmatch(lines[i])
		if match == nil {
			if interrupted && lines[i] != "" {
				t.Errorf("%s: no block follows the comment %s", place, endless)
			}
			if reason != "" && lines[i] != "" {
				t.Errorf("%s: no block follows the comment <!-- not run -->", place)
			}
			continue
		}
		var block []string
		for i++; i < last && lines[i] != "```"; i++ {
			block = append(block, lines[i])
		}
		d.blocks++
		if reason != "" {
			d.skipped[place], reason = reason, ""
			continue
		}
		switch match[1] {
		case "console":
			steps := console(t, path, i-len(block), block)
			steps[0].interrupted, interrupted = interrupted, false
			d.steps = append(d.steps, steps...)
		case "toml", "ini", "js":
			name := named.FindStringSubmatch(block[0])
			if name == nil {
				t.Errorf("%s: the first line does not name the file", place)
				continue
			}
			d.steps = append(d.steps, step{place: place, file: name[1], text: strings.Join(block, "\n") + "\n"})
		default:
			t.Errorf("%s: a block of the unknown kind %q", place, match[1])
		}
	}
	return d
}

// console parses a block of commands and their output. line is the number of lines of the
// document before its first command.
func console(t *testing.T, path string, line int, block []string) (steps []step) {
	t.Helper()
	for i := 0; i < len(block); i++ {
		s := step{place: fmt.Sprintf("%s:%d", path, line+i+1)}
		if command, ok := strings.CutPrefix(block[i], "$ "); ok {
			s.command, s.user = command, true
		} else if command, ok := strings.CutPrefix(block[i], "# "); ok {
			s.command = command
		} else {
			t.Fatalf("%s: neither a command nor its output: %q", s.place, block[i])
		}
		for !complete(s.command) && i+1 < len(block) {
			i++
			s.command += "\n" + block[i]
		}
		for i+1 < len(block) && !strings.HasPrefix(block[i+1], "$ ") && !strings.HasPrefix(block[i+1], "# ") {
			i++
			s.shows = append(s.shows, block[i])
		}
		if n := len(steps); n > 0 && s.command == "echo $?" {
			steps[n-1].mayFail = true
		}
		steps = append(steps, s)
	}
	return steps
}

// complete reports whether a command is complete for a shell.
func complete(command string) bool {
	output, err := exec.Command("bash", "-n", "-c", command).CombinedOutput()
	return err == nil && len(output) == 0 && !strings.HasSuffix(command, `\`)
}

// variable has patterns of text that varies by machine and time, and of its replacements.
// Their order matters.
var variable = []struct{ text, replacement *regexp.Regexp }{
	{regexp.MustCompile(`\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b`), regexp.MustCompile(`\w{3}`)},
	{regexp.MustCompile(`\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b`), regexp.MustCompile(`\w{3}`)},
	{regexp.MustCompile(`\b[0-9a-f]{12,}(?:-[0-9a-f]{16})?\b`), regexp.MustCompile(`[0-9a-f]{12,}(?:-[0-9a-f]{16})?`)},
	// The unit of a size or a duration may differ.
	{regexp.MustCompile(`\b\d[\d.,]* (?:B|[KMGT]iB|bytes)`), regexp.MustCompile(`\d[\d.,]* (?:B|[KMGT]iB|bytes)`)},
	{regexp.MustCompile(`\b\d[\d.]*(?:ms|us|µs|s|min|h)(?: \d+(?:s|min))?\b`), regexp.MustCompile(`\d[\d.]*(?:ms|us|µs|s|min|h)(?: \d+(?:s|min))?`)},
	{regexp.MustCompile(`\b\d[\d.,:-]*\b`), regexp.MustCompile(`\d[\d.,:-]*`)},
}

// pattern returns an expression for the output that a line of a document allows: the same
// text, except for numbers, times and ids; … stands for anything.
func pattern(line string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^\s*`)
	for line = strings.TrimSpace(line); line != ""; {
		if tail, ok := strings.CutPrefix(line, "…"); ok {
			b.WriteString(".*")
			line = tail
			continue
		}
		if tail := strings.TrimLeft(line, " "); tail != line {
			b.WriteString(`\s+`)
			line = tail
			continue
		}
		// A number inside a word must not be mistaken for one that may vary.
		word := line
		if end := strings.IndexAny(line, " …"); end > 0 {
			word = line[:end]
		}
		b.WriteString(varied(&line, word))
	}
	b.WriteString(`\s*$`)
	return regexp.MustCompile(b.String())
}

// varied returns a pattern for the beginning of line, and removes that beginning.
func varied(line *string, word string) string {
	for _, v := range variable {
		if at := v.text.FindStringIndex(*line); at != nil && at[0] == 0 {
			*line = (*line)[at[1]:]
			return v.replacement.String()
		}
	}
	// Stop at variable text inside the word.
	end := len(word)
	for _, v := range variable {
		if at := v.text.FindStringIndex(word); at != nil && at[0] > 0 {
			end = min(end, at[0])
		}
	}
	*line = (*line)[end:]
	return regexp.QuoteMeta(word[:end])
}

// differs describes the first difference between the documented lines and the output, ""
// if there is none. A line … stands for any number of lines.
func differs(shows []string, output string) string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	if output == "" {
		lines = nil
	}
	any := false
	for _, want := range shows {
		if strings.TrimSpace(want) == "…" {
			any = true
			continue
		}
		p := pattern(want)
		for any && len(lines) > 0 && !p.MatchString(lines[0]) {
			lines = lines[1:]
		}
		any = false
		if len(lines) == 0 {
			return fmt.Sprintf("the command does not print %q", want)
		}
		if !p.MatchString(lines[0]) {
			return fmt.Sprintf("the command prints %q, want %q", lines[0], want)
		}
		lines = lines[1:]
	}
	if len(lines) > 0 && !any {
		return fmt.Sprintf("the command also prints %q", lines[0])
	}
	return ""
}

func TestOutputMayDifferInNumbersTimesAndIDs(t *testing.T) {
	for name, c := range map[string]struct {
		shows  []string
		output string
		equal  bool
	}{
		"the same":                   {[]string{"all is as it should be"}, "all is as it should be\n", true},
		"another text":               {[]string{"all is as it should be"}, "all is lost\n", false},
		"no output, as expected":     {nil, "", true},
		"unexpected output":          {nil, "hello\n", false},
		"missing output":             {[]string{"hello"}, "", false},
		"other numbers and times":    {[]string{"Thu 2026-11-26 06:38 12.3 KiB, 45 of 1,234"}, "Mon 2027-01-02 23:59 9.0 MiB, 1 of 2\n", true},
		"other ids":                  {[]string{"41ae88d8fddeeeb767e358e90ca4ec18-000000000000002b"}, "58c1609e8b16b48062e26e893278a462-0000000000000001\n", true},
		"a number instead of a word": {[]string{"lost nothing"}, "lost 5\n", false},
		"a word instead of a number": {[]string{"lost 5"}, "lost nothing\n", false},
		"a number in a name":         {[]string{"TLS_AES_256_GCM_SHA384"}, "TLS_CHACHA20_POLY1305_SHA256\n", false},
		"any lines":                  {[]string{"first", "…", "last"}, "first\na\nb\nlast\n", true},
		"any lines, but not the end": {[]string{"first", "…", "last"}, "first\na\nb\n", false},
		"any lines at the end":       {[]string{"first", "…"}, "first\na\nb\n", true},
		"part of a line":             {[]string{"cannot …: is it there?"}, "cannot do it at all: is it there?\n", true},
		"columns":                    {[]string{"A  B"}, "  A      B  \n", true},
		"durations":                  {[]string{"since 2h 3min ago"}, "since 5s ago\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := differs(c.shows, c.output); (got == "") != c.equal {
				t.Errorf("%q and %q: %q", c.shows, c.output, got)
			}
		})
	}
}
