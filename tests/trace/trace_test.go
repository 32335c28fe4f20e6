// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// self returns the path of this program, which can also be a TLS client written in Go.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// text returns the value of a key in an operation or in one of its spans.
func (o *operation) text(key string) string {
	if v, ok := o.Events[key]; ok {
		return fmt.Sprint(v)
	}
	for i := range o.Spans {
		if text := o.Spans[i].text(key); text != "" {
			return text
		}
	}
	return ""
}

// negotiated returns the version, the suite and the group of a TLS handshake.
func (o *operation) negotiated() string {
	return strings.Join([]string{o.text("tls::protocol_version_name"), o.text("tls::ciphersuite_name"), o.text("tls::group_name")}, " ")
}

func TestTracePassesExitStatusAndStreamsThrough(t *testing.T) {
	for name, c := range map[string]struct {
		command []string
		status  int
	}{
		"success":         {[]string{"true"}, 0},
		"failure":         {[]string{"sh", "-c", "exit 7"}, 7},
		"killed":          {[]string{"sh", "-c", "kill -9 $$"}, 128 + 9},
		"no such command": {[]string{"/nonexistent/program"}, 127},
		"not executable":  {[]string{"/etc/passwd"}, 126},
		"a directory":     {[]string{"/etc"}, 126},
	} {
		if r := trace(t, append([]string{"--source", "usdt", "--"}, c.command...)...); r.status != c.status {
			t.Errorf("%s: status %d, want %d\n%s", name, r.status, c.status, r.stderr)
		}
	}
	c, file := prepare(t, "--source", "usdt", "--", "sh", "-c", "cat; echo error >&2")
	c.Stdin = strings.NewReader("given\n")
	r := finish(t, c, file)
	if r.status != 0 || r.stdout != "given\n" || r.stderr != "error\n" {
		t.Errorf("status %d, standard output %q, error %q", r.status, r.stdout, r.stderr)
	}
}

func TestRealProgramsAreRecordedAsTheyReport(t *testing.T) {
	need(t, "openssl", "curl")
	address := serve(t)
	_, number, _ := strings.Cut(address, ":")
	t.Run("Go", func(t *testing.T) {
		r := trace(t, "--names", "--", self(t), clientArgument, address)
		all := r.by(filepath.Base(self(t)))
		if len(all) != 1 || all[0].negotiated() != strings.ReplaceAll(strings.TrimSpace(r.stdout), "TLS 1.3 ", "TLS 1.3 ") {
			t.Errorf("the client reports %q, the operations are %+v\n%s", r.stdout, r.operations, r.stderr)
		}
	})
	t.Run("openssl", func(t *testing.T) {
		r := trace(t, "--names", "--", "openssl", "s_client", "-connect", address, "-tls1_2")
		suite := regexp.MustCompile(`Cipher is (\S+)`).FindStringSubmatch(r.stdout)
		all := r.by("openssl")
		if suite == nil || len(all) != 1 || all[0].text("tls::protocol_version_name") != "TLS 1.2" ||
			strings.ReplaceAll(strings.TrimPrefix(all[0].text("tls::ciphersuite_name"), "TLS_"), "_", "-") != strings.Replace(strings.Replace(suite[1], "-AES", "-WITH-AES", 1), "AES128", "AES-128", 1) {
			t.Errorf("openssl reports %q, the operations are %+v\n%s", suite, r.operations, r.stderr)
		}
	})
	t.Run("curl", func(t *testing.T) {
		r := trace(t, "--names", "--", "curl", "-svk", "https://localhost:"+number+"/")
		suite := regexp.MustCompile(`SSL connection using TLSv1.3 / (\S+)`).FindStringSubmatch(r.stderr)
		all := r.by("curl")
		if r.stdout != "hello\n" || suite == nil || len(all) != 1 || all[0].text("tls::ciphersuite_name") != suite[1] {
			t.Errorf("curl reports %q and %q, the operations are %+v\n%s", suite, r.stdout, r.operations, r.stderr)
		}
	})
	t.Run("ssh", func(t *testing.T) {
		need(t, "ssh", "/usr/sbin/sshd", "ssh-keygen")
		number := sshServer(t)
		r := trace(t, "--", "ssh", "-v", "-F", "none", "-p", number, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "nobody@127.0.0.1", "true")
		kex := regexp.MustCompile(`kex: algorithm: (\S+)`).FindStringSubmatch(r.stderr)
		all := r.by("ssh")
		if kex == nil || len(all) != 1 || all[0].text("ssh::kex_algorithm") != kex[1] {
			t.Errorf("ssh reports %q, the operations are %+v\n%s", kex, r.operations, r.stderr)
		}
	})
}

