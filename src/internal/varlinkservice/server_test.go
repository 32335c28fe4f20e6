// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varlink/go/varlink"
	"golang.org/x/time/rate"

	"crypto-auditing/src/internal/quota"
)

// example is an interface for the tests.
type example struct {
	// begun receives an element for each call of Wait, which replies after it received
	// one from release.
	begun   chan struct{}
	release chan struct{}
	// left receives an element when the caller of Wait disconnects.
	left chan struct{}
}

func newExample() *example {
	return &example{begun: make(chan struct{}, 1000), release: make(chan struct{}), left: make(chan struct{}, 1000)}
}

func (e *example) VarlinkGetName() string { return "org.example.Test" }
func (e *example) VarlinkGetDescription() string {
	return `interface org.example.Test
method Echo(text: string) -> (text: string)
method Who() -> (uid: int, gid: int, groups: []int)
method Big(size: int) -> (text: string)
method Wait() -> (why: string)
error LimitExceeded (limit: string, maximum: int)
`
}

func (e *example) VarlinkDispatch(ctx context.Context, c varlink.Call, method string) error {
	var in struct {
		Text string `json:"text"`
		Size int    `json:"size"`
	}
	if c.In.Parameters != nil {
		if err := c.GetParameters(&in); err != nil {
			return c.ReplyInvalidParameter(ctx, "parameters")
		}
	}
	switch method {
	case "Echo":
		return c.Reply(ctx, map[string]any{"text": in.Text})
	case "Who":
		p := CallerOf(&c).Peer()
		return c.Reply(ctx, map[string]any{"uid": p.UID, "gid": p.GID, "groups": append([]uint32{}, p.Groups...)})
	case "Big":
		return c.Reply(ctx, map[string]any{"text": strings.Repeat("x", in.Size)})
	case "Wait":
		e.begun <- struct{}{}
		select {
		case <-e.release:
			return c.Reply(ctx, map[string]any{"why": "released"})
		case <-CallerOf(&c).Disconnected():
			e.left <- struct{}{}
			return errors.New("gone")
		case <-ctx.Done():
			return c.Reply(ctx, map[string]any{"why": "done"})
		}
	}
	return c.ReplyMethodNotFound(ctx, method)
}

// served is a running server.
type served struct {
	*example
	path   string
	server *Server
	stop   context.CancelFunc
	// ended receives the result of Serve.
	ended chan error
}

