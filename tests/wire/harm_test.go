// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"crypto-auditing/tests/machine"
)

// load is how many connections a program makes for each that a quick test would.
func load() int {
	if *everything {
		return 10
	}
	return 1
}

// ordeal is something that programs go through while the functions of their libraries are
// recorded.
type ordeal struct {
	// run runs a program, whose executable has that name, and returns what it reports, in
	// any order of lines.
	run func(t *testing.T, executable string) []string
	// recorded compares what was recorded with what the program reports, each line with
	// how often; nil: only that it comes to the same with and without.
	recorded func(t *testing.T, a *agent, executable string, reports map[string]int)
}

// survive compares what programs come to while nothing is attached with what they come to
// while their functions are recorded, several at a time.
func survive(t *testing.T, ordeals map[string]ordeal) {
	t.Helper()
	reports := map[string]map[string]int{}
	for name, o := range ordeals {
		t.Run(name+", not recorded", func(t *testing.T) {
			if reports[name] = tally(o.run(t, "wt-alone")); len(reports[name]) < 2 {
				t.Fatalf("the program reports %v", reports[name])
			}
		})
	}
	a := startAgent(t, "usdt", "function")
	n := 0
	for name, o := range ordeals {
		n++
		executable := func(i int) string { return fmt.Sprintf("wt-harm%d-%d", n, i) }
		if len(reports[name]) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			const together = 3
			var programs sync.WaitGroup
			for i := range together {
				programs.Go(func() {
					if got := tally(o.run(t, executable(i))); !maps.Equal(got, reports[name]) {
						t.Errorf("while its functions are recorded, the program reports\n%v\nwant\n%v", got, reports[name])
					}
				})
			}
			programs.Wait()
			for i := range together {
				if o.recorded != nil {
					o.recorded(t, a, executable(i), reports[name])
				}
			}
			a.unsuspected(t)
		})
	}
}

// allSides compares the recorded handshakes with the lines of the program "handshakes".
func allSides(t *testing.T, a *agent, executable string, reports map[string]int) {
	t.Helper()
	var want []string
	for line, n := range reports {
		if !strings.HasPrefix(line, "[") {
			want = append(want, slices.Repeat([]string{reported(t, line, true)}, n)...)
		}
	}
	a.waitForSides(t, executable, want)
}