func TestASignatureOfAnUnmodifiedLibraryIsTracedOnce(t *testing.T) {
	need(t, "openssl")
	directory := t.TempDir()
	key, signature := filepath.Join(directory, "key"), filepath.Join(directory, "signature")
	if out, err := exec.Command("openssl", "genrsa", "-out", key, "2048").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := trace(t, "--source", "function", "--", "openssl", "dgst", "-sha1", "-sign", key, "-out", signature, key)
	var signs []operation
	for _, o := range r.by("openssl") {
		if o.Events["name"] == "pk::sign" {
			signs = append(signs, o)
		}
	}
	if r.status != 0 || len(signs) != 1 || signs[0].Events["crau::source"] != "function" ||
		signs[0].text("pk::algorithm") != "RSA" || signs[0].text("pk::bits") != "2048" || signs[0].text("pk::hash") != "SHA1" {
		t.Errorf("status %d, the operations are %+v\n%s", r.status, r.operations, r.stderr)
	}
}

// sshServer runs an sshd that accepts no logins until the test ends, and returns its port.
func sshServer(t *testing.T) (number string) {
	t.Helper()
	directory := t.TempDir()
	key := filepath.Join(directory, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	number = port(t)
	configuration := filepath.Join(directory, "sshd.conf")
	if err := os.WriteFile(configuration, []byte(fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nStrictModes no\n", number, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, "/usr/sbin/sshd", "-D", "-e", "-f", configuration)
	waitFor(t, "sshd to listen", func() bool {
		return exec.Command("sh", "-c", "exec 3<>/dev/tcp/127.0.0.1/"+number).Run() == nil || exec.Command("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/"+number).Run() == nil
	})
	return number
}

// background starts a program in its own process group, and kills it when the test ends.
func background(t *testing.T, arguments ...string) (c *exec.Cmd, in io.Writer) {
	t.Helper()
	c = exec.Command(arguments[0], arguments[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = time.Second
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
	})
	return c, in
}

func TestOnlyTheTreeOfProcessesIsTraced(t *testing.T) {
	address := serve(t)
	client := self(t) + " " + clientArgument + " " + address
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"side by side":     {client + " & " + client + "; wait", 2},
		"a chain of exec":  {"exec sh -c 'exec env sh -c \"exec " + client + "\"'", 1},
		"forks of forks":   {"(( " + client + " ) & wait) & (" + client + "); wait", 2},
		"still running":    {"(setsid sh -c 'sleep 1; " + client + "' >/dev/null 2>&1 &) ; exit 0", 1},
		"a hundred, short": {"for i in $(seq 100); do " + client + " & [ $((i % 4)) -ne 0 ] || wait; done; wait", 100},
	} {
		t.Run(name, func(t *testing.T) {
			// Operations of other processes must not be recorded meanwhile.
			stop, stopped := make(chan bool), make(chan bool)
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
						_ = exec.Command(self(t), clientArgument, address).Run()
					}
				}
			}()
			r := trace(t, "--source", "wire", "--", "sh", "-c", c.script)
			close(stop)
			<-stopped
			if n := len(r.by(filepath.Base(self(t)))); r.status != 0 || n != c.want || len(r.operations) != n {
				t.Errorf("status %d, %d operations of the program and %d in total, want %d\n%s", r.status, n, len(r.operations), c.want, r.stderr)
			}
		})
	}
}

