// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/busservice/bustest"
)

// asOther is the environment variable that makes this program call the broker as another
// user. It has the address of the bus and the call.
const asOther = "BUSSERVICE_TEST_OTHER"

func TestMain(m *testing.M) {
	if call := os.Getenv(asOther); call != "" {
		callFromEnvironment(call)
		return
	}
	os.Exit(m.Run())
}

// callFromEnvironment calls a method and prints the name of its error, or ok.
func callFromEnvironment(call string) {
	fields := strings.Fields(call)
	address, path, method := fields[0], fields[1], fields[2]
	switch method {
	case flooding:
		flood(address)
		return
	case holding:
		hold(address)
		return
	}
	conn, err := dbus.Connect(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	var arguments []any
	switch method[strings.LastIndexByte(method, '.')+1:] {
	case "Open":
		arguments = []any{"oldest", dict{}, dict{}}
	case "Read":
		arguments = []any{"oldest", dict{}, uint32(1)}
	case "ReadOperations":
		arguments = []any{"oldest", dict{}, uint32(1), dict{}}
	case "Subscribe":
		arguments = []any{"", dict{}, dict{}}
	case "Truncate":
		arguments = []any{dict{}}
	case "Seek":
		arguments = []any{"oldest"}
	case "GetAll":
		arguments = []any{fields[3]}
	}
	if err := conn.Object(brokerName, dbus.ObjectPath(path)).Call(method, 0, arguments...).Err; err != nil {
		fmt.Println(errorName(err))
		return
	}
	fmt.Println("ok")
}

// flooding is a pseudo method that makes more calls than the broker serves, on 40
// connections, and reads no reply, until the program is killed.
const flooding = "Flood"

func flood(address string) {
	var all []*bustest.Deaf
	for range 40 {
		d, err := bustest.NewDeaf(address)
		if err != nil {
			fmt.Println(err)
			return
		}
		all = append(all, d)
	}
	for range 100 {
		for _, d := range all {
			if err := d.Call(brokerName, brokerPath, "org.freedesktop.DBus.Introspectable.Introspect"); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	fmt.Println("called")
	time.Sleep(time.Hour)
}

// holding is a pseudo method that opens streams until one is refused, prints their
// number, and keeps them until the program is killed.
const holding = "Hold"

func hold(address string) {
	conn, err := dbus.Connect(address)
	for n := 0; ; n++ {
		if err == nil {
			err = conn.Object(brokerName, brokerPath).Call(brokerName+".Open", 0, "oldest", dict{}, all("follow", true)).Err
		}
		if err != nil {
			fmt.Println(n, errorName(err))
			time.Sleep(time.Hour)
		}
	}
}

func TestStreamsOfTheGroupLeaveRoomForRoot(t *testing.T) {
	const group, nobody = 4242, 65534
	members := uint32(group)
	s := serveOn(t, bustest.Start(t, bustest.Daemon), func(so *busservice.Options, bo *broker.Options) {
		so.Group = &members
		bo.Limits = broker.DefaultLimits()
		bo.Limits.Streams, bo.Limits.UserStreams = 6, 3
	})
	p := s.connect(t)
	for _, attacker := range []uint32{1, 2} { // users that the bus knows
		command := commandAs(t, s.bus, attacker, group, brokerPath, holding)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		})
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "3 org.crypto_auditing.Error.LimitExceeded\n" {
			t.Fatalf("user %d: %q, %v", attacker, line, err)
		}
	}
	if got := callAs(t, s.bus, nobody, group, brokerPath, brokerName+".Open"); got != "org.crypto_auditing.Error.LimitExceeded" {
		t.Errorf("Open by a third member of the group: %s", got)
	}
	for range 3 {
		p.open("oldest", dict{}, all("follow", true))
	}
}

// Even on many connections, the calls of one user leave room for those of others.
func TestCallsOfOneUserLeaveRoomForOtherUsers(t *testing.T) {
	const group, nobody, attacker = 4242, 65534, 1 // a user that the bus knows
	members := uint32(group)
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := serveOn(t, bustest.Start(t, kind), func(so *busservice.Options, _ *broker.Options) { so.Group = &members })
			p := s.connect(t)
			command := commandAs(t, s.bus, attacker, attacker, brokerPath, flooding)
			out, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = command.Process.Kill()
				_ = command.Wait()
			})
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "called\n" {
				t.Fatalf("attacker: %q, %v", line, err)
			}
			for range 50 {
				if err := p.call("GetStatus").Err; err != nil {
					t.Fatalf("root: %v", err)
				}
			}
			if got := callAs(t, s.bus, nobody, group, brokerPath, brokerName+".GetStatus"); got != "ok" {
				t.Errorf("GetStatus by a member of the group: %s", got)
			}
			if got := callAs(t, s.bus, nobody, nobody, brokerPath, "org.freedesktop.DBus.Properties.GetAll", brokerName); got != "ok" {
				t.Errorf("GetAll by another user outside the group: %s", got)
			}
		})
	}
}