// unsuspected fails the test if values of a library were found to be impossible.
func (a *agent) unsuspected(t *testing.T) {
	t.Helper()
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// waitForSides waits until the handshakes of an executable are recorded that a program has
// reported, some of which may have been given up. What the agent reports as lost may be
// missing.
func (a *agent) waitForSides(t *testing.T, executable string, want []string) {
	t.Helper()
	var got []string
	lost := false
	waitFor(t, "the handshakes of "+executable+" are recorded", func() bool {
		before := len(got)
		got = a.sides(t, executable)
		lost = strings.Contains(a.stderr.String(), "events are being lost")
		return len(got) >= len(want) || lost && len(got) == before
	}, func() string { return fmt.Sprintf("got %v, want %v\n%s", tally(got), tally(want), a.stderr) })
	for i := range got {
		got[i] = strings.Replace(got[i], " abandoned", " failed", 1)
	}
	recorded, reported := tally(got), tally(want)
	for side, n := range recorded {
		if n > reported[side] {
			t.Errorf("recorded of %s %d times, reported %d times: %s", executable, n, reported[side], side)
		}
	}
	switch {
	case lost:
		t.Logf("%d of %d sides were recorded; others were lost, as the agent reports", len(got), len(want))
	case !maps.Equal(recorded, reported):
		t.Errorf("recorded of %s are %v, want %v", executable, recorded, reported)
	}
}

// words splits what a program wrote into its lines, which must be all that it wrote.
func words(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

// outcome runs a program and returns the lines that it wrote, and one with how it ended, such
// as by a signal.
func outcome(t *testing.T, arguments ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	out, err := command.CombinedOutput()
	if command.ProcessState == nil || ctx.Err() != nil {
		t.Errorf("%v: %v", arguments, err)
		return nil
	}
	return append(words(string(out)), "["+command.ProcessState.String())
}

// Programs that leave functions in other ways than by returning from them.
func TestProgramsAreNotHarmed(t *testing.T) {
	program := handshakes(t)
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	of := func(options ...string) func(t *testing.T, executable string) []string {
		return func(t *testing.T, executable string) []string {
			return outcome(t, append([]string{renamed(t, program, executable), "-certificate", certificate, "-key", key}, options...)...)
		}
	}
	count := func(n int) string { return fmt.Sprint(n * load()) }
	survive(t, map[string]ordeal{
		"jobs that pause each other": {of("-async", "-threads", "-processes", "1", "-count", count(5)), allSides},
		// Those that were left have no line.
		"jumps out of callbacks":      {of("-jump", "-processes", "3", "-count", count(10)), nil},
		"clients that leave at once":  {of("-leave", "-threads", "-processes", "1", "-count", count(10)), allSides},
		"renegotiation":               {of("-12", "-renegotiate", "-threads", "-processes", "1", "-count", count(10)), allSides},
		"greenlets that copy stacks":  greenlets(t, certificate, key),
		"programs killed beside it":   {besideKills(program, certificate, key), allSides},
		"a server that clients leave": leftServer(certificate, key),
		"a debugger at a function":    {debugged(program, certificate, key, "break SSL_do_handshake"), allSides},
		"a debugger at the very instruction": {debugged(program, certificate, key,
			fmt.Sprintf("break *((unsigned long)&SSL_do_handshake + %d)", probed(t, ownLibraries(t, program, t.TempDir()), "handshake client", "SSL_do_handshake"))), allSides},
	})
}

// With shadow stacks, the processor ends a program that returns to an address that it was not
// called from.
func TestProgramsWithShadowStacksAreNotHarmed(t *testing.T) {
	flags, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(flags), " user_shstk") {
		t.Skip("the processor or the kernel has no shadow stacks for programs (user_shstk in /proc/cpuinfo)")
	}
	program := handshakes(t)
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	survive(t, map[string]ordeal{"shadow stacks": {func(t *testing.T, executable string) []string {
		return outcome(t, renamed(t, program, executable), "-certificate", certificate, "-key", key, "-shadow", "-count", fmt.Sprint(10*load()))
	}, allSides}})
}

// greenlets share a stack: one that waits in the middle of a handshake has its part of the
// stack copied away, and another handshake begins and ends at the same addresses.
func greenlets(t *testing.T, certificate, key string) ordeal {
	t.Helper()
	need(t, "/usr/bin/python3")
	if out, err := exec.Command("/usr/bin/python3", "-c", "import gevent").CombinedOutput(); err != nil {
		t.Fatalf("gevent is not installed: run make setup\n%s", out)
	}
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Fatal(err)
	}
	count := 30 * load()
	return ordeal{func(t *testing.T, executable string) []string {
		return outcome(t, renamed(t, python, executable), "programs/greenlets.py", certificate, key, fmt.Sprint(count))
	}, func(t *testing.T, a *agent, executable string, reports map[string]int) {
		sides := 0
		for line, n := range reports {
			if strings.Contains(line, " TLSv1.3 TLS_AES_256_GCM_SHA384 ") {
				sides += n
			} else if line != "[exit status 0" {
				t.Errorf("the program printed %q", line)
			}
		}
		if sides != 2*count {
			t.Errorf("the program reports %d sides, want %d", sides, 2*count)
		}
		a.waitForSides(t, executable, append(slices.Repeat([]string{"client completed 0x304 0x1302 group 29 own 0x0 peer 0x403 resumed 0"}, count),
			slices.Repeat([]string{"server completed 0x304 0x1302 group 29 own 0x403 peer 0x0 resumed 0"}, count)...))
	}}
}

// besideKills runs a program after, and while, others are killed in the middle of handshakes,
// which have no end therefore.
func besideKills(program, certificate, key string) func(t *testing.T, executable string) []string {
	return func(t *testing.T, executable string) []string {
		options := func(more ...string) []string {
			return append([]string{"-certificate", certificate, "-key", key, "-threads"}, more...)
		}
		victim := renamed(t, program, "wt-victim")
		for range 5 * load() {
			// Its child ends when it has lost the pipe.
			command := exec.Command(victim, options("-processes", "1", "-count", "1000000")...)
			out, err := command.StdoutPipe()
			if err == nil {
				err = command.Start()
			}
			if err != nil {
				t.Error(err)
				return nil
			}
			_, err = bufio.NewReader(out).ReadString('\n')
			_ = command.Process.Kill()
			_ = command.Wait()
			if err != nil {
				t.Errorf("the victim has ended before it was killed: %v", err)
			}
		}
		return outcome(t, append([]string{renamed(t, program, executable)}, options("-count", "10")...)...)
	}
}

// leavingClients are, as a program in Python, N clients that leave before their hello, N after it,
// and N after the handshake, with a reset.
const leavingClients = `
import socket, ssl, struct, sys
port, n = int(sys.argv[1]), int(sys.argv[2])
c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
def connect():
    return socket.create_connection(("127.0.0.1", port))
for i in range(n):
    connect().close()
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        c.wrap_bio(coming, going).do_handshake()
    except ssl.SSLWantReadError:
        pass
    s = connect(); s.sendall(going.read()); s.close()
    s = c.wrap_socket(connect())
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
print("done")`

