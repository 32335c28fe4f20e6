// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os/exec"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
)

// bashCompletion runs the script of crauctl completion bash for a line whose end
// is completed, as bash calls it, and returns what the line becomes.
func bashCompletion(t *testing.T, line, answer string) string {
	t.Helper()
	script := crauctl(t, "completion", "bash")
	if script.code != 0 {
		t.Fatalf("exit code %d, errors %q", script.code, script.stderr)
	}
	command := exec.Command("bash", "--norc", "-c", `
		# As bash-completion has it: words that are broken at blanks alone.
		_get_comp_words_by_ref() {
			read -ra words <<<"$COMP_LINE"
			cword=$((${#words[@]} - 1)) cur=${words[cword]} prev=${words[cword - 1]}
		}
		compopt() { :; }
		crauctl() { printf '%s\n:4\n' "$ANSWER"; }
		source /dev/stdin
		COMP_WORDBREAKS=$' \t\n"\'><=;|&(:' COMP_TYPE=9
		__start_crauctl
		printf '%s\n' "${COMPREPLY[@]}"`)
	command.Env = []string{"COMP_LINE=" + line, "ANSWER=" + answer, "PATH=/usr/bin:/bin"}
	command.Stdin = strings.NewReader(script.stdout)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("bash: %v", err)
	}
	// Bash replaces the text after the last character at which it breaks words.
	return line[:strings.LastIndexAny(line, " =:")+1] + strings.TrimSuffix(string(out), "\n")
}

func TestBashCompletesMatchesWithoutRepeatingTheKey(t *testing.T) {
	for line, c := range map[string]struct{ answer, want string }{
		"crauctl query tls::group=x2":       {"tls::group=x25519", "crauctl query tls::group=x25519"},
		"crauctl query tls::gr":             {"tls::group=", "crauctl query tls::group="},
		"crauctl query group=x2":            {"group=x25519", "crauctl query group=x25519"},
		"crauctl policy check DEFAULT:NO":   {"DEFAULT:NO-PQ", "crauctl policy check DEFAULT:NO-PQ"},
		"crauctl query --output=js":         {"json", "crauctl query --output=json"},
		"crauctl query --context tls::hand": {"tls::handshake", "crauctl query --context tls::handshake"},
	} {
		if got := bashCompletion(t, line, c.answer); got != c.want {
			t.Errorf("%q becomes %q, want %q", line, got, c.want)
		}
	}
}

func TestFileNamesCompleteForFileArguments(t *testing.T) {
	const files, directories, neither = ":0\n", ":16\n", ":4\n"
	for line, want := range map[string]string{
		"query --file":         files,
		"query --cursor-file":  files,
		"query --registry":     files,
		"query --directory":    directories,
		"query -D":             directories,
		"monitor --directory":  directories,
		"verify --directory":   directories,
		"log-info -D":          directories,
		"status --socket":      files,
		"metrics --output":     files,
		"probes":               files,
		"query --output":       neither,
		"query --executable":   neither,
		"query --since":        neither,
		"query --field":        neither,
		"vacuum --vacuum-time": neither,
	} {
		got := crauctl(t, append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		if !strings.HasSuffix(got.stdout, "\n"+want) && got.stdout != want {
			t.Errorf("%s: the completion ends with %q, want %q", line, got.stdout[strings.LastIndexByte(strings.TrimSuffix(got.stdout, "\n"), '\n')+1:], want)
		}
	}
	if got := crauctl(t, "__complete", "query", "group=x255"); !strings.Contains(got.stdout, "group=x25519\n") {
		t.Errorf("completions are %q", got.stdout)
	}
}

func TestUnitsAndProgramsCompleteFromTheLog(t *testing.T) {
	group := func(n uint64, executable, unit string) event.Group {
		g := operation(executable, n)
		g.Executable, g.Unit = []byte(executable), []byte(unit)
		return g
	}
	var groups []event.Group
	for n := range uint64(9000) { // several pages for the completion
		groups = append(groups, group(n+1, "nginx", "nginx.service"))
	}
	groups = append(groups, group(9002, "curl", ""), group(9003, "ssh\n", "session-1.scope"))
	groups[0] = group(1, "old", `dev-a\x2db.service`)
	dir := t.TempDir()
	w := openStore(t, dir)
	for len(groups) > 0 {
		n := min(len(groups), 1000)
		appendGroups(t, w, groups[:n]...)
		groups = groups[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// A slow machine may not read the oldest entries: it offers the first of all completions.
	for line, want := range map[string]string{
		"query -D " + dir + " -u ":              "session-1.scope\nnginx.service\ndev-a\\x2db.service\n",
		"query -D " + dir + " --unit ng":        "nginx.service\n",
		"query -D " + dir + " --executable ":    "ssh\\x0a\ncurl\nnginx\nold\n",
		"monitor -D " + dir + " --executable c": "curl\n",
	} {
		got := crauctl(t, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if offered, ok := strings.CutSuffix(got.stdout, ":36\n"); got.code != 0 || !ok || offered == "" || !strings.HasPrefix(want, offered) {
			t.Errorf("%s: exit code %d, completions %q, want %q", line, got.code, got.stdout, want)
		}
	}
	for name, line := range map[string][]string{
		"a missing log":   {"query", "-D", dir + "/none", "-u", ""},
		"an unknown name": {"query", "-D", dir, "-u", "apache"},
		"a file":          {"query", "--file", captured(t), "-u", ""},
		"no broker":       {"query", "--executable", ""},
	} {
		if got := crauctl(t, append([]string{"__complete"}, line...)...); got.code != 0 || got.stdout != ":4\n" || strings.Contains(got.stderr, "crauctl:") {
			t.Errorf("%s: exit code %d, completions %q, errors %q", name, got.code, got.stdout, got.stderr)
		}
	}
}
