// SPDX-License-Identifier: Apache-2.0

package selfcheck

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Constants of counts.h.
const (
	countsMagic      = 0x31544e4355415243
	countsSlotOffset = 4096
	countsSlotSize   = 256
	probeKinds       = 6

	stateFiring = 2
	stateDone   = 3
)

var probeNames = [probeKinds]string{"new_context", "word_data", "string_data", "blob_data", "data", "new_context_with_data"}

// counts is the sum over the slots of a counts file.
type counts struct {
	state, operations                          uint64
	pagesChecked, pagesUnmapped, pagesUncached uint64
	begun, done                                [probeKinds]uint64
	valuesBegun, valuesDone                    uint64
	slots                                      int
	mostUncertain                              uint64 // highest number of hits of a slot that are begun and not done
}

func sum(n [probeKinds]uint64) (total uint64) {
	for _, v := range n {
		total += v
	}
	return total
}

func readCounts(t *testing.T, path string) counts {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	if word(0) != countsMagic {
		t.Fatalf("%s: magic %#x", path, word(0))
	}
	c := counts{state: word(16), operations: word(32), pagesChecked: word(40), pagesUnmapped: word(48), pagesUncached: word(56), slots: int(word(24))}
	for slot := range c.slots {
		at := countsSlotOffset + slot*countsSlotSize
		var begun, done [probeKinds]uint64
		for i := range probeKinds {
			begun[i] = word(at + 8 + 8*i)
			done[i] = word(at + 8 + 8*(probeKinds+i))
			c.begun[i] += begun[i]
			c.done[i] += done[i]
		}
		c.mostUncertain = max(c.mostUncertain, sum(begun)-sum(done))
		c.valuesBegun += word(at + 8 + 16*probeKinds)
		c.valuesDone += word(at + 16 + 16*probeKinds)
	}
	return c
}

// check checks the counts of a publisher that has exited normally.
func (c counts) check(t *testing.T) {
	t.Helper()
	if c.state != stateDone || c.begun != c.done || c.valuesBegun != c.valuesDone {
		t.Errorf("counts of a finished publisher: %+v", c)
	}
}

// builder builds the publishers when the first test needs one.
type builder struct {
	once      sync.Once
	directory string
	err       error
}

var publishers builder

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(publishers.directory)
	os.Exit(code)
}

// program returns the path of a publisher.
func program(t *testing.T, name string) string {
	t.Helper()
	publishers.once.Do(func() {
		if publishers.directory, publishers.err = os.MkdirTemp("", "publishers"); publishers.err != nil {
			return
		}
		message, err := exec.Command("make", "-C", "..", "OUT="+publishers.directory).CombinedOutput()
		if err != nil {
			publishers.err = fmt.Errorf("cannot build the publishers: %w\n%s", err, message)
		}
	})
	if publishers.err != nil {
		t.Fatal(publishers.err)
	}
	return filepath.Join(publishers.directory, name)
}

func trace(name string) string { return "../../data/probe-traces/" + name + ".txt" }

func TestReplayFiresWhatWasRecorded(t *testing.T) {
	// The numbers are per handshake.
	for name, want := range map[string]struct {
		hits, newContext, data, withData, values uint64
	}{
		"gnutls-tls13-p256":    {28, 0, 9, 19, 46},
		"gnutls-tls12":         {24, 0, 10, 14, 35},
		"openssl-tls13-x25519": {15, 2, 3, 10, 24},
		"openssl-tls12":        {9, 2, 3, 4, 12},
	} {
		for _, options := range [][]string{
			{"--fresh-ids"},
			{"--site", "sdt"},
			{"--library", "libreplay.so"},
			{"--library", "libreplay9.so", "--site", "sdt", "--fresh-ids"},
			{"--threads", "4"},
			{"--rate", "100000"},
		} {
			t.Run(name+" "+strings.Join(options, " "), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "counts")
				args := []string{"--count", "50", "--counts", file}
				threads := uint64(1)
				for i, option := range options {
					if strings.HasPrefix(option, "lib") {
						options[i] = program(t, option)
					}
					if option == "--threads" {
						threads = 4
					}
				}
				run(t, exec.Command(program(t, "replay"), append(append(args, options...), trace(name))...))
				c := readCounts(t, file)
				c.check(t)
				n := 50 * threads
				if c.operations != n || sum(c.done) != n*want.hits || c.valuesDone != n*want.values ||
					c.done[0] != n*want.newContext || c.done[4] != n*want.data || c.done[5] != n*want.withData {
					t.Errorf("%d handshakes with hits %v and values %d, want %d times %+v", c.operations, c.done, c.valuesDone, n, want)
				}
			})
		}
	}
}