// callAs calls a method as another user with a supplementary group.
func callAs(t *testing.T, bus *bustest.Bus, user, group uint32, path dbus.ObjectPath, method string, more ...string) string {
	t.Helper()
	out, err := commandAs(t, bus, user, group, path, method, more...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// commandAs returns the command for callAs.
func commandAs(t *testing.T, bus *bustest.Bus, user, group uint32, path dbus.ObjectPath, method string, more ...string) *exec.Cmd {
	t.Helper()
	// Copy the test program: only root can enter its directory.
	program := filepath.Join(bus.Dir, "test")
	if _, err := os.Stat(program); err != nil {
		text, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), asOther+"="+strings.Join(append([]string{bus.Address, string(path), method}, more...), " "),
		// The race detector waits a second at exit.
		"GORACE=atexit_sleep_ms=0")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{group}}}
	return command
}

const denied = "org.freedesktop.DBus.Error.AccessDenied"

func TestWithoutPolkitTheGroupReadsAndOnlyRootTruncates(t *testing.T) {
	const group, nobody = 4242, 65534
	members := uint32(group)
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := serveOn(t, bustest.Start(t, kind), func(so *busservice.Options, _ *broker.Options) { so.Group = &members })
			p := s.connect(t)
			path := p.subscribe("mine", dict{}, dict{})
			ephemeral := p.subscribe("", dict{}, dict{})
			for _, method := range []string{"Read", "ReadOperations", "Subscribe", "Truncate", "Flush", "GetStatus", "ListSubscriptions"} {
				want := "ok"
				if method == "Truncate" {
					want = denied
				}
				if got := callAs(t, s.bus, nobody, group, brokerPath, brokerName+"."+method); got != want {
					t.Errorf("a member of the group calls %s: %s, want %s", method, got, want)
				}
				if got := callAs(t, s.bus, nobody, nobody, brokerPath, brokerName+"."+method); got != denied {
					t.Errorf("a user outside the group calls %s: %s", method, got)
				}
			}
			// Properties contain no events.
			if got := callAs(t, s.bus, nobody, nobody, brokerPath, "org.freedesktop.DBus.Properties.GetAll", brokerName); got != "ok" {
				t.Errorf("a user outside the group reads properties: %s", got)
			}
			// Only its owner and root may call methods of a subscription.
			for _, path := range []dbus.ObjectPath{path, ephemeral} {
				for _, method := range []string{
					subName + ".Attach", subName + ".Seek", subName + ".Close", "org.freedesktop.DBus.Properties.GetAll",
					"org.freedesktop.DBus.Introspectable.Introspect",
				} {
					if got := callAs(t, s.bus, nobody, group, path, method, subName); got != denied {
						t.Errorf("another user's subscription answers %s: %s", method, got)
					}
				}
			}
			// Root may close them from another connection.
			for _, path := range []dbus.ObjectPath{path, ephemeral} {
				if got := callAs(t, s.bus, 0, 0, path, subName+".Close"); got != "ok" {
					t.Errorf("root closes %s: %s", path, got)
				}
			}
		})
	}
}

