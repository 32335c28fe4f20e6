// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// startListening starts an agent that listens on a varlink socket.
func startListening(t *testing.T, s setup) (*agent, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "crau") // short, because the paths of sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	s.flags = append(s.flags, "--varlink", socket)
	return startAgent(t, s), socket
}

// peer is a connection to an agent.
type peer struct {
	net.Conn
	replies *bufio.Reader
}

func connect(t *testing.T, socket string) *peer {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &peer{c, bufio.NewReader(c)}
}

// reply is a reply of the agent.
type reply struct {
	Error      string
	Continues  bool
	Parameters struct {
		Cursor, Segment, File, Problem string
		Line, Offset                   int64
	}
}

func (p *peer) call(t *testing.T, method, flags string) {
	t.Helper()
	if _, err := fmt.Fprintf(p, "{\"method\":\"org.cryptoauditing.Agent.%s\"%s}\x00", method, flags); err != nil {
		t.Fatal(err)
	}
}

func (p *peer) reply(t *testing.T) (r reply) {
	t.Helper()
	text, err := p.replies.ReadString(0)
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimSuffix(text, "\x00")), &r)
	}
	if err != nil {
		t.Fatalf("the agent replied %q: %v", text, err)
	}
	return r
}

// status is the part of the output of crauctl status that the tests check.
type status struct {
	Hits, HitsSeen, HitsExcluded, Events, Chunks, Groups uint64

	Directory, Newest string
	Lost              []struct{ Hits, Events uint64 }
	Latency           struct{ Counts []uint64 }
	Libraries         []struct {
		Path, BuildID, Provider, Attached, Error string
		Sites, Hits                              uint64
		Replaced                                 bool
	}
	Sources []struct {
		Name                              string
		Connections, Handshakes, Excluded uint64
	}
	Coverage []struct {
		Executable                                     string
		Matched, Socket, Library, Mismatched, Excluded uint64
	}
	Exclusions []struct {
		Rule             string
		Handshakes, Hits uint64
	}
}

func statusOf(t *testing.T, socket string) (s status) {
	t.Helper()
	if err := json.Unmarshal([]byte(crauctl(t, "status", "-o", "json", "--socket", socket)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusAgreesWithWhatWasFired(t *testing.T) {
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}, flags: []string{"--coalesce-window", "1m"}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "20", trace("gnutls-tls13-p256")).done
	cursor := strings.TrimSpace(crauctl(t, "flush", "--socket", socket))

	s := statusOf(t, socket)
	if s.Hits != fired.hits || s.HitsSeen != fired.hits || s.Events != fired.events {
		t.Errorf("hits: %d seen, %d recorded; events: %d; fired %+v", s.HitsSeen, s.Hits, s.Events, fired)
	}
	var groups uint64
	for _, n := range s.Latency.Counts {
		groups += n
	}
	if s.Newest != cursor || s.Directory != a.log || groups != s.Groups || s.Groups == 0 {
		t.Errorf("the status is %+v, the cursor %q", s, cursor)
	}
	for _, l := range s.Lost {
		if l.Hits != 0 || l.Events != 0 {
			t.Errorf("the losses are %+v, want none", s.Lost)
		}
	}
	if len(s.Libraries) != 1 {
		t.Fatalf("the libraries are %+v", s.Libraries)
	}
	l := s.Libraries[0]
	if l.Path != publisher("libreplay.so") || l.BuildID != fmt.Sprintf("%x", buildID(t, publisher("libreplay.so"))) ||
		l.Hits != fired.hits || l.Sites == 0 || l.Attached == "" || l.Error != "" || l.Replaced {
		t.Errorf("the library is %+v", l)
	}
	metrics := crauctl(t, "metrics", "--socket", socket)
	if want := fmt.Sprintf("\ncrypto_auditing_recorded_hits_total %d\n", fired.hits); !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %q:\n%s", want, metrics)
	}
	if short := crauctl(t, "status", "--socket", socket); !strings.Contains(short, "recording 1 library") || !strings.Contains(short, l.Path) {
		t.Errorf("crauctl status printed\n%s", short)
	}
	check(t, a, a.stop(t, patience), fired)
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket still exists: %v", err)
	}
}

