// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varlink/go/varlink"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// recorder is a fake agent, with which tests cause rare conditions.
type recorder struct {
	status status.Agent
	// err is the error that the methods return.
	err     error
	reload  error
	removed chan logstore.Cursor
	remover atomic.Pointer[retention.Remover]
	// chunks are reported to followers. lagging ends Follow.
	chunks  chan logstore.Position
	lagging chan struct{}
	// flushing, if set, makes Flush wait until an element is received from it.
	flushing chan struct{}
	mu       sync.Mutex
	flushes  int
	// followers is the current number of followers.
	followers atomic.Int64
}

func newRecorder() *recorder {
	return &recorder{
		removed: make(chan logstore.Cursor, 10), chunks: make(chan logstore.Position), lagging: make(chan struct{}),
	}
}

func cursor(sequence uint64) logstore.Cursor {
	return logstore.Cursor{Store: [16]byte{1, 2, 3}, Sequence: sequence}
}

func (r *recorder) Status() (status.Agent, error) { return r.status, r.err }

func (r *recorder) Flush(ctx context.Context) (logstore.Cursor, error) {
	r.mu.Lock()
	r.flushes++
	n := r.flushes
	r.mu.Unlock()
	if r.flushing != nil {
		select {
		case r.flushing <- struct{}{}:
		case <-ctx.Done():
		}
	}
	return cursor(uint64(n)), r.err
}

func (r *recorder) Rotate(context.Context) (string, error) {
	return "0000000000000007.cborseq.zst", r.err
}

func (r *recorder) Remove(_ context.Context, before logstore.Cursor, by retention.Remover) (logstore.Removal, error) {
	r.removed <- before
	r.remover.Store(&by)
	if before.Store != cursor(0).Store {
		return logstore.Removal{}, fmt.Errorf("%w: %s", logstore.ErrForeignCursor, before)
	}
	return logstore.Removal{Bytes: 4096}, r.err
}

func (r *recorder) Follow(ctx context.Context, notify func(logstore.Position) error) error {
	r.followers.Add(1)
	defer r.followers.Add(-1)
	for {
		select {
		case p := <-r.chunks:
			if err := notify(p); err != nil {
				return err
			}
		case <-r.lagging:
			return agent.ErrLagging
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// patience bounds all waiting of tests.
const patience = time.Minute

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout waiting for %s", what)
		}
	}
}

// served is a running service.
type served struct {
	*recorder
	path string
	stop context.CancelFunc
}

// serve starts a service; prepare may change its recorder first.
func serve(t *testing.T, a Access, prepare ...func(*recorder)) *served {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root, and users that only root can become, may call the service")
	}
	r := newRecorder()
	for _, p := range prepare {
		p(r)
	}
	service, err := New(Options{
		Recorder: r, Access: a, Version: "1.2",
		Reload: func(context.Context) error { return r.reload },
	})
	if err != nil {
		t.Fatal(err)
	}
	// All users may enter the directory and connect to the socket.
	dir, err := os.MkdirTemp("", "varlink")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	l, err := varlinkservice.Listen(path, nil)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	server := varlinkservice.New(service, varlinkservice.Options{
		Limits: varlinkservice.DefaultLimits(), LimitError: LimitError,
		Peer: varlinkservice.PeerOf, Log: slog.New(slog.DiscardHandler),
	})
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server failed: %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	return &served{r, path, stop}
}

func (s *served) connect(t *testing.T) *varlink.Connection {
	t.Helper()
	c, err := varlink.NewConnection(context.Background(), "unix:"+s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// identity is the user and the groups of a client.
type identity struct {
	uid, gid uint32
	groups   []uint32
}

// python returns the command of an interpreter that other users may run.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Geteuid() == 0 {
		t.Fatal("python3 is not installed: install it")
	}
	t.Skip("python3 is not installed")
	return ""
}

// clientProgram returns the command of the independent client, as a user if u is not nil.
func (s *served) clientProgram(t *testing.T, u *identity, method string, arguments ...string) *exec.Cmd {
	t.Helper()
	program, err := os.ReadFile("../testdata/client.py")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python(t), append([]string{"-c", string(program), s.path, method}, arguments...)...)
	command.Dir = "/"
	if u != nil {
		command.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: u.groups},
		}
	}
	return command
}

