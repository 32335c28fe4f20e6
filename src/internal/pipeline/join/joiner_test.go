// SPDX-License-Identifier: Apache-2.0

package join

import (
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
)

// begin stores a handshake of a client that process 0 began.
func begin(t *testing.T, j *Joiner, at uint64) {
	t.Helper()
	if j.Begin(at, 7, event.ContextID{}, []byte("tls::handshake_client"), []byte("curl")) == nil {
		t.Fatal("a handshake is not recognised by its name")
	}
}

// A process that reports many handshakes does not have all of them looked at for
// each of its sockets.
func TestFewHandshakesOfAProcessAreLookedAt(t *testing.T) {
	j := New()
	for range 4 * maxCandidates {
		begin(t, j, 1)
	}
	o := &Operation{Task: 7, Start: 10, End: 11, Executable: "curl", Values: Values{Role: "client", Version: 772, Suite: 0x1301}}
	if n := len(j.candidates(o)); n != maxCandidates {
		t.Errorf("%d candidates", n)
	}
	for _, h := range j.all[:len(j.all)-1] {
		h.matched = true
	}
	if n := len(j.candidates(o)); n != 1 || len(j.byProcess[0]) != 1 {
		t.Errorf("%d candidates of %d after all but one are matched", n, len(j.byProcess[0]))
	}
}

func TestMemoryOfTheJoinerIsBounded(t *testing.T) {
	j := New()
	for at := range uint64(2 * maxReported) {
		begin(t, j, at)
	}
	if n := len(j.all); n > maxReported {
		t.Errorf("%d handshakes of libraries are remembered", n)
	}
	for i := range 2 * maxCovered {
		j.Count(string(rune('a'+i)), func(c *status.Coverage) { c.Socket++ })
	}
	if n := len(j.Coverage()); n > maxCovered+1 {
		t.Errorf("%d executables are counted", n)
	}
	begin(t, j, 1<<50)
	if n := len(j.all); n != 1 || len(j.byProcess[0]) != 1 {
		t.Errorf("%d handshakes of libraries are remembered forever", n)
	}
}
