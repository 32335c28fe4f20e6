// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/probe/emulation"
)

func TestKindsOfPlansMatchBPF(t *testing.T) {
	spec, err := bpf.LoadAudit()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("record_kind", &enum); err != nil {
		t.Fatal(err)
	}
	for _, v := range enum.Values {
		if v.Value >= uint64(bpf.AuditRecordKindRECORD_WIRE) {
			continue // a piece of a connection, an owner or a call, which plans do not use
		}
		name := strings.ToLower(strings.TrimPrefix(v.Name, "RECORD_"))
		if k, ok := capture.KindOf(name); !ok || uint64(k) != v.Value {
			t.Errorf("%s is %d in the programs, %d in plans (%v)", name, v.Value, k, ok)
		}
	}
	for _, other := range []bpf.AuditRecordKind{bpf.AuditRecordKindRECORD_WIRE, bpf.AuditRecordKindRECORD_OWNER} {
		if k := capture.Kind(other); k.String() != "" {
			t.Errorf("the programs have no kind %s", k)
		}
	}
	if n := len(bpf.AuditSite{}.Arguments); n != capture.MaxArguments {
		t.Errorf("the programs read up to %d arguments, plans have up to %d", n, capture.MaxArguments)
	}
}

// load loads the programs, or skips the test without the capabilities.
func load(t *testing.T) *Tracer {
	t.Helper()
	tracer, err := Load(Options{RingSize: 1 << 16})
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		t.Skip("loading needs CAP_BPF and CAP_PERFMON")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close() })
	return tracer
}

// Code that the source function records has no literals for keys and names.
func TestASiteUsesTheStringsOfItsPlan(t *testing.T) {
	first, second := capture.RDI, capture.RSI
	if runtime.GOARCH == "arm64" {
		first, second = capture.X0, capture.X1
	}
	program := filepath.Join(t.TempDir(), "program")
	compile := exec.Command("gcc", "-O1", "-no-pie", "-o", program, "-x", "c", "-")
	compile.Stdin = strings.NewReader(`
__attribute__((noipa)) void handshake(long context, long value) { (void)context; (void)value; }
int main(void) { handshake(7, 29); return 0; }
`)
	if out, err := compile.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		t.Skip("gcc is not installed")
	} else if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	source := capture.Source{Name: "function", Plan: func(r io.ReaderAt, _ int64) (*capture.Plan, error) {
		f, err := elf.NewFile(r)
		if err != nil {
			return nil, err
		}
		symbols, err := f.Symbols()
		if err != nil {
			return nil, err
		}
		p := &capture.Plan{Machine: emulation.Machine()}
		for _, s := range f.Progs {
			if s.Type == elf.PT_LOAD {
				p.Image.Segments = append(p.Image.Segments, capture.Segment{Vaddr: s.Vaddr, Off: s.Off, Filesz: s.Filesz, Memsz: s.Memsz, Flags: s.Flags})
			}
		}
		for _, s := range symbols {
			if s.Name != "handshake" {
				continue
			}
			context := capture.Arg{Kind: capture.ArgReg, Size: 8, Reg: first}
			site := capture.Site{Provider: "program", Probe: s.Name, Address: s.Value, Offset: p.Image.Segment(s.Value, 1).FileOffset(s.Value)}
			name, value := site, site
			name.Kind = capture.StringData
			name.Arguments = []capture.Arg{context, p.Constant("name"), p.Constant("tls::handshake")}
			value.Kind = capture.WordData
			value.Arguments = []capture.Arg{context, p.Constant("tls::group"), {Kind: capture.ArgReg, Size: 8, Reg: second}}
			p.Sites = append(p.Sites, name, value)
		}
		return p, nil
	}}

	tracer := load(t)
	library, err := tracer.Attach(program, []capture.Source{source})
	if err != nil {
		t.Fatal(err)
	}
	if library.Source != "function" || library.Sites != 2 {
		t.Errorf("attached to %d sites of the source %s", library.Sites, library.Source)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := map[string]Element{}
	for end := time.Now().Add(30 * time.Second); len(got) < 2; {
		if time.Now().After(end) {
			t.Fatalf("only received the elements %+v", got)
		}
		if err := tracer.Ring().Wait(1, time.Second); err != nil {
			t.Fatal(err)
		}
		tracer.Ring().Drain(1<<16, func(raw []byte) {
			var r Record
			if err := tracer.Decode(raw, &r); err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Elements {
				if r.Context != 7 {
					t.Errorf("the context is %d", r.Context)
				}
				got[string(e.Key)] = Element{Type: e.Type, Word: e.Word, Bytes: append([]byte{}, e.Bytes...), Unreadable: e.Unreadable}
			}
		})
	}
	if e := got["name"]; e.Type != String || string(e.Bytes) != "tls::handshake" {
		t.Errorf("the name is %+v", e)
	}
	if e := got["tls::group"]; e.Type != Word || e.Word != 29 {
		t.Errorf("the value is %+v", e)
	}
}
