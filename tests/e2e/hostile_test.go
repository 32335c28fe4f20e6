// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// exitWithin bounds how long an agent may take to detach, drain and exit while the
// publishers continue. They fire for much longer.
const exitWithin = patience

// floodEvents returns the number of events of the hits of "hostile --flood". It draws the
// random numbers of tests/publishers/hostile.c again, because the publisher's counts omit
// the elements after the sixteenth.
func floodEvents(seed, threads, hits uint64) (events uint64) {
	for thread := range threads {
		state := seed*2654435761 + thread + 1
		random := func() uint64 {
			state ^= state >> 12
			state ^= state << 25
			state ^= state >> 27
			return state * 0x2545f4914f6cdd1d
		}
		for range hits {
			random() // context
			random() // parent
			probe := random() % 6
			count := random()
			if count%8 < 7 {
				count = (count >> 8) % 18
			}
			if random()%4 == 0 {
				random() // pointer to the array
			}
			for range 17 * 3 {
				random() // size, key and value of an element
			}
			switch probe {
			case 0: // new_context
				events++
			case 1, 2, 3: // word, string, blob
				events++
			case 5: // new_context_with_data
				events++
				fallthrough
			default:
				events += min(count, mostElements) + beyond(count)
			}
		}
	}
	return events
}

// eventsOf counts the events in the groups of an executable.
func eventsOf(log []group, executable string) (n uint64) {
	for i := range log {
		if string(log[i].Executable) == executable {
			n += uint64(len(log[i].Events))
		}
	}
	return n
}

func TestAFloodOfGarbageIsFullyCountedAndDoesNotAffectOthers(t *testing.T) {
	needRecording(t)
	for name, config := range map[string]string{"within the usual limit": "", "without a limit": "rate_limit = 0\n"} {
		t.Run(name, func(t *testing.T) { flood(t, config) })
	}
}

func flood(t *testing.T, config string) {
	const seed, threads, hits = 7, 2, 200_000
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so"), publisher("hostile")}, config: config})
	flood := start(t, "hostile", "--flood", "--wait", "--seed", strconv.Itoa(seed),
		"--threads", strconv.Itoa(threads), "--count", strconv.Itoa(hits))
	neighbour := start(t, "replay", "--library", publisher("libreplay.so"), "--wait", "--fresh-ids",
		"--count", "500", "--rate", "20000", trace("gnutls-tls13-p256"))
	flood.fire(t)
	neighbour.fire(t)
	neighbourCounts, _ := neighbour.finish(t)
	floodCounts, _ := flood.finish(t)
	result := a.stop(t, exitWithin)

	fired := neighbourCounts.done
	fired.add(number{floodCounts.done.hits, floodEvents(seed, threads, hits)})
	if floodCounts.done.hits != threads*hits {
		t.Fatalf("the flood had %d hits, want %d", floodCounts.done.hits, threads*hits)
	}
	log := check(t, a, result, fired)
	full := result.lost[place{"kernel", "ring-full"}]
	recorded := eventsOf(log, "replay")
	if recorded > neighbourCounts.done.events || neighbourCounts.done.events-recorded > full.events {
		t.Errorf("%d of the neighbour's %d events are recorded, but only %d events were lost to a full ring",
			recorded, neighbourCounts.done.events, full.events)
	}
	for p := range result.lost {
		switch p {
		case place{"kernel", "ring-full"}, place{"kernel", "rate-limit"}, place{"kernel", "unreadable"}, place{"kernel", "oversize"}:
		default:
			t.Errorf("unexpected loss %+v", p)
		}
	}
}

func TestFourFloodingProcessesDoNotAffectAnotherUser(t *testing.T) {
	const attackers, nobody = 4, "65534"
	for name, attack := range map[string][]string{
		"the longest records": {"--bulk"},
		"garbage":             {"--flood"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, setup{libraries: []string{publisher("libreplay.so"), publisher("hostile")}})
			floods := make([]*process, attackers)
			for i := range floods {
				floods[i] = start(t, "hostile", append(attack, "--wait", "--user", nobody, "--duration", "4", "--seed", strconv.Itoa(i+1))...)
			}
			// A thousand contexts a second.
			victim := start(t, "replay", "--library", publisher("libreplay.so"), "--wait", "--fresh-ids",
				"--duration", "3", "--rate", "1500", trace("gnutls-tls13-p256"))
			for _, flood := range floods {
				flood.fire(t)
			}
			waitFor(t, "the floods to begin", func() bool {
				for _, flood := range floods {
					if flood.count(t).done.hits < 1000 {
						return false
					}
				}
				return true
			})
			victim.fire(t)
			victimCounts, _ := victim.finish(t)
			fired := victimCounts.done.hits
			for _, flood := range floods {
				floodCounts, _ := flood.finish(t)
				fired += floodCounts.done.hits
			}
			result := a.stop(t, exitWithin)
			lost := result.sum()
			t.Logf("victim: %d hits; all: %d hits, of which %d were lost: %+v", victimCounts.done.hits, fired, lost.hits, result.lost)
			if lost.hits == 0 {
				t.Error("nothing was lost, so the test proves nothing")
			}
			if accounted := result.recorded.hits + lost.hits; accounted != fired {
				t.Errorf("%d hits were fired, %d recorded or lost", fired, accounted)
			}
			if recorded := eventsOf(readLog(t, a.log), "replay"); recorded != victimCounts.done.events {
				t.Errorf("%d of the victim's %d events are recorded", recorded, victimCounts.done.events)
			}
		})
	}
}