func TestEveryHitOfShortProgramsIsTraced(t *testing.T) {
	if buildError != nil {
		t.Fatal(buildError)
	}
	replay := filepath.Join(publishers, "replay") + " --count 1 --library " + filepath.Join(publishers, "libreplay.so") + " ../data/probe-traces/gnutls-tls13-p256.txt"
	r := trace(t, "--source", "usdt", "--", "sh", "-c", "for i in $(seq 100); do "+replay+" || exit 1; done")
	elements, handshakes := 0, 0
	var count func(o *operation)
	count = func(o *operation) {
		for key := range o.Events {
			if !strings.HasPrefix(key, "crau::") { // fired by the program
				elements++
			}
		}
		if strings.HasPrefix(fmt.Sprint(o.Events["name"]), "tls::handshake") {
			handshakes++
		}
		for i := range o.Spans {
			count(&o.Spans[i])
		}
	}
	for i := range r.operations {
		count(&r.operations[i])
	}
	fired := 0
	for _, match := range regexp.MustCompile(`values (\d+)`).FindAllStringSubmatch(r.stdout, -1) {
		n, _ := strconv.Atoi(match[1])
		fired += n
	}
	// Each side of the replayed handshake begins it twice.
	if r.status != 0 || handshakes != 400 || fired == 0 || elements != fired || strings.Contains(r.stderr, "lost") {
		t.Errorf("status %d, %d handshakes, %d of %d elements\n%s", r.status, handshakes, elements, fired, r.stderr)
	}
}

func TestALibraryThatIsLoadedLaterIsAttachedWhileTheProgramRuns(t *testing.T) {
	// The command line does not contain the name of the library.
	directory := t.TempDir()
	library, err := os.ReadFile(filepath.Join(publishers, "libreplay.so"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(directory, "lib later.so")
	if err := os.WriteFile(name, library, 0o644); err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("../data/probe-traces/gnutls-tls13-p256.txt")
	if err != nil {
		t.Fatal(err)
	}
	script := "eval \"exec " + filepath.Join(publishers, "replay") + " --commands --library '$1$2' " + data + "\""
	c, file := prepare(t, "--source", "usdt", "--", "sh", "-c", script, "sh", filepath.Dir(name)+"/lib ", "later.so")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an operation to be recorded", func() bool {
		_, _ = in.Write([]byte("run 1\n"))
		return len(read(t, file)) > 0
	})
	in.Close()
	if err := c.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
}

func TestALibraryInAnotherMountNamespaceIsAttached(t *testing.T) {
	need(t, "unshare", "mount")
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	data, err := filepath.Abs("../data/probe-traces/gnutls-tls13-p256.txt")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	// No word of the command line is the path of a library.
	script := "mount -t tmpfs none " + directory + " && cat " + publishers + "/libreplay.s? >" + directory + "/inside.so && exec " +
		filepath.Join(publishers, "replay") + " --commands --library " + directory + "/inside.so " + data
	c, file := prepare(t, "--source", "usdt", "--", "unshare", "--mount", "sh", "-c", script)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an operation to be recorded", func() bool {
		_, _ = in.Write([]byte("run 1\n"))
		return len(read(t, file)) > 0
	})
	in.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTwoTracesAtOnceSeeTheirOwnCommands(t *testing.T) {
	address := serve(t)
	client := self(t) + " " + clientArgument + " " + address
	results := make(chan traced, 2)
	for range 2 {
		go func() {
			results <- trace(t, "--source", "wire", "--", "sh", "-c", "for i in $(seq 20); do "+client+"; done")
		}()
	}
	for range 2 {
		if r := <-results; r.status != 0 || len(r.operations) != 20 {
			t.Errorf("status %d, %d operations\n%s", r.status, len(r.operations), r.stderr)
		}
	}
}

