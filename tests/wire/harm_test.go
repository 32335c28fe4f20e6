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

// load is the factor by which tests multiply the number of connections.
func load() int {
	if *everything {
		return 10
	}
	return 1
}

// scenario is a situation in which recording the functions of its libraries could harm a
// program.
type scenario struct {
	// run runs a program, whose executable has that name, and returns the lines of its
	// report, in any order.
	run func(t *testing.T, executable string) []string
	// check compares the recorded operations with the reported lines and their counts. If it
	// is nil, only the reports with and without recording are compared.
	check func(t *testing.T, a *agent, executable string, reports map[string]int)
}

// checkUnharmed compares the reports of programs while nothing is attached with their reports
// while their functions are recorded, several programs at a time.
func checkUnharmed(t *testing.T, scenarios map[string]scenario) {
	t.Helper()
	reports := map[string]map[string]int{}
	for name, s := range scenarios {
		t.Run(name+", not recorded", func(t *testing.T) {
			if reports[name] = tally(s.run(t, "wt-alone")); len(reports[name]) < 2 {
				t.Fatalf("the program reports %v", reports[name])
			}
		})
	}
	a := startAgent(t, "usdt", "function")
	n := 0
	for name, s := range scenarios {
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
					if got := tally(s.run(t, executable(i))); !maps.Equal(got, reports[name]) {
						t.Errorf("while its functions are recorded, the program reports\n%v\nwant\n%v", got, reports[name])
					}
				})
			}
			programs.Wait()
			for i := range together {
				if s.check != nil {
					s.check(t, a, executable(i), reports[name])
				}
			}
			a.checkStillRecorded(t)
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

// checkStillRecorded fails the test if the agent detached a library because of wrong values.
func (a *agent) checkStillRecorded(t *testing.T) {
	t.Helper()
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// waitForSides waits until the handshakes that a program reported are recorded, as failed or
// as abandoned. Some may be missing if the agent reports losses.
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
			t.Errorf("%s: recorded %d times, reported %d times: %s", executable, n, reported[side], side)
		}
	}
	switch {
	case lost:
		t.Logf("%d of %d sides were recorded; the agent reports the loss of others", len(got), len(want))
	case !maps.Equal(recorded, reported):
		t.Errorf("%s: recorded %v, want %v", executable, recorded, reported)
	}
}

// splitLines returns the lines of a program's output.
func splitLines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

// outcome runs a program and returns the lines of its output, and one with its exit status or
// signal.
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
	return append(splitLines(string(out)), "["+command.ProcessState.String())
}

// Most of the programs leave functions in other ways than by a return.
func TestProgramsAreNotHarmed(t *testing.T) {
	program := handshakes(t)
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	of := func(options ...string) func(t *testing.T, executable string) []string {
		return func(t *testing.T, executable string) []string {
			return outcome(t, append([]string{renamed(t, program, executable), "-certificate", certificate, "-key", key}, options...)...)
		}
	}
	count := func(n int) string { return fmt.Sprint(n * load()) }
	checkUnharmed(t, map[string]scenario{
		"jobs that pause each other": {of("-async", "-threads", "-processes", "1", "-count", count(5)), allSides},
		// The program does not report handshakes that end by a jump.
		"jumps out of callbacks":     {of("-jump", "-processes", "3", "-count", count(10)), nil},
		"clients that close at once": {of("-leave", "-threads", "-processes", "1", "-count", count(10)), allSides},
		"renegotiation":              {of("-12", "-renegotiate", "-threads", "-processes", "1", "-count", count(10)), allSides},
		"greenlets that copy stacks": greenlets(t, certificate, key),
		"other programs are killed":  {besideKills(program, certificate, key), allSides},
		"clients that disconnect":    disconnections(certificate, key),
		"a debugger at a function":   {debugged(program, certificate, key, "break SSL_do_handshake"), allSides},
		"a debugger at a probed instruction": {debugged(program, certificate, key,
			fmt.Sprintf("break *((unsigned long)&SSL_do_handshake + %d)", siteOffset(t, ownLibraries(t, program, t.TempDir()), "handshake client", "SSL_do_handshake"))), allSides},
	})
}

// With shadow stacks, the processor ends a program that returns to an address other than its
// caller's.
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
	checkUnharmed(t, map[string]scenario{"shadow stacks": {func(t *testing.T, executable string) []string {
		return outcome(t, renamed(t, program, executable), "-certificate", certificate, "-key", key, "-shadow", "-count", fmt.Sprint(10*load()))
	}, allSides}})
}

