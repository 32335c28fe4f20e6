// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the built programs on the real kernel: publishers that
// count what they fire, crau-agent that records it, crauctl that shows it. Of
// the project's own code it uses nothing; the log is read with a CBOR library
// and a zstd library that are not the project's.
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

// patience bounds everything that a test waits for. Nothing is expected to
// take nearly as long.
const patience = 60 * time.Second

// built are the programs under test and the publishers. It is set once, before
// the tests run.
var built struct {
	// root is the project's directory, bin that of the programs, publishers that
	// of the publishers.
	root, bin, publishers string
	// err is the reason why they could not be built.
	err error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// A service manager that started the tests is not one for the agent.
	os.Unsetenv("NOTIFY_SOCKET")
	os.Unsetenv("JOURNAL_STREAM")
	directory, err := os.MkdirTemp("", "crau-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	// Others than root must reach the programs.
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

// build builds everything.
func build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// With cgo the agent is linked dynamically, so that a test can put a
	// library into its process.
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

// program returns the path of a program under test, publisher that of a
// publisher or one of its libraries, trace that of a recorded handshake.
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
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}
