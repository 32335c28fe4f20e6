// SPDX-License-Identifier: Apache-2.0

// Package bus tests the broker and its clients on real buses: dbus-daemon and
// dbus-broker with the system's configuration and our policy, the built
// programs, real publishers, and clients that share no code with ours. Each bus
// has a throw-away world of its own in namespaces, with the project installed by
// meson and users to be let in and refused.
package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// patience bounds everything that a test waits for. Nothing is expected to
// take nearly as long.
const patience = time.Minute

// the is what all tests share. It is set once, before the tests run.
var the struct {
	// worlds are those that tests share, one for each bus.
	worlds []*world
	// make makes another one.
	make func(daemon string) (*world, error)
	// missing is the reason why there are none here; err why there are none although
	// there could be.
	missing string
	err     error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// The worlds end with this thread, whatever ends the tests.
	runtime.LockOSThread()
	if the.missing = missing(); the.missing == "" {
		directory, err := os.MkdirTemp("", "crau-bus-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		the.err = setUp(directory)
		defer func() {
			for _, w := range the.worlds {
				w.end()
			}
		}()
	}
	return m.Run()
}

// missing returns the reason why tests cannot run here, "" if they can.
func missing() string {
	if os.Geteuid() != 0 {
		return "only root can make worlds in namespaces"
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return fmt.Sprintf("the kernel has no BTF: %v", err)
	}
	return ""
}

// tools are the programs of the distribution that the tests use, and what
// installs them on Debian.
var tools = map[string]string{
	"dbus-daemon": "dbus-daemon", "dbus-broker-launch": "dbus-broker", "busctl": "systemd", "gdbus": "libglib2.0-bin",
	"systemd-sysusers": "systemd", "setpriv": "util-linux", "meson": "meson", "jq": "jq",
}

func checkTools() error {
	var errs []error
	for tool, name := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			errs = append(errs, fmt.Errorf("%s is not installed: install %s", tool, name))
		}
	}
	// The distribution's Python has the distribution's modules.
	if output, err := exec.Command("/usr/bin/python3", "-c", "import dbus, gi").CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("python3-dbus and python3-gi are not installed: %s", output))
	}
	return errors.Join(errs...)
}

// setUp builds, installs and makes the worlds.
func setUp(directory string) error {
	if err := checkTools(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	stage, err := machine.Install(ctx, directory)
	if err != nil {
		return err
	}
	publishers, err := machine.Publishers(ctx, directory)
	if err != nil {
		return err
	}
	made := 0
	the.make = func(daemon string) (*world, error) {
		made++
		world := filepath.Join(directory, fmt.Sprint("world", made))
		w, err := newWorld(world, daemon, stage, publishers)
		if err == nil {
			the.worlds = append(the.worlds, w)
			err = w.startBus()
		}
		return w, err
	}
	for _, daemon := range daemons {
		if _, err := the.make(daemon); err != nil {
			return err
		}
	}
	return nil
}

// daemons are the buses there are.
var daemons = []string{"dbus-daemon", "dbus-broker"}

// needWorlds ends the test where there are none: as skipped where there cannot
// be any, else as failed.
func needWorlds(t *testing.T) {
	t.Helper()
	if the.missing != "" {
		t.Skip(the.missing)
	}
	if the.err != nil {
		t.Fatal(the.err)
	}
}

// onEveryBus runs a test in each of the worlds that tests share.
func onEveryBus(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	needWorlds(t)
	for _, w := range the.worlds[:len(daemons)] {
		t.Run(w.daemon, func(t *testing.T) {
			test(t, w)
			if t.Failed() {
				t.Logf("the bus printed:\n%s", w.busOutput)
			}
		})
	}
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// lines returns the lines of a text.
func lines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
