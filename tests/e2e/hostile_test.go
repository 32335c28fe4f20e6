// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// leaveWithin bounds how long an agent may take to detach, drain and exit,
// whatever the publishers do. They do it for much longer.
const leaveWithin = patience

// floodEvents returns how many events the hits of "hostile --flood" amount to:
// the random numbers of tests/publishers/hostile.c drawn once more. Its counts
// do not show, because elements beyond the sixteenth do not count there.
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
	well, _ := neighbour.finish(t)
	bad, _ := flood.finish(t)
	result := a.stop(t, leaveWithin)

	fired := well.done
	fired.add(number{bad.done.hits, floodEvents(seed, threads, hits)})
	if bad.done.hits != threads*hits {
		t.Fatalf("the flood had %d hits, want %d", bad.done.hits, threads*hits)
	}
	log := check(t, a, result, fired)
	full := result.lost[place{"kernel", "ring-full"}]
	recorded := eventsOf(log, "replay")
	if recorded > well.done.events || well.done.events-recorded > full.events {
		t.Errorf("of the neighbour's %d events %d are recorded, and %d of all were lost for want of room",
			well.done.events, recorded, full.events)
	}
	for p := range result.lost {
		switch p {
		case place{"kernel", "ring-full"}, place{"kernel", "rate-limit"}, place{"kernel", "unreadable"}, place{"kernel", "oversize"}:
		default:
			t.Errorf("lost %+v", p)
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
			well, _ := victim.finish(t)
			fired := well.done.hits
			for _, flood := range floods {
				bad, _ := flood.finish(t)
				fired += bad.done.hits
			}
			result := a.stop(t, leaveWithin)
			lost := result.sum()
			t.Logf("victim: %d hits; all: %d hits, of which %d were lost: %+v", well.done.hits, fired, lost.hits, result.lost)
			if lost.hits == 0 {
				t.Error("nothing was lost, so nothing is shown")
			}
			if accounted := result.recorded.hits + lost.hits; accounted != fired {
				t.Errorf("%d hits were fired, %d recorded or lost", fired, accounted)
			}
			if recorded := eventsOf(readLog(t, a.log), "replay"); recorded != well.done.events {
				t.Errorf("of the victim's %d events %d are recorded", well.done.events, recorded)
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
	result := a.stop(t, leaveWithin)
	after := flood.kill(t)

	accounted := result.recorded
	accounted.add(result.sum())
	if accounted.hits < before.done.hits || accounted.hits > after.begun {
		t.Errorf("%d hits before SIGTERM and %d in the end, %d recorded or lost", before.done.hits, after.begun, accounted.hits)
	}
	log := readLog(t, a.log)
	compareLosses(t, log, result.lost)
	if n := countEvents(log); n != result.recorded.events {
		t.Errorf("the log holds %d events, the agent recorded %d", n, result.recorded.events)
	}
}

func TestPagesThatNeverArriveBlockNoOneElse(t *testing.T) {
	dir := t.TempDir()
	s := setup{libraries: []string{publisher("libreplay.so"), publisher("hostile")}, log: dir}
	first := startAgent(t, s)
	// So few that all of them fit into the ring at once, however late the agent
	// gets to run.
	misser := start(t, "hostile", "--userfaultfd", "--wait", "--count", "5000", "--linger")
	misser.fire(t)
	replay := []string{"--library", publisher("libreplay.so"), "--count", "20", trace("gnutls-tls13-p256")}
	neighbour := publish(t, "replay", replay...)
	if line := misser.line(t); line != "hits 5000 values 9000\n" {
		t.Fatalf("hostile printed %q", line)
	}
	if line := misser.line(t); line != "lingering\n" {
		t.Fatalf("hostile printed %q, want that it lingers", line)
	}
	missed := misser.count(t)
	fired := missed.done
	fired.add(neighbour.done)
	runs := []totals{first.stop(t, leaveWithin)}
	if n := runs[0].lost[place{"kernel", "unreadable"}]; n.events == 0 {
		t.Error("nothing was unreadable")
	}

	second := startAgent(t, s)
	again := publish(t, "replay", replay...)
	runs = append(runs, second.stop(t, leaveWithin))
	if len(runs[1].lost) != 0 || runs[1].recorded != again.done {
		t.Errorf("the second agent recorded %+v of %+v", runs[1], again.done)
	}
	fired.add(again.done)
	log := checkRuns(t, dir, runs, fired)
	if n := eventsOf(log, "replay"); n != neighbour.done.events+again.done.events {
		t.Errorf("%d events of the neighbour are recorded, want %d", n, neighbour.done.events+again.done.events)
	}
	if c, _ := misser.finish(t); c != missed {
		t.Errorf("hostile went on firing: %+v, then %+v", missed, c)
	}
}

func TestOnlyTheLastHitsOfAKilledPublisherAreUncertain(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	flood := start(t, "hostile", "--flood", "--wait", "--threads", "2", "--duration", "3600")
	flood.fire(t)
	waitFor(t, "the flood to begin", func() bool { return flood.count(t).done.hits > 20_000 })
	fired := flood.kill(t)
	result := a.stop(t, leaveWithin)
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
	result := a.stop(t, leaveWithin)
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
	bad := publish(t, "hostile", "--flood", "--seed", strconv.Itoa(seed),
		"--threads", strconv.Itoa(threads), "--count", strconv.Itoa(hits))
	result := a.stop(t, leaveWithin)
	if result.lost[place{"kernel", "ring-full"}].hits == 0 {
		t.Error("the ring was never full, so nothing is shown")
	}
	check(t, a, result, number{bad.done.hits, floodEvents(seed, threads, hits)})
}