// reply is a reply as printed by the independent client.
type reply struct {
	Parameters map[string]any
	Continues  bool
	Error      string
}

// ask calls a method with the independent client, and returns the replies.
func (s *served) ask(t *testing.T, u *identity, method string, arguments ...string) []reply {
	t.Helper()
	command := s.clientProgram(t, u, method, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v: %s", method, err, stderr.String())
	}
	var replies []reply
	for line := range strings.Lines(stdout.String()) {
		var r reply
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		replies = append(replies, r)
	}
	if len(replies) == 0 {
		t.Fatalf("%s: no reply", method)
	}
	return replies
}

const prefix = "org.cryptoauditing.Agent."

func TestTheServiceDescribesItself(t *testing.T) {
	s := serve(t, Access{})
	info := s.ask(t, nil, "org.varlink.service.GetInfo")[0].Parameters
	for name, want := range map[string]string{
		"vendor": "crypto-auditing", "product": "crau-agent", "version": "1.2", "url": "man:crau-agent(8)",
		"interfaces": "[org.varlink.service org.cryptoauditing.Agent]",
	} {
		if got := fmt.Sprint(info[name]); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	file, err := os.ReadFile("../orgcryptoauditingagent/org.cryptoauditing.Agent.varlink")
	if err != nil {
		t.Fatal(err)
	}
	described := s.ask(t, nil, "org.varlink.service.GetInterfaceDescription", `{"interface":"org.cryptoauditing.Agent"}`)
	if got := described[0].Parameters["description"]; got != string(file) {
		t.Errorf("the description differs from the file:\n%s", got)
	}
}

// fullStatus returns a status with a value in every field.
func fullStatus() status.Agent {
	const ms = time.Millisecond
	latency := status.Histogram{
		Bounds: []time.Duration{1 * ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 75 * ms, 100 * ms, 125 * ms},
		Counts: make([]uint64, 10), Sum: 3 * time.Second,
	}
	latency.Counts[7], latency.Counts[8], latency.Counts[9] = 90, 9, 1
	return status.Agent{
		Started: time.UnixMicro(1_800_000_000_000_001), Profile: "uprobe_multi",
		LogDirectory: "/var/log/crypto-auditing", Newest: cursor(20).String(), Oldest: cursor(3).String(),
		DiskUsage: 4096, DiskFree: 1 << 40, Segments: 2, Full: "no space left on device",
		Hits: 100, Events: 200, Groups: 50, Chunks: 5, RingHighWater: 1024,
		Losses: []status.Loss{
			{Place: "kernel", Reason: "ring-full", Hits: 7}, {Place: "disk", Reason: "disk-full", Hits: 1, Events: 1 << 63},
		},
		HitsSeen: 108, RingSize: 8 << 20, CPU: 1500 * time.Millisecond, Resident: 20 << 20, Latency: latency,
		Libraries: []status.Library{
			{
				Path: "/usr/lib/libgnutls.so.30", BuildID: "abcd", Provider: "crypto_auditing",
				Probes: []string{"new_context", "data"}, Sites: 10, Hits: 100,
				Attached: "uprobe_multi", Since: time.UnixMicro(1_800_000_000_500_000),
			},
			{Path: "/usr/lib/evil\n\xff\\.so", Error: "no such file", Replaced: true},
		},
		Sources: []status.Source{
			{Name: "wire", FrontEnd: "tracepoint", Refused: "a\nb", Connections: 9, Handshakes: 5, NoHandshake: 3, Relayed: 1, Excluded: 2},
		},
		Coverage:     []status.Coverage{{Executable: "evil\n", Matched: 1, Socket: 2, Library: 3, Mismatched: 4, Excluded: 5}},
		HitsExcluded: 6, Exclusions: []status.Exclusion{{Rule: "unit=evil\n", Handshakes: 2, Hits: 6}},
	}
}

// The status and the interface description must have the same fields.
func TestTheStatusMatchesTheInterface(t *testing.T) {
	for name, of := range map[string]status.Agent{"all": fullStatus(), "nothing": {}} {
		describe(&of, errors.New("odd"), "1")
		text, err := status.Varlink(of)
		if err != nil {
			t.Fatal(err)
		}
		var described api.Status
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&described); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(described); err != nil || string(again) != string(text) {
			t.Errorf("%s: %v\n%s\nis described as\n%s", name, err, text, again)
		}
		var read status.Agent
		if err := status.FromVarlink(text, &read); err != nil {
			t.Fatal(err)
		}
		if again, err := status.Varlink(read); err != nil || string(again) != string(text) {
			t.Errorf("%s: %v\n%s\nis read as\n%s", name, err, text, again)
		}
	}
}

