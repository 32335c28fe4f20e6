// SPDX-License-Identifier: Apache-2.0

package selfcheck

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// hit is a record of the tracer's BPF program: the registers with the arguments of the
// header's sites, three words of memory at the second and at the third argument, and the
// memory to which the first of these three words points. Unreadable memory is zero.
type hit struct {
	IP            uint64
	Registers     [4]uint64 // rdi, rsi, rdx, rcx
	Second, Third [3]uint64
	SecondTo      [16]byte
	ThirdTo       [16]byte
	SecondUnread  uint64 // the error of reading Second or SecondTo
	ThirdUnread   uint64
}

const hitSize = 8 * (5 + 3 + 3 + 2 + 2 + 2)

// Offsets in struct pt_regs of x86-64 (arch/x86/include/asm/ptrace.h).
var registerOffsets = []int16{128, 112, 104, 96, 88} // ip, di, si, dx, cx

// tracer traces sites of a file.
type tracer struct {
	program *ebpf.Program
	ring    *ebpf.Map
}

// newTracer loads the program. It skips the test if the process lacks the privilege.
func newTracer(t *testing.T) *tracer {
	t.Helper()
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 20})
	if errors.Is(err, os.ErrPermission) {
		t.Skip("tracing needs CAP_BPF and CAP_PERFMON")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })

	// The record is built on the stack, starting at -hitSize.
	at := func(word int) int16 { return int16(-hitSize + 8*word) }
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R0, 0)}
	for word := range hitSize / 8 {
		code = append(code, asm.StoreMem(asm.RFP, at(word), asm.R0, asm.DWord))
	}
	for word, offset := range registerOffsets {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R6, offset, asm.DWord),
			asm.StoreMem(asm.RFP, at(word), asm.R1, asm.DWord))
	}
	read := func(to, size, from, failure int) {
		code = append(code,
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, int32(at(to))),
			asm.Mov.Imm(asm.R2, int32(size)),
			asm.LoadMem(asm.R3, asm.RFP, at(from), asm.DWord),
			asm.FnProbeReadUser.Call(),
			asm.LoadMem(asm.R1, asm.RFP, at(failure), asm.DWord),
			asm.Or.Reg(asm.R1, asm.R0),
			asm.StoreMem(asm.RFP, at(failure), asm.R1, asm.DWord))
	}
	read(5, 24, 2, 15)
	read(8, 24, 3, 16)
	read(11, 16, 5, 15)
	read(13, 16, 8, 16)
	code = append(code,
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -hitSize),
		asm.Mov.Imm(asm.R3, hitSize),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Kprobe,
		AttachType:   ebpf.AttachTraceUprobeMulti,
		Instructions: code,
		License:      "GPL",
	})
	if errors.Is(err, os.ErrPermission) {
		t.Skip("tracing needs CAP_BPF and CAP_PERFMON")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return &tracer{program, ring}
}

// place is an instruction of a site.
type place struct {
	name   string
	offset uint64 // from the address in the note, in bytes
}

var (
	oneByteNop = place{"at the one-byte nop", 0}
	longNop    = place{"at the long nop", 1}
)

// attach traces the sites of a file until the returned function is called. It returns nil
// if the kernel refuses that place.
func (tr *tracer) attach(t *testing.T, file string, sites []site, at place) func() {
	t.Helper()
	executable, err := link.OpenExecutable(file)
	if err != nil {
		t.Fatal(err)
	}
	options := &link.UprobeMultiOptions{}
	for _, s := range sites {
		options.Addresses = append(options.Addresses, s.offset+at.offset)
		options.RefCtrOffsets = append(options.RefCtrOffsets, s.semaphoreAt)
	}
	l, err := executable.UprobeMulti(nil, tr.program, options)
	// The errors of arch_uprobe_analyze_insn for an unsupported instruction.
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.Errno(524)) {
		if at == oneByteNop {
			t.Fatalf("this kernel refuses a plain nop: %v", err)
		}
		return nil
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip("this kernel has no uprobe_multi links (they came with 6.6)")
	}
	if err != nil {
		t.Fatalf("cannot attach to %s: %v", file, err)
	}
	return func() { l.Close() }
}

