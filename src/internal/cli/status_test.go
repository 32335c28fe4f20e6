// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice"
	"crypto-auditing/src/internal/varlinkservice/agentservice"
)

// recorder is an agent with a status that the test sets.
type recorder struct {
	status status.Agent
	err    error
}

func (r *recorder) Status() (status.Agent, error) { return r.status, nil }
func (r *recorder) Flush(context.Context) (logstore.Cursor, error) {
	return logstore.Cursor{Store: [16]byte{1, 2}, Sequence: 20}, r.err
}
func (r *recorder) Rotate(context.Context) (string, error) {
	return "audit-0000000000000015.cborseq.zst", r.err
}
func (r *recorder) Remove(context.Context, logstore.Cursor, retention.Remover) (logstore.Removal, error) {
	return logstore.Removal{}, r.err
}
func (r *recorder) Follow(ctx context.Context, _ func(logstore.Position) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// busy returns an agent whose status has a value in each field.
func busy() *recorder {
	started := time.Date(2026, 7, 24, 9, 57, 0, 0, time.UTC)
	latency := status.Histogram{Sum: 1234500 * time.Microsecond}
	for _, ms := range []time.Duration{1, 2, 5, 10, 25, 50, 75, 100, 125, 150, 200, 300, 500, 1000, 2500, 5000, 10000} {
		latency.Bounds = append(latency.Bounds, ms*time.Millisecond)
	}
	latency.Counts = make([]uint64, len(latency.Bounds)+1)
	latency.Counts[6], latency.Counts[7], latency.Counts[9], latency.Counts[17] = 49, 48, 2, 1
	return &recorder{status: status.Agent{
		Started: started, Profile: "uprobe_multi",
		LogDirectory: "/var/log/crypto-auditing",
		Newest:       "01020000000000000000000000000000-0000000000000014", Oldest: "01020000000000000000000000000000-0000000000000000",
		DiskUsage: 12_900_000, DiskFree: 20 << 30, Segments: 4,
		Hits: 1_234_567, Events: 2_345_678, Groups: 100, Chunks: 1, RingHighWater: 12 << 10,
		Losses: []status.Loss{
			{Place: "kernel", Reason: "ring-full", Hits: 7}, {Place: "kernel", Reason: "spec-missing"},
			{Place: "disk", Reason: "disk-full", Hits: 1, Events: 1000},
		},
		HitsSeen: 1_234_575, RingSize: 8 << 20, CPU: 1500 * time.Millisecond, Resident: 20 << 20, Latency: latency,
		Libraries: []status.Library{
			{
				Path: "/usr/lib64/libgnutls.so.30", BuildID: "abcdef0102030405", Provider: "crypto_auditing",
				Probes: []string{"new_context", "data"}, Sites: 10, Hits: 1_234_000, Attached: "uprobe_multi", Since: started.Add(time.Second),
			},
			{
				Path: "/usr/lib64/libgnutls.so.30", BuildID: "abcdef0102030405", Provider: "crypto_auditing",
				Sites: 10, Hits: 567, Attached: "uprobe_multi", Since: started, Replaced: true,
			},
			{Path: "/opt/\x1b[31m\"odd\"\\\n.so", Error: "cannot attach: no such file\nor so"},
		},
		Sources: []status.Source{
			{Name: "usdt", FrontEnd: "uprobe_multi"},
			{
				Name: "wire", FrontEnd: "tracepoint", Refused: "trampoline: operation not permitted\nor so",
				Connections: 1234, Handshakes: 900, NoHandshake: 300, Relayed: 4, Excluded: 25,
			},
		},
		Coverage:     []status.Coverage{{Executable: "curl", Matched: 100, Socket: 300, Library: 5, Mismatched: 1}, {Executable: "\x1b", Socket: 99, Excluded: 20}},
		HitsExcluded: 7000, Exclusions: []status.Exclusion{{Rule: "unit=backup-*", Handshakes: 25}, {Rule: "executable=\x1b", Hits: 7000}},
	}}
}

// idle returns an agent that has recorded nothing.
func idle() *recorder {
	const cursor = "00000000000000000000000000000000-0000000000000000"
	return &recorder{status: status.Agent{
		Profile: "perf_event", Started: time.Date(2026, 7, 20, 6, 0, 0, 0, time.UTC), Newest: cursor, Oldest: cursor,
		Latency: status.Histogram{Counts: make([]uint64, 1)},
	}}
}

// serveAgent serves a recorder as the agent. It treats all peers as root.
func serveAgent(t *testing.T, r *recorder) (socket string) {
	t.Helper()
	return serveAs(t, r, varlinkservice.Peer{})
}

// serveAs serves a recorder as the agent. It treats all peers as the given one.
func serveAs(t *testing.T, r *recorder, peer varlinkservice.Peer) (socket string) {
	t.Helper()
	service, err := agentservice.New(agentservice.Options{Recorder: r, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	// The path is short, because paths of sockets are limited, and contains a semicolon,
	// which the varlink library treats as a separator.
	dir, err := os.MkdirTemp("", "crau;")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "agent")
	l, err := varlinkservice.Listen(socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- varlinkservice.New(service, varlinkservice.Options{
			Limits: varlinkservice.DefaultLimits(), LimitError: agentservice.LimitError, Log: slog.New(slog.DiscardHandler),
			Peer: func(net.Conn) (varlinkservice.Peer, error) { return peer, nil },
		}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestStatusIsShown(t *testing.T) {
	full := busy()
	full.status.Full = "no space left on device"
	full.status.Losses = nil
	full.status.Libraries = full.status.Libraries[:1]
	functions, suggested := idle(), idle()
	functions.status.Sources = []status.Source{{Name: "function", FrontEnd: "uprobe_multi", Handshakes: 4, Operations: 1, Dropped: 2}}
	suggested.status.Sources = []status.Source{{Name: "wire", FrontEnd: "tracepoint"}}
	for name, c := range map[string]struct {
		recorder  *recorder
		arguments []string
	}{
		"busy":        {busy(), nil},
		"idle":        {idle(), nil},
		"full":        {full, nil},
		"functions":   {functions, nil},
		"suggested":   {suggested, nil},
		"json":        {busy(), []string{"-o", "json"}},
		"json-pretty": {busy(), []string{"-o", "json-pretty"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append([]string{"status", "--socket", serveAgent(t, c.recorder)}, c.arguments...)...)
			if got.code != 0 || got.stderr != "" {
				t.Errorf("exit status %d, stderr %q", got.code, got.stderr)
			}
			if strings.ContainsRune(got.stdout, '\x1b') {
				t.Error("the output contains control characters")
			}
			if len(c.arguments) > 0 && !json.Valid([]byte(got.stdout)) {
				t.Error("the output is not JSON")
			}
			goldentest.Compare(t, "status/"+name+".golden", got.stdout)
		})
	}
}

func TestTheDotShowsTheOverallState(t *testing.T) {
	good, bad := busy(), busy()
	good.status.Losses = nil
	bad.status.Full = "no space left on device"
	for name, c := range map[string]struct {
		recorder *recorder
		colour   string
	}{
		"no problems":  {good, "\x1b[1;32m"},
		"losses":       {busy(), "\x1b[1;33m"},
		"no libraries": {idle(), "\x1b[1;33m"},
		"a full disk":  {bad, "\x1b[1;31m"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := serveAgent(t, c.recorder)
			got, stderr, code := onScreen(t, map[string]string{"TERM": "xterm"}, "status", "--socket", socket)
			if code != 0 || !strings.HasPrefix(got, c.colour+"●\x1b[0m crau-agent 1.2.3\n") {
				t.Errorf("exit status %d, stderr %q, shown %q", code, stderr, got)
			}
			if got, _, _ := onScreen(t, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, "status", "--socket", socket); !strings.HasPrefix(got, "● ") {
				t.Errorf("without colours: %q", got)
			}
		})
	}
}

func TestFlushAndRotatePrintOneLine(t *testing.T) {
	socket := serveAgent(t, busy())
	cursor := "01020000000000000000000000000000-0000000000000014"
	for arguments, want := range map[string]string{
		"flush":                 cursor + "\n",
		"flush -o json":         `{"cursor":"` + cursor + `"}` + "\n",
		"flush -o json-pretty":  "{\n  \"cursor\": \"" + cursor + "\"\n}\n",
		"rotate":                "audit-0000000000000015.cborseq.zst\n",
		"rotate --output json":  `{"segment":"audit-0000000000000015.cborseq.zst"}` + "\n",
		"rotate -o json-pretty": "{\n  \"segment\": \"audit-0000000000000015.cborseq.zst\"\n}\n",
	} {
		got := crauctl(t, append(strings.Fields(arguments), "--socket", socket)...)
		if got.code != 0 || got.stdout != want || got.stderr != "" {
			t.Errorf("%s: exit status %d, stdout %q, stderr %q", arguments, got.code, got.stdout, got.stderr)
		}
	}
}

// canned sends a fixed answer to the first call on each connection, and closes it.
func canned(t *testing.T, answer string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadAtLeast(c, make([]byte, 4096), 1)
			io.WriteString(c, answer)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return socket
}

func TestErrorsOfTheAgentIncludeTheRemedy(t *testing.T) {
	failing := func(err error) string {
		r := busy()
		r.err = err
		return serveAgent(t, r)
	}
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := serveAs(t, busy(), varlinkservice.Peer{UID: 54321, GID: 54321})
	for name, c := range map[string]struct {
		command, socket string
		code            int
		want            []string
	}{
		"no socket": {"status", filepath.Join(dir, "none"), 1,
			[]string{"cannot get the status", "cannot reach the agent at " + dir, "no such file", "is crypto-auditing-agent.socket active?"}},
		"without listener": {"flush", dead, 1, []string{"cannot flush", "connection refused", "is crypto-auditing-agent.socket active?"}},
		"not a socket":     {"rotate", file, 1, []string{"cannot rotate the log", "connection refused"}},
		"an unauthorised flush": {"flush", stranger, 3,
			[]string{"not authorised", "members of the group crypto-auditing", "join the group crypto-auditing or use sudo"}},
		"an unauthorised rotation": {"rotate", stranger, 3, []string{"not authorised: only root may: use sudo"}},
		"no room":                  {"flush", failing(unix.ENOSPC), 1, []string{"the agent cannot do this now: no space left on device"}},
		"ending":                   {"rotate", failing(logstore.ErrClosed), 1, []string{"the agent cannot do this now: the agent is ending"}},
		"failing":                  {"flush", failing(errors.New("bad\x1bluck")), 1, []string{`the agent failed: bad\x1bluck`}},
		"another service":          {"status", canned(t, `{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"x"}}`+"\x00"), 1, []string{"is not the agent"}},
		"another protocol":         {"status", canned(t, "SSH-2.0-OpenSSH\x00"), 1, []string{"does not answer like an agent"}},
		"other types":              {"status", canned(t, `{"parameters":{"status":{"hits":"many"}}}`+"\x00"), 1, []string{"does not answer like an agent"}},
		"a broken histogram":       {"metrics", canned(t, `{"parameters":{"status":{"latency":{"boundsUSec":[1,2],"counts":[]}}}}`+"\x00"), 1, []string{"cannot understand the status"}},
		"an unknown error":         {"flush", canned(t, `{"error":"org.cryptoauditing.Agent.New\u001b"}`+"\x00"), 1, []string{"the agent returned an unknown error: org.cryptoauditing.Agent.New?"}},
		"a closed connection":      {"flush", canned(t, ""), 1, []string{"has closed the connection", "try again"}},
		"a limit": {"flush", canned(t, `{"error":"org.cryptoauditing.Agent.LimitExceeded","parameters":{"limit":"connections of a user","maximum":32}}`+"\x00"), 1,
			[]string{"the agent has reached a limit, 32 connections of a user: try again later"}},
		"an unknown format": {"status -o xml", stranger, 2, []string{`unknown output form "xml": there are short, json, json-pretty`}},
		"an argument":       {"flush all", stranger, 2, []string{"Try 'crauctl flush --help'"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, append(strings.Fields(c.command), "--socket", c.socket)...)
			if got.code != c.code || got.stdout != "" {
				t.Errorf("exit status %d, want %d; prints %q", got.code, c.code, got.stdout)
			}
			for _, text := range c.want {
				if !strings.Contains(got.stderr, text) {
					t.Errorf("got %q, want %q in it", got.stderr, text)
				}
			}
			if strings.ContainsRune(got.stderr, '\x1b') {
				t.Errorf("stderr contains control characters: %q", got.stderr)
			}
		})
	}
}

func TestASocketWithoutPermissionIsReportedAsDenied(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	socket := serveAgent(t, busy())
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	got := asUser(t, 54321, "status", "--socket", socket)
	if got.code != 3 || !strings.Contains(got.stderr, "not authorised to ask the agent at "+socket) ||
		!strings.Contains(got.stderr, "join the group crypto-auditing or use sudo") {
		t.Errorf("exit status %d, stderr %q", got.code, got.stderr)
	}
}

func TestAnInterruptEndsWaitingForTheAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, interrupt := context.WithCancel(context.Background())
	go func() {
		// The agent receives the call and does not answer.
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.ReadAtLeast(c, make([]byte, 4096), 1)
		interrupt()
		io.Copy(io.Discard, c)
	}()
	var stdout, stderr bytes.Buffer
	if code := cli.Run(ctx, []string{"flush", "--socket", socket}, environment(t, &stdout, &stderr)); code != 130 {
		t.Errorf("exit status %d, stderr %q", code, stderr.String())
	}
}

// asUser runs the built crauctl as another user.
func asUser(t *testing.T, uid uint32, arguments ...string) result {
	t.Helper()
	dir, err := os.MkdirTemp("", "crauctl")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "crauctl")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "crypto-auditing/src/cmd/crauctl").CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	command := exec.Command(program, arguments...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return result{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Connecting to the agent's socket would start the agent.
func TestAnAgentOfUnknownStateIsNotConnectedTo(t *testing.T) {
	none := "unix:path=" + filepath.Join(t.TempDir(), "none")
	file := filepath.Join(t.TempDir(), "metrics.prom")
	for _, arguments := range [][]string{{"status"}, {"status", "-o", "json"}, {"metrics"}, {"metrics", "--output", file}} {
		var stdout, stderr bytes.Buffer
		e := environment(t, &stdout, &stderr)
		e.Lookup = func(name string) (string, bool) { return none, name == "DBUS_SYSTEM_BUS_ADDRESS" }
		e.Systemd = t.TempDir()
		code := cli.Run(t.Context(), arguments, e)
		if code != 1 || stdout.Len() > 0 {
			t.Errorf("%v: exit status %d, prints %q", arguments, code, stdout.String())
		}
		for _, want := range []string{"the state of the agent is unknown: cannot connect to the system bus: ", "name its socket by --socket"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v printed %q, want %q in it", arguments, stderr.String(), want)
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "crypto_auditing_up 0\n") {
		t.Errorf("the metrics are %q, %v", text, err)
	}
}