func TestGetStatusReturnsAllFields(t *testing.T) {
	s := serve(t, Access{}, func(r *recorder) { r.status, r.err = fullStatus(), errors.New("cannot count hits") })
	got := s.ask(t, nil, prefix+"GetStatus")[0].Parameters["status"].(map[string]any)
	want := map[string]any{
		"version": "1.2", "startedUSec": 1_800_000_000_000_001.0, "profile": "uprobe_multi",
		"directory": "/var/log/crypto-auditing", "newest": cursor(20).String(), "oldest": cursor(3).String(),
		"diskUsage": 4096.0, "diskFree": float64(1 << 40), "segments": 2.0, "full": "no space left on device",
		"hitsSeen": 108.0, "hits": 100.0, "hitsExcluded": 6.0, "events": 200.0, "groups": 50.0, "chunks": 5.0,
		"ringSize": float64(8 << 20), "ringHighWater": 1024.0, "cpuUSec": 1.5e6, "resident": float64(20 << 20),
		"problem": "cannot count hits",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	if len(got) != len(want)+6 {
		t.Errorf("the status has %d fields, want %d", len(got), len(want)+6)
	}
	for name, value := range map[string]string{
		// Values beyond the range of the interface become its greatest number.
		"sources":    `[map[connections:9 dropped:0 error: excluded:2 frontEnd:tracepoint handshakes:5 name:wire noHandshake:3 operations:0 refused:a; b relayed:1]]`,
		"coverage":   `[map[excluded:5 executable:evil\x0a library:3 matched:1 mismatched:4 socket:2]]`,
		"exclusions": `[map[handshakes:2 hits:6 rule:unit=evil\x0a]]`,
		"lost":       `[map[events:0 hits:7 place:kernel reason:ring-full] map[events:9.223372036854776e+18 hits:1 place:disk reason:disk-full]]`,
		"latency": `map[boundsUSec:[1000 2000 5000 10000 25000 50000 75000 100000 125000] ` +
			`counts:[0 0 0 0 0 0 0 90 9 1] sumUSec:3e+06]`,
		"libraries": `[map[attached:uprobe_multi attachedUSec:1.8000000005e+15 buildId:abcd error: hits:100 path:/usr/lib/libgnutls.so.30 ` +
			`probes:[new_context data] provider:crypto_auditing replaced:false sites:10 verified:0] ` +
			`map[attached: attachedUSec:0 buildId: error:no such file hits:0 path:/usr/lib/evil\x0a\xff\x5c.so probes:[] provider: replaced:true sites:0 verified:0]]`,
	} {
		if text := fmt.Sprint(got[name]); text != value {
			t.Errorf("%s is\n%s, want\n%s", name, text, value)
		}
	}
}

func TestAnEmptyStatusHasAllFields(t *testing.T) {
	// The independent client checks that no field is missing or null.
	serve(t, Access{}).ask(t, nil, prefix+"GetStatus")
}

func TestMethodsReturnResultsOfTheAgent(t *testing.T) {
	s := serve(t, Access{})
	cases := map[string]struct{ method, parameters, want string }{
		"flush":  {"Flush", `{}`, "map[cursor:01020300000000000000000000000000-0000000000000001]"},
		"rotate": {"Rotate", `{}`, "map[segment:0000000000000007.cborseq.zst]"},
		"remove": {"Remove", `{"before":"` + cursor(9).String() + `"}`, "map[bytes:4096 segments:0]"},
		"reload": {"Reload", `{}`, "map[]"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := s.ask(t, nil, prefix+c.method, c.parameters)[0]
			if got.Error != "" || fmt.Sprint(got.Parameters) != c.want {
				t.Errorf("the reply is %v, want %s", got, c.want)
			}
		})
	}
	if got := <-s.removed; got != cursor(9) {
		t.Errorf("entries before %v were removed", got)
	}
}