func TestAnEphemeralSubscriptionEndsWithItsConnection(t *testing.T) {
	s := serve(t)
	p, q := s.connect(t), s.connect(t)
	path := q.subscribe("", dict{}, dict{})
	q.subscribe("kept", dict{}, dict{})
	list := func() (names []string, attached int) {
		var all []struct {
			Name               string
			Path               dbus.ObjectPath
			Delivered, Pending uint64
			Attributes         dict
		}
		if err := p.call("ListSubscriptions").Store(&all); err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			names = append(names, l.Name)
			if l.Attributes["attached"].Value().(bool) {
				attached++
			}
		}
		slices.Sort(names)
		return names, attached
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		names, attached := list()
		if slices.Equal(names, []string{"", "kept"}) && attached == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("subscriptions %q, %d attached", names, attached)
		}
	}
	q.conn.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		names, attached := list()
		if slices.Equal(names, []string{"kept"}) && attached == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("subscriptions %q, %d attached", names, attached)
		}
	}
	if err := p.conn.Object(brokerName, path).Call(subName+".Close", 0).Err; errorName(err) != "org.freedesktop.DBus.Error.UnknownObject" {
		t.Errorf("the object of an ended subscription: %v", err)
	}
}

func TestAttachMovesADurableSubscription(t *testing.T) {
	s := serve(t)
	p, q := s.connect(t), s.connect(t)
	path := p.subscribe("moves", dict{}, all("batch", uint32(3)))
	r := rand.New(rand.NewPCG(6, 6))
	last := s.log.Append(brokertest.Some(r, 10)...)
	first := p.until(last.Sequence)
	if err := q.conn.Object(brokerName, path).Call(subName+".Attach", 0).Err; err != nil {
		t.Fatal(err)
	}
	last = s.log.Append(brokertest.Some(r, 10)...)
	second := q.until(last.Sequence)
	if second[0].Sequence != first[len(first)-1].Sequence+1 || len(second) != 10 {
		t.Errorf("%d groups, from %d, after %d", len(second), second[0].Sequence, first[len(first)-1].Sequence)
	}
	var position dbus.Variant
	if err := q.conn.Object(brokerName, path).Call("org.freedesktop.DBus.Properties.Get", 0, subName, "Position").Store(&position); err != nil || position.Value() != last.String() {
		t.Errorf("position %v, %v; want %v", position, err, last)
	}
	// Only Seek makes the broker send groups again.
	if err := q.conn.Object(brokerName, path).Call(subName+".Seek", 0, "oldest").Err; err != nil {
		t.Fatal(err)
	}
	if again := q.until(last.Sequence); again[0].Sequence != 1 || uint64(len(again)) != last.Sequence {
		t.Errorf("after Seek: %d groups, from %d", len(again), again[0].Sequence)
	}
	select {
	case signal := <-p.signals:
		if signal.Name == subName+".Events" {
			t.Errorf("the previous connection received %v", signal)
		}
	default:
	}
}

func TestAcknowledgementsOpenTheWindow(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	path := p.subscribe("", dict{}, all("flow", "acknowledge", "batch", uint32(4), "after", "oldest"))
	last := s.log.Append(brokertest.Some(rand.New(rand.NewPCG(7, 7)), 20)...)
	s.log.Flush()
	object := p.conn.Object(brokerName, path)
	acknowledge := func(cursor string) error { return object.Call(subName+".Acknowledge", 0, cursor).Err }
	var got []group
	for {
		e := p.nextEvents()
		got = append(got, e.groups...)
		// No window comes without an acknowledgement: it would have arrived before the
		// reply to this call.
		if err := object.Call(subName+".Acknowledge", 0, "x").Err; errorName(err) != errorPrefix+"InvalidCursor" {
			t.Fatal(err)
		}
		for waiting := true; waiting; {
			select {
			case signal := <-p.signals:
				if signal.Name == subName+".Events" {
					t.Fatalf("a second window came before the first was acknowledged: %v", signal.Body)
				}
			default:
				waiting = false
			}
		}
		if e.cursor == last.String() {
			break
		}
		if err := acknowledge(last.String()); errorName(err) != errorPrefix+"InvalidCursor" {
			t.Fatalf("acknowledging a group that was not sent: %v", err)
		}
		if err := acknowledge(e.cursor); err != nil {
			t.Fatal(err)
		}
	}
	if uint64(len(got)) != last.Sequence {
		t.Errorf("%d groups of %d", len(got), last.Sequence)
	}
}

