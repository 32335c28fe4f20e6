// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/tests/bench/figures"
)

// emulationLimit bounds the run time of the emulated machine.
const emulationLimit = 5 * time.Minute

// resultMark begins the line with the emulated machine's figures.
const resultMark = "figures: "

// instructions measures the wire source on an emulated machine whose clock advances by one
// nanosecond per instruction (QEMU, -icount shift=0): its times are numbers of
// instructions, the same in every run. This program is process 1 of the machine and makes
// the measurements of sockets there. With Debian's kernel the front end is the trampoline.
func (b *bench) instructions() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	kernel, err := exec.Command(filepath.Join(root, "tests/bench/kernel.sh")).Output()
	if err != nil {
		return fmt.Errorf("cannot get a kernel and an emulator: %w\n%s", err, stderrOf(err))
	}
	image, err := b.initialFiles(root)
	if err != nil {
		return err
	}
	// On this processor the kernel copies eight bytes per instruction. A single
	// instruction that copies everything would be emulated byte by byte.
	qemu := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", "Nehalem", "-smp", "1", "-m", "1024",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", strings.TrimSpace(string(kernel)), "-initrd", image,
		"-append", fmt.Sprintf("console=ttyS0 nokaslr mitigations=off quiet panic=-1 bench.rounds=%d", b.pick(2, 4)))
	var console bytes.Buffer
	qemu.Stdout, qemu.Stderr = &console, &console
	if err := qemu.Start(); err != nil {
		return fmt.Errorf("cannot start the emulator: %w", err)
	}
	timer := time.AfterFunc(emulationLimit, func() { _ = qemu.Process.Kill() })
	err = qemu.Wait()
	timer.Stop()
	_, text, found := strings.Cut(console.String(), resultMark)
	if !found {
		return errors.Join(fmt.Errorf("the emulated machine printed no figures:\n%s", console.String()), err)
	}
	text, _, _ = strings.Cut(text, "\n")
	var list figures.List
	if err := json.Unmarshal([]byte(strings.TrimSpace(text)), &list); err != nil {
		return fmt.Errorf("cannot parse the figures of the emulated machine: %w\n%s", err, console.String())
	}
	b.figures = append(b.figures, list...)
	return nil
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// initialFiles creates the initial file system of the emulated machine: this program as
// process 1, and the agent.
func (b *bench) initialFiles(root string) (image string, err error) {
	dir := filepath.Join(b.work, "machine")
	for _, d := range []string{"dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	// The agent looks up users and groups, which need not exist.
	for name, line := range map[string]string{"group": "root:x:0:\n", "passwd": "root:x:0:0::/:/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(line), 0o644); err != nil {
			return "", err
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "./tests/bench")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the emulated machine's process 1: %w\n%s", err, out)
	}
	image = dir + ".cpio"
	pack := exec.Command("sh", "-c", `cp "$1" crau-agent && find . | cpio --quiet -o -H newc >"$2"`, "sh", b.agent, image)
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot pack the emulated machine's files: %w\n%s", err, out)
	}
	return image, nil
}

// runAsInit is process 1 of the emulated machine: it measures, prints the figures and
// powers the machine off.
func runAsInit() {
	list, err := measureInstructions()
	if err != nil {
		fmt.Println("bench:", err)
	} else if text, err := json.Marshal(list); err != nil {
		fmt.Println("bench:", err)
	} else {
		fmt.Printf("%s%s\n", resultMark, text)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func measureInstructions() (list figures.List, err error) {
	for _, m := range []struct{ kind, at string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"cgroup2", "/sys/fs/cgroup"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return nil, fmt.Errorf("cannot mount %s: %w", m.at, err)
		}
	}
	if err := loopbackUp(); err != nil {
		return nil, fmt.Errorf("cannot enable the loopback interface: %w", err)
	}
	rounds, err := roundsWanted()
	if err != nil {
		return nil, err
	}
	b := &bench{agent: "/crau-agent", work: "/tmp"}
	const quantity, bulks = 20, 250
	w, err := b.watch(rounds, quantity, bulks)
	if err != nil {
		return nil, err
	}
	add := func(name string, p pair, target float64, subject string) {
		list.AtMost(name, p.ratio.Median(), target, p.ratio.Spread()+fmt.Sprintf(
			"; medians: %.0f instructions added to %.0f, %s, front end %s, emulated", p.added.Median(), p.empty.Median(), subject, w.frontEnd))
	}
	// While idle, the emulated clock skips ahead (sleep=off).
	const seconds = 300
	idle, err := b.idleSwitches(watching, seconds)
	if err != nil {
		return nil, err
	}
	list.AtMost("idle_switches_per_s_wire", idle, 5, fmt.Sprintf(
		"context switches of an agent that watches sockets of a machine without connections, over %d s, emulated", seconds))
	add("wire_bulk_instructions_ratio", w.bulk, 1.01, "64 KiB sent and received")
	add("wire_send_instructions_ratio", w.send, 1.10, "a call that sends a byte")
	add("wire_receive_instructions_ratio", w.receive, 1.10, "a call that receives a byte")
	add("wire_handshake_instructions_ratio", w.handshake, 1.03, "a TLS 1.3 handshake, both ends, without the agent")
	return list, nil
}

// loopbackUp enables the interface lo.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// roundsWanted returns the number of rounds from the kernel's command line.
func roundsWanted() (n int, err error) {
	f, err := os.Open("/proc/cmdline")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	words := bufio.NewScanner(io.LimitReader(f, 4096))
	words.Split(bufio.ScanWords)
	for words.Scan() {
		if value, ok := strings.CutPrefix(words.Text(), "bench.rounds="); ok {
			_, err := fmt.Sscan(value, &n)
			return n, err
		}
	}
	return 0, errors.New("the kernel's command line has no bench.rounds")
}
