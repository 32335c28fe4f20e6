// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// claiming is a program that reports a handshake through one library and performs one with
// another.
const claiming = `
import ctypes, socket, ssl, sys
library, port, version = sys.argv[1:]
ctypes.CDLL(library).claim_handshake(ctypes.c_ulong(5), ctypes.c_ulong(int(version)))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with context.wrap_socket(socket.create_connection(("127.0.0.1", int(port)))) as s:
    s.recv(5)
    print(s.version())
`

// A handshake that a library reports and the one at the socket are one operation if they
// agree, and two marked operations otherwise.
func TestAMismatchBetweenALibraryAndASocketIsMarkedInTheLog(t *testing.T) {
	needCommand(t, "python3")
	// The command may be a script that runs the actual file.
	path, err := exec.Command("python3", "-c", "import os, sys; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		t.Fatal(err)
	}
	python := strings.TrimSpace(string(path))
	library := compile(t, "claims", "-shared")
	a, socket := startListening(t, setup{libraries: []string{library}, config: `sources = ["usdt", "wire"]`})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	directory := openDirectory(t)
	binary, err := os.ReadFile(python)
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]uint16{"honest-python": tls.VersionTLS13, "lying-python": tls.VersionTLS12} {
		file := filepath.Join(directory, name)
		if err := os.WriteFile(file, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		output, err := exec.Command(file, "-c", claiming, library, port, fmt.Sprint(version)).CombinedOutput()
		if err != nil || string(output) != "TLSv1.3\n" {
			t.Fatalf("%s: %v\n%s", name, err, output)
		}
	}
	coverage := func(name string) (matched, mismatched uint64) {
		for _, c := range statusOf(t, socket).Coverage {
			if c.Executable == name {
				return c.Matched, c.Mismatched
			}
		}
		return 0, 0
	}
	waitFor(t, "the handshakes to be compared", func() bool {
		crauctl(t, "flush", "--socket", socket)
		honest, _ := coverage("honest-python")
		_, lying := coverage("lying-python")
		return honest == 1 && lying == 1
	})
	a.terminate(t, patience)

	marks := map[string]any{}
	log := readLog(t, a.log)
	for i := range log {
		g := &log[i]
		if v := g.value("tls::mismatch"); v != nil {
			marks[string(g.Executable)+" "+g.Name] = v
			if g.Source != "wire" {
				t.Errorf("the source of a mark is %q", g.Source)
			}
		}
	}
	if len(marks) != 2 || marks["lying-python tls::handshake"] != "tls::protocol_version" || marks["lying-python tls::handshake_client"] != "tls::protocol_version" {
		t.Errorf("the marks are %v", marks)
	}
	for name, want := range map[string]int{"honest-python": 1, "lying-python": 2} {
		shown := crauctl(t, "query", "-q", "--directory", a.log, "--executable", name)
		if n := strings.Count(shown, name); n != want || strings.Count(shown, "mismatch=") != 2*(want-1) {
			t.Errorf("%s has %d operations, want %d:\n%s", name, n, want, shown)
		}
	}
}
