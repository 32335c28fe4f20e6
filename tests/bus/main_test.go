// SPDX-License-Identifier: Apache-2.0

// Package bus tests the broker and its clients on real buses: dbus-daemon and dbus-broker
// with the system's configuration and our policy, the built programs, real publishers, and
// clients that share no code with ours. Each bus has its own throw-away world in namespaces,
// with the project installed by meson, and with authorised and unauthorised users.
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

// patience bounds each wait of a test. Everything is expected to be much faster.
const patience = time.Minute

// shared is the state that all tests share. It is set once, before the tests run.
var shared struct {
	// worlds begins with the worlds that tests share, one for each bus.
	worlds []*world
	// create makes another world.
	create func(daemon string) (*world, error)
	// missing is the requirement that this machine does not meet, err the error of the
	// setup.
	missing string
	err     error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// The kernel ends the worlds with this thread, however the tests end.
	runtime.LockOSThread()
	if shared.missing = missing(); shared.missing == "" {
		directory, err := os.MkdirTemp("", "crau-bus-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		shared.err = setUp(directory)
		defer func() {
			for _, w := range shared.worlds {
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

// tools has the programs of the distribution that the tests use, and their packages in
// Debian.
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
	// Only the distribution's Python has the distribution's modules.
	if output, err := exec.Command("/usr/bin/python3", "-c", "import dbus, gi").CombinedOutput(); err != nil {
		errs = append(errs, fmt.Errorf("python3-dbus and python3-gi are not installed: %s", output))
	}
	return errors.Join(errs...)
}

// setUp builds and installs the project, and makes the shared worlds.
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
	shared.create = func(daemon string) (*world, error) {
		made++
		world := filepath.Join(directory, fmt.Sprint("world", made))
		w, err := newWorld(world, daemon, stage, publishers)
		if err == nil {
			shared.worlds = append(shared.worlds, w)
			err = w.startBus()
		}
		return w, err
	}
	for _, daemon := range daemons {
		if _, err := shared.create(daemon); err != nil {
			return err
		}
	}
	return nil
}

// daemons are the implementations of the bus.
var daemons = []string{"dbus-daemon", "dbus-broker"}

// needWorlds skips the test if this machine cannot have worlds, and fails it if the setup
// failed.
func needWorlds(t *testing.T) {
	t.Helper()
	if shared.missing != "" {
		t.Skip(shared.missing)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
}

// onEveryBus runs a test in each shared world.
func onEveryBus(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	needWorlds(t)
	for _, w := range shared.worlds[:len(daemons)] {
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
			t.Fatalf("timed out after %v waiting for %s", patience, what)
		}
	}
}

// lines returns the lines of a text.
func lines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
