// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"crypto-auditing/src/internal/capture"
)

// tracee is a process stopped at a probe.
type tracee struct {
	pid  int
	regs syscall.PtraceRegs
}

// register returns the value of r by its PtRegsOffset. The structure of ptrace begins with the
// kernel's struct pt_regs.
func (p *tracee) register(t *testing.T, r capture.Register) uint64 {
	t.Helper()
	if r == capture.NoRegister {
		return 0
	}
	off, err := r.PtRegsOffset(elf.EM_X86_64)
	if err != nil {
		t.Fatal(err)
	}
	regs := unsafe.Slice((*byte)(unsafe.Pointer(&p.regs)), unsafe.Sizeof(p.regs))
	return binary.LittleEndian.Uint64(regs[off:])
}

// value returns the value of an argument, like a tracer.
func (p *tracee) value(t *testing.T, a *capture.Arg) int64 {
	t.Helper()
	var v uint64
	switch a.Kind {
	case capture.ArgConst:
		return a.Const
	case capture.ArgReg:
		v = p.register(t, a.Reg) >> a.Shift
	default:
		addr := p.register(t, a.Reg) + uint64(a.Off)
		if a.Kind == capture.ArgMemIndexed {
			addr += p.register(t, a.Index) * uint64(a.Scale)
		}
		b := make([]byte, 8)
		if _, err := syscall.PtracePeekData(p.pid, uintptr(addr), b[:a.Size]); err != nil {
			t.Fatalf("cannot read %s at %#x: %v", a, addr, err)
		}
		v = binary.LittleEndian.Uint64(b)
	}
	unused := 64 - 8*uint(a.Size)
	if a.Signed {
		return int64(v<<unused) >> unused
	}
	return int64(v << unused >> unused)
}

// trace runs the program at path, which must not be position independent, and returns a line
// for every hit.
func trace(t *testing.T, path string) []string {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip("this environment forbids ptrace")
		}
		t.Fatal(err)
	}
	p := tracee{pid: cmd.Process.Pid}
	defer cmd.Process.Kill()

	var status syscall.WaitStatus
	wait := func() {
		t.Helper()
		if _, err := syscall.Wait4(p.pid, &status, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	wait()
	for _, s := range f.Sites {
		if _, err := syscall.PtracePokeText(p.pid, uintptr(s.Addr), []byte{0xcc}); err != nil {
			t.Fatalf("cannot set a breakpoint at %#x: %v", s.Addr, err)
		}
	}
	var hits []string
	for {
		if err := syscall.PtraceCont(p.pid, 0); err != nil {
			t.Fatal(err)
		}
		if wait(); status.Exited() {
			break
		}
		if !status.Stopped() || status.StopSignal() != syscall.SIGTRAP {
			t.Fatalf("the program stopped with %#x", status)
		}
		if err := syscall.PtraceGetRegs(p.pid, &p.regs); err != nil {
			t.Fatal(err)
		}
		// The breakpoint replaces a nop: the program continues with the next instruction.
		at := slices.IndexFunc(f.Sites, func(s Site) bool { return s.Addr == p.regs.Rip-1 })
		if at < 0 {
			t.Fatalf("the program stopped at %#x, which is not a site", p.regs.Rip-1)
		}
		s := &f.Sites[at]
		line := s.Name
		for i := range s.Args {
			line += fmt.Sprintf(" %d", p.value(t, &s.Args[i]))
		}
		hits = append(hits, line)
	}
	if status.ExitStatus() != 0 {
		t.Errorf("the program exited with %d", status.ExitStatus())
	}
	return hits
}

func TestArgumentsHaveThePassedValues(t *testing.T) {
	want := []string{
		"widths -128 255 -32768 65535 -2147483648 4294967295 -9223372036854775808 -1",
		"widths 1 2 3 4 5 6 7 8",
		"constants -1 200 -300 60000 -4 4294967280 -1 -16",
		"twelve 0 2 -1 3 1099511627777 -1099511627775 7 8 9 10 11 12",
		"elements 0 -2 97", "elements 1 -1 98", "elements 2 33 99",
		"indexed -1 -5 -128", "indexed 1 0 0", "indexed -2 70000 127",
		"leaf 40 2 42 38",
		"two_sites 1 1", "two_sites 0 2",
	}
	for _, compiler := range []string{"gcc", "clang"} {
		for _, level := range []string{"-O0", "-O1", "-O2", "-O3", "-Os"} {
			t.Run(compiler+" "+level, func(t *testing.T) {
				got := trace(t, compile(t, compiler, level, "-no-pie"))
				if len(got) != len(want)+1 {
					t.Fatalf("%d hits, want %d:\n%s", len(got), len(want)+1, strings.Join(got, "\n"))
				}
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("hit %d is %q, want %q", i, got[i], want[i])
					}
				}
				// The linker decides the address of the array.
				var addr uint64
				if n, err := fmt.Sscanf(got[len(want)], "pointers 0 %d 12", &addr); n != 1 || err != nil || addr == 0 {
					t.Errorf("the last hit is %q, want pointers 0 ADDRESS 12", got[len(want)])
				}
			})
		}
	}
}