func TestTraceAndAgentRecordTheSameHandshake(t *testing.T) {
	if reason := machine.MissingForBPF(); reason != "" {
		t.Skip(reason)
	}
	address := serve(t)
	directory := t.TempDir()
	name := filepath.Join(directory, "beside")
	program, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, program, 0o755); err != nil {
		t.Fatal(err)
	}
	configuration := filepath.Join(directory, "agent.conf")
	if err := os.WriteFile(configuration, []byte("sources = [\"wire\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(directory, "log")
	agent := exec.Command(filepath.Join(bin, "crau-agent"), "--config", configuration, "--log-dir", log, "--varlink", filepath.Join(directory, "socket"))
	messages, err := agent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer agent.Wait()
	defer agent.Process.Kill()
	buffer := make([]byte, 1<<16)
	for printed := ""; !strings.Contains(printed, "msg=recording"); {
		n, err := messages.Read(buffer)
		if err != nil {
			t.Fatalf("the agent: %v\n%s", err, printed)
		}
		printed += string(buffer[:n])
	}
	go io.Copy(io.Discard, messages)
	r := trace(t, "--", name, clientArgument, address)
	if r.status != 0 || len(r.by("beside")) != 1 {
		t.Errorf("status %d, the traced operations are %+v\n%s", r.status, r.operations, r.stderr)
	}
	waitFor(t, "the agent to record the handshake", func() bool {
		out, _ := exec.Command(filepath.Join(bin, "crauctl"), "query", "--directory", log, "--count", "--executable", "beside").Output()
		return strings.TrimSpace(string(out)) == "1"
	})
}

func TestAnUnprivilegedUserGetsTheRequirements(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	address := serve(t)
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	directory, err := os.MkdirTemp(bin, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	// The path of this program may include directories that only root can read.
	program, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(directory, "client")
	if err := os.WriteFile(client, program, 0o755); err != nil {
		t.Fatal(err)
	}
	_, _ = prepare(t)
	c := exec.Command(filepath.Join(bin, "crauctl"), "trace", "--", "true")
	c.Dir, c.SysProcAttr = directory, &syscall.SysProcAttr{Credential: nobody}
	out, _ := c.CombinedOutput()
	if c.ProcessState.ExitCode() != 125 || string(out) != "crauctl: tracing needs root, or CAP_BPF and CAP_PERFMON: try sudo\n" && !strings.Contains(string(out), "CAP_SYS_ADMIN") {
		t.Errorf("without privilege: status %d\n%s", c.ProcessState.ExitCode(), out)
	}
	if !multiple(t) {
		return
	}
	c = exec.Command(filepath.Join(bin, "crauctl"), "trace", "--", client, clientArgument, address)
	c.Dir = directory
	c.SysProcAttr = &syscall.SysProcAttr{Credential: nobody, AmbientCaps: []uintptr{machine.CapBPF, machine.CapPerfmon}}
	out, err = c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "client: tls::handshake client, TLS 1.3") {
		t.Errorf("with two capabilities: %v\n%s", err, out)
	}
}

// multiple reports whether the kernel attaches to many sites at once.
func multiple(t *testing.T) bool {
	t.Helper()
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var release []byte
	for _, c := range name.Release {
		release = append(release, byte(c))
	}
	var major, minor int
	_, _ = fmt.Sscanf(string(release), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 6
}

func TestACommandRunsAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	r := trace(t, "--source", "usdt", "--user", "nobody", "--", "sh", "-c", "id -un; id -Gn")
	if r.status != 0 || r.stdout != "nobody\nnogroup\n" && r.stdout != "nobody\nnobody\n" {
		t.Errorf("status %d, the command printed %q\n%s", r.status, r.stdout, r.stderr)
	}
	if r := trace(t, "--user", "no such user", "--", "true"); r.status != 125 || !strings.Contains(r.stderr, "no such user") {
		t.Errorf("status %d\n%s", r.status, r.stderr)
	}
}

func TestARunningProcessIsTracedWithItsChildrenUntilAnInterrupt(t *testing.T) {
	address := serve(t)
	client := self(t) + " " + clientArgument + " " + address
	ready := filepath.Join(t.TempDir(), "ready")
	shell, in := background(t, "sh", "-c", "sh -c ': >"+ready+"; while read x; do "+client+" >/dev/null; done'; exit 0")
	// Both shells run before trace is started.
	waitFor(t, "the shells to run", func() bool {
		_, err := os.Stat(ready)
		return err == nil
	})
	for name, before := range map[string]string{"as usual": "", "in the background of a script": "trap '' INT; "} {
		t.Run(name, func(t *testing.T) {
			c, file := prepare(t, "--source", "wire", "--pid", fmt.Sprint(shell.Process.Pid))
			c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", before + `exec "$0" "$@"`}, c.Args...)
			var stderr bytes.Buffer
			c.Stderr = &stderr
			deliverable(t)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "an operation to be recorded", func() bool {
				_, _ = in.Write([]byte("\n"))
				return len(read(t, file)) > 0
			})
			if err := c.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			// The two shells, and perhaps their child processes.
			if status := c.ProcessState.ExitCode(); status != 130 || !regexp.MustCompile(`^crauctl: watching [2-9] processes; `).MatchString(stderr.String()) {
				t.Errorf("after an interrupt the status is %d\n%s", status, &stderr)
			}
			for _, o := range read(t, file) {
				if o.Executable != filepath.Base(self(t)) {
					text, _ := os.ReadFile(file)
					t.Errorf("unexpected operation %+v\n%s", o, text)
				}
			}
		})
	}
	if r := trace(t, "--source", "usdt", "--pid", "999999999"); r.status != 125 || !strings.Contains(r.stderr, "no process 999999999") {
		t.Errorf("a missing process: status %d\n%s", r.status, r.stderr)
	}
}