func TestRemovalIsRecordedForTheNamedUser(t *testing.T) {
	long := strings.Repeat("x", 257)
	before := `{"before":"` + cursor(9).String() + `"`
	uid, name := uint32(os.Geteuid()), ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	for title, c := range map[string]struct {
		parameters, wrong string
		want              retention.Remover
	}{
		"the caller":       {before + `}`, "", retention.Remover{UID: uid, User: name}},
		"another user":     {before + `,"uid":1000,"user":"anne","policy":"max-age=30d"}`, "", retention.Remover{UID: 1000, User: "anne", Policy: "max-age=30d"}},
		"no name":          {before + `,"uid":1000}`, "", retention.Remover{UID: 1000}},
		"force":            {before + `,"uid":1000,"force":true}`, "", retention.Remover{UID: 1000, Force: true}},
		"control bytes":    {before + `,"uid":1000,"user":"a\nb"}`, "", retention.Remover{UID: 1000, User: `a\x0ab`}},
		"negative uid":     {before + `,"uid":-1}`, "uid", retention.Remover{}},
		"uid too large":    {before + `,"uid":4294967296}`, "uid", retention.Remover{}},
		"a long name":      {before + `,"uid":1,"user":"` + long + `"}`, "user", retention.Remover{}},
		"a very long rule": {before + `,"policy":"` + strings.Repeat(long, 4) + `"}`, "policy", retention.Remover{}},
	} {
		t.Run(title, func(t *testing.T) {
			s := serve(t, Access{Broker: &uid})
			got := s.ask(t, nil, prefix+"Remove", c.parameters)[0]
			if c.wrong != "" {
				if got.Error != "org.varlink.service.InvalidParameter" || got.Parameters["parameter"] != c.wrong {
					t.Errorf("the reply is %v, want InvalidParameter of %s", got, c.wrong)
				}
				return
			}
			if by := s.remover.Load(); got.Error != "" || by == nil || *by != c.want {
				t.Errorf("removed for %+v, want %+v; the reply is %v", by, c.want, got)
			}
		})
	}
}

func TestFailuresAreDeclaredErrors(t *testing.T) {
	foreign := logstore.Cursor{Store: [16]byte{9}, Sequence: 1}.String()
	bad := &config.Error{File: "/etc/crypto-auditing/agent.conf", Line: 3, Problem: `unknown key "x"`}
	cases := map[string]struct {
		err, reload                    error
		method, parameters, name, want string
	}{
		"invalid cursor": {method: "Remove", parameters: `{"before":"all"}`,
			name: "InvalidCursor", want: `map[cursor:all problem:invalid cursor: "all" is not of the form STORE-SEQUENCE]`},
		"long invalid cursor": {method: "Remove", parameters: `{"before":"` + strings.Repeat("a", 10000) + `"}`,
			name: "InvalidCursor", want: strings.Repeat("a", 100)},
		"missing parameter": {method: "Remove", parameters: `{}`, name: "InvalidCursor", want: `map[cursor: problem:`},
		"foreign cursor": {method: "Remove", parameters: `{"before":"` + foreign + `"}`,
			name: "ForeignCursor", want: "map[cursor:" + foreign + "]"},
		"bad configuration": {reload: fmt.Errorf("reload: %w", bad), method: "Reload",
			name: "BadConfiguration", want: `map[file:/etc/crypto-auditing/agent.conf line:3 problem:unknown key "x"]`},
		"reload fails": {reload: errors.New("cannot attach"), method: "Reload",
			name: "Failed", want: "map[problem:cannot attach]"},
		"full disk": {err: fmt.Errorf("write: %w", unix.ENOSPC), method: "Flush",
			name: "Unavailable", want: "map[reason:write: no space left on device]"},
		"ended": {err: logstore.ErrClosed, method: "Rotate",
			name: "Unavailable", want: "map[reason:the agent is ending]"},
		"too slow": {err: context.DeadlineExceeded, method: "Flush",
			name: "Unavailable", want: "map[reason:not done within 30s: the disk]"},
		"the whole log": {err: agent.ErrRemovesAll, method: "Remove", parameters: `{"before":"` + cursor(9).String() + `"}`, name: "RemovesAll", want: "map[]"},
		"anything else": {err: errors.New("bad\nluck"), method: "Flush",
			name: "Failed", want: "map[problem:bad; luck]"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Access{}, func(r *recorder) { r.err, r.reload, r.status.Full = c.err, c.reload, "the disk" })
			if c.parameters == "" {
				c.parameters = "{}"
			}
			got := s.ask(t, nil, prefix+c.method, c.parameters)[0]
			if got.Error != prefix+c.name || !strings.Contains(fmt.Sprint(got.Parameters), c.want) {
				t.Errorf("the reply is %v, want %s with %s", got, c.name, c.want)
			}
		})
	}
}

