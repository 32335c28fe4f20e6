// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
)

// printed collects the output of a program.
type printed struct {
	mu    sync.Mutex
	bytes []byte
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes = append(p.bytes, b...)
	return len(b), nil
}

// lines returns the complete lines.
func (p *printed) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.SplitAfter(string(p.bytes), "\n")
	return all[:len(all)-1]
}

// example runs one of the programs of the documentation until the test ends.
func example(t *testing.T, bus *bustest.Bus, interpreter, name string, arguments ...string) (*exec.Cmd, *printed) {
	t.Helper()
	out, trouble := &printed{}, &printed{}
	command := exec.Command(interpreter, append([]string{filepath.Join(bustest.Root(t), "dbus/examples", name)}, arguments...)...)
	command.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus.Address)
	command.Stdout, command.Stderr = out, trouble
	// The shell has children, which the test kills, too.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
		if t.Failed() {
			t.Logf("%s printed %d lines and\n%s", name, len(out.lines()), strings.Join(trouble.lines(), ""))
		}
	})
	return command, out
}

// needPrograms skips the test if a program that the examples need is not installed.
func needPrograms(t *testing.T) {
	t.Helper()
	for _, program := range []string{"busctl", "gdbus", "jq", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run make setup", program)
		}
	}
	if out, err := exec.Command("/usr/bin/python3", "-c", "import dbus, gi").CombinedOutput(); err != nil {
		t.Skipf("python3-dbus and python3-gi are not installed: run make setup: %s", out)
	}
}

// await waits until a condition holds.
func await(t *testing.T, what func() string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what())
		}
	}
}

// tls returns groups of which half are of TLS.
func tls(n int) []brokertest.Group {
	var groups []brokertest.Group
	for i := range n {
		groups = append(groups, brokertest.Group{Name: []string{"tls::sign", "pk::sign"}[i%2]})
	}
	return groups
}

// Each example receives every group of TLS once, across restarts and kills of the broker.
// One uses a proxy of Gio and one dbus-python, which accept signals only from the owner
// of the name; the third reads the log.
func TestExamplesReceiveEachGroupOnceOverRestarts(t *testing.T) {
	needPrograms(t)
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			bus := bustest.Start(t, kind)
			log := brokertest.New(t)
			begin := log.Append(tls(2)...)
			log.Flush()
			b := start(t, bus, log.Dir, t.TempDir())
			maker := newSubscriber(t, bus, "example", dict{"contexts": dbus.MakeVariant([]string{"tls::*"})}, "auto", 500)
			maker.subscribe(begin.String())
			maker.conn.Close()
			observer := newSubscriber(t, bus, "", dict{}, "auto", 500)
			out := map[string]*printed{}
			_, out["dbus-python"] = example(t, bus, "/usr/bin/python3", "subscribe.py")
			_, out["Gio"] = example(t, bus, "/usr/bin/python3", "subscribe-gio.py", "example")
			_, out["shell"] = example(t, bus, "bash", "follow.sh", begin.String())
			await(t, func() string { return "two subscribers" }, func() bool { return len(attached(t, observer.conn)) == 2 })
			await(t, func() string { return "Gio" }, func() bool { return len(out["Gio"].lines()) == 1 })
			want := 0
			for _, signal := range []syscall.Signal{0, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
				if signal != 0 {
					if err := b.command.Process.Signal(signal); err != nil {
						t.Fatal(err)
					}
					_ = b.command.Wait()
					// No broker is running.
					log.Append(tls(20)...)
					want += 10
					b.run()
				}
				log.Append(tls(20)...)
				log.Flush()
				want += 10
				for name, o := range out {
					more := 0
					if name == "Gio" {
						more = 1 // the line about its subscription
					}
					await(t, func() string {
						return fmt.Sprintf("%d groups of %s after signal %d; there are %d", want, name, signal, len(o.lines())-more)
					}, func() bool { return len(o.lines()) >= want+more })
				}
			}
			for name, o := range out {
				different := map[string]bool{}
				for _, line := range o.lines() {
					different[line] = true
				}
				if n := len(o.lines()); n != len(different) || name == "Gio" != (n == want+1) || name != "Gio" && n != want {
					t.Errorf("%s printed %d lines, %d different ones, for %d groups", name, n, len(different), want)
				}
			}
		})
	}
}

// A program that blocks in calls answers no pings. The broker must not take it for a
// program that does not read.
func TestAProgramThatOnlyCallsReadsTheWholeLog(t *testing.T) {
	needPrograms(t)
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			bus := bustest.Start(t, kind)
			log := brokertest.New(t)
			r := rand.New(rand.NewPCG(15, 15))
			for range 50 {
				log.Append(tls(500)...)
				log.Append(brokertest.Some(r, 1)...)
			}
			log.Flush()
			start(t, bus, log.Dir, t.TempDir())
			observer := newSubscriber(t, bus, "", dict{}, "auto", 500)
			await(t, func() string { return "the broker" }, func() bool {
				return observer.conn.Object(brokerName, brokerPath).Call(brokerName+".GetStatus", 0).Err == nil
			})
			command, out := example(t, bus, "/usr/bin/python3", "read.py")
			_ = command.Wait()
			if n := len(out.lines()); n < 50*250 || !command.ProcessState.Success() {
				t.Errorf("%d lines, want at least %d; %v", n, 50*250, command.ProcessState)
			}
		})
	}
}
