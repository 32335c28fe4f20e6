// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/tests/bench/usage"
)

const (
	inventoryName = "org.crypto_auditing.Inventory"
	inventoryPath = "/org/crypto_auditing/Inventory"
)

// Groups of the filler have three events; the first group of a chunk has one more.
const (
	chunkGroups = 3000
	groupEvents = 3
)

// chunksOfLog is the environment variable that changes the size of the log, in chunks:
// 50,000 are 4 GiB.
const chunksOfLog = "CRAU_BENCH_CHUNKS"

// inventory measures how the inventory catches up with a log: the processor time of the
// inventory and the broker, and the memory of the inventory.
func (b *bench) inventory() error {
	log := b.directory("inventory-log")
	chunks := b.pick(700, 3200)
	if text := os.Getenv(chunksOfLog); text != "" {
		var err error
		if chunks, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%s is not a number: %w", chunksOfLog, err)
		}
	}
	if err := b.fill(log, "-groups", strconv.Itoa(chunkGroups), "-chunks", strconv.Itoa(chunks), "-fresh", "-seal", "-executables", "20"); err != nil {
		return err
	}
	s, err := b.begin("inventory", log)
	if err != nil {
		return err
	}
	events := float64(chunks) * (chunkGroups*groupEvents + 1)
	took, peak, rows, err := s.catchUp(b.tool("crau-inventory"), chunks*chunkGroups/5)
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	size, err := directorySize(log)
	if err != nil {
		return err
	}
	how := fmt.Sprintf("%.0f million events, a log of %.0f MiB, to %d rows", events/1e6, size/(1<<20), rows)
	b.figures.AtLeast("inventory_events_per_cpu_s", events/(took[0]+took[1]).Seconds(), 1_000_000, fmt.Sprintf(
		"through Open; processor time: broker %.2f s, inventory %.2f s; %s", took[0].Seconds(), took[1].Seconds(), how))
	b.figures.AtMost("inventory_rss_mib", peak/(1<<20), 128, "peak of the inventory; "+how)
	return nil
}

// catchUp starts an inventory and waits until it is up to date. It returns the processor
// times of broker and inventory, the peak memory of the inventory in bytes, and the number
// of its rows. The inventory must have counted the given number of handshakes.
func (s *testbed) catchUp(program string, handshakes int) (took [2]time.Duration, peak float64, rows int, err error) {
	fail := func(err error) ([2]time.Duration, float64, int, error) {
		return took, 0, 0, fmt.Errorf("cannot measure the inventory: %w\n%s", err, s.stderr.String())
	}
	state := filepath.Join(s.dir, "inventory")
	conf := filepath.Join(s.dir, "inventory.conf")
	if err := errors.Join(os.MkdirAll(state, 0o700), os.WriteFile(conf, []byte("hold = false\n"), 0o600)); err != nil {
		return fail(err)
	}
	before, err := usage.CPU(s.broker.Process.Pid)
	if err != nil {
		return fail(err)
	}
	command := exec.Command(program, "--config", conf, "--bus", s.address, "--state-dir", state, "--idle-timeout", "0")
	if err := s.start(command); err != nil {
		return fail(err)
	}
	conn, err := dbus.Connect(s.address)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	var newest dbus.Variant
	if err := property(conn, brokerName, brokerPath, "Newest", &newest); err != nil {
		return fail(err)
	}
	object := conn.Object(inventoryName, inventoryPath)
	began := false
	for deadline := time.Now().Add(time.Hour); ; time.Sleep(20 * time.Millisecond) {
		if !began {
			// The first call starts the counting.
			began = object.Call(inventoryName+".Summarize", 0, []string{"executable"}, dict{}).Err == nil
		}
		now, err := usage.Resident(command.Process.Pid)
		if err != nil {
			return fail(err)
		}
		peak = max(peak, now)
		var at dbus.Variant
		if err := property(conn, inventoryName, inventoryPath, "UpToDate", &at); err == nil && began && at.Value() == newest.Value() {
			break
		}
		if time.Now().After(deadline) {
			return fail(errors.New("the inventory is not up to date after an hour"))
		}
	}
	after, err := usage.CPU(s.broker.Process.Pid)
	if err != nil {
		return fail(err)
	}
	took[0] = after - before
	if took[1], err = usage.CPU(command.Process.Pid); err != nil {
		return fail(err)
	}
	var sums []dict
	if err := object.Call(inventoryName+".Summarize", 0, []string{"operation"}, dict{}).Store(&sums); err != nil {
		return fail(err)
	}
	counted := uint64(0)
	for _, sum := range sums {
		if sum["operation"].Value() == "tls::handshake" {
			counted, _ = sum["count"].Value().(uint64)
		}
	}
	if counted != uint64(handshakes) {
		return fail(fmt.Errorf("%d handshakes were counted, but the log has %d: %v", counted, handshakes, sums))
	}
	var page []dict
	var next string
	if err := object.Call(inventoryName+".List", 0, dict{}, "", uint32(1000)).Store(&page, &next); err != nil {
		return fail(err)
	}
	return took, peak, len(page), nil
}

func property(conn *dbus.Conn, name, path, property string, to *dbus.Variant) error {
	return conn.Object(name, dbus.ObjectPath(path)).Call("org.freedesktop.DBus.Properties.Get", 0, name, property).Store(to)
}

// directorySize returns the total size of the files in a directory, in bytes.
func directorySize(dir string) (size float64, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		size += float64(info.Size())
	}
	return size, err
}