// hits returns the hits recorded since the last call.
func (tr *tracer) hits(t *testing.T) []hit {
	t.Helper()
	reader, err := ringbuf.NewReader(tr.ring)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var hits []hit
	reader.SetDeadline(time.Unix(1, 0)) // in the past: do not wait
	for {
		record, err := reader.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return hits
		}
		if err != nil {
			t.Fatal(err)
		}
		var h hit
		words := bytes.NewReader(record.RawSample)
		for _, field := range []any{&h.IP, &h.Registers, &h.Second, &h.Third, &h.SecondTo, &h.ThirdTo, &h.SecondUnread, &h.ThirdUnread} {
			if err := binary.Read(words, binary.LittleEndian, field); err != nil {
				t.Fatal(err)
			}
		}
		hits = append(hits, h)
	}
}

// publisher is a program that prints "ready" and waits for a byte.
type publisher struct {
	t     *testing.T
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Scanner
}

func start(t *testing.T, file string, args ...string) *publisher {
	t.Helper()
	p := &publisher{t: t, cmd: exec.Command(file, args...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	p.lines = bufio.NewScanner(output)
	if !p.lines.Scan() || !strings.HasPrefix(p.lines.Text(), "ready") {
		t.Fatalf("%s is not ready: %q", file, p.lines.Text())
	}
	return p
}

// finish lets the publisher continue and returns its last line.
func (p *publisher) finish() string {
	p.t.Helper()
	if _, err := p.input.Write([]byte("\n")); err != nil {
		p.t.Fatal(err)
	}
	var last string
	for p.lines.Scan() {
		last = p.lines.Text()
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v", p.cmd, err)
	}
	return last
}

// named returns the sites of one probe, or of all others if not is set.
func named(sites []site, probe string, not bool) []site {
	return slices.DeleteFunc(slices.Clone(sites), func(s site) bool {
		return (s.probe == probe) == not
	})
}

func TestArgumentsArriveFromAllBuilds(t *testing.T) {
	tracer := newTracer(t)
	for _, b := range linked {
		b = b.with("-DCRAU_ENABLE")
		t.Run(b.String(), func(t *testing.T) {
			file := b.compile(t, "testdata/arguments.c")
			for _, at := range []place{oneByteNop, longNop} {
				p := start(t, file)
				detach := tracer.attach(t, file, readSites(t, file), at)
				if detach == nil {
					t.Logf("this kernel refuses probes %s", at.name)
					continue
				}
				enabled := p.finish()
				detach()
				if enabled != "1" {
					t.Errorf("%s: crau_enabled() is %s with a tracer", at.name, enabled)
				}
				checkArguments(t, at.name, tracer.hits(t))
			}
		})
	}
}

func text(b [16]byte) string { s, _, _ := strings.Cut(string(b[:]), "\x00"); return s }

// checkArguments compares hits with the probes that testdata/arguments.c fires.
func checkArguments(t *testing.T, name string, hits []hit) {
	t.Helper()
	words := func(w ...uint64) string {
		b := make([]byte, 0, 24)
		for _, word := range w {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
		return string(b)
	}
	str := func(s [3]uint64) string { s1, _, _ := strings.Cut(words(s[:]...), "\x00"); return s1 }
	var got []string
	for _, h := range hits {
		var s string
		switch h.Registers[0] {
		case 1000:
			s = fmt.Sprintf("new_context, parent %d", int64(h.Registers[1]))
		case 1001:
			s = fmt.Sprintf("word_data %s %d", str(h.Second), int64(h.Registers[2]))
		case 1002:
			s = fmt.Sprintf("string_data %s %s", str(h.Second), str(h.Third))
		case 1003:
			s = fmt.Sprintf("blob_data %s %q", str(h.Second), words(h.Third[:]...)[:h.Registers[3]])
		case 1004:
			s = fmt.Sprintf("data of %d: %s %d %d", h.Registers[2], text(h.SecondTo), h.Second[1], int64(h.Second[2]))
		case 1005:
			s = fmt.Sprintf("new_context_with_data, parent %d, of %d: %s %d %d",
				h.Registers[1], h.Registers[3], text(h.ThirdTo), h.Third[1], int64(h.Third[2]))
		default:
			s = fmt.Sprintf("context %d", h.Registers[0])
		}
		got = append(got, s)
	}
	want := []string{
		"new_context, parent -1",
		"word_data word::key -5",
		"string_data string::key string text",
		`blob_data blob::key "blob\x00text!!\x00"`,
		"data of 1: array::key 77 -2",
		"new_context_with_data, parent 1004, of 1: context::key 78 -2",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: recorded\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSemaphoreIsClearedWithoutATracer(t *testing.T) {
	tracer := newTracer(t)
	file := build{"gcc", []string{"-O2", "-DCRAU_ENABLE"}}.compile(t, "testdata/arguments.c")
	p := start(t, file)
	tracer.attach(t, file, readSites(t, file), oneByteNop)()
	if enabled := p.finish(); enabled != "0" {
		t.Errorf("crau_enabled() is %s after the tracer detached", enabled)
	}
	if hits := tracer.hits(t); len(hits) != 0 {
		t.Errorf("%d hits without a tracer", len(hits))
	}
}

// runTraced runs a program with two kinds of sites: those of the header, and "inlined" with
// a five-byte nop. It traces the former at the given place and the latter at their
// five-byte nop. It returns the program's last line, or "" if the kernel refuses the place.
func runTraced(t *testing.T, tracer *tracer, file string, at place) string {
	t.Helper()
	p := start(t, file)
	sites := readSites(t, file)
	header := tracer.attach(t, file, named(sites, "inlined", true), at)
	if header == nil {
		t.Logf("this kernel refuses probes %s", at.name)
		return ""
	}
	defer header()
	if inlined := tracer.attach(t, file, named(sites, "inlined", false), longNop); inlined != nil {
		defer inlined()
	}
	return p.finish()
}

func TestTracingDoesNotOverwriteRedZones(t *testing.T) {
	tracer := newTracer(t)
	for _, b := range []build{
		{"gcc", []string{"-O0"}},
		{"gcc", []string{"-O2"}},
		{"gcc", []string{"-O3", "-flto"}},
		{"gcc", []string{"-O2", "-fomit-frame-pointer", "-static"}},
		{"clang", []string{"-O0"}},
		{"clang", []string{"-O3"}},
	} {
		b = b.with("-DCRAU_ENABLE")
		t.Run(b.String(), func(t *testing.T) {
			file := b.compile(t, "testdata/redzone.c")
			for _, at := range []place{oneByteNop, longNop} {
				line := runTraced(t, tracer, file, at)
				if line == "" {
					continue
				}
				var header, caller, inlined int
				if _, err := fmt.Sscanf(line, "header %d caller %d inlined %d", &header, &caller, &inlined); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if header != 0 || caller != 0 {
					t.Errorf("%s: data was overwritten: %s", at.name, line)
				}
				t.Logf("%s: of 100000 rounds with a five-byte nop in a leaf function, %d were corrupted", at.name, inlined)
				tracer.hits(t)
			}
		})
	}
}

func TestForkedChildrenSurviveTracing(t *testing.T) {
	tracer := newTracer(t)
	file := build{"gcc", []string{"-O2", "-DCRAU_ENABLE"}}.compile(t, "testdata/forked.c")
	for _, at := range []place{oneByteNop, longNop} {
		line := runTraced(t, tracer, file, at)
		if line == "" {
			continue
		}
		var header, inlined int
		if _, err := fmt.Sscanf(line, "header %d inlined %d", &header, &inlined); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if header != 0 {
			t.Errorf("%s: a forked child that fired ended with status %#x", at.name, header)
		}
		t.Logf("%s: a forked child that executed a five-byte nop ended with status %#x", at.name, inlined)
		tracer.hits(t)
	}
}
