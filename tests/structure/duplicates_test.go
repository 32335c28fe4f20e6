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

// maxShared is how many lines two places of production code may have in common:
// blank lines, comments, imports and lines without a letter do not count, nor does
// white space.
const maxShared = 15

// TestNoTwoPlacesShareManyLines finds code that was copied. Code of the same shape with
// other names is found by the linter (dupl).
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
		t.Fatalf("only %d files were found", len(texts))
	}
	for _, pair := range duplicates(texts, maxShared) {
		t.Error(pair)
	}
}

func TestCopiedCodeIsFoundWithAnyPlaceAndIndentation(t *testing.T) {
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
		t.Errorf("of %d lines: %q", maxShared, got)
	}
	texts["b.go"] += "last()\n" + long.String() + "last()\nother()\n"
	want := []string{"a.go:5 and b.go:66 share 16 lines"}
	if got := duplicates(texts, maxShared); !slices.Equal(got, want) {
		t.Errorf("found is %q, want %q", got, want)
	}
}

// production reports whether a file is code that is delivered and was not
// generated.
func production(path string) bool {
	if !slices.Contains([]string{".go", ".c", ".h", ".sh"}, filepath.Ext(path)) || strings.HasSuffix(path, "_bpfel.go") ||
		regexp.MustCompile(`_test\.go$|/testdata/|/(\w+test|faulty|filler)/`).MatchString(path) {
		return false
	}
	text, err := os.ReadFile(path)
	return err == nil && !regexp.MustCompile(`(?m)^// Code generated `).Match(text)
}

// line is a line of a file that counts, without white space around it.
type line struct {
	text   string
	number int
}

// significant returns the lines of a text that count.
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

// duplicates returns the pairs of places that share more than most lines.
func duplicates(texts map[string]string, most int) (pairs []string) {
	type place struct {
		file string
		at   int // index of the line
	}
	seen := map[string]place{}
	files := map[string][]line{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		files[name] = significant(texts[name])
		lines := files[name]
		reported := 0 // lines before this index are
		for at := 0; at+most < len(lines); at++ {
			var window strings.Builder
			for _, l := range lines[at : at+most+1] {
				window.WriteString(l.text + "\n")
			}
			first, there := seen[window.String()]
			if !there {
				seen[window.String()] = place{name, at}
				continue
			}
			if at < reported || first.file == name && at-first.at <= most {
				continue
			}
			n, others := most+1, files[first.file]
			for at+n < len(lines) && first.at+n < len(others) && lines[at+n].text == others[first.at+n].text {
				n++
			}
			reported = at + n
			pairs = append(pairs, fmt.Sprintf("%s:%d and %s:%d share %d lines", first.file, others[first.at].number, name, lines[at].number, n))
		}
	}
	return pairs
}