func TestUnknownMethodsAndParameters(t *testing.T) {
	s := serve(t, Access{})
	for call, want := range map[[2]string]string{
		{prefix + "Remove", `{"before":7}`}: "org.varlink.service.InvalidParameter",
		{prefix + "Follow", `{}`}:           "org.varlink.service.InvalidParameter", // without more
	} {
		if got := s.ask(t, nil, call[0], call[1])[0]; got.Error != want {
			t.Errorf("%s is answered by %v, want %s", call[0], got, want)
		}
	}
}

func TestMethodsCheckPermissions(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become other users")
	}
	group, broker, own := uint32(54321), uint32(54322), uint32(54323)
	users := map[string]*identity{
		"root":                 {0, 0, nil},
		"a member":             {54001, 54002, []uint32{54003, group}},
		"a primary member":     {54001, group, nil},
		"the broker":           {broker, broker, []uint32{group}},
		"the broker, no group": {broker, broker, nil},
		"the agent":            {own, own, []uint32{group}},
		"a user outside":       {54001, 54002, []uint32{54003}},
		"nobody":               {65534, 65534, nil},
		"a member of many":     {54001, 54002, append(many(40000, 300), group)},
		"a member of others":   {54001, 54002, many(40000, 300)},
		"the group's number":   {group, 54002, nil},
	}
	methods := map[string]string{
		"GetStatus": "{}", "Flush": "{}", "Rotate": "{}", "Reload": "{}", "Remove": `{"before":"` + cursor(9).String() + `"}`,
	}
	allowed := map[string]string{
		"root":                 "GetStatus Flush Rotate Reload Remove Follow",
		"a member":             "GetStatus Flush Follow",
		"a primary member":     "GetStatus Flush Follow",
		"a member of many":     "GetStatus Flush Follow",
		"the broker":           "GetStatus Flush Follow Remove",
		"the agent":            "GetStatus Flush Follow Reload",
		"the broker, no group": "Remove",
	}
	s := serve(t, Access{Group: &group, Broker: &broker, Own: &own})
	for name, u := range users {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for method, parameters := range methods {
				got := s.ask(t, u, prefix+method, parameters)[0]
				want := ""
				if !strings.Contains(" "+allowed[name]+" ", " "+method+" ") {
					want = prefix + "PermissionDenied"
				}
				if got.Error != want {
					t.Errorf("%s is answered by %v, want the error %q", method, got, want)
				}
			}
			if info := s.ask(t, u, "org.varlink.service.GetInfo")[0]; info.Error != "" {
				t.Errorf("GetInfo is answered by %v", info)
			}
			if strings.Contains(allowed[name], "Follow") {
				return // other tests check the output
			}
			if got := s.ask(t, u, prefix+"Follow", "{}", "1")[0]; got.Error != prefix+"PermissionDenied" {
				t.Errorf("Follow is answered by %v", got)
			}
		})
	}
}

// many returns n consecutive groups.
func many(first, n uint32) []uint32 {
	var groups []uint32
	for i := range n {
		groups = append(groups, first+i)
	}
	return groups
}

func TestWithoutGroupAndBrokerOnlyRootMayCall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become other users")
	}
	s := serve(t, Access{})
	for _, u := range []*identity{{54001, 54002, nil}, {1, 1, []uint32{1, 2, 3}}} {
		got := s.ask(t, u, prefix+"GetStatus")[0]
		if got.Error != prefix+"PermissionDenied" || got.Parameters["method"] != "GetStatus" ||
			got.Parameters["allowed"] != "root and members of the group crypto-auditing" {
			t.Errorf("the reply is %v", got)
		}
	}
	if got := s.ask(t, &identity{}, prefix+"GetStatus")[0]; got.Error != "" {
		t.Errorf("root is answered by %v", got)
	}
}

