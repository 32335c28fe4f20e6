// SPDX-License-Identifier: Apache-2.0

package structure

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxShared is the maximum number of consecutive lines that two places of production code
// may have in common. Blank lines, comments, imports, lines without a letter, and white
// space are ignored.
const maxShared = 15

// TestNoTwoPlacesShareManyLines finds copied code. The linter (dupl) finds code of the same
// shape with other names.
func TestNoTwoPlacesShareManyLines(t *testing.T) {
	texts := map[string]string{}
	for _, dir := range []string{"bpf", "dbus", "src"} {
		err := filepath.WalkDir("../../"+dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !production(path) {
				return err
			}
			text, err := os.ReadFile(path)
			texts[strings.TrimPrefix(path, "../../")] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(texts) < 100 {
		t.Fatalf("found only %d files, want at least 100", len(texts))
	}
	for _, pair := range duplicates(texts, maxShared) {
		t.Error(pair)
	}
}

func TestCopiedCodeIsFoundAtAnyPositionAndIndentation(t *testing.T) {
	var short, long strings.Builder
	for i := range maxShared {
		fmt.Fprintf(&short, "call(%d, b)\n", i)
	}
	for line := range strings.Lines(short.String()) {
		fmt.Fprintf(&long, "\n\t\t%s\t// A comment.\n\t}\n", line)
	}
	texts := map[string]string{
		"a.go": "package a\n\nimport \"b\"\n\n" + short.String() + "last()\nlast()\n",
		"b.go": "package b\n\n" + long.String() + "other()\n",
	}
	if got := duplicates(texts, maxShared); got != nil {
		t.Errorf("%d shared lines are reported: %q", maxShared, got)
	}
	texts["b.go"] += "last()\n" + long.String() + "last()\nother()\n"
	want := []string{"a.go:5 and b.go:66 share 16 lines"}
	if got := duplicates(texts, maxShared); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// production reports whether a file is production code and not generated.
func production(path string) bool {
	if !slices.Contains([]string{".go", ".c", ".h", ".sh"}, filepath.Ext(path)) || strings.HasSuffix(path, "_bpfel.go") ||
		regexp.MustCompile(`_test\.go$|/testdata/|/(\w+test|faulty|filler)/`).MatchString(path) {
		return false
	}
	text, err := os.ReadFile(path)
	return err == nil && !regexp.MustCompile(`(?m)^// Code generated `).Match(text)
}

// line is a significant line of a file, with normalised white space.
type line struct {
	text   string
	number int
}

// significant returns the lines of a text that are compared.
func significant(text string) (lines []line) {
	letter := regexp.MustCompile(`[A-Za-z]`)
	skipped := regexp.MustCompile(`^(//|/\*|\*|#|import |package |(\w+ )?"[^"]*"$)`)
	number := 0
	for l := range strings.Lines(text) {
		number++
		if l = strings.Join(strings.Fields(l), " "); letter.MatchString(l) && !skipped.MatchString(l) {
			lines = append(lines, line{l, number})
		}
	}
	return lines
}

// duplicates returns the pairs of places that share more than limit lines.
func duplicates(texts map[string]string, limit int) (pairs []string) {
	type place struct {
		file string
		at   int // index of the line
	}
	seen := map[string]place{}
	files := map[string][]line{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		files[name] = significant(texts[name])
		lines := files[name]
		reported := 0 // lines before this index are reported
		for at := 0; at+limit < len(lines); at++ {
			var window strings.Builder
			for _, l := range lines[at : at+limit+1] {
				window.WriteString(l.text + "\n")
			}
			first, found := seen[window.String()]
			if !found {
				seen[window.String()] = place{name, at}
				continue
			}
			if at < reported || first.file == name && at-first.at <= limit {
				continue
			}
			n, others := limit+1, files[first.file]
			for at+n < len(lines) && first.at+n < len(others) && lines[at+n].text == others[first.at+n].text {
				n++
			}
			reported = at + n
			pairs = append(pairs, fmt.Sprintf("%s:%d and %s:%d share %d lines", first.file, others[first.at].number, name, lines[at].number, n))
		}
	}
	return pairs
}
