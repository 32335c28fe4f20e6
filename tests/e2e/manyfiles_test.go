// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostileNotes returns a section with at most that many probe notes, as many as fit into
// the part of a file that the agent reads.
func hostileNotes(most int, arguments string, address uint64) []byte {
	const size = 4 << 20
	le := binary.LittleEndian
	text := "crypto_auditing\x00new_context_with_data\x00" + arguments + "\x00"
	var notes []byte
	for n := range most {
		length := 3*8 + len(text)
		note := le.AppendUint32(nil, 8)
		note = le.AppendUint32(note, uint32(length))
		note = le.AppendUint32(note, 3)
		note = append(note, "stapsdt\x00"...)
		// Each has its own site.
		note = le.AppendUint64(note, address+uint64(n%4096))
		note = append(note, make([]byte, 2*8)...)
		note = append(note, text...)
		for len(note)%4 != 0 {
			note = append(note, 0)
		}
		if len(notes)+len(note) > size {
			break
		}
		notes = append(notes, note...)
	}
	return notes
}

// hostileFile returns a library with other probe notes.
func hostileFile(t *testing.T, notes int, arguments string) []byte {
	t.Helper()
	b, err := os.ReadFile(publisher("libreplay.so"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var address uint64
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			address = p.Vaddr
		}
	}
	section := hostileNotes(notes, arguments, address)
	le := binary.LittleEndian
	for i, s := range f.Sections {
		if s.Name == ".note.stapsdt" {
			header := le.Uint64(b[40:]) + uint64(i)*64
			le.PutUint64(b[header+24:], uint64(len(b)))
			le.PutUint64(b[header+32:], uint64(len(section)))
			return append(b, section...)
		}
	}
	t.Fatal("the library has no probe notes")
	return nil
}

// peak returns the agent's peak resident memory in bytes.
func (a *agent) peak(t *testing.T) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, size, _ := strings.Cut(string(status), "\nVmHWM:")
	var kilobytes uint64
	if _, err := fmt.Sscan(size, &kilobytes); err != nil {
		t.Fatalf("the kernel does not report the peak memory of the agent: %v", err)
	}
	return kilobytes << 10
}

func TestHundredsOfHostileFilesCostLittleMemory(t *testing.T) {
	needRecording(t)
	const files, most = 400, 96 << 20
	dir := t.TempDir()
	// Specifications that decode to the most data, good ones, bad ones, and ones with too
	// many arguments.
	var large, small [][]byte
	for _, arguments := range []string{
		strings.Repeat("8@(%rax,%rbx) ", 12), "8@%rax 8@%rbx 8@%rcx 8@%rdx", strings.Repeat("8@%xmm0 ", 12), strings.Repeat("8@$1 ", 12),
	} {
		large = append(large, hostileFile(t, 16384, arguments))
		small = append(small, hostileFile(t, 1000, arguments))
	}
	for i := range files {
		// A tenth of them has the maximum size.
		content := small[i%len(small)]
		if i%10 == 0 {
			content = large[i/10%len(large)]
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("lib%03d.so", i)), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	good := filepath.Join(dir, "libgood.so")
	copyFile(t, good, publisher("libreplay.so"))
	a := startAgent(t, setup{libraries: []string{filepath.Join(dir, "*.so")}})
	waitFor(t, "the agent to attach to the good file", func() bool { return a.logged("attached", good) == 1 })
	fired := publish(t, "replay", "--library", good, trace("gnutls-tls12")).done
	peak := a.peak(t)
	check(t, a, a.stop(t, patience), fired)
	t.Logf("%d hostile files: peak %d MiB", files, peak>>20)
	if peak > most {
		t.Errorf("the agent's peak resident memory is %d MiB, want at most %d", peak>>20, most>>20)
	}
}
