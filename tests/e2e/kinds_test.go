// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"
)

// profiles are the ways of attaching, by the flags that force them.
var profiles = map[string][]string{
	"uprobe_multi": {"--profile", "uprobe_multi"},
	"perf_event":   {"--profile", "perf_event"},
}

// needProfile is needRecording for a way of attaching.
func needProfile(t *testing.T, name string) {
	t.Helper()
	if name == "perf_event" {
		needPerfEvent(t)
		return
	}
	needRecording(t)
	if profileOf() != name {
		t.Skip("uprobe_multi needs kernel 6.6 or newer")
	}
}

func TestEveryProbeKindIsRecordedValueByValue(t *testing.T) {
	needRecording(t)
	for name, flags := range profiles {
		t.Run(name, func(t *testing.T) {
			needProfile(t, name)
			a := startAgent(t, setup{libraries: []string{publisher("kinds")}, flags: flags})
			fired, printed := start(t, "kinds").finish(t)
			result := a.stop(t, patience)

			var hits []hit
			if err := json.Unmarshal(printed, &hits); err != nil {
				t.Fatalf("cannot read what kinds fired: %v", err)
			}
			for form, part := range operands() {
				if !bytes.Contains(notes(t, publisher("kinds")), []byte(part)) {
					t.Errorf("kinds has no %s among its arguments, so the test does not cover it", form)
				}
			}
			total, lost := firedBy(hits)
			if total.hits != fired.done.hits {
				t.Fatalf("kinds printed %d hits and counted %d", total.hits, fired.done.hits)
			}
			log := check(t, a, result, total)
			if want := map[place]number{
				{"kernel", "unreadable"}: {0, lost.unreadable}, {"kernel", "oversize"}: {0, lost.oversize},
			}; !maps.Equal(result.lost, want) {
				t.Errorf("lost %v, want %v", result.lost, want)
			}
			compareHits(t, log, hits, "kinds", buildID(t, publisher("kinds")))
			compareAttributes(t, log)
		})
	}
}

// operands returns texts that the argument specifications of kinds must contain, by the
// form of the argument.
func operands() map[string]string {
	if runtime.GOARCH == "arm64" {
		return map[string]string{"constant": " 8@7", "memory operand": "@["}
	}
	return map[string]string{"constant": "@$", "negative constant": "@$-", "memory operand": "(%r", "index": ",8)",
		"slot of a symbol": "@getenv@GOTPCREL(%rip)", "symbol without a slot": "@form_variable@GOTPCREL(%rip)"}
}

func TestAnArrayOfSixteenIsRecordedWholeAndTheSeventeenthElementIsCounted(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("kinds")}})
	_, printed := start(t, "kinds").finish(t)
	a.stop(t, patience)
	var hits []hit
	if err := json.Unmarshal(printed, &hits); err != nil {
		t.Fatal(err)
	}
	var full, over []hit
	for _, h := range hits {
		switch h.Case {
		case "sixteen elements", "a context with sixteen elements":
			full = append(full, h)
		case "seventeen elements", "a context with seventeen elements":
			over = append(over, h)
		}
	}
	if len(full) != 2 || len(over) != 2 {
		t.Fatal("kinds does not fire arrays of sixteen and of seventeen elements")
	}
	elements := map[string]int{}
	for _, g := range readLog(t, a.log) {
		for i := range g.Events {
			if d := g.Events[i].Data; d != nil {
				elements[fmt.Sprintf("%s=%v", *d.Key, d.Value)]++
			}
		}
	}
	for _, h := range full {
		if values, lost := h.recordable(); len(values) != 16 || lost != (unrecorded{}) {
			t.Errorf("%s: %d elements are recordable and %v lost", h.Case, len(values), lost)
		}
	}
	for _, h := range over {
		if values, lost := h.recordable(); len(values) != 16 || lost != (unrecorded{oversize: 1}) {
			t.Errorf("%s: %d elements are recordable and %v lost", h.Case, len(values), lost)
		}
	}
	if sixteenth, seventeenth := elements["count::p=p"], elements["count::q=1016"]; sixteenth < 4 || seventeenth != 0 {
		t.Errorf("the sixteenth element is recorded %d times, the seventeenth %d times", sixteenth, seventeenth)
	}
}

func TestALibraryThatChecksTheSemaphoreFiresOnlyDuringRecording(t *testing.T) {
	needRecording(t)
	for name, flags := range profiles {
		t.Run(name, func(t *testing.T) {
			needProfile(t, name)
			p := start(t, "handshake", "--commands", "--memory")
			if hits := p.run(t, 1); hits != 0 {
				t.Fatalf("%d hits before the agent was started", hits)
			}
			a := startAgent(t, setup{libraries: []string{publisher("handshake")}, flags: flags})
			recorded := p.run(t, 3)
			if recorded == 0 || recorded%3 != 0 {
				t.Errorf("%d hits in three handshakes while the agent records", recorded)
			}
			result := a.stop(t, patience)
			if hits := p.run(t, 1); hits != 0 {
				t.Errorf("%d hits after the agent was stopped", hits)
			}
			fired, _ := p.finish(t)
			if fired.done.hits != recorded {
				t.Errorf("%d hits counted, %d while recording", fired.done.hits, recorded)
			}
			check(t, a, result, fired.done)
		})
	}
}

