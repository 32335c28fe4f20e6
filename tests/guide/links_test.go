// SPDX-License-Identifier: Apache-2.0

package guide

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"crypto-auditing/tests/machine"
)

// documents returns all documents of the project by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "tests/*/README.md"} {
		paths, err := filepath.Glob(filepath.Join(machine.Root, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[filepath.Clean(path)] = string(text)
		}
	}
	return texts
}

var (
	block   = regexp.MustCompile("(?ms)^```.*?^```$")
	code    = regexp.MustCompile("(?m)^    .*$|`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	sign    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names by which GitHub links to the headings of a document.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := sign.ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}

func TestLinksOfDocumentsAreValid(t *testing.T) {
	texts := documents(t)
	headings := map[string]map[string]bool{}
	for path, text := range texts {
		texts[path] = block.ReplaceAllString(text, "")
		headings[path] = anchors(texts[path])
	}
	links := 0
	for path, text := range texts {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			links++
			target, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			file := path
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(path), target.Path)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the file %s does not exist", path, match[1])
			} else if target.Fragment != "" && !headings[file][target.Fragment] {
				t.Errorf("%s: the heading %s does not exist", path, match[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("found %d links, want at least 50", links)
	}
}

func TestTheReadmeLinksToEveryDocument(t *testing.T) {
	texts := documents(t)
	readme := texts[filepath.Join(machine.Root, "README.md")]
	for path := range texts {
		name := strings.TrimPrefix(path, machine.Root+"/")
		if name != "README.md" && !strings.HasPrefix(name, "tests/") && !strings.Contains(readme, "]("+name+")") {
			t.Errorf("README.md does not link to %s", name)
		}
	}
}

func TestTheChangelogDescribesThisVersion(t *testing.T) {
	version, err := os.ReadFile(filepath.Join(machine.Root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	changelog := documents(t)[filepath.Join(machine.Root, "CHANGELOG.md")]
	if want := "\n## [" + strings.TrimSpace(string(version)) + "] - "; !strings.Contains(changelog, want) {
		t.Errorf("CHANGELOG.md has no heading %q", want)
	}
}