func TestRotatePrintsAnExistingSegment(t *testing.T) {
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256")).done
	segment := strings.TrimSpace(crauctl(t, "rotate", "--socket", socket))
	if _, err := os.Stat(filepath.Join(a.log, segment)); err != nil {
		t.Error(err)
	}
	fired.add(publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256")).done)
	check(t, a, a.stop(t, patience), fired)
}

func TestFollowReportsEveryChunk(t *testing.T) {
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}, flags: []string{"--coalesce-window", "1m"}})
	follower := connect(t, socket)
	follower.call(t, "Follow", `,"more":true`)
	// With a window this long each flush writes a chunk. The first ones may come before
	// Follow has begun.
	var fired number
	replies := make(chan reply)
	go func() {
		defer close(replies)
		for {
			text, err := follower.replies.ReadString(0)
			var r reply
			if err != nil || json.Unmarshal([]byte(strings.TrimSuffix(text, "\x00")), &r) != nil {
				return
			}
			replies <- r
		}
	}()
	flush := func() string {
		fired.add(publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256")).done)
		return strings.TrimSpace(crauctl(t, "flush", "--socket", socket))
	}
	followed := false
	for end := time.Now().Add(patience); !followed; {
		if time.Now().After(end) {
			t.Fatal("there is no reply")
		}
		flush()
		select {
		case <-replies:
			followed = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	for range 3 {
		cursor := flush()
		for {
			r := <-replies
			info, err := os.Stat(filepath.Join(a.log, r.Parameters.Segment))
			if err != nil {
				t.Fatal(err)
			}
			if !r.Continues || r.Error != "" || r.Parameters.Offset <= 0 || r.Parameters.Offset >= info.Size() {
				t.Errorf("the reply is %+v for a segment of %d bytes", r, info.Size())
			}
			if r.Parameters.Cursor == cursor {
				break
			}
		}
	}
	go func() {
		for range replies {
			// The replies while the agent stops do not matter.
			continue
		}
	}()
	check(t, a, a.stop(t, patience), fired)
}

func TestReloadOverVarlink(t *testing.T) {
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}})
	config := a.command.Args[2]
	p := connect(t, socket)
	for _, c := range []struct {
		config, err string
		line        int64
		// result is the output of crau-agent --reload, with its exit status.
		result string
		status int
	}{
		{config: "rate_limit = 0\n"},
		{
			config: "\nrate_limit = \"many\"\n", err: "org.cryptoauditing.Agent.BadConfiguration", line: 2,
			result: config + ":2: ", status: 78,
		},
		{},
	} {
		if err := os.WriteFile(config, []byte(c.config), 0o600); err != nil {
			t.Fatal(err)
		}
		p.call(t, "Reload", "")
		r := p.reply(t)
		if r.Error != c.err || r.Parameters.Line != c.line || c.err != "" && r.Parameters.File != config {
			t.Errorf("the reply to a reload of %q is %+v", c.config, r)
		}
		output, err := exec.Command(program("crau-agent"), "--reload", "--varlink", socket).CombinedOutput()
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		status := 0
		if failed != nil {
			status = failed.ExitCode()
		}
		if status != c.status || !strings.Contains(string(output), c.result) || (c.result == "") != (len(output) == 0) {
			t.Errorf("crau-agent --reload of %q printed %s, %v", c.config, output, err)
		}
	}
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256")).done
	check(t, a, a.stop(t, patience), fired)
}

func TestTheSocketOfAnotherAgentIsNotReplaced(t *testing.T) {
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}})
	second := launchAgent(t, setup{libraries: []string{publisher("libreplay.so")}, flags: []string{"--varlink", socket}})
	if status, result := second.exit(t), second.stderr.String(); status != 1 || !strings.Contains(result, "another process listens there") {
		t.Errorf("exit status %d:\n%s", status, result)
	}
	crauctl(t, "flush", "--socket", socket)
	check(t, a, a.stop(t, patience), number{})
}

// resident returns the peak resident memory of a process in bytes.
func resident(t *testing.T, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("the kernel does not report the peak memory of the agent")
	return 0
}

func TestHostilePeersDoNotAffectRecording(t *testing.T) {
	const most = 64 << 20 // bytes
	a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}})
	p := start(t, "replay", "--library", publisher("libreplay.so"), "--fresh-ids", "--rate", "20000", "--duration", "4", trace("gnutls-tls13-p256"))

	stop := make(chan struct{})
	var peers sync.WaitGroup
	// Each attacks on as many connections as it gets, until the end.
	for name, attack := range map[string]func(net.Conn){
		"endless frames": func(c net.Conn) { io.WriteString(c, strings.Repeat("x", 1<<20)) },
		"deep arrays":    func(c net.Conn) { io.WriteString(c, strings.Repeat("[", 16000)+"\x00") },
		"half a call":    func(c net.Conn) { io.WriteString(c, `{"method":"org.cryptoauditing`) },
		"silence":        func(net.Conn) {},
		"floods of calls": func(c net.Conn) {
			for range 1000 {
				io.WriteString(c, `{"method":"org.cryptoauditing.Agent.Flush"}`+"\x00")
				io.WriteString(c, `{"method":"org.cryptoauditing.Agent.GetStatus"}`+"\x00")
			}
		},
		"following without reading": func(c net.Conn) {
			io.WriteString(c, `{"method":"org.cryptoauditing.Agent.Follow","more":true}`+"\x00")
		},
	} {
		peers.Go(func() {
			var held []net.Conn
			for n := 0; ; n++ {
				select {
				case <-stop:
					for _, c := range held {
						c.Close()
					}
					return
				default:
				}
				c, err := net.Dial("unix", socket)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					<-stop
					continue
				}
				c.SetDeadline(time.Now().Add(200 * time.Millisecond))
				attack(c)
				if held = append(held, c); len(held) > 30 {
					held[0].Close()
					held = held[1:]
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	fired, _ := p.finish(t)
	close(stop)
	peers.Wait()
	n := resident(t, a.command.Process.Pid)
	t.Logf("the peak memory of the agent is %d KiB", n>>10)
	if n > most {
		t.Errorf("the peak memory of the agent is %d bytes, want at most %d", n, most)
	}
	// The agent still answers.
	var out []byte
	waitFor(t, "the connections to be closed", func() bool {
		var err error
		out, err = exec.Command(program("crauctl"), "status", "--socket", socket).Output()
		return err == nil
	})
	if !strings.Contains(string(out), "recording 1 library") {
		t.Errorf("the status is\n%s", out)
	}
	result := a.stop(t, patience)
	if len(result.lost) != 0 {
		t.Errorf("the losses are %v, want none", result.lost)
	}
	check(t, a, result, fired.done)
	if n := a.logged("a connection was refused"); n > 2 {
		t.Errorf("the agent logged refused connections %d times, want at most twice", n)
	}
}
