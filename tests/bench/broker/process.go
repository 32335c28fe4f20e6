// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// testbed is a bus with a broker on a log, and other programs.
type testbed struct {
	bench    *bench
	dir      string
	log      string
	address  string
	bus      *exec.Cmd
	broker   *exec.Cmd
	programs []*exec.Cmd // all of them, in the order of their start
	stderr   bytes.Buffer
}

const (
	brokerName   = "org.crypto_auditing.Broker"
	brokerPath   = "/org/crypto_auditing/Broker"
	subscription = brokerName + ".Subscription"
)

// begin starts a bus, and a broker on the log in a directory.
func (b *bench) begin(name, log string) (*testbed, error) {
	s := &testbed{bench: b, dir: b.directory(name), log: log}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	socket := filepath.Join(s.dir, "bus")
	s.address = "unix:path=" + socket
	config := filepath.Join(s.dir, "bus.conf")
	policies := filepath.Join(b.root, "dbus")
	template, err := os.ReadFile(filepath.Join(b.root, "tests/data/bus.conf.in"))
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("@SOCKET@", socket, "@SERVICES@", s.dir, "@POLICIES@", policies).Replace(string(template))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	conf := filepath.Join(s.dir, "broker.conf")
	if err := os.WriteFile(conf, nil, 0o644); err != nil {
		return nil, err
	}
	s.bus = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog")
	if err := s.start(s.bus); err != nil {
		return nil, err
	}
	if err := s.await(func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}); err != nil {
		return nil, errors.Join(err, s.end())
	}
	s.broker = exec.Command(b.tool("crau-broker"), "--config", conf, "--log-dir", log, "--state-dir", filepath.Join(s.dir, "state"),
		"--agent-socket", filepath.Join(s.dir, "agent"), "--bus", s.address, "--idle-timeout", "0")
	if err := s.start(s.broker); err != nil {
		return nil, errors.Join(err, s.end())
	}
	conn, err := dbus.Connect(s.address)
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	defer conn.Close()
	if err := s.await(func() bool {
		var owned bool
		err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, brokerName).Store(&owned)
		return err == nil && owned
	}); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// start starts a program, to be ended with the testbed.
func (s *testbed) start(command *exec.Cmd) error {
	if command.Stdout == nil {
		command.Stdout = &s.stderr
	}
	command.Stderr = &s.stderr
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", command.Path, err)
	}
	s.programs = append(s.programs, command)
	return nil
}

// await waits at most 20 s for a condition.
func (s *testbed) await(done func() bool) error {
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("bus or broker did not start in time:\n%s", s.stderr.String())
		}
	}
	return nil
}

// end ends all programs. It fails if one has exited before.
func (s *testbed) end() error {
	var errs []error
	for i := len(s.programs) - 1; i >= 0; i-- {
		c := s.programs[i]
		_ = c.Process.Signal(syscall.SIGCONT)
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			errs = append(errs, fmt.Errorf("cannot end %s: %w", c.Path, err))
		}
		_ = c.Wait() // the exit status after SIGTERM does not matter
	}
	return errors.Join(errs...)
}