func TestTheKernelLowersTheSemaphoresOfAKilledAgent(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("handshake")}})
	p := start(t, "handshake", "--commands", "--memory")
	if p.run(t, 1) == 0 {
		t.Fatal("no hit while the agent records")
	}
	a.command.Process.Kill()
	<-a.exited
	// The kernel removes the probes some time after the process has ended.
	waitFor(t, "the semaphore to fall", func() bool { return p.run(t, 1) == 0 })
	p.finish(t)
}

// freshStarts is the number of started processes, none of which may lose its first event.
const freshStarts = 200

func TestTheFirstEventOfANewProcessIsCompleteWithUnmappedLiterals(t *testing.T) {
	needRecording(t)
	cases := map[string]struct {
		file, where string
		arguments   []string
		starts      int
		uncached    bool
	}{
		"literals of a library":            {"libfresh.so", "library", nil, freshStarts, false},
		"literals of the program":          {"fresh", "program", []string{"--program"}, 20, false},
		"uncached literals of a library":   {"libfresh.so", "library", []string{"--uncached"}, 20, true},
		"uncached literals of the program": {"fresh", "program", []string{"--program", "--uncached"}, 20, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, setup{libraries: []string{publisher(c.file)}})
			var fired counts
			for range c.starts {
				n := publish(t, "fresh", c.arguments...)
				if n.checked != 1 || n.unmapped != 1 || c.uncached && n.uncached != 1 {
					t.Fatalf("the literals were mapped or cached, so the test proves nothing: %+v", n)
				}
				fired.add(n)
			}
			result := a.stop(t, patience)
			log := check(t, a, result, fired.done)
			if len(result.lost) != 0 {
				t.Errorf("lost %v", result.lost)
			}
			complete := 0
			for i := range log {
				g := &log[i]
				if g.opens() != nil && g.Name == "fresh::"+c.where && g.value("name") == g.Name &&
					g.value("fresh::text") == "text of the "+c.where && g.value("fresh::word") == int64(2718281828) {
					complete++
				}
			}
			if complete != c.starts {
				t.Errorf("%d of %d first events are complete", complete, c.starts)
			}
		})
	}
}

func TestAnIdleAgentSleeps(t *testing.T) {
	const (
		measured = 3 * time.Second
		most     = 15
	)
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
	// One measurement may include the end of some work; an agent with a periodic timer
	// fails all of them.
	var counts []uint64
	for range 3 {
		before := a.switches(t)
		time.Sleep(measured)
		counts = append(counts, a.switches(t)-before)
		if slices.Min(counts) <= most {
			break
		}
	}
	if slices.Min(counts) > most {
		t.Errorf("%d context switches within %v each, want at most %d", counts, measured, most)
	}
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256"))
	check(t, a, a.stop(t, patience), fired.done)
}

func TestLongLiteralsAreCutAndMarkedFromTheirLimitOn(t *testing.T) {
	needRecording(t)
	for _, where := range []string{"mapped", "unmapped"} {
		t.Run(where, func(t *testing.T) {
			file := compile(t, "long")
			a := startAgent(t, setup{libraries: []string{file}})
			if output, err := exec.Command(file, where).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			var hits []hit
			for _, n := range []int{127, 128, 511, 512} {
				text := bytes.Repeat([]byte("a"), n)
				// The blob begins with the literal of 511 bytes and its NUL, followed by
				// the literal of 512 bytes.
				blob := append(append(bytes.Repeat([]byte("a"), 511), make([]byte, 513)...), bytes.Repeat([]byte("a"), 512)...)[:n+1]
				hits = append(hits,
					hit{Probe: "word_data", Context: 1, Values: []value{{Kind: "word", Key: memory{bytes: text}, Word: int64(n)}}},
					hit{Probe: "string_data", Context: 1, Values: []value{{Kind: "string", Key: memory{bytes: []byte("long::string")}, Bytes: memory{bytes: text}}}},
					hit{Probe: "blob_data", Context: 1, Values: []value{{Kind: "blob", Key: memory{bytes: []byte("long::blob")}, Bytes: memory{bytes: blob}, Size: uint64(n + 1)}}},
				)
			}
			fired, _ := firedBy(hits)
			log := check(t, a, a.stop(t, patience), fired)
			compareHits(t, log, hits, "long", nil)
		})
	}
}
