// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/tests/machine"
)

const nobody = 65534

// startOpener starts crau-opener as the service manager does: as a user without files of
// its own, with one capability.
func startOpener(t *testing.T, socket string) *machine.Output {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	passed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	stderr := &machine.Output{}
	c := exec.Command("sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec "+program("crau-opener")+" --user nobody --idle-timeout 0")
	c.ExtraFiles, c.Stderr = []*os.File{passed}, stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 12345, Gid: 12345},
		AmbientCaps: []uintptr{machine.CapSysPtrace},
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		_ = c.Wait()
	})
	return stderr
}

// foreignAgent is an agent with the privileges of the service that discovers processes.
type foreignAgent struct {
	*agent
	socket, opener string
}

func startForeignAgent(t *testing.T, config string) *foreignAgent {
	t.Helper()
	needRecording(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if profile := profileOf(); profile != "uprobe_multi" {
		t.Skipf("this kernel attaches by %s, which needs CAP_SYS_ADMIN", profile)
	}
	directory := openDirectory(t)
	if err := os.Chown(directory, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	f := &foreignAgent{socket: filepath.Join(directory, "agent"), opener: filepath.Join(directory, "opener")}
	f.agent = startAgent(t, setup{
		libraries: []string{publisher("libfresh.so")}, log: filepath.Join(directory, "log"),
		config: "discover_processes = true\n" + config,
		flags:  []string{"--varlink", f.socket, "--opener", f.opener},
		process: &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{machine.CapBPF, machine.CapPerfmon, machine.CapLease},
		},
	})
	return f
}

// handshakeHits is the number of hits of a replayed handshake.
const handshakeHits = 28

// hitsOf returns the number of recorded hits of the attached library with this name.
// The agent may have attached libraries of other tests, too.
func hitsOf(t *testing.T, socket, name string) (hits uint64) {
	t.Helper()
	crauctl(t, "flush", "--socket", socket)
	for _, l := range statusOf(t, socket).Libraries {
		if filepath.Base(l.Path) == name {
			hits += l.Hits
		}
	}
	return hits
}

// checkHandshakes checks the number of replayed handshakes that are recorded of the
// attached library with this name.
func (f *foreignAgent) checkHandshakes(t *testing.T, name string, want uint64) {
	t.Helper()
	if hits := hitsOf(t, f.socket, name); hits != want*handshakeHits {
		t.Errorf("%d hits are recorded, want %d for %d handshakes", hits, want*handshakeHits, want)
	}
}

// operations returns the recorded operations of an executable.
func (f *foreignAgent) operations(t *testing.T, executable string) (all []operation) {
	t.Helper()
	crauctl(t, "flush", "--socket", f.socket)
	text := crauctl(t, "query", "--directory", f.log, "-o", "json", "--executable", executable)
	for line := range strings.Lines(text) {
		var o operation
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if o.Executable != "" { // not a notice
			all = append(all, o)
		}
	}
	return all
}

// container is a process in its own mount namespace.
type container struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Reader
}

// unique returns a file name that no concurrent run of the tests uses: the agents discover
// all processes of the machine.
func unique(name string) string { return fmt.Sprintf("%s.%d", name, os.Getpid()) }

// startContainer runs a script, which mounts and then executes a program, and waits for
// the program's first line.
func startContainer(t *testing.T, script string) *container {
	t.Helper()
	c := &container{t: t, command: exec.Command("unshare", "--mount", "sh", "-euc", script)}
	var err error
	if c.in, err = c.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := &machine.Output{}
	c.command.Stderr = stderr
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end() })
	c.lines = bufio.NewReader(out)
	if _, err := c.lines.ReadString('\n'); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	return c
}

// do sends a line and waits for a line.
func (c *container) do(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.lines.ReadString('\n'); err != nil {
		c.t.Fatal(err)
	}
}

// namespace returns the name of the container's mount namespace.
func (c *container) namespace() string {
	c.t.Helper()
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", c.command.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return name
}

func (c *container) end() {
	c.in.Close()
	_ = c.command.Wait()
}

// opens reports whether the agent has a file open whose path ends with suffix.
func (f *foreignAgent) opens(t *testing.T, suffix string) bool {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", f.command.Process.Pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("cannot list the agent's open files: %v", err)
	}
	return slices.ContainsFunc(links, func(link string) bool {
		path, err := os.Readlink(link)
		return err == nil && strings.HasSuffix(path, suffix)
	})
}

func TestALibraryInAContainerIsRecordedUntilTheContainerEnds(t *testing.T) {
	f := startForeignAgent(t, "")
	startOpener(t, f.opener)
	directory, name := openDirectory(t), unique("contained.so")
	c := startContainer(t, fmt.Sprintf("mount -t tmpfs none %[1]s; cat %[2]s >%[1]s/%[5]s; chmod 644 %[1]s/%[5]s; exec %[3]s --commands --library %[1]s/%[5]s %[4]s",
		directory, publisher("libreplay.so"), publisher("replay"), trace("gnutls-tls13-p256"), name))
	waitFor(t, "the library to be attached", func() bool { return f.logged("attached", "mnt:[", "/"+name) > 0 })
	c.do("run 3")
	f.checkHandshakes(t, name, 3)
	c.end()
	waitFor(t, "the library to be detached", func() bool { return f.logged("detached", "mnt:[", "/"+name) > 0 })
	waitFor(t, "the file to be closed", func() bool { return !f.opens(t, "/"+name) })
	f.stop(t, patience)
}