// greenlets share a stack: while one waits in the middle of a handshake, its part of the stack
// is copied elsewhere, and another handshake begins and ends at the same addresses.
func greenlets(t *testing.T, certificate, key string) scenario {
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
	return scenario{func(t *testing.T, executable string) []string {
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
// whose ends are never seen.
func besideKills(program, certificate, key string) func(t *testing.T, executable string) []string {
	return func(t *testing.T, executable string) []string {
		options := func(more ...string) []string {
			return append([]string{"-certificate", certificate, "-key", key, "-threads"}, more...)
		}
		victim := renamed(t, program, "wt-victim")
		for range 5 * load() {
			// The victim's child ends when the pipe is closed.
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
				t.Errorf("the victim ended before it was killed: %v", err)
			}
		}
		return outcome(t, append([]string{renamed(t, program, executable)}, options("-count", "10")...)...)
	}
}

// disconnectingClients is a Python program with N clients that disconnect before the ClientHello,
// N after it, and N after the handshake, by a reset.
const disconnectingClients = `
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

// disconnections runs a server that loses clients at several points of the handshake, and serves
// one that stays.
func disconnections(certificate, key string) scenario {
	n := 10 * load()
	return scenario{func(t *testing.T, executable string) []string {
		need(t, "openssl", "/usr/bin/python3", "curl")
		openssl := strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl"))
		port := freePort(t)
		server := start(t, renamed(t, openssl, executable), "s_server", "-accept", "127.0.0.1:"+port, "-cert", certificate, "-key", key, "-www")
		listening(t, port, server)
		lines := splitLines(output(t, "", "/usr/bin/python3", "-c", disconnectingClients, port, fmt.Sprint(n)))
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

// exits matches the lines in which a debugger reports the end of its program.
var exits = regexp.MustCompile(`^\[Inferior 1 \(process \d+\) (exited .*)\]$|^(Program (?:received|terminated) .*)$`)

// debugged runs a program under a debugger, which stops it at a breakpoint twice.
func debugged(program, certificate, key, breakpoint string) func(t *testing.T, executable string) []string {
	return func(t *testing.T, executable string) (lines []string) {
		need(t, "gdb")
		out := output(t, "", "gdb", "-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "break main", "-ex", "run",
			"-ex", breakpoint, "-ex", "continue", "-ex", "stepi", "-ex", "stepi", "-ex", "continue", "-ex", "delete", "-ex", "continue",
			"--args", renamed(t, program, executable), "-certificate", certificate, "-key", key, "-count", "3")
		for _, line := range splitLines(out) {
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

// Programs start while their libraries are repeatedly replaced by other files.
func TestProgramsWhoseLibrariesAreReplacedAreNotHarmed(t *testing.T) {
	program, directory := handshakes(t), t.TempDir()
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	libraries := ownLibraries(t, program, directory)
	run := func(executable string) ([]string, error) {
		command := exec.Command(renamed(t, program, executable), "-certificate", certificate, "-key", key, "-threads", "-count", "5")
		command.Env = append(os.Environ(), "LD_LIBRARY_PATH="+directory)
		out, err := command.CombinedOutput()
		return splitLines(string(out)), err
	}
	lines, err := run("wt-replaced-alone")
	if err != nil {
		t.Fatalf("%v\n%s", err, lines)
	}
	unrecorded := tally(lines)
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q, %q]\n", libraries[0], libraries[1]))
	end := make(chan struct{})
	var workers sync.WaitGroup
	for i := range 3 {
		workers.Go(func() {
			for runs := 0; ; runs++ {
				select {
				case <-end:
					if runs == 0 {
						t.Error("a worker ran no program")
					}
					return
				default:
				}
				if lines, err := run(fmt.Sprintf("wt-replaced-%d", i)); err != nil || fmt.Sprint(tally(lines)) != fmt.Sprint(unrecorded) {
					t.Errorf("while libraries are replaced: %v\n%v\nwant\n%v", err, tally(lines), unrecorded)
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
			// The size differs, as with another build.
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
	// The agent also attaches to the last file.
	waitFor(t, "programs are recorded again", func() bool {
		lines, err := run("wt-replaced-last")
		return err == nil && len(a.sides(t, "wt-replaced-last")) >= len(lines)
	}, a.stderr.String)
	a.checkStillRecorded(t)
}

// Another build of a library is copied over a file whose functions are recorded: breakpoints
// of the previous build must not be in the middle of its instructions.
func TestALibraryThatIsOverwrittenWithAnotherBuildIsNotHarmed(t *testing.T) {
	if !*everything {
		t.Skip("needs packages of another build: run make soak")
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
		return fmt.Sprint(tally(splitLines(string(out)))), err
	}
	var unrecorded [2]string
	for i, build := range builds {
		for k := range libraries {
			copyOver(t, libraries[k], build[k])
		}
		var err error
		if unrecorded[i], err = run(); err != nil {
			t.Fatalf("%v\n%s", err, unrecorded[i])
		}
	}
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q, %q]\n", libraries[0], libraries[1]))
	attached := func() int { return strings.Count(a.stderr.String(), "msg=attached ") }
	for turn := range 4 * load() {
		before := attached()
		for k := range libraries {
			copyOver(t, libraries[k], builds[turn%2][k])
		}
		// At once, while the agent attaches, and after it has attached.
		for range 3 {
			if got, err := run(); err != nil || got != unrecorded[turn%2] {
				t.Fatalf("after it was overwritten %d times: %v\n%s\nwant\n%s", turn+1, err, got, unrecorded[turn%2])
			}
		}
		waitFor(t, "the agent attaches again", func() bool { return attached() >= before+2 }, a.stderr.String)
		if got, err := run(); err != nil || got != unrecorded[turn%2] {
			t.Fatalf("attached after it was overwritten %d times: %v\n%s\nwant\n%s", turn+1, err, got, unrecorded[turn%2])
		}
	}
	a.checkStillRecorded(t)
}

// copyOver copies a file onto another in place.
func copyOver(t *testing.T, to, from string) {
	t.Helper()
	if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// otherBuild returns a library of another version than the machine's, which also runs on it.
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

// siteOffset returns the offset, in bytes, of the site of a role from a function of libssl, which
// is one of the libraries.
func siteOffset(t *testing.T, libraries []string, role, function string) int64 {
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
	// The command fails if some of the sites are refused.
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
