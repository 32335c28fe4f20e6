// SPDX-License-Identifier: Apache-2.0

// Package systemd tests the services in a real systemd, on a throw-away machine
// on which meson installed the project.
package systemd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	throwaway "crypto-auditing/tests/machine"
)

// shared has the machine of all tests. It is set once, before the tests run.
var shared struct {
	machine *machine
	// installed are the paths of all files that meson installed.
	installed []string
	// missing is the reason if the host cannot have a machine; err is the error if the
	// machine could not be set up.
	missing string
	err     error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The kernel kills the machine when this thread ends, even if the tests crash.
	runtime.LockOSThread()
	if shared.missing = throwaway.Missing(); shared.missing == "" {
		directory, err := os.MkdirTemp("", "crau-systemd-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		shared.err = setUp(directory)
		if shared.machine != nil {
			defer shared.machine.booted.PowerOff()
		}
	}
	return m.Run()
}

// setUp builds and installs the project and boots the machine.
func setUp(directory string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	stage, err := throwaway.Install(ctx, directory)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(stage, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			shared.installed = append(shared.installed, strings.TrimPrefix(path, stage))
		}
		return err
	})
	if err != nil {
		return err
	}
	publishers, err := throwaway.Publishers(ctx, directory)
	if err != nil {
		return err
	}
	booted, err := throwaway.Boot(filepath.Join(directory, "machine"), stage, publishers)
	if err != nil {
		return err
	}
	shared.machine = &machine{booted}
	return nil
}

// needMachine returns the machine. Without one it skips the test if the host cannot have
// a machine, and fails it otherwise.
func needMachine(t *testing.T) *machine {
	t.Helper()
	if shared.missing != "" {
		t.Skip(shared.missing)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.machine
}
