// SPDX-License-Identifier: Apache-2.0

// Package modules checks the dependencies of the programs: Go's standard library and the
// modules of go.mod.
package modules

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the directory of the sources.
const root = "../.."

// defaultDatabase is the database of vulnerabilities. The environment variable can
// specify another: a mirror, or file:// and a directory.
const (
	defaultDatabase  = "https://vuln.go.dev"
	databaseVariable = "VULNDB"
)

// statusFound is the exit status of govulncheck if it has found a vulnerability.
const statusFound = 3

// scan searches for known vulnerabilities that packages of the project reach.
func scan(t *testing.T, db, packages string) (output string, status int) {
	t.Helper()
	// Built in tests/tools, which has its modules: those in a tarball are only the project's.
	program, err := exec.Command("go", "-C", root+"/tests/tools", "tool", "-n", "govulncheck").Output()
	if err != nil {
		t.Fatalf("cannot build govulncheck: %v", err)
	}
	var arguments []string
	if db != "" {
		arguments = append(arguments, "-db", db)
	}
	command := exec.CommandContext(t.Context(), strings.TrimSpace(string(program)), append(arguments, packages)...)
	command.Dir = root
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

func TestNoKnownVulnerabilityIsReached(t *testing.T) {
	db := os.Getenv(databaseVariable)
	if db == "" {
		if err := request(t.Context(), defaultDatabase+"/index/db.json"); err != nil {
			t.Skipf("the database of vulnerabilities does not answer: %v", err)
		}
	}
	if output, status := scan(t, db, "./src/..."); status != 0 {
		t.Errorf("govulncheck exits with %d:\n%s", status, output)
	}
}

// request requests a page, and fails if its status is not OK.
func request(ctx context.Context, page string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(get)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("Get %q: %s", page, response.Status)
	}
	return nil
}

// mappingPackage is a package that maps memory.
const mappingPackage = "./src/internal/logstore/file"

func TestReachableVulnerabilitiesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		symbol, message string
		status          int
	}{
		"in a function that is called":       {"Mmap", "Your code is affected by 1 vulnerability", statusFound},
		"in a function that is never called": {"Swapon", "Your code is affected by 0 vulnerabilities", 0},
	} {
		t.Run(name, func(t *testing.T) {
			db := t.TempDir()
			writeDatabase(t, db, c.symbol)
			output, status := scan(t, "file://"+db, mappingPackage)
			if status != c.status || !strings.Contains(output, c.message) {
				t.Errorf("govulncheck exits with %d, want %d and %q:\n%s", status, c.status, c.message, output)
			}
		})
	}
}

// writeDatabase writes a database (https://go.dev/doc/security/vuln/database) with one
// invented entry, about a function of golang.org/x/sys/unix.
func writeDatabase(t *testing.T, dir, symbol string) {
	t.Helper()
	const modified = `"modified": "2026-01-01T00:00:00Z"`
	for name, text := range map[string]string{
		"index/db.json":      `{` + modified + `}`,
		"index/vulns.json":   `[{"id": "GO-0000-0001", ` + modified + `}]`,
		"index/modules.json": `[{"path": "golang.org/x/sys", "vulns": [{"id": "GO-0000-0001", ` + modified + `}]}]`,
		"ID/GO-0000-0001.json": `{"schema_version": "1.3.1", "id": "GO-0000-0001", ` + modified + `, "summary": "made up", "affected": [{
			"package": {"name": "golang.org/x/sys", "ecosystem": "Go"},
			"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
			"ecosystem_specific": {"imports": [{"path": "golang.org/x/sys/unix", "symbols": ["` + symbol + `"]}]}}],
			"database_specific": {"url": "https://example.org"}}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