func TestAnAgentStopsInTimeDuringAFloodWithAllEarlierEvents(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	flood := start(t, "hostile", "--flood", "--wait", "--threads", "2", "--duration", "3600")
	flood.fire(t)
	waitFor(t, "the flood to begin", func() bool { return flood.count(t).done.hits > 50_000 })
	before := flood.count(t)
	result := a.stop(t, exitWithin)
	after := flood.kill(t)

	accounted := result.recorded
	accounted.add(result.sum())
	if accounted.hits < before.done.hits || accounted.hits > after.begun {
		t.Errorf("%d hits before SIGTERM and %d at the end, %d recorded or lost", before.done.hits, after.begun, accounted.hits)
	}
	log := readLog(t, a.log)
	compareLosses(t, log, result.lost)
	if n := countEvents(log); n != result.recorded.events {
		t.Errorf("the log holds %d events, the agent recorded %d", n, result.recorded.events)
	}
}

func TestPagesThatNeverArriveDoNotBlockOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	s := setup{libraries: []string{publisher("libreplay.so"), publisher("hostile")}, log: dir}
	first := startAgent(t, s)
	// All of these hits fit into the ring at once, however late the agent is scheduled.
	faulting := start(t, "hostile", "--userfaultfd", "--wait", "--count", "5000", "--linger")
	faulting.fire(t)
	replay := []string{"--library", publisher("libreplay.so"), "--count", "20", trace("gnutls-tls13-p256")}
	neighbour := publish(t, "replay", replay...)
	if line := faulting.line(t); line != "hits 5000 values 9000\n" {
		t.Fatalf("hostile printed %q", line)
	}
	if line := faulting.line(t); line != "lingering\n" {
		t.Fatalf("hostile printed %q, want %q", line, "lingering\n")
	}
	faulted := faulting.count(t)
	fired := faulted.done
	fired.add(neighbour.done)
	runs := []totals{first.stop(t, exitWithin)}
	if n := runs[0].lost[place{"kernel", "unreadable"}]; n.events == 0 {
		t.Error("nothing was unreadable")
	}

	second := startAgent(t, s)
	restarted := publish(t, "replay", replay...)
	runs = append(runs, second.stop(t, exitWithin))
	if len(runs[1].lost) != 0 || runs[1].recorded != restarted.done {
		t.Errorf("the second agent recorded %+v of %+v", runs[1], restarted.done)
	}
	fired.add(restarted.done)
	log := checkRuns(t, dir, runs, fired)
	if n := eventsOf(log, "replay"); n != neighbour.done.events+restarted.done.events {
		t.Errorf("%d events of the neighbour are recorded, want %d", n, neighbour.done.events+restarted.done.events)
	}
	if c, _ := faulting.finish(t); c != faulted {
		t.Errorf("hostile continued to fire: %+v, then %+v", faulted, c)
	}
}

func TestOnlyTheLastHitsOfAKilledPublisherAreUncertain(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	flood := start(t, "hostile", "--flood", "--wait", "--threads", "2", "--duration", "3600")
	flood.fire(t)
	waitFor(t, "the flood to begin", func() bool { return flood.count(t).done.hits > 20_000 })
	fired := flood.kill(t)
	result := a.stop(t, exitWithin)
	accounted := result.recorded.hits + result.sum().hits
	if accounted < fired.done.hits || accounted > fired.begun {
		t.Errorf("%d hits were begun and %d finished, %d recorded or lost", fired.begun, fired.done.hits, accounted)
	}
}

func TestRandomLiteralsAreFullyCounted(t *testing.T) {
	const hits, elements = 20_000, 16
	file := compile(t, "literals")
	a := startAgent(t, setup{libraries: []string{file}, config: "rate_limit = 0\n"})
	if output, err := exec.Command(file, strconv.Itoa(hits)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	result := a.stop(t, exitWithin)
	log := check(t, a, result, number{hits, hits * elements})
	for i := range log {
		for j := range log[i].Events {
			if d := log[i].Events[j].Data; d != nil && !log[i].metadata() && (*d.Key != strings.Repeat("a", longestKey) || !d.Truncated || d.Unreadable) {
				t.Fatalf("an event is %s", log[i].Events[j].text())
			}
		}
	}
}

func TestATooSmallRingLosesHitsAndCountsEachOne(t *testing.T) {
	const seed, threads, hits = 11, 2, 50_000
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}, config: `ring_size = "4K"`})
	flooded := publish(t, "hostile", "--flood", "--seed", strconv.Itoa(seed),
		"--threads", strconv.Itoa(threads), "--count", strconv.Itoa(hits))
	result := a.stop(t, exitWithin)
	if result.lost[place{"kernel", "ring-full"}].hits == 0 {
		t.Error("the ring was never full, so the test proves nothing")
	}
	check(t, a, result, number{flooded.done.hits, floodEvents(seed, threads, hits)})
}