func TestReplayFiresWhatItCounts(t *testing.T) {
	tracer := newTracer(t)
	for _, name := range []string{"replay", "libreplay.so"} {
		for _, kind := range []string{"crau", "sdt"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				file, want := program(t, name), 60*28
				args := []string{"--wait", "--count", "60", "--fresh-ids", "--site", kind}
				if name != "replay" {
					args = append(args, "--library", file)
				}
				p := start(t, program(t, "replay"), append(args, trace("gnutls-tls13-p256"))...)
				sites := readSites(t, file)
				detach := tracer.attach(t, file, sites, oneByteNop)
				line := p.finish()
				detach()
				hits := tracer.hits(t)
				if line != "hits 1680 values 2760" || len(hits) != want {
					t.Errorf("replay printed %q, and %d hits were recorded, want %d", line, len(hits), want)
				}
				addresses := map[uint64]bool{}
				for _, h := range hits {
					addresses[h.IP] = true
				}
				if len(addresses) != 2*3 {
					t.Errorf("%d sites were hit, want three for each of two probes", len(addresses))
				}
			})
		}
	}
}

func TestOnlyOneHitOfAKilledReplayIsUncertain(t *testing.T) {
	for range 10 {
		file := filepath.Join(t.TempDir(), "counts")
		cmd := exec.Command(program(t, "replay"), "--duration", "60", "--counts", file, trace("gnutls-tls12"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() > countsSlotOffset && firing(file)
		})
		cmd.Process.Kill()
		cmd.Wait()
		c := readCounts(t, file)
		if c.mostUncertain > 1 || sum(c.done) == 0 || c.state != stateFiring {
			t.Errorf("counts after SIGKILL: %+v", c)
		}
	}
}

// firing reports whether a publisher has counted a hit.
func firing(file string) bool {
	data, err := os.ReadFile(file)
	at := countsSlotOffset + 8
	if err != nil || len(data) < at+countsSlotSize {
		return false
	}
	for i := range 2 * probeKinds {
		if binary.LittleEndian.Uint64(data[at+8*i:]) != 0 {
			return true
		}
	}
	return false
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	const patience = time.Minute
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("the condition was not met within %v", patience)
}

func TestCommandsRunHandshakes(t *testing.T) {
	for name, command := range map[string][]string{
		"replay":              {"replay", "--commands", trace("gnutls-tls13-p256")},
		"handshake":           {"handshake", "--commands", "--memory"},
		"handshake, plain":    {"handshake", "--commands", "--memory", "--plain"},
		"handshake, recorded": {"handshake", "--commands", "--memory", "--probes", trace("gnutls-tls13-p256")},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program(t, command[0]), command[1:]...)
			cmd.Stdin = strings.NewReader("run 3\nrun 5\nquit\n")
			lines := strings.Split(strings.TrimSpace(run(t, cmd)), "\n")
			answer := regexp.MustCompile(`^cpu_us \d+ wall_us \d+ hits (\d+) values (\d+)$`)
			if len(lines) != 4 || !answer.MatchString(lines[1]) || !answer.MatchString(lines[2]) {
				t.Fatalf("answers %q", lines)
			}
			if name == "replay" {
				if m := answer.FindStringSubmatch(lines[2]); m[1] != "140" || m[2] != "230" {
					t.Errorf("the answer to five handshakes is %q, want 140 hits and 230 values", lines[2])
				}
			}
			cmd = exec.Command(program(t, command[0]), command[1:]...)
			cmd.Stdin = strings.NewReader("jump 3\n")
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot understand command jump 3") {
				t.Errorf("an unknown command gives %v, %s", err, out)
			}
		})
	}
}

func TestHandshakeFiresWhatItCounts(t *testing.T) {
	tracer := newTracer(t)
	file := program(t, "handshake")
	for _, options := range []string{"--tls 1.3", "--tls 1.2", "--tls 1.3 --groups P-384 --key rsa --memory", "--tls 1.2 --groups P-256 --key ed25519",
		"--probes " + trace("gnutls-tls13-p256")} {
		t.Run(options, func(t *testing.T) {
			countsFile := filepath.Join(t.TempDir(), "counts")
			args := append(strings.Fields(options), "--wait", "--count", "5", "--counts", countsFile)
			p := start(t, file, args...)
			detach := tracer.attach(t, file, readSites(t, file), oneByteNop)
			p.finish()
			detach()
			hits := tracer.hits(t)
			c := readCounts(t, countsFile)
			c.check(t)
			want := uint64(23)
			if strings.HasPrefix(options, "--probes") {
				want = 28
			}
			if c.operations != 5 || sum(c.done) != 5*want || len(hits) != int(5*want) {
				t.Errorf("%d handshakes, %d hits counted and %d recorded, want %d per handshake", c.operations, sum(c.done), len(hits), want)
			}
		})
	}
}