// serve starts a server; change may change its options.
func serve(t *testing.T, change func(*Options)) *served {
	t.Helper()
	e := newExample()
	service, err := varlink.NewService("example", "test", "1", "https://example.org")
	if err == nil {
		err = service.RegisterInterface(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Limits: DefaultLimits(), LimitError: "org.example.Test.LimitExceeded", Peer: PeerOf,
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	s := &served{example: e, path: filepath.Join(directory(t), "socket"), server: New(service, o), ended: make(chan error, 1)}
	l, err := Listen(s.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.ended <- s.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-s.ended:
			if err != nil {
				t.Errorf("the server failed: %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	return s
}

// patience bounds all waiting of tests.
const patience = time.Minute

// directory returns a new directory that all users may enter.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "varlink")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// client is a peer that may send arbitrary bytes.
type client struct {
	*net.UnixConn
	r *bufio.Reader
	t *testing.T
}

func (s *served) connect(t *testing.T) *client {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c), t}
}

func call(method, parameters string) string {
	return fmt.Sprintf(`{"method":"org.example.Test.%s","parameters":%s}`+"\x00", method, parameters)
}

// send sends bytes as they are. It is not a failure if the server does not accept them.
func (c *client) send(text string) { io.WriteString(c, text) }

// reply returns the next reply of the server; ok is false at the end of the connection.
func (c *client) reply() (_ string, ok bool) {
	text, err := c.r.ReadString(0)
	switch {
	case err == nil:
		return strings.TrimSuffix(text, "\x00"), true
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Error("timeout waiting for a reply")
	}
	return text, false
}

// want fails the test unless the next reply contains text.
func (c *client) want(text string) {
	c.t.Helper()
	if got, ok := c.reply(); !ok || !strings.Contains(got, text) {
		c.t.Errorf("the reply is %q (%v), want one with %q", got, ok, text)
	}
}

// wantEnd fails the test unless the connection ends without another reply.
func (c *client) wantEnd() {
	c.t.Helper()
	if got, ok := c.reply(); ok {
		c.t.Errorf("the reply is %q, want the end of the connection", got)
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("timeout waiting for %s", what)
	}
}

func TestCallsAreAnsweredInOrder(t *testing.T) {
	c := serve(t, nil).connect(t)
	c.send(call("Echo", `{"text":"a"}`) + call("Echo", `{"text":"b"}`) + call("None", `{}`) + call("Echo", `{"text":"c"}`))
	c.want(`{"text":"a"}`)
	c.want(`{"text":"b"}`)
	c.want("org.varlink.service.MethodNotFound")
	c.want(`{"text":"c"}`)
}

func TestAPeerThatHasShutDownWritingIsStillAnswered(t *testing.T) {
	c := serve(t, nil).connect(t)
	c.send(call("Echo", `{"text":"a"}`) + call("Echo", `{"text":"b"}`))
	c.CloseWrite()
	c.want(`{"text":"a"}`)
	c.want(`{"text":"b"}`)
	c.wantEnd()
}

func TestTheServiceDescribesItself(t *testing.T) {
	c := serve(t, nil).connect(t)
	c.send(`{"method":"org.varlink.service.GetInfo"}` + "\x00")
	c.want(`"interfaces":["org.varlink.service","org.example.Test"]`)
	c.send(`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.example.Test"}}` + "\x00")
	c.want(`interface org.example.Test`)
}

func TestACallIsCancelledWhenItsPeerDisconnects(t *testing.T) {
	s := serve(t, nil)
	for how, leave := range map[string]func(*client){
		"closed": func(c *client) { c.Close() },
		"shut":   func(c *client) { c.CloseWrite() },
		"closed with calls that wait": func(c *client) {
			c.send(call("Echo", `{"text":"a"}`) + `{"meth`)
			c.Close()
		},
	} {
		c := s.connect(t)
		c.send(call("Wait", "{}"))
		await(t, "the call", s.begun)
		leave(c)
		await(t, "the end of a call whose peer has "+how, s.left)
	}
}

func TestStoppingTheServerEndsCallsAndConnections(t *testing.T) {
	s := serve(t, nil)
	idle, half, waiting := s.connect(t), s.connect(t), s.connect(t)
	idle.send(call("Echo", `{"text":"a"}`))
	idle.want("a")
	half.send(`{"meth`)
	waiting.send(call("Wait", "{}"))
	await(t, "the call", s.begun)
	s.stop()
	waiting.want(`{"why":"done"}`)
	waiting.wantEnd()
	idle.wantEnd()
	half.wantEnd()
	// Connections may end before the listener does.
	select {
	case err := <-s.ended:
		s.ended <- err
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
	if _, err := net.Dial("unix", s.path); err == nil {
		t.Error("the socket still accepts connections")
	}
	if _, err := os.Stat(s.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket still exists: %v", err)
	}
}

func TestBadCallsEndOnlyTheirConnection(t *testing.T) {
	s := serve(t, nil)
	good := s.connect(t)
	limits := DefaultLimits()
	cases := map[string]struct{ sent, reply string }{
		"invalid JSON":         {"hello\x00", ""},
		"an empty frame":       {"\x00", ""},
		"JSON of another kind": {"[1,2,3]\x00", ""},
		"a method of another kind": {
			`{"method":{"a":1}}` + "\x00", ""},
		"a frame that is too long": {
			strings.Repeat("x", limits.CallSize+1), `{"limit":"bytes of a call","maximum":16384}`},
		"a megabyte without an end": {
			`{"method":"` + strings.Repeat("x", 1<<20), `{"limit":"bytes of a call","maximum":16384}`},
		"deep arrays": {
			strings.Repeat("[", limits.CallDepth+1) + "\x00", `{"limit":"levels of a call","maximum":32}`},
		"deep objects, well formed": {
			call("Echo", strings.Repeat(`{"a":`, limits.CallDepth)+"1"+strings.Repeat("}", limits.CallDepth)),
			`{"limit":"levels of a call","maximum":32}`},
		"an unfinished frame and the end": {`{"method":"org.example.Test.Echo"`, ""},
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			c := s.connect(t)
			c.send(bad.sent)
			c.CloseWrite()
			if bad.reply != "" {
				c.want(`{"error":"org.example.Test.LimitExceeded","parameters":` + bad.reply + `}`)
			}
			c.wantEnd()
			good.send(call("Echo", `{"text":"fine"}`))
			good.want("fine")
		})
	}
}

func TestACallOfTheMaximumSizeAndDepthIsAnswered(t *testing.T) {
	c := serve(t, nil).connect(t)
	limits := DefaultLimits()
	deep := strings.Repeat("[", limits.CallDepth-2) + strings.Repeat("]", limits.CallDepth-2)
	frame := `{"method":"org.example.Test.Echo","parameters":{"text":"fine","deep":` + deep + `,"pad":""}}`
	frame = strings.Replace(frame, `"pad":""`, `"pad":"`+strings.Repeat("x", limits.CallSize-len(frame))+`"`, 1)
	if len(frame) != limits.CallSize {
		t.Fatalf("the frame has %d bytes", len(frame))
	}
	c.send(frame + "\x00")
	c.want("fine")
}

func TestAnIncompleteFrameTimesOut(t *testing.T) {
	s := serve(t, func(o *Options) { o.Limits.CallTime = time.Second })
	c := s.connect(t)
	c.send(call("Echo", `{"text":"a"}`) + `{"method`)
	c.want("a")
	c.want(`{"limit":"seconds of a call","maximum":1}`)
	c.wantEnd()
}

func TestSlowBytesDoNotExtendTheTimeout(t *testing.T) {
	s := serve(t, func(o *Options) { o.Limits.CallTime = time.Second })
	c := s.connect(t)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			if _, err := io.WriteString(c, " "); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	c.want(`{"limit":"seconds of a call","maximum":1}`)
	c.wantEnd()
	await(t, "the end of the connection", over)
}

func TestIdleConnectionsEndExceptDuringACall(t *testing.T) {
	s := serve(t, func(o *Options) { o.Limits.IdleTime = 2 * time.Second })
	waiting := s.connect(t)
	waiting.send(call("Wait", "{}"))
	await(t, "the call", s.begun)
	var silent []*client
	for range 3 {
		silent = append(silent, s.connect(t))
	}
	for _, c := range silent {
		c.wantEnd()
	}
	s.release <- struct{}{}
	waiting.want("released")
	waiting.wantEnd()
}

func TestAPeerThatDoesNotReadIsDisconnected(t *testing.T) {
	s := serve(t, func(o *Options) { o.Limits.ReplyTime = time.Second })
	c := s.connect(t)
	c.send(call("Echo", `{"text":"a"}`))
	c.want("a")
	c.send(call("Big", `{"size":10000000}`))
	// Only a part of the reply is received if the server gave up.
	waitFor(t, "the end of the connection", func() bool { return s.connections() == 0 })
	if got, ok := c.reply(); ok || len(got) >= 10000000 {
		t.Errorf("%d bytes of the reply were received (%v), want a part", len(got), ok)
	}
}

func (s *served) connections() int { return s.server.connections.Held() }

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout waiting for %s", what)
		}
	}
}

