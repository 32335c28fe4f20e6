// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestVersionCountsCommitsSinceItsTag(t *testing.T) {
	need(t, "git")
	const git = "git -c user.name=test -c user.email=test@localhost "
	const commit = git + "commit -q --allow-empty -m change\n"
	for name, c := range map[string]struct{ script, want string }{
		"no git":                          {"", `^1\.2\.3$`},
		"an invalid repository":           {"mkdir .git", `^1\.2\.3$`},
		"no tag, as in a shallow clone":   {"git init -q\n" + commit, `^1\.2\.3$`},
		"the tagged commit":               {"git init -q\n" + commit + "git tag v1.2.3\n", `^1\.2\.3$`},
		"two commits after the tag":       {"git init -q\n" + commit + "git tag v1.2.3\n" + commit + commit, `^1\.2\.3\+2\.g[0-9a-f]+$`},
		"the tag of another version":      {"git init -q\n" + commit + "git tag v1.2.2\n" + commit, `^1\.2\.3$`},
		"a tarball in another repository": {"cd ..\ngit init -q\n" + commit + "git tag v1.2.3\n" + commit, `^1\.2\.3$`},
	} {
		t.Run(name, func(t *testing.T) {
			sources := filepath.Join(t.TempDir(), "sources")
			script, err := os.ReadFile(filepath.Join(root, "version.sh"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(sources, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"version.sh": string(script), "VERSION": "1.2.3\n"} {
				if err := os.WriteFile(filepath.Join(sources, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			mustRun(t, sources, "sh", "-euc", c.script)
			// meson runs the script in another directory.
			got := mustRun(t, "/", filepath.Join(sources, "version.sh"))
			if !regexp.MustCompile(c.want).MatchString(got[:len(got)-1]) {
				t.Errorf("the version is %q, want a match of %s", got, c.want)
			}
		})
	}
}