func TestHandshakeFiresNothingWithoutATracer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	run(t, exec.Command(program(t, "handshake"), "--counts", file))
	c := readCounts(t, file)
	c.check(t)
	if c.operations != 1 || sum(c.begun) != 0 {
		t.Errorf("%d handshakes with %d hits", c.operations, sum(c.begun))
	}
}

// fired is an object of the array that "kinds" prints.
type fired struct {
	Case    string
	Probe   string
	Context uint64
	Parent  *uint64
	Count   *uint64
	Values  []struct {
		Kind  string
		Key   any
		Word  *int64
		Bytes any
		Size  *uint64
	}
}

func TestKindsPrintsWhatItFires(t *testing.T) {
	tracer := newTracer(t)
	file := program(t, "kinds")
	countsFile := filepath.Join(t.TempDir(), "counts")
	cmd := exec.Command(file, "--wait", "--counts", countsFile)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(output)
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	detach := tracer.attach(t, file, readSites(t, file), oneByteNop)
	fmt.Fprintln(input)
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	detach()

	var list []fired
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	c := readCounts(t, countsFile)
	c.check(t)
	hits := tracer.hits(t)
	if len(list) != int(sum(c.done)) || len(list) != len(hits) {
		t.Errorf("%d hits printed, %d counted, %d recorded", len(list), sum(c.done), len(hits))
	}
	var perProbe [probeKinds]uint64
	for _, f := range list {
		for i, name := range probeNames {
			if f.Probe == name {
				perProbe[i]++
			}
		}
	}
	if perProbe != c.done {
		t.Errorf("hits printed per probe of %v: %v, counted %v", probeNames, perProbe, c.done)
	}
	for i, n := range perProbe {
		if n < 3 {
			t.Errorf("%s is fired only %d times", probeNames[i], n)
		}
	}
}

func TestKindsHasEveryFormOfArgument(t *testing.T) {
	directory := t.TempDir()
	own := exec.Command("make", "-C", "..", "OUT="+directory, "CFLAGS=-O2 -DPLAIN_OWN", directory+"/kinds")
	if out, err := own.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, file := range map[string]string{
		"default":             program(t, "kinds"),
		"without <sys/sdt.h>": directory + "/kinds",
	} {
		t.Run(name, func(t *testing.T) {
			specs := map[string]bool{}
			sites := map[string]int{}
			for _, s := range readSites(t, file) {
				sites[s.probe]++
				for _, spec := range regexp.MustCompile(`-?[1248]@[^ ]+`).FindAllString(s.args, -1) {
					specs[spec] = true
				}
			}
			all := fmt.Sprint(specs)
			for form, pattern := range map[string]string{
				"register":                 `8@%r[a-z]+\b`,
				"other register":           `8@%r(8|9|1[0-5])\b`,
				"constant":                 `8@\$\d+`,
				"negative constant":        `8@\$-\d+`,
				"on the stack":             `8@-\d+\(%rbp\)`,
				"above the stack pointer":  `8@\d+\(%rsp\)`,
				"without displacement":     `8@\(%r\w+\)`,
				"index":                    `8@-16\(%r\w+,%r\w+\)`,
				"scaled index":             `8@16\(%r\w+,%r\w+,8\)`,
				"signed 32-bit register":   `-4@%(e|r\d+d)`,
				"unsigned 32-bit register": `[^-]4@%(e|r\d+d)`,
				"unsigned 16-bit register": `[^-]2@%\w+`,
				"signed 8-bit register":    `-1@%\w+`,
				"signed 32-bit constant":   `-4@\$-2`,
			} {
				if !regexp.MustCompile(pattern).MatchString(all) {
					t.Errorf("no argument matches %q (%s) in %s", pattern, form, all)
				}
			}
			for _, probe := range probeNames {
				if sites[probe] < 2 {
					t.Errorf("%d sites of %s, want at least 2", sites[probe], probe)
				}
			}
		})
	}
}