func TestUnknownUserNamesMatchNoUser(t *testing.T) {
	a, err := LookUpAccess()
	if err != nil {
		t.Fatal(err)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	group, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	if has := bytes.Contains(append([]byte("\n"), group...), []byte("\n"+GroupName+":")); has != (a.Group != nil) {
		t.Errorf("the group exists: %v; found: %v", has, a.Group)
	}
	if has := bytes.Contains(append([]byte("\n"), passwd...), []byte("\n"+BrokerName+":")); has != (a.Broker != nil) {
		t.Errorf("the broker's user exists: %v; found: %v", has, a.Broker)
	}
}

// follow calls Follow, and returns a function that receives a reply.
func follow(t *testing.T, c *varlink.Connection) func() (string, uint64, error) {
	t.Helper()
	receive, err := api.Follow().Send(context.Background(), c, varlink.More)
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, uint64, error) {
		cursor, segment, offset, flags, err := receive(context.Background())
		return fmt.Sprintf("%s %s %d", cursor, segment, offset), flags, err
	}
}

func chunk(n uint64) logstore.Position {
	return logstore.Position{Cursor: cursor(n), First: n, Segment: "0000000000000001.cborseq.zst", Offset: int64(n) * 100}
}

func TestFollowRepliesOncePerChunk(t *testing.T) {
	s := serve(t, Access{})
	command := s.clientProgram(t, nil, prefix+"Follow", "{}", "3")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// The recorder receives a chunk only while it has a follower.
	d := json.NewDecoder(out)
	for n := range uint64(3) {
		s.chunks <- chunk(n + 1)
		var got reply
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("map[cursor:%s offset:%d segment:0000000000000001.cborseq.zst]", cursor(n+1), (n+1)*100)
		if fmt.Sprint(got.Parameters) != want || !got.Continues || got.Error != "" {
			t.Errorf("the reply is %v, want %s", got, want)
		}
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

func TestALaggingFollowerReceivesItsPosition(t *testing.T) {
	for name, reported := range map[string]uint64{"after some chunks": 2, "at once": 0} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Access{})
			receive := follow(t, s.connect(t))
			for n := range reported {
				s.chunks <- chunk(n + 1)
			}
			close(s.lagging)
			last := ""
			for n := range reported {
				got, flags, err := receive()
				if err != nil || flags != varlink.Continues {
					t.Fatalf("reply %d is %v with flags %d", n, err, flags)
				}
				last, _, _ = strings.Cut(got, " ")
			}
			_, _, err := receive()
			var lagging *api.Lagging
			if !errors.As(err, &lagging) || lagging.Cursor != last {
				t.Errorf("the error is %v, want Lagging at %q", err, last)
			}
		})
	}
}

func TestFollowEndsWithTheService(t *testing.T) {
	s := serve(t, Access{})
	receive := follow(t, s.connect(t))
	s.chunks <- chunk(1)
	if _, _, err := receive(); err != nil {
		t.Fatal(err)
	}
	s.stop()
	_, _, err := receive()
	var unavailable *api.Unavailable
	if !errors.As(err, &unavailable) || unavailable.Reason != "the agent is ending" {
		t.Errorf("the error is %v", err)
	}
}

func TestDisconnectedFollowersMakeRoomForOthers(t *testing.T) {
	s := serve(t, Access{})
	// An ended connection also makes room in the server.
	for range 3 * userFollowers {
		c := s.connect(t)
		receive := follow(t, c)
		s.chunks <- chunk(1)
		if _, _, err := receive(); err != nil {
			t.Fatal(err)
		}
		c.Close()
		waitFor(t, "the end of following", func() bool { return s.followers.Load() == 0 })
	}
}