// leftServer is a server that loses clients at every point of the handshake, and serves one
// that stays.
func leftServer(certificate, key string) ordeal {
	n := 10 * load()
	return ordeal{func(t *testing.T, executable string) []string {
		need(t, "openssl", "/usr/bin/python3", "curl")
		openssl := strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl"))
		port := freePort(t)
		server := start(t, renamed(t, openssl, executable), "s_server", "-accept", "127.0.0.1:"+port, "-cert", certificate, "-key", key, "-www")
		listening(t, port, server)
		lines := words(output(t, "", "/usr/bin/python3", "-c", leavingClients, port, fmt.Sprint(n)))
		page := output(t, "", "curl", "-sS", "--cacert", certificate, "--resolve", "secret-host.example:"+port+":127.0.0.1", "https://secret-host.example:"+port+"/")
		return append(lines, find(t, `(?m)^(New, TLSv1\.\d, Cipher is \S+)$`, page)...)
	}, func(t *testing.T, a *agent, executable string, _ map[string]int) {
		var sides []string
		waitFor(t, "the handshakes are recorded", func() bool {
			sides = a.sides(t, executable)
			return len(sides) >= 2*n+1 || strings.Contains(a.stderr.String(), "events are being lost")
		}, func() string { return fmt.Sprintf("%v\n%s", tally(sides), a.stderr) })
		for side, times := range tally(sides) {
			if !strings.HasPrefix(side, "server completed 0x304 0x1302 group 29 own 0x403 ") && side != "server abandoned" && side != "server failed" {
				t.Errorf("recorded %d times: %s", times, side)
			}
		}
	}}
}

// exits are the lines by which a debugger reports the end of its program.
var exits = regexp.MustCompile(`^\[Inferior 1 \(process \d+\) (exited .*)\]$|^(Program (?:received|terminated) .*)$`)

// debugged runs a program under a debugger, which stops it at a breakpoint twice.
func debugged(program, certificate, key, breakpoint string) func(t *testing.T, executable string) []string {
	return func(t *testing.T, executable string) (lines []string) {
		need(t, "gdb")
		out := output(t, "", "gdb", "-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "break main", "-ex", "run",
			"-ex", breakpoint, "-ex", "continue", "-ex", "stepi", "-ex", "stepi", "-ex", "continue", "-ex", "delete", "-ex", "continue",
			"--args", renamed(t, program, executable), "-certificate", certificate, "-key", key, "-count", "3")
		for _, line := range words(out) {
			if strings.HasPrefix(line, "client ") || strings.HasPrefix(line, "server ") {
				lines = append(lines, line)
			} else if m := exits.FindStringSubmatch(line); m != nil {
				lines = append(lines, "["+m[1]+m[2])
			}
		}
		if len(lines) != 7 {
			t.Errorf("the debugger printed\n%s", out)
		}
		return lines
	}
}

// ownLibraries copies the libraries of OpenSSL that a program uses to a directory.
func ownLibraries(t *testing.T, program, directory string) []string {
	t.Helper()
	return machine.CopyLibraries(t, program, directory, "libssl.", "libcrypto.")
}