// deliverable makes hangups and interrupts reach the programs that the test starts, even if
// nohup(1) or the background of a script made this process ignore them: programs inherit
// ignored signals, but not handled ones.
func deliverable(t *testing.T) {
	t.Helper()
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGHUP, os.Interrupt)
	t.Cleanup(func() { signal.Stop(handled) })
}

func TestTracePassesSignalsToTheCommand(t *testing.T) {
	deliverable(t)
	for name, c := range map[string]struct {
		signal syscall.Signal
		group  bool // send it to the process group, as a terminal does
		status int
	}{
		"an interrupt from the terminal": {syscall.SIGINT, true, 5},
		"a termination request":          {syscall.SIGTERM, false, 6},
		"an unhandled signal":            {syscall.SIGHUP, false, 128 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			command, _ := prepare(t, "--source", "usdt", "--", "sh", "-c", "trap 'echo trapped; exit 5' INT; trap 'echo trapped; exit 6' TERM; echo ready; while :; do sleep 0.1; done")
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 64)
			n, err := stdout.Read(buffer)
			if err != nil || string(buffer[:n]) != "ready\n" {
				t.Fatalf("the command printed %q: %v", buffer[:n], err)
			}
			target := command.Process.Pid
			if c.group {
				target = -target
			}
			if err := syscall.Kill(target, c.signal); err != nil {
				t.Fatal(err)
			}
			output, _ := io.ReadAll(stdout)
			_ = command.Wait()
			if status := command.ProcessState.ExitCode(); status != c.status || c.status < 128 && string(output) != "trapped\n" {
				t.Errorf("status %d, want %d; the command printed %q", status, c.status, output)
			}
		})
	}
}

func TestACommandOutlivesATraceThatIsKilled(t *testing.T) {
	directory := t.TempDir()
	done := filepath.Join(directory, "done")
	c, _ := prepare(t, "--source", "usdt", "--", "sh", "-c", "echo ready; read x; echo >"+done)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Kill()
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the command to continue", func() bool {
		_, err := os.Stat(done)
		return err == nil
	})
	_ = c.Wait()
}

func TestATableSummarizesOperations(t *testing.T) {
	address := serve(t)
	_, _ = prepare(t)
	client := self(t) + " " + clientArgument + " " + strings.Repeat(" "+address, 3)
	out, err := exec.Command(filepath.Join(bin, "crauctl"), "trace", "-c", "--source", "wire", "--", "sh", "-c", client+" >/dev/null").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	if !slices.Equal(strings.Fields(lines[0]), []string{"count", "operation", "algorithm", "program", "first", "last"}) ||
		!regexp.MustCompile(`(?m)^3 +tls::handshake +client TLS 1.3 TLS_\S+ +\S+ +[\d:.]+ +[\d:.]+$`).Match(out) ||
		!regexp.MustCompile(`(?m)^3 +tls::key_exchange +\S+ `).Match(out) {
		t.Errorf("the table is\n%s", out)
	}
	out, err = exec.Command(filepath.Join(bin, "crauctl"), "trace", "-C", "-o", "cat", "--source", "wire", "--", "sh", "-c", client+" >/dev/null").CombinedOutput()
	if err != nil || len(regexp.MustCompile(`(?m)^tls::handshake client`).FindAll(out, -1)) != 3 || !bytes.Contains(out, []byte("count")) {
		t.Errorf("with the operations: %v\n%s", err, out)
	}
}

func TestLossesAreReportedAtTheEnd(t *testing.T) {
	_, _ = prepare(t)
	data, err := filepath.Abs("../data/probe-traces/gnutls-tls13-p256.txt")
	if err != nil {
		t.Fatal(err)
	}
	c, file := prepare(t, "--source", "usdt", "--", filepath.Join(publishers, "replay"), "--commands", "--library", filepath.Join(publishers, "libreplay.so"), data)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	run := func(n int) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "run %d\n", n); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
	run(1)
	// No process reads the ring of 8 MiB.
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	run(20000)
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Count(text, []byte(`"reason":"ring-full"`)) != 1 {
		t.Errorf("want one loss with the reason ring-full: %v; the output ends with\n%s", err, text[max(0, len(text)-1000):])
	}
}
