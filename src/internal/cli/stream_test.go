// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
)

// A query of a whole log decompresses, builds trees and prints in separate goroutines. A
// query with -n does so in one.
func TestAQueryThatReadsAheadPrintsInOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(3, seed))
	logs := map[string]string{
		"tangled":            tangle(t, r, 6000),
		"damaged":            tangle(t, r, 4000),
		"without its oldest": store(t, workload(t, "openssl-tls12", 60)),
	}
	damage(t, logs["damaged"])
	behead(t, logs["without its oldest"], 1)
	for name, dir := range logs {
		for _, form := range []string{"short", "json", "json-pretty", "cbor", "csv", "verbose"} {
			t.Run(name+" "+form, func(t *testing.T) {
				query := append([]string{"query", "-o", form}, files(t, dir)...)
				ahead, held := crauctl(t, query...), crauctl(t, append(query, "-n", "1000000")...)
				if ahead.stdout != held.stdout || ahead.stderr != held.stderr || ahead.code != held.code {
					t.Errorf("exit code %d, errors %q, want %d, %q; %s", ahead.code, ahead.stderr, held.code, held.stderr, difference(ahead.stdout, held.stdout))
				}
				if directory := crauctl(t, "query", "-o", form, "-D", dir); form != "short" && directory.stdout != ahead.stdout && name == "tangled" {
					t.Errorf("of the directory: %s", difference(directory.stdout, ahead.stdout))
				}
			})
		}
		t.Run(name+" with --count", func(t *testing.T) {
			lines := strings.Count(crauctl(t, "query", "-o", "json", "-q", "-D", dir).stdout, `{"context":`)
			operations := 0
			for line := range strings.Lines(crauctl(t, "query", "-o", "json", "-q", "-D", dir).stdout) {
				if strings.HasPrefix(line, `{"context":`) {
					operations++
				}
			}
			if got := crauctl(t, "query", "--count", "-q", "-D", dir).stdout; got != fmt.Sprintln(operations) || lines < operations {
				t.Errorf("counted %q, want %d operations", got, operations)
			}
		})
	}
}

// pipe returns a pipe; its write end is used as the output of a command.
func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

func TestAQueryEndsWhenItsOutputIsClosed(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 20))
	for name, arguments := range map[string][]string{
		"that follows the log": {"query", "-f", "-D", dir},
		"of a file that does not end": {"query", "--count", "--file", func() string {
			path := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			if path := arguments[len(arguments)-1]; path != dir {
				// The other end of the FIFO sends entries endlessly.
				fifo, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				end := make(chan struct{})
				var sender sync.WaitGroup
				sender.Go(func() {
					entries := encode(handshakes(t, "openssl-tls13-x25519"))
					for {
						select {
						case <-end:
							fifo.Close()
							return
						default:
							if _, err := fifo.Write(entries); err != nil {
								return
							}
						}
					}
				})
				defer sender.Wait()
				defer func() {
					close(end)
					fifo.Close()
				}()
			}
			read, write := pipe(t)
			var stderr bytes.Buffer
			e := environment(t, nil, &stderr)
			e.Stdout = write
			done := make(chan int)
			go func() { done <- cli.Run(context.Background(), arguments, e) }()
			read.Close()
			select {
			case code := <-done:
				if code != 0 || stderr.Len() > 0 {
					t.Errorf("exit code %d, errors %q, want 0 and none", code, stderr.String())
				}
			case <-time.After(time.Minute):
				t.Fatal("the query does not end")
			}
		})
	}
}

func TestAnInterruptEndsAQueryWhoseOutputIsStuck(t *testing.T) {
	dir := store(t, workload(t, "gnutls-tls13-p256", 700))
	read, write := pipe(t)
	var stderr bytes.Buffer
	e := environment(t, nil, &stderr)
	e.Stdout = write
	ctx, interrupt := context.WithCancelCause(context.Background())
	done := make(chan int)
	go func() { done <- cli.Run(ctx, []string{"query", "-o", "json", "-D", dir}, e) }()
	// Wait until the pipe is full.
	for {
		n, err := unix.IoctlGetInt(int(read.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 64<<10 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	interrupt(console.ErrInterrupted)
	select {
	case code := <-done:
		if code != 130 || stderr.Len() > 0 {
			t.Errorf("exit code %d, errors %q, want 130 and none", code, stderr.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("the query does not end")
	}
	read.Close() // the write ends with an error
}

// The FIFO delivers no further data, and only the interrupt can end the wait.
func TestAnInterruptEndsAQueryThatWaitsForAFIFO(t *testing.T) {
	entries := encode(handshakes(t, "openssl-tls13-x25519"))
	for name, c := range map[string]struct {
		writer bool
		sent   []byte
	}{
		"without a writer":                     {false, nil},
		"with an idle writer":                  {true, nil},
		"in the middle of an entry":            {true, entries[:len(entries)/2]},
		"in the middle of a compressed stream": {true, compress(t, entries)[:100]},
		"between entries":                      {true, entries},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			ctx, interrupt := context.WithCancelCause(context.Background())
			done := make(chan int)
			go func() {
				done <- cli.Run(ctx, []string{"query", "--file", path}, environment(t, &stdout, &stderr))
			}()
			if c.writer {
				writer, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer writer.Close()
				if _, err := writer.Write(c.sent); err != nil {
					t.Fatal(err)
				}
				for {
					n, err := unix.IoctlGetInt(int(writer.Fd()), unix.TIOCINQ)
					if err != nil {
						t.Fatal(err)
					}
					if n == 0 {
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
			interrupt(console.ErrInterrupted)
			select {
			case code := <-done:
				if code != 130 || stderr.Len() > 0 {
					t.Errorf("exit code %d, errors %q, want 130 and none", code, stderr.String())
				}
			case <-time.After(time.Minute):
				t.Fatal("the query does not end")
			}
		})
	}
}

func TestALongQueryShowsItsProgressUntilThereIsOutput(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	feed, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	plain := crauctl(t, "query", "--file", write(t, "log", oddities())).stdout
	master, slave := openTerminal(t)
	var shown bytes.Buffer
	var mu sync.Mutex
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			mu.Lock()
			shown.Write(b[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	screen := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.ReplaceAll(shown.String(), "\r\n", "\n")
	}
	e := environment(t, nil, nil)
	e.Stdout, e.Stderr = slave, slave
	variables := map[string]string{"TERM": "xterm", "NO_COLOR": "1", "CRAU_PAGER": "cat -"}
	e.Lookup = func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	done := make(chan int)
	go func() { done <- cli.Run(context.Background(), []string{"query", "--file", fifo}, e) }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(screen(), "Reading: "); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no progress: %q", screen())
		}
	}
	if _, err := feed.Write(oddities()); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	slave.Close()
	reader.Wait()
	lines := strings.Split(screen(), "\x1b[K")
	if last := lines[len(lines)-1]; last != plain {
		t.Errorf("shown at the end is %q, want %q", last, plain)
	}
	if erased := lines[len(lines)-2]; !slices.Contains([]string{"\r"}, erased) {
		t.Errorf("not erased before output: %q", erased)
	}
}
