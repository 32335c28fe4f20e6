// SPDX-License-Identifier: Apache-2.0

package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// decode reads a message of the native protocol.
func decode(t *testing.T, b []byte) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			t.Fatalf("the message ends in %q", b)
		}
		name, value, short := strings.Cut(string(b[:end]), "=")
		b = b[end+1:]
		if !short {
			size := binary.LittleEndian.Uint64(b)
			value, b = string(b[8:8+size]), b[8+size+1:]
		}
		if _, twice := fields[name]; twice {
			t.Errorf("the message has %s twice", name)
		}
		fields[name] = value
	}
	return fields
}

// listen returns a socket like the journal's.
func listen(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

func receive(t *testing.T, c *net.UnixConn) map[string]string {
	t.Helper()
	b := make([]byte, 1<<20)
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, b[:n])
}

func TestTheJournalGetsPriorityIDAndFields(t *testing.T) {
	journal, path := listen(t)
	var stderr bytes.Buffer
	log := slog.New(&handler{sender: &sender{socket: path, stderr: &stderr}})
	program := filepath.Base(os.Args[0])
	for name, c := range map[string]struct {
		log  func()
		want map[string]string
	}{
		"a message with fields": {
			func() { DiskFull.Log(log, "reason", "disk-full", "error", errors.New("no space left on device")) },
			map[string]string{
				"PRIORITY": "3", "MESSAGE_ID": DiskFull.ID(), "REASON": "disk-full", "ERROR": "no space left on device",
				"MESSAGE": "the disk is full; events are lost and counted: no space left on device (reason=disk-full)",
			},
		},
		"a notice": {
			func() { LogRecovered.Log(log) },
			map[string]string{"PRIORITY": "5", "MESSAGE_ID": LogRecovered.ID(), "MESSAGE": "the log accepts events again"},
		},
		"without an id": {
			func() { log.Warn("hello", "n", 1, "text", `a "b"`) },
			map[string]string{"PRIORITY": "4", "MESSAGE": `hello (n=1, text="a \"b\"")`, "N": "1", "TEXT": `a "b"`},
		},
		"critical": {
			func() { log.Log(t.Context(), LevelCritical, "stop") },
			map[string]string{"PRIORITY": "2", "MESSAGE": "stop"},
		},
		"groups": {
			func() { log.WithGroup("a").With("b", 1).Info("x", slog.Group("c-d", "e", 2)) },
			map[string]string{"PRIORITY": "6", "MESSAGE": "x (a.b=1, a.c-d.e=2)", "A_B": "1", "A_C_D_E": "2"},
		},
		"several lines": {
			func() { log.Error("x\nPRIORITY=0", "error", "1\n2") },
			map[string]string{"PRIORITY": "3", "MESSAGE": "x\nPRIORITY=0: 1\n2", "ERROR": "1\n2"},
		},
		"names that are not allowed": {
			func() { log.Info("x", "_pid", 1, "MESSAGE", 2, "priority", 3, "é", 4, "2", 5) },
			map[string]string{"PRIORITY": "6", "MESSAGE": "x (_pid=1, MESSAGE=2, priority=3, é=4, 2=5)", "PID": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.log()
			c.want["SYSLOG_IDENTIFIER"] = program
			if got := receive(t, journal); !maps.Equal(got, c.want) {
				t.Errorf("the journal received %q\nwant             %q", got, c.want)
			}
		})
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr has %q", stderr.String())
	}
}

func TestALongValueIsCutAndStillArrives(t *testing.T) {
	journal, path := listen(t)
	log := slog.New(&handler{sender: &sender{socket: path, stderr: &bytes.Buffer{}}})
	log.Info("x", "long", strings.Repeat("é", 1<<20))
	if got := receive(t, journal)["LONG"]; got != strings.Repeat("é", longestValue/2)+"…" {
		t.Errorf("the journal received %d bytes that end in %q", len(got), got[max(0, len(got)-8):])
	}
}

func TestMessagesGoToStderrWhileTheJournalFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	var stderr bytes.Buffer
	log := slog.New(&handler{sender: &sender{socket: path, stderr: &stderr}})
	LossesBegan.Log(log, "reason", "ring-full")
	if want := "<4>events are being lost (reason=ring-full)\n"; stderr.String() != want {
		t.Errorf("stderr has %q, want %q", stderr.String(), want)
	}
	// The journal starts, stops, and starts again.
	for range 2 {
		journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		LossesEnded.Log(log)
		if got := receive(t, journal); got["MESSAGE_ID"] != LossesEnded.ID() {
			t.Errorf("the journal received %q", got)
		}
		journal.Close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTextIsWrittenIfStderrIsNotTheJournal(t *testing.T) {
	// Stderr is not the socket that the environment names.
	t.Setenv("JOURNAL_STREAM", "8:1")
	var b bytes.Buffer
	log := New(&b)
	LogRecovered.Log(log, "a", "b")
	log.Info("hello")
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for i, want := range []string{` level=NOTICE msg="the log accepts events again" a=b`, " level=INFO msg=hello"} {
		if !strings.HasPrefix(lines[i], "time=") || !strings.HasSuffix(lines[i], want) {
			t.Errorf("line %d is %q, want %q at its end", i, lines[i], want)
		}
	}
}