func TestAppendedSignalIsSent(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	for _, member := range []string{"Appended", "PropertiesChanged"} {
		if err := p.conn.AddMatchSignal(dbus.WithMatchSender(brokerName), dbus.WithMatchMember(member)); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(8, 8))
	var sum uint64
	begin := s.log.Flush().Sequence
	began := time.Now()
	var last string
	for range 200 {
		last = s.log.Append(brokertest.Some(r, 10)...).String()
		time.Sleep(2 * time.Millisecond)
	}
	signals := 0
	for {
		signal := p.next(brokerName + ".Appended")
		signals++
		sum += signal.Body[1].(uint64)
		if signal.Body[0] == last {
			break
		}
	}
	if most := int(time.Since(began)/(200*time.Millisecond)) + 2; signals > most || sum+begin < sequenceOf(t, last) {
		t.Errorf("%d signals for %d groups, want at most %d", signals, sum, most)
	}
	s.log.Lose("ring-full", 5)
	changed := p.next("org.freedesktop.DBus.Properties.PropertiesChanged")
	if values := changed.Body[1].(map[string]dbus.Variant); values["EventsLost"].Value() != uint64(5) {
		t.Errorf("changed: %v", changed.Body)
	}
	s.log.Rotate()
	s.log.Append(brokertest.Some(r, 1)...)
	s.log.Flush()
	if err := p.call("Truncate", all("max-size", uint64(1))).Err; err != nil {
		t.Fatal(err)
	}
	changed = p.next("org.freedesktop.DBus.Properties.PropertiesChanged")
	if _, ok := changed.Body[1].(map[string]dbus.Variant)["Oldest"]; !ok {
		t.Errorf("changed: %v", changed.Body)
	}
}

