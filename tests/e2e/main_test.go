// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the built programs on the real kernel: publishers fire probes and count
// their hits, crau-agent records them, crauctl shows them. The tests use none of the
// project's own code; they read the log with independent libraries for CBOR and zstd.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// patience bounds each wait of a test. Everything is expected to be much faster.
const patience = 60 * time.Second

// built has the directories of the programs under test and of the publishers. It is set
// once, before the tests run.
var built struct {
	// root is the directory of the project; bin has the programs, publishers the
	// publishers.
	root, bin, publishers string
	// err is the error of the build.
	err error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The agent must not talk to a service manager that started the tests.
	os.Unsetenv("NOTIFY_SOCKET")
	os.Unsetenv("JOURNAL_STREAM")
	directory, err := os.MkdirTemp("", "crau-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	// All users must be able to run the programs.
	if err := os.Chmod(directory, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	built.bin, built.publishers = filepath.Join(directory, "bin"), filepath.Join(directory, "publishers")
	if built.root, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if ready := machine.Prebuilt(); ready != "" {
		built.bin, built.publishers = filepath.Join(ready, "bin"), filepath.Join(ready, "publishers")
	} else if missingForRecording() == "" && missingForBuilding() == "" {
		built.err = build()
	}
	return m.Run()
}

// build builds the programs and the publishers.
func build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// With cgo the agent is linked dynamically, so that a test can preload a library.
	programs := exec.CommandContext(ctx, "go", "build", "-o", built.bin+"/", "./src/cmd/crau-agent", "./src/cmd/crau-opener", "./src/cmd/crauctl")
	programs.Env = append(os.Environ(), "CGO_ENABLED=1")
	publishers := exec.CommandContext(ctx, "make", "-C", "tests/publishers", "-j2", "OUT="+built.publishers)
	for _, command := range []*exec.Cmd{programs, publishers} {
		command.Dir = built.root
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build (%v): %w\n%s", command, err, output)
		}
	}
	return nil
}

// The functions return the path of a program under test, of a publisher or one of its
// libraries, and of a recorded handshake.
func program(name string) string   { return filepath.Join(built.bin, name) }
func publisher(name string) string { return filepath.Join(built.publishers, name) }
func trace(name string) string {
	return filepath.Join(built.root, "tests/data/probe-traces", name+".txt")
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out after %v waiting for %s", patience, what)
		}
	}
}
