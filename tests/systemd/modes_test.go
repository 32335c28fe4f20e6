// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

// access has the owners of a file and its mode.
type access struct{ owner, group, mode string }

// elsewhere is the row of the table for installed files without their own row.
const elsewhere = "all else that is installed"

// documented returns the table of files in docs/security.md: accesses by paths or
// patterns.
func documented(t *testing.T) map[string]access {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(throwaway.Root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Files\n")
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string]access{}
	for _, row := range regexp.MustCompile("(?m)^\\| `?([^|`]+?)`? \\| (\\S+) \\| (\\S+) \\| (0[0-7]{3}) \\|$").FindAllStringSubmatch(section, -1) {
		table[row[1]] = access{row[2], row[3], row[4]}
	}
	if len(table) < 14 || table[elsewhere].mode == "" {
		t.Fatalf("cannot parse the table in docs/security.md: %v", table)
	}
	return table
}

// rowOf returns the row of a table for a file. A temporary file has the row of its final
// name.
func rowOf(table map[string]access, file string) (row string, found bool) {
	file = strings.TrimSuffix(file, ".tmp")
	if _, ok := table[file]; ok {
		return file, true
	}
	for row := range table {
		if ok, err := path.Match(row, file); ok && err == nil {
			return row, true
		}
	}
	return "", false
}

// listing returns the types and accesses of the files that find(1) finds, by paths.
func (m *machine) listing(t *testing.T, arguments ...string) (types map[string]string, accesses map[string]access) {
	t.Helper()
	types, accesses = map[string]string{}, map[string]access{}
	output := m.run(t, append(append([]string{"find"}, arguments...), "-printf", `%y %u %g 0%m %p\n`)...)
	for line := range strings.Lines(output) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		if len(fields) != 5 {
			t.Fatalf("find printed %q", line)
		}
		types[fields[4]], accesses[fields[4]] = fields[0], access{fields[1], fields[2], fields[3]}
	}
	return types, accesses
}

func TestFilesHaveTheExpectedOwners(t *testing.T) {
	table := documented(t)
	a := brokerInstalled(t, libraries(library), "[truncate]\nmax_size = \"1B\"\nkeep_free = 0\n")
	// The services make all their files: open and sealed segments, some of which are
	// removed, a durable subscription, and those of a restarted broker and agent.
	for range 3 {
		a.replay(t, library, 20)
		a.run(t, "crauctl", "rotate")
	}
	before := len(a.segments(t))
	a.run(t, "crauctl", "vacuum", "--force")
	if after := len(a.segments(t)); after >= before {
		t.Errorf("there are %d segments, want fewer than %d", after, before)
	}
	a.subscribe(t)
	a.run(t, "systemctl", "start", openerSocket)
	t.Cleanup(func() { a.run(t, "systemctl", "stop", openerSocket) })
	if output, err := a.inventory(t, asRoot, "Summarize", summary...); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	t.Cleanup(func() { a.endInventory(t) })
	a.run(t, "systemctl", "restart", service, brokerService)

	rows := map[string]int{}
	check := func(file string, got access, row string) {
		t.Helper()
		rows[row]++
		if want := table[row]; got != want {
			t.Errorf("%s has %s, want %s", file, got, want)
		}
	}
	types, accesses := a.listing(t, logDir, stateDir, inventoryDir, "/run/crypto-auditing", "/run/varlink")
	for file, got := range accesses {
		if types[file] == "l" {
			continue // it has no mode
		}
		if row, ok := rowOf(table, file); ok {
			check(file, got, row)
		} else {
			t.Errorf("%s (%s) is not in the table of docs/security.md", file, got)
		}
	}
	_, accesses = a.listing(t, append(slices.Clone(shared.installed), "-maxdepth", "0")...)
	if len(accesses) != len(shared.installed) {
		t.Errorf("found %d of %d installed files", len(accesses), len(shared.installed))
	}
	for file, got := range accesses {
		row, ok := rowOf(table, file)
		if !ok {
			row = elsewhere
		}
		check(file, got, row)
	}
	for row := range table {
		if rows[row] == 0 {
			t.Errorf("no file matches %s: the table of docs/security.md is out of date", row)
		}
	}
}

func TestTheServicesOwnNoOtherFiles(t *testing.T) {
	a := brokerInstalled(t, libraries(library), "")
	a.replay(t, library, 20)
	if output, err := a.bus(t, asRoot, "Flush"); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	_, accesses := a.listing(t, "/dev", "/etc", "/opt", "/run", "/usr", "/var", "-ignore_readdir_race",
		"(", "-user", "crypto-auditing", "-o", "-user", "crypto-auditing-broker", "-o", "-user", "crypto-auditing-inventory", "-o", "-user", "crypto-auditing-opener", ")")
	for file, got := range accesses {
		if !below(file, logDir) && !below(file, stateDir) && !below(file, inventoryDir) {
			t.Errorf("%s has %s", file, got)
		}
	}
	if len(accesses) < 4 {
		t.Errorf("the services own only %v", accesses)
	}
}

func below(file, dir string) bool { return file == dir || strings.HasPrefix(file, dir+"/") }

func (a access) String() string { return fmt.Sprintf("%s:%s %s", a.owner, a.group, a.mode) }

func TestDocumentedModesDenyAccessToOthers(t *testing.T) {
	for row, a := range documented(t) {
		others := a.mode[3]
		switch {
		case len(a.mode) != 4:
			t.Errorf("%s may be set-user-id or worse: %s", row, a.mode)
		case strings.ContainsRune("2367", rune(others)):
			t.Errorf("all users can write %s", row)
		case (below(row, logDir) || below(row, stateDir) || below(row, inventoryDir)) && others != '0':
			t.Errorf("all users can read %s", row)
		// The owner of a socket may connect to it.
		case a.owner != "root" && !below(row, logDir) && !below(row, stateDir) && !below(row, inventoryDir) && row != "/run/crypto-auditing/opener":
			t.Errorf("%s belongs to %s", row, a.owner)
		}
	}
}