func sequenceOf(t *testing.T, cursor string) uint64 {
	t.Helper()
	var n uint64
	if _, err := fmt.Sscanf(cursor[33:], "%x", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Calls that race with the idle exit of the service are answered, and subscriptions made
// at that time continue.
func TestIdleExitLosesNoCallOrSubscription(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	s := serveOn(t, bus, func(so *busservice.Options, _ *broker.Options) { so.Idle = 5 * time.Millisecond })
	first := s.log.Append(brokertest.Some(rand.New(rand.NewPCG(9, 9)), 10)...)
	s.log.Flush()
	// A call without a running service starts the next one, like bus activation.
	var mu sync.Mutex
	starts := 0
	ensure := func() {
		mu.Lock()
		defer mu.Unlock()
		p := s.connect(t)
		defer p.conn.Close()
		var owned bool
		if err := p.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, brokerName).Store(&owned); err == nil && !owned {
			s.stop()
			s.start(t, func(so *busservice.Options, _ *broker.Options) { so.Idle = 5 * time.Millisecond })
			starts++
		}
	}
	chance := rand.New(rand.NewPCG(10, uint64(time.Now().UnixNano())))
	p := s.connect(t)
	// Call until enough calls have raced with the exit: on a slow machine, the service has
	// exited more often.
	answered, calls := 0, 0
	for ; calls < 200 || calls < 5000 && (starts < 3 || answered < 50); calls++ {
		var groups []group
		var next string
		var missing uint64
		err := p.broker.Call(brokerName+".Read", dbus.FlagNoAutoStart, "oldest", dict{}, uint32(5)).Store(&groups, &next, &missing)
		switch name := errorName(err); {
		case err == nil:
			if len(groups) != 5 {
				t.Fatalf("%d groups", len(groups))
			}
			answered++
		case name == "org.freedesktop.DBus.Error.NameHasNoOwner" || name == "org.freedesktop.DBus.Error.ServiceUnknown":
			ensure()
		default:
			t.Fatalf("a call was lost: %s: %v", name, err)
		}
		time.Sleep(time.Duration(chance.IntN(8000)) * time.Microsecond)
	}
	if starts < 3 || answered < 50 {
		t.Errorf("the service exited %d times, %d of %d calls were answered: too few of them raced", starts, answered, calls)
	}
	s.mu.Lock()
	for i, note := range s.notes {
		if note == "STOPPING=1" && (i == 0 || s.notes[i-1] != "READY=1") {
			t.Errorf("sent to the service manager: %v", s.notes)
			break
		}
	}
	s.mu.Unlock()

	// A subscription prevents the idle exit. One that is made during the exit is taken over
	// by the next service.
	for round := range 20 {
		q := s.connect(t)
		options := all("after", first.String())
		for {
			err := q.broker.Call(brokerName+".Subscribe", dbus.FlagNoAutoStart, "", dict{}, options).Err
			if err == nil {
				break
			}
			if name := errorName(err); name != "org.freedesktop.DBus.Error.NameHasNoOwner" && name != "org.freedesktop.DBus.Error.ServiceUnknown" {
				t.Fatalf("round %d: %v", round, err)
			}
			ensure()
		}
		last := s.log.Append(brokertest.Some(chance, 3)...)
		s.log.Flush()
		done := make(chan []group)
		go func() { done <- q.until(last.Sequence) }()
		var got []group
		for got == nil {
			select {
			case got = <-done:
			case <-time.After(50 * time.Millisecond):
				ensure() // the service may have exited after it accepted the subscription
			}
		}
		if got[0].Sequence != first.Sequence+1 || got[len(got)-1].Sequence != last.Sequence || uint64(len(got)) != last.Sequence-first.Sequence {
			t.Fatalf("round %d: %d groups from %d to %d, want all from %d to %d", round, len(got), got[0].Sequence, got[len(got)-1].Sequence, first.Sequence+1, last.Sequence)
		}
		q.conn.Close()
		first = last
		time.Sleep(time.Duration(chance.IntN(10)) * time.Millisecond)
	}
}

func TestACleanRestartContinuesAtThePosition(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	p.subscribe("", dict{}, dict{})
	p.subscribe("durable", all("executables", []string{"curl", "nginx", "sshd", `odd\x5cx`}), dict{})
	r := rand.New(rand.NewPCG(11, 11))
	gather := func(last uint64) map[dbus.ObjectPath][]uint64 {
		got := map[dbus.ObjectPath][]uint64{}
		for done := 0; done < 2; {
			e := p.nextEvents()
			for _, g := range e.groups {
				got[e.path] = append(got[e.path], g.Sequence)
			}
			if n := got[e.path]; n[len(n)-1] == last {
				done++
			}
		}
		return got
	}
	last := s.log.Append(brokertest.Some(r, 100)...)
	before := gather(last.Sequence)
	s.stop()
	next := s.log.Append(brokertest.Some(r, 100)...)
	s.start(t)
	after := gather(next.Sequence)
	for path, got := range after {
		// The log may have metadata in between, which does not pass every filter.
		if first := before[path]; len(first) < 100 || len(got) < 100 || got[0] <= first[len(first)-1] || got[0] > last.Sequence+2 {
			t.Errorf("%s: %d groups before, up to %d, %d after, from %d", path, len(first), first[len(first)-1], len(got), got[0])
		}
	}
	if len(after) != 2 {
		t.Errorf("%d subscriptions continue, want 2", len(after))
	}
}

// Proxies only accept signals from the owner of the name. Even during restarts, the owner
// at that time sends every signal.
func TestSignalsComeFromTheOwnerOfTheName(t *testing.T) {
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := serveOn(t, bustest.Start(t, kind))
			p := s.connect(t)
			if err := p.conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"),
				dbus.WithMatchArg(0, brokerName)); err != nil {
				t.Fatal(err)
			}
			var owner string
			if err := p.conn.BusObject().Call("org.freedesktop.DBus.GetNameOwner", 0, brokerName).Store(&owner); err != nil {
				t.Fatal(err)
			}
			p.subscribe("", dict{}, dict{})
			p.subscribe("durable", dict{}, all("flow", "auto"))
			r := rand.New(rand.NewPCG(13, 13))
			done := make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						s.log.Append(brokertest.Some(r, 20)...)
					}
				}
			})
			for range 5 {
				// Each broker sends some windows.
				for windows := 0; windows < 4; {
					select {
					case signal := <-p.signals:
						switch {
						case signal.Name == "org.freedesktop.DBus.NameOwnerChanged":
							owner = signal.Body[2].(string)
						case signal.Name == subName+".Events" && signal.Sender != owner:
							t.Fatalf("%s sent a signal, but %q owns the name", signal.Sender, owner)
						case signal.Name == subName+".Events":
							windows++
						case signal.Name == subName+".Skipped":
							t.Fatalf("skipped %v", signal.Body)
						}
					case <-time.After(20 * time.Second):
						t.Fatal("timeout waiting for a signal")
					}
				}
				s.stop()
				s.start(t)
			}
			close(done)
			writing.Wait()
		})
	}
}