func TestWaitingCallsAreLimited(t *testing.T) {
	cases := map[string]struct{ calls, reply string }{
		"in number": {
			strings.Repeat(call("Echo", `{"text":"a"}`), DefaultLimits().Waiting+1), `{"limit":"waiting calls","maximum":16}`},
		"in size": {
			strings.Repeat(call("Echo", `{"text":"`+strings.Repeat("a", 6000)+`"}`), 3), `{"limit":"bytes of waiting calls","maximum":16384}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			peer := s.connect(t)
			peer.send(call("Wait", "{}"))
			await(t, "the call", s.begun)
			peer.send(c.calls)
			await(t, "the end of the call", s.left)
			peer.wantEnd()
		})
	}
	t.Run("and then all are answered", func(t *testing.T) {
		s := serve(t, nil)
		peer := s.connect(t)
		peer.send(call("Wait", "{}"))
		await(t, "the call", s.begun)
		peer.send(strings.Repeat(call("Echo", `{"text":"a"}`), DefaultLimits().Waiting))
		s.release <- struct{}{}
		peer.want("released")
		for range DefaultLimits().Waiting {
			peer.want(`{"text":"a"}`)
		}
	})
}

// Users with as many connections as possible leave room for the group and root.
func TestConnectionsOfManyUsersLeaveAReserve(t *testing.T) {
	var uid atomic.Uint32
	ranks := map[uint32]quota.Rank{0: quota.Trusted, 100: quota.Member, 101: quota.Member, 102: quota.Member}
	s := serve(t, func(o *Options) {
		o.Peer = func(net.Conn) (Peer, error) { return Peer{UID: uid.Load()}, nil }
		o.Rank = func(p Peer) quota.Rank { return ranks[p.UID] }
	})
	// take opens connections of a user until one is refused, and returns the number of
	// the others.
	take := func(user uint32, limit string) int {
		uid.Store(user)
		for n := 0; ; n++ {
			c := s.connect(t)
			c.send(call("Echo", `{"text":"fine"}`))
			if reply, ok := c.reply(); !ok || !strings.Contains(reply, "fine") {
				if ok && !strings.Contains(reply, limit) {
					t.Errorf("user %d is refused with %q, want %s", user, reply, limit)
				}
				return n
			}
		}
	}
	for _, step := range []struct {
		user  uint32
		want  int
		limit string
	}{
		{1, 32, "of a user"}, {2, 32, "of a user"}, {3, 0, "outside the group"},
		{100, 32, "of a user"}, {101, 32, "of a user"}, {102, 0, "in all"}, {0, 32, "of a user"},
	} {
		if n := take(step.user, step.limit); n != step.want {
			t.Errorf("user %d gets %d connections, want %d", step.user, n, step.want)
		}
	}
}

func TestAThousandConnections(t *testing.T) {
	s := serve(t, nil)
	most := DefaultLimits().Connections.User
	var open []*client
	refused := 0
	for range 1000 {
		c := s.connect(t)
		c.send(call("Echo", `{"text":"fine"}`))
		reply, ok := c.reply()
		switch {
		case ok && strings.Contains(reply, "fine"):
			open = append(open, c)
		case !ok || strings.Contains(reply, `{"limit":"connections of a user","maximum":32}`):
			refused++
		default:
			t.Fatalf("the reply is %q", reply)
		}
	}
	if len(open) != most || refused != 1000-most {
		t.Errorf("%d connections are open and %d were refused, want %d open", len(open), refused, most)
	}
	for _, c := range open {
		c.send(call("Echo", `{"text":"still fine"}`))
		c.want("still fine")
		c.Close()
	}
	waitFor(t, "the connections to be closed", func() bool { return s.connections() == 0 })
	c := s.connect(t)
	c.send(call("Echo", `{"text":"fine again"}`))
	c.want("fine again")
}

// peers assigns each connection to another user, from 1.
func peers() func(net.Conn) (Peer, error) {
	var last atomic.Uint32
	return func(net.Conn) (Peer, error) { return Peer{UID: last.Add(1)}, nil }
}

func TestAPeerThatCannotBeIdentifiedIsRefused(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.Peer = func(net.Conn) (Peer, error) { return Peer{}, errors.New("no idea") }
	})
	s.connect(t).wantEnd()
}

func TestHostilePeersUseBoundedMemory(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.Peer = peers()
		o.Rank = func(Peer) quota.Rank { return quota.Member }
		o.Limits.CallTime = time.Hour
	})
	limits := DefaultLimits()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	// Each peer has a running call, as many waiting calls as possible, and an incomplete
	// call.
	waiting := call("Echo", `{"text":"`+strings.Repeat("a", limits.CallSize/limits.Waiting-100)+`"}`)
	for range limits.Connections.Others {
		c := s.connect(t)
		c.send(call("Wait", "{}"))
		await(t, "the call", s.begun)
		c.send(strings.Repeat(waiting, limits.Waiting) + strings.Repeat("x", limits.CallSize))
	}
	most := uint64(limits.Connections.Others) * uint64(3*limits.CallSize+8192)
	if grown := int64(heap()) - int64(before); grown > int64(most) {
		t.Errorf("%d peers use %d bytes, want at most %d", limits.Connections.Others, grown, most)
	}
}

func TestCallsOfAllConnectionsShareTheRateLimit(t *testing.T) {
	// After the burst, a call would take longer than the test waits.
	const burst = 10
	s := serve(t, func(o *Options) { o.Limits.CallBurst, o.Limits.Calls = burst, rate.Every(time.Hour) })
	for i := range burst {
		c := s.connect(t)
		c.send(call("Echo", fmt.Sprintf(`{"text":"%d"}`, i)))
		c.want(strconv.Itoa(i))
	}
	c := s.connect(t)
	c.send(call("Echo", `{"text":"late"}`))
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if got, err := c.r.ReadString(0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a call beyond the burst is answered: %q, %v", got, err)
	}
	// The end of the server does not wait for it.
	c.SetDeadline(time.Now().Add(patience))
	s.stop()
	c.want("late")
}

func TestPassedFileDescriptorsAreClosed(t *testing.T) {
	c := serve(t, nil).connect(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rights := syscall.UnixRights(int(w.Fd()))
	if _, _, err := c.WriteMsgUnix([]byte(call("Echo", `{"text":"fine"}`)), rights, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	c.want("fine")
	// Reading ends when the write end is closed.
	r.SetReadDeadline(time.Now().Add(patience))
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("reading the pipe returns %d, %v: the write end is still open", n, err)
	}
}

func FuzzConnection(f *testing.F) {
	f.Add([]byte(call("Echo", `{"text":"a"}`)))
	f.Add([]byte(`{"method":"org.varlink.service.GetInfo","more":true,"oneway":true}` + "\x00" + call("Echo", "null")))
	f.Add([]byte(`{"method":".","parameters":[],"upgrade":true}` + "\x00\x00"))
	service, err := varlink.NewService("example", "test", "1", "https://example.org")
	if err == nil {
		err = service.RegisterInterface(newExample())
	}
	if err != nil {
		f.Fatal(err)
	}
	o := Options{Limits: DefaultLimits(), LimitError: "org.example.Test.LimitExceeded"}
	f.Fuzz(func(t *testing.T, sent []byte) {
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write(sent)
			theirs.Close()
		}()
		go io.Copy(io.Discard, theirs)
		newConn(ours, Peer{}, quota.Holder{}, o).serve(context.Background(), service, rate.NewLimiter(rate.Inf, 0))
	})
}

func BenchmarkCall(b *testing.B) {
	service, err := varlink.NewService("example", "test", "1", "https://example.org")
	if err == nil {
		err = service.RegisterInterface(newExample())
	}
	if err != nil {
		b.Fatal(err)
	}
	l, err := Listen(filepath.Join(b.TempDir(), "socket"), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		limits := DefaultLimits()
		limits.Calls = rate.Inf
		ended <- New(service, Options{Limits: limits, Peer: PeerOf, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l)
	}()
	c, err := varlink.NewConnection(ctx, "unix:"+l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var out json.RawMessage
		if err := c.Call(ctx, "org.example.Test.Echo", map[string]string{"text": "a"}, &out); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	stop()
	<-ended
}