// Members of the group that follow as often as possible leave room for root and for the
// broker, which follows for all its clients.
func TestFollowersOfTheGroupLeaveRoomForRootAndTheBroker(t *testing.T) {
	const group, broker, own = 100, 200, 300
	access := Access{Group: new(uint32), Broker: new(uint32), Own: new(uint32)}
	*access.Group, *access.Broker, *access.Own = group, broker, own
	var uid atomic.Uint32
	r := newRecorder()
	service, err := New(Options{Recorder: r, Version: "1", Access: access})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := varlinkservice.Listen(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- varlinkservice.New(service, varlinkservice.Options{
			Limits: varlinkservice.DefaultLimits(), LimitError: LimitError, Log: slog.New(slog.DiscardHandler), Rank: access.Rank,
			Peer: func(net.Conn) (varlinkservice.Peer, error) {
				return varlinkservice.Peer{UID: uid.Load(), GID: group}, nil
			},
		}).Serve(ctx, l)
	}()
	defer func() { stop(); <-ended }()
	s := &served{recorder: r, path: path}
	all := int64(0)
	for _, step := range []struct {
		user    uint32
		streams int
		limit   string
		maximum int64
	}{
		{1001, userFollowers, "of a user", userFollowers}, {1002, userFollowers, "of a user", userFollowers},
		{1003, userFollowers, "of a user", userFollowers}, {1004, userFollowers, "of a user", userFollowers},
		{1005, 0, "in all", maxFollowers},
		{0, userFollowers, "of a user", userFollowers}, {broker, userFollowers, "of a user", userFollowers},
	} {
		uid.Store(step.user)
		for range step.streams {
			follow(t, s.connect(t))
		}
		all += int64(step.streams)
		waitFor(t, fmt.Sprintf("user %d to follow", step.user), func() bool { return s.followers.Load() == all })
		_, _, err = follow(t, s.connect(t))()
		var limit *api.LimitExceeded
		if !errors.As(err, &limit) || limit.Limit != "streams of Follow "+step.limit || limit.Maximum != step.maximum {
			t.Errorf("user %d: the error is %v", step.user, err)
		}
	}
	stop()
}

func TestConcurrentFlushesAreCombined(t *testing.T) {
	s := serve(t, Access{}, func(r *recorder) { r.flushing = make(chan struct{}) })
	const calls = 30
	var asked sync.WaitGroup
	cursors := make(chan string, calls)
	for range calls {
		c := s.connect(t)
		asked.Go(func() {
			cursor, err := api.Flush().Call(context.Background(), c)
			if err != nil {
				t.Error(err)
			}
			cursors <- cursor
		})
	}
	answered := make(chan struct{})
	go func() { asked.Wait(); close(answered) }()
	for done := false; !done; {
		select {
		case <-s.flushing:
			// Other calls arrive during a flush.
			time.Sleep(20 * time.Millisecond)
		case <-answered:
			done = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flushes >= calls {
		t.Errorf("%d calls made %d flushes", calls, s.flushes)
	}
	if len(cursors) != calls {
		t.Errorf("%d of %d calls were answered", len(cursors), calls)
	}
}

func TestOnewayCallsAreExecutedWithoutReply(t *testing.T) {
	s := serve(t, Access{})
	c := s.connect(t)
	if _, err := c.Send(context.Background(), prefix+"Flush", nil, varlink.Oneway); err != nil {
		t.Fatal(err)
	}
	cursor, err := api.Flush().Call(context.Background(), c)
	if err != nil || !strings.HasSuffix(cursor, "2") {
		t.Errorf("the second flush returns %q, %v", cursor, err)
	}
	// A oneway call of Follow cannot reply.
	if _, err := c.Send(context.Background(), prefix+"Follow", nil, varlink.Oneway); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Flush().Call(context.Background(), c); err != nil {
		t.Errorf("the call after a oneway Follow fails: %v", err)
	}
}

func TestTheGeneratedCodeMatchesTheInterface(t *testing.T) {
	const name, generated = "org.cryptoauditing.Agent.varlink", "orgcryptoauditingagent.go"
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not installed")
	}
	source, err := os.ReadFile("../orgcryptoauditingagent/" + name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), source, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("go", "run", "github.com/varlink/go/cmd/varlink-go-interface-generator", filepath.Join(dir, name))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("cannot generate: %v\n%s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(dir, generated))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../orgcryptoauditingagent/" + generated)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if string(got) != "// SPDX-License-Identifier: Apache-2.0\n\n"+string(want) {
		t.Errorf("%s differs from the code generated from %s: run go generate", generated, name)
	}
}
