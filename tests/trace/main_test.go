// SPDX-License-Identifier: Apache-2.0

// Package trace tests crauctl trace on this kernel, with programs of the distribution and
// with publishers. All servers are on loopback. The tests use none of the project's own
// code.
package trace

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// patience bounds each wait of a test. Everything is expected to be much faster.
const patience = 120 * time.Second

// bin has the built programs, publishers the built publishers; buildError is the error of
// the build.
var (
	bin, publishers string
	buildError      error
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == clientArgument {
		client(os.Args[2:])
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	directory, err := os.MkdirTemp("", "crau-trace-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	// All users must be able to run the programs.
	if err := os.Chmod(directory, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin, publishers = directory, filepath.Join(directory, "publishers")
	if ready := machine.Prebuilt(); ready != "" {
		bin, publishers = filepath.Join(ready, "bin"), filepath.Join(ready, "publishers")
	} else if machine.MissingForBPF() == "" {
		for _, arguments := range [][]string{
			{"go", "build", "-o", bin + "/", "./src/cmd/crau-agent", "./src/cmd/crauctl"},
			{"make", "-s", "-C", "tests/publishers", "OUT=" + publishers},
		} {
			build := exec.Command(arguments[0], arguments[1:]...)
			build.Dir = "../.."
			if output, err := build.CombinedOutput(); err != nil {
				buildError = fmt.Errorf("%w\n%s", err, output)
			}
		}
	}
	return m.Run()
}

// clientArgument makes this program a TLS client instead of running tests.
const clientArgument = "-be-a-client"

// client makes one handshake with each server and exits.
func client(addresses []string) {
	for _, address := range addresses {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		state := c.ConnectionState()
		fmt.Println(tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.CurveID)
		c.Close()
	}
}

// serve runs a TLS server on loopback until the test ends. It answers HTTP.
func serve(t *testing.T) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return listener.Addr().String()
}

func answer(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Read(make([]byte, 4096))
	_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nhello\n"))
}

// traced is the result of crauctl trace.
type traced struct {
	status         int
	stdout, stderr string
	// operations is the content of the file that --output-file names.
	operations []operation
}

// operation is an operation in JSON.
type operation struct {
	Executable string         `json:"executable"`
	Events     map[string]any `json:"events"`
	Spans      []operation    `json:"spans"`
}

// prepare returns the command crauctl trace, which writes operations to a file.
func prepare(t *testing.T, arguments ...string) (c *exec.Cmd, file string) {
	t.Helper()
	if reason := machine.MissingForBPF(); reason != "" {
		t.Skip(reason)
	}
	if buildError != nil {
		t.Fatal(buildError)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	file = filepath.Join(t.TempDir(), "operations")
	c = exec.CommandContext(ctx, filepath.Join(bin, "crauctl"), append([]string{"trace", "-o", "json", "--output-file", file}, arguments...)...)
	c.WaitDelay = time.Second
	return c, file
}

// trace runs crauctl trace until it ends.
func trace(t *testing.T, arguments ...string) traced {
	t.Helper()
	c, file := prepare(t, arguments...)
	return finish(t, c, file)
}

// finish runs a command from prepare.
func finish(t *testing.T, c *exec.Cmd, file string) traced {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	result := traced{status: c.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	result.operations = read(t, file)
	return result
}

// read returns the operations in a file.
func read(t *testing.T, file string) (all []operation) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if line[len(line)-1] != '\n' {
			break // it is being written
		}
		var o operation
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		all = append(all, o)
	}
	return all
}

// by returns the operations of a program.
func (r *traced) by(executable string) (operations []operation) {
	for _, o := range r.operations {
		if o.Executable == executable {
			operations = append(operations, o)
		}
	}
	return operations
}

// need skips the test if a command of the distribution is missing, or fails it for root.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Geteuid() == 0 {
				t.Fatalf("the command %s is not installed: run make setup", name)
			}
			t.Skipf("the command %s is not installed", name)
		}
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

// port returns a free port on loopback.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()[strings.LastIndexByte(l.Addr().String(), ':')+1:]
}