// Both containers map the file of one lower directory. The probes are in that file, however
// many overlays show it.
func TestALibraryThatContainersShareIsRecordedOnce(t *testing.T) {
	f := startForeignAgent(t, "")
	startOpener(t, f.opener)
	directory, library := openDirectory(t), unique("shared.so")
	for _, name := range []string{"lower", "other", "merged"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, filepath.Join(directory, "lower", library), publisher("libreplay.so"))
	script := fmt.Sprintf("mount -t overlay -o lowerdir=%[1]s/lower:%[1]s/other none %[1]s/merged; exec %[2]s --commands --library %[1]s/merged/%[4]s %[3]s",
		directory, publisher("replay"), trace("gnutls-tls13-p256"), library)
	first := startContainer(t, script)
	waitFor(t, "the library to be attached", func() bool { return f.logged("attached", "/"+library) == 1 })
	second := startContainer(t, script)
	first.do("run 2")
	second.do("run 3")
	f.checkHandshakes(t, library, 5)
	// The file stays recorded through the other container.
	first.end()
	waitFor(t, "the library to be attached again", func() bool { return f.logged("attached", "/"+library) == 2 })
	second.do("run 4")
	f.checkHandshakes(t, library, 4)
	f.stop(t, patience)
}

func TestASignatureByOpenSSLInAContainerIsRecorded(t *testing.T) {
	f := startForeignAgent(t, "sources = [\"function\"]\n")
	startOpener(t, f.opener)
	library, err := exec.Command("sh", "-c", "ldd $(command -v openssl) | sed -n 's/.*=> \\(.*libcrypto[^ ]*\\).*/\\1/p'").Output()
	path := strings.TrimSpace(string(library))
	if err != nil || path == "" {
		t.Skipf("openssl has no library: %v", err)
	}
	directory, name := openDirectory(t), unique("openssl")
	copyFile(t, filepath.Join(directory, name), "/usr/bin/openssl")
	if err := os.Chmod(filepath.Join(directory, name), 0o755); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(directory, "key")
	if output, err := exec.Command("openssl", "genpkey", "-algorithm", "RSA", "-out", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	// The container has its own root directory, with a copy of the library. One program
	// waits for input while others run.
	script := fmt.Sprintf(`mount -t tmpfs none /mnt
mkdir /mnt/own /mnt/root
cat %[1]s >/mnt/own/library
chmod 755 /mnt/own/library
mount --rbind / /mnt/root
mount --bind /mnt/own/library /mnt/root%[1]s
cd /mnt/root
pivot_root . mnt
umount -l /mnt
cd %[2]s
mkfifo wait
./%[3]s enc -aes-128-cbc -k x -pbkdf2 -in wait -out /dev/null &
exec 3>wait
echo ready
while read line; do ./%[3]s dgst -sha1 -sign key -out /dev/null key; echo done; done`, path, directory, name)
	c := startContainer(t, script)
	waitFor(t, "the library to be attached", func() bool { return f.logged("attached", c.namespace(), path) > 0 })
	c.do("sign")
	all := f.operations(t, name)
	if len(all) != 1 {
		t.Fatalf("the recorded operations are %+v, want one", all)
	}
	for key, want := range map[string]any{"name": "pk::sign", "pk::algorithm": "RSA", "pk::bits": 2048.0, "pk::hash": "SHA1"} {
		if got := all[0].Events[key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	f.stop(t, patience)
}

func TestALibraryIsReportedUntilTheOpenerCanOpenIt(t *testing.T) {
	f := startForeignAgent(t, "")
	directory, name := openDirectory(t), unique("libssl.so")
	c := startContainer(t, fmt.Sprintf("mount -t tmpfs none %[1]s; cat %[2]s >%[1]s/%[5]s; chmod 644 %[1]s/%[5]s; exec %[3]s --commands --library %[1]s/%[5]s %[4]s",
		directory, publisher("libreplay.so"), publisher("replay"), trace("gnutls-tls13-p256"), name))
	missing := func() bool {
		for _, l := range statusOf(t, f.socket).Libraries {
			if strings.HasSuffix(l.Path, "/"+name) && strings.Contains(l.Error, "crypto-auditing-opener.socket") {
				return true
			}
		}
		return false
	}
	waitFor(t, "the status to report the library", missing)
	startOpener(t, f.opener)
	waitFor(t, "the library to be attached", func() bool { return f.logged("attached", "/"+name) > 0 })
	c.do("run 1")
	f.checkHandshakes(t, name, 1)
	if missing() {
		t.Error("the status still reports the library")
	}
	f.stop(t, patience)
}
