// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/client"
)

// reply is the reply of a varlink service.
type reply struct {
	Error      string
	Parameters map[string]any
}

// call calls a varlink method without parameters.
func call(t *testing.T, path, method string) (r reply) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, `{"method": %q, "parameters": {}}`+"\x00", method)
	answer, err := bufio.NewReader(c).ReadBytes(0)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	if err := json.Unmarshal(answer[:len(answer)-1], &r); err != nil {
		t.Fatalf("%s answers %q: %v", method, answer, err)
	}
	return r
}

// bus calls a method of the broker on the bus.
func bus(t *testing.T, method string, arguments ...string) string {
	t.Helper()
	return run(t, append([]string{
		"busctl", "--timeout=90", "call", "org.crypto_auditing.Broker", "/org/crypto_auditing/Broker", "org.crypto_auditing.Broker", method,
	}, arguments...)...)
}

// connect connects to the broker.
func connect(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestACallOnTheBusStartsTheBroker(t *testing.T) {
	running(t)
	run(t, "systemctl", "stop", brokerService)
	fireTrace(t, 10)
	bus(t, "Flush")
	waitFor(t, "the broker to run", func() bool { return active(t, brokerService) })
	if output := bus(t, "Read", "sa{sv}u", "oldest", "1", "contexts", "as", "1", "tls::handshake", "10"); !strings.Contains(output, "tls::handshake") {
		t.Errorf("the broker reads %s", output)
	}
	user := strings.TrimSpace(run(t, "id", "-u", "crypto-auditing-broker"))
	process := run(t, "cat", "/proc/"+property(t, brokerService, "MainPID")+"/status")
	for _, want := range []string{"Uid:\t" + user + "\t", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(process, want) {
			t.Errorf("the broker's status has no %q:\n%s", want, process)
		}
	}
}

func TestRealHandshakesAreRecordedAndQueriedOverTheBus(t *testing.T) {
	running(t)
	before := flush(t)
	fire(t, handshake, "--tls", "1.3", "--count", "3")
	fire(t, handshake, "--tls", "1.2", "--count", "2")
	flush(t)
	for match, want := range map[string]int{
		`tls::protocol_version=TLS 1.3`: 3, `tls::protocol_version=TLS 1.2`: 2, `tls::protocol_version=TLS 1.1`: 0,
	} {
		// Each handshake has a client's and a server's side.
		output, _ := try("crauctl", "query", "--after-cursor", before, match)
		if n := strings.Count(output, " tls::handshake "); n != 2*want {
			t.Errorf("%s: %d sides of handshakes, want %d:\n%s", match, n, 2*want, output)
		}
	}
	if output := run(t, "crauctl", "query", "--after-cursor", before); !strings.Contains(output, "TLS_AES_256_GCM_SHA384") || !strings.Contains(output, "pk::") {
		t.Errorf("crauctl shows\n%s", output)
	}
	if s := readStatus(t); s.Broker == nil || s.Broker.Version == "" {
		t.Errorf("the status of the broker is %+v", s.Broker)
	}
}

func TestASubscriberReceivesSignals(t *testing.T) {
	running(t)
	c := connect(t)
	s, err := c.Subscribe(t.Context(), client.SubscribeOptions{Name: "vm", Filter: client.Filter{Contexts: []string{"tls::*"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fireTrace(t, 25)
	seen := receive(t, s, 25)
	for i := 1; i < len(seen); i++ {
		if seen[i] <= seen[i-1] {
			t.Errorf("group %d came after %d", seen[i], seen[i-1])
		}
	}
	if list := run(t, "crauctl", "subscriptions"); !strings.Contains(list, "vm") {
		t.Errorf("crauctl does not list the subscription:\n%s", list)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

// A replayed handshake opens the context of its client twice.
const opensPerHandshake = 2

// opensClient reports whether a group opens the context of a client in a
// replayed handshake.
func opensClient(g *client.Group) bool { return g.Opens && g.Name == "tls::handshake_client" }

// receive receives the groups of a number of replayed handshakes. It returns the
// sequence numbers of those that open the context of a client.
func receive(t *testing.T, s *client.Subscription, handshakes int) (sequences []uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for g, err := range s.Groups(ctx) {
		if err != nil {
			t.Fatalf("after %d groups of %d handshakes: %v", len(sequences), handshakes, err)
		}
		if opensClient(&g) {
			sequences = append(sequences, g.Sequence)
		}
		if len(sequences) == handshakes*opensPerHandshake {
			break
		}
	}
	return sequences
}

func TestAPipeIsPassedThroughTheBus(t *testing.T) {
	running(t)
	before := flush(t)
	fireTrace(t, 30)
	flush(t)
	c := connect(t)
	s, err := c.Open(t.Context(), client.Cursor(before), client.Filter{}, client.OpenOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stop := time.AfterFunc(patience, func() { s.Close() })
	defer stop.Stop()
	n := 0
	for g, err := range s.Groups() {
		if err != nil {
			t.Fatalf("after %d groups: %v", n, err)
		}
		if !opensClient(&g) {
			continue
		}
		n++
		if n == 30*opensPerHandshake {
			// The stream continues with events that are recorded now.
			fireTrace(t, 3)
		}
		if n == 33*opensPerHandshake {
			break
		}
	}
}

func TestAgentAndBrokerAnswerVarlinkCalls(t *testing.T) {
	running(t)
	fireTrace(t, 2)
	for method, path := range map[string]string{
		"org.cryptoauditing.Agent.GetStatus":  agentPath,
		"org.cryptoauditing.Agent.Flush":      agentPath,
		"org.cryptoauditing.Broker.GetStatus": brokerPath,
		"org.varlink.service.GetInfo":         "/run/varlink/registry/org.cryptoauditing.Agent",
	} {
		if r := call(t, path, method); r.Error != "" || len(r.Parameters) == 0 {
			t.Errorf("%s answers %+v", method, r)
		}
	}
	if !active(t, brokerService) {
		t.Error("the broker's socket has not started it")
	}
}

func TestRotateStartsASegmentAndTheTimerTruncates(t *testing.T) {
	running(t)
	run(t, "systemctl", "stop", brokerService)
	write(t, "/etc/crypto-auditing/broker.conf", "[truncate]\nmax_size = \"1B\"\nkeep_free = 0\n")
	t.Cleanup(func() {
		_ = os.Remove("/etc/crypto-auditing/broker.conf")
		run(t, "systemctl", "stop", brokerService)
	})
	for range 3 {
		fireTrace(t, 10)
		run(t, "crauctl", "rotate")
	}
	before := segments(t)
	if len(before) < 3 {
		t.Fatalf("there are only the segments %v", before)
	}
	if !active(t, truncateTimer) || property(t, truncateTimer, "Unit") != truncateService || property(t, truncateTimer, "NextElapseUSecRealtime") == "" {
		t.Error("the timer does not work")
	}
	if output, err := try("systemctl", "start", truncateService); err == nil {
		t.Errorf("the whole log is removed without force:\n%s", output)
	}
	run(t, "crauctl", "vacuum", "--force")
	fireTrace(t, 10)
	run(t, "crauctl", "rotate")
	before = segments(t)
	run(t, "systemctl", "start", truncateService)
	if after := segments(t); len(after) != 1 || after[0] != before[len(before)-1] {
		t.Errorf("the segments %v became %v", before, after)
	}
}