func TestFreshLiteralsAreNotMapped(t *testing.T) {
	for name, options := range map[string][]string{
		"library":           nil,
		"library, uncached": {"--uncached"},
		"program":           {"--program"},
		"program, uncached": {"--program", "--uncached"},
	} {
		t.Run(name, func(t *testing.T) {
			tracer := newTracer(t)
			for range 10 {
				countsFile := filepath.Join(t.TempDir(), "counts")
				p := start(t, program(t, "fresh"), append([]string{"--wait", "--counts", countsFile}, options...)...)
				file := program(t, "libfresh.so")
				if strings.HasPrefix(name, "program") {
					file = program(t, "fresh")
				}
				detach := tracer.attach(t, file, readSites(t, file), oneByteNop)
				p.finish()
				detach()
				c := readCounts(t, countsFile)
				c.check(t)
				if c.pagesChecked != 1 || c.pagesUnmapped != 1 || sum(c.done) != 1 {
					t.Errorf("counts %+v", c)
				}
				if strings.HasSuffix(name, "uncached") && c.pagesUncached != 1 {
					t.Errorf("the page was in the page cache: %+v", c)
				}
				hits := tracer.hits(t)
				if len(hits) != 1 {
					t.Fatalf("%d hits recorded, want 1", len(hits))
				}
				// The array is mapped, the page of its first key is not.
				if h := hits[0]; h.Third[0] == 0 || h.ThirdUnread == 0 {
					t.Errorf("the literal could be read: %+v", h)
				}
			}
		})
	}
}

func TestHostileFiresWhatItCounts(t *testing.T) {
	for name, want := range map[string]struct {
		args         string
		hits, values uint64
		slots        int
	}{
		"flood":       {"--flood --count 20000 --threads 3 --seed 7", 60000, 0, 3},
		"userfaultfd": {"--userfaultfd --count 500", 500, 900, 1},
		"deep":        {"--deep --count 700", 1400, 2100, 1},
		"fork":        {"--fork --count 20", 1 + 20*4, 2 + 20*6, 21},
		"exec":        {"--exec --count 12", 24, 36, 12},
	} {
		t.Run(name, func(t *testing.T) {
			tracer := newTracer(t)
			file := program(t, "hostile")
			countsFile := filepath.Join(t.TempDir(), "counts")
			args := append(strings.Fields(want.args), "--wait", "--counts", countsFile)
			p := start(t, file, args...)
			detach := tracer.attach(t, file, readSites(t, file), oneByteNop)
			p.finish()
			detach()
			c := readCounts(t, countsFile)
			c.check(t)
			if sum(c.done) != want.hits || c.slots != want.slots || name != "flood" && c.valuesDone != want.values {
				t.Errorf("%d hits and %d values in %d slots, want %+v", sum(c.done), c.valuesDone, c.slots, want)
			}
			// A flood does not fit into the ring of these tests.
			if recorded := uint64(len(tracer.hits(t))); name != "flood" && recorded != want.hits {
				t.Errorf("%d hits recorded, want %d", recorded, want.hits)
			}
		})
	}
}

func TestHelpAndUsageErrors(t *testing.T) {
	for _, name := range []string{"replay", "handshake", "kinds", "fresh", "hostile"} {
		if out := run(t, exec.Command(program(t, name), "--help")); !strings.HasPrefix(out, "Usage: "+name) {
			t.Errorf("%s --help printed %q", name, out)
		}
		cmd := exec.Command(program(t, name), "--no-such-option")
		if cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%s with an unknown option exits with %d, want 2", name, cmd.ProcessState.ExitCode())
		}
	}
	broken := filepath.Join(t.TempDir(), "trace")
	line := `1.0 x 1/1 lib0 ip=1 data ctx=1 [1/2] a = word 1 (0x1)` + "\n"
	for text, want := range map[string]string{
		"hello\n": ":1: not a line of a probe trace",
		line + strings.Replace(line, "[1/2]", "[3/2]", 1):       ":2: not a line",
		line + strings.Replace(line, "[1/2]", "[1/99]", 1):      ":2: not a line",
		line + strings.Replace(line, "ctx=1 [1", "ctx=2 [2", 1): ":2: does not continue",
		strings.Replace(line, "data", "date", 1):                ":1: not a line",
		"":                                                      "holds no hit",
	} {
		if err := os.WriteFile(broken, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program(t, "replay"), "--whole", broken).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("trace %q gives %q, want %q", text, out, want)
		}
	}
}