// Programs begin while their library is replaced by another file again and again.
func TestProgramsWhoseLibrariesAreReplacedAreNotHarmed(t *testing.T) {
	program, directory := handshakes(t), t.TempDir()
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	libraries := ownLibraries(t, program, directory)
	run := func(executable string) ([]string, error) {
		command := exec.Command(renamed(t, program, executable), "-certificate", certificate, "-key", key, "-threads", "-count", "5")
		command.Env = append(os.Environ(), "LD_LIBRARY_PATH="+directory)
		out, err := command.CombinedOutput()
		return words(string(out)), err
	}
	lines, err := run("wt-replaced-alone")
	if err != nil {
		t.Fatalf("%v\n%s", err, lines)
	}
	alone := tally(lines)
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q, %q]\n", libraries[0], libraries[1]))
	end := make(chan struct{})
	var workers sync.WaitGroup
	for i := range 3 {
		workers.Go(func() {
			for runs := 0; ; runs++ {
				select {
				case <-end:
					if runs == 0 {
						t.Error("a worker has done nothing")
					}
					return
				default:
				}
				if lines, err := run(fmt.Sprintf("wt-replaced-%d", i)); err != nil || fmt.Sprint(tally(lines)) != fmt.Sprint(alone) {
					t.Errorf("while libraries are replaced: %v\n%v\nwant\n%v", err, tally(lines), alone)
				}
			}
		})
	}
	for turn := range 5 * load() {
		for _, library := range libraries {
			data, err := os.ReadFile(library)
			if err != nil {
				t.Fatal(err)
			}
			// Another size, as of another build.
			if err := os.WriteFile(library+".dpkg-new", append(data, byte(turn)), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(library+".dpkg-new", library); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(end)
	workers.Wait()
	// The last one is attached, too.
	waitFor(t, "programs are recorded again", func() bool {
		lines, err := run("wt-replaced-last")
		return err == nil && len(a.sides(t, "wt-replaced-last")) >= len(lines)
	}, a.stderr.String)
	a.unsuspected(t)
}

// Another build of a library is copied over a file whose functions are recorded: what the
// one before had as breakpoints must not be in the middle of its instructions.
func TestALibraryThatIsOverwrittenWithAnotherBuildIsNotHarmed(t *testing.T) {
	if !*everything {
		t.Skip("it takes packages of another build: run make soak")
	}
	program, directory := handshakes(t), t.TempDir()
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	libraries := ownLibraries(t, program, directory)
	builds := [2][2]string{}
	for i, library := range libraries {
		builds[0][i] = library + ".this"
		copyOver(t, builds[0][i], library)
		builds[1][i] = otherBuild(t, filepath.Base(library))
	}
	run := func() (string, error) {
		command := exec.Command(program, "-certificate", certificate, "-key", key, "-threads", "-count", "3")
		command.Env = append(os.Environ(), "LD_LIBRARY_PATH="+directory)
		out, err := command.CombinedOutput()
		return fmt.Sprint(tally(words(string(out)))), err
	}
	var alone [2]string
	for i, build := range builds {
		for k := range libraries {
			copyOver(t, libraries[k], build[k])
		}
		var err error
		if alone[i], err = run(); err != nil {
			t.Fatalf("%v\n%s", err, alone[i])
		}
	}
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q, %q]\n", libraries[0], libraries[1]))
	attached := func() int { return strings.Count(a.stderr.String(), "msg=attached ") }
	for turn := range 4 * load() {
		before := attached()
		for k := range libraries {
			copyOver(t, libraries[k], builds[turn%2][k])
		}
		// At once, while the agent comes back, and when it is there.
		for range 3 {
			if got, err := run(); err != nil || got != alone[turn%2] {
				t.Fatalf("after it was overwritten %d times: %v\n%s\nwant\n%s", turn+1, err, got, alone[turn%2])
			}
		}
		waitFor(t, "the agent attaches again", func() bool { return attached() >= before+2 }, a.stderr.String)
		if got, err := run(); err != nil || got != alone[turn%2] {
			t.Fatalf("attached after it was overwritten %d times: %v\n%s\nwant\n%s", turn+1, err, got, alone[turn%2])
		}
	}
	a.unsuspected(t)
}

// copyOver copies a file onto another in place.
func copyOver(t *testing.T, to, from string) {
	t.Helper()
	if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// otherBuild returns a library of another version than this machine's, which runs here.
func otherBuild(t *testing.T, name string) string {
	t.Helper()
	directory := filepath.Join("../../build/packages", "other-openssl")
	out, err := exec.Command("../packages.sh", directory, "this", "amd64", "libssl3").CombinedOutput()
	if err != nil {
		t.Skipf("there is no other build of OpenSSL: %s", out)
	}
	path, err := filepath.Abs(filepath.Join(directory, "root/usr/lib/x86_64-linux-gnu", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no other build of OpenSSL: %v", err)
	}
	return path
}

// probed returns how many bytes the site of a role is after a function of libssl, which is one
// of the libraries.
func probed(t *testing.T, libraries []string, role, function string) int64 {
	t.Helper()
	library := libraries[slices.IndexFunc(libraries, func(path string) bool { return strings.Contains(path, "libssl.") })]
	var reports []struct {
		Library struct {
			Sites []struct {
				Role    string
				Address uint64
			}
		}
	}
	// Of its sites some may be refused, which is an error.
	text, _ := exec.Command(filepath.Join(bin, "crauctl"), "probes", "-o", "json", library).Output()
	if err := json.Unmarshal(text, &reports); err != nil || len(reports) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	file, err := elf.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == function && s.Value != 0 })
	for _, s := range reports[0].Library.Sites {
		if s.Role == role && at >= 0 {
			return int64(s.Address - symbols[at].Value)
		}
	}
	t.Fatalf("%s has no site %q or no function %s", library, role, function)
	return 0
}
