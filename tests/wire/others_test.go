// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestHandshakesOfSSHAreRecorded(t *testing.T) {
	need(t, "ssh", "ssh-keygen", "/usr/sbin/sshd", "dropbear", "dropbearkey")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	ssh := c.copied(t, "ssh")
	// sshd switches to this user until a client has logged in.
	if _, err := user.Lookup("sshd"); err != nil {
		t.Fatalf("%v: install sshd", err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	sshd := func(kind string, bits ...string) func(*testing.T, string) *buffer {
		return func(t *testing.T, port string) *buffer {
			key, file := filepath.Join(t.TempDir(), kind), filepath.Join(t.TempDir(), "sshd.conf")
			output(t, "", append([]string{"ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key}, bits...)...)
			text := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nStrictModes no\n", port, key)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return start(t, "/usr/sbin/sshd", "-D", "-e", "-f", file)
		}
	}
	dropbear := func(t *testing.T, port string) *buffer {
		key := filepath.Join(t.TempDir(), "key")
		output(t, "", "dropbearkey", "-t", "ed25519", "-f", key)
		return start(t, "/usr/sbin/dropbear", "-F", "-E", "-p", "127.0.0.1:"+port, "-r", key, "-P", filepath.Join(t.TempDir(), "pid"))
	}
	for name, c := range map[string]struct {
		server  func(*testing.T, string) *buffer
		file    string
		options []string
		more    []string
	}{
		"by default":       {sshd("ed25519"), "sshd*", nil, nil},
		"RSA and counters": {sshd("rsa", "-b", "3072"), "sshd*", []string{"KexAlgorithms=curve25519-sha256", "Ciphers=aes256-ctr", "MACs=hmac-sha2-256"}, []string{"ssh::rsa_bits=3072", "ssh::signature_algorithm=rsa-sha2-512"}},
		"a group exchange": {sshd("ecdsa"), "sshd*", []string{"KexAlgorithms=diffie-hellman-group-exchange-sha256", "Ciphers=aes128-gcm@openssh.com"}, []string{"ssh::kex_group=*"}},
		"Dropbear":         {dropbear, "dropbear", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			listening(t, port, c.server(t, port))
			arguments := []string{ssh, "-vv", "-F", "none", "-p", port, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
			for _, option := range c.options {
				arguments = append(arguments, "-o", option)
			}
			printed := output(t, "", append(arguments, "nobody@127.0.0.1", "true")...)
			c2s := find(t, `kex: client->server cipher: (\S+) MAC: (\S+) compression: (\S+)`, printed)
			want := []string{
				"ssh::result=completed", "ssh::kex_algorithm=" + find(t, `kex: algorithm: (\S+)`, printed)[0],
				"ssh::key_algorithm=" + find(t, `kex: host key algorithm: (\S+)`, printed)[0], "ssh::c2s_cipher=" + c2s[0], "ssh::c2s_compression=" + c2s[2],
				"ssh::s2c_cipher=" + find(t, `kex: server->client cipher: (\S+)`, printed)[0],
			}
			if c2s[1] != "<implicit>" {
				want = append(want, "ssh::c2s_mac="+c2s[1])
			}
			for _, match := range c.more {
				if match == "ssh::kex_group=*" {
					match = "ssh::kex_group=" + find(t, `bits set: \d+/(\d+)`, printed)[0]
				}
				want = append(want, match)
			}
			a.recorded(t, "wt-ssh", append(want, "ssh::role=client")...)
			a.recorded(t, c.file, append(want, "ssh::role=server")...)
		})
	}
	if everything := output(t, "", "sh", "-c", "zstdcat "+a.log+"/*.zst"); regexp.MustCompile(`OpenSSH_|127\.0\.0\.1`).MatchString(everything) {
		t.Error("the log has an identification or an address")
	}
}

// paramiko reads the beginning of each packet separately.
func TestHandshakesOfParamikoAreRecorded(t *testing.T) {
	need(t, "ssh", "python3")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	ssh := c.copied(t, "ssh")
	port := freePort(t)
	listening(t, port, start(t, "/usr/bin/python3", "programs/ssh_pair.py", "server", port))
	// It prints the algorithms of key exchange and host key, ciphers, MACs and compression.
	printed := strings.Fields(output(t, "", "/usr/bin/python3", "programs/ssh_pair.py", "client", port))
	if len(printed) != 7 {
		t.Fatalf("paramiko printed %q", printed)
	}
	want := []string{"ssh::result=completed", "ssh::rsa_bits=2048"}
	for i, key := range []string{"kex_algorithm", "signature_algorithm", "c2s_cipher", "s2c_cipher", "c2s_mac", "s2c_mac", "c2s_compression"} {
		want = append(want, "ssh::"+key+"="+printed[i])
	}
	a.recorded(t, "python3*", append(want, "ssh::role=client")...)
	a.recorded(t, "python3*", append(want, "ssh::role=server")...)

	text := output(t, "", ssh, "-vv", "-F", "none", "-p", port, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "nobody@127.0.0.1", "true")
	m := find(t, `kex: client->server cipher: (\S+) MAC: (\S+) compression`, text)
	want = []string{"ssh::result=completed", "ssh::c2s_cipher=" + m[0], "ssh::c2s_mac=" + m[1], "ssh::kex_algorithm=" + find(t, `kex: algorithm: (\S+)`, text)[0]}
	a.recorded(t, "wt-ssh", append(want, "ssh::role=client")...)
	a.recorded(t, "python3*", append(want, "ssh::role=server")...)
}

// A program that only forwards bytes is neither the client nor the server of the handshakes
// in them.
func TestForwardedHandshakesAreNotAttributedToTheRelay(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	rsa, rsaKey := certificate(t, c.directory, "rsa")
	openssl := c.copied(t, "openssl")
	for name, relay := range map[string]func(t *testing.T, program, from, to string) *buffer{
		"socat": func(t *testing.T, program, from, to string) *buffer {
			return start(t, program, "TCP-LISTEN:"+from+",bind=127.0.0.1", "TCP:127.0.0.1:"+to)
		},
		"haproxy": func(t *testing.T, program, from, to string) *buffer {
			processor, err := os.ReadFile("/proc/cpuinfo")
			if err != nil {
				t.Fatal(err)
			}
			if runtime.GOARCH == "amd64" && !strings.Contains(string(processor), " cx16 ") {
				t.Skip("HAProxy needs cmpxchg16b, an instruction that this processor lacks")
			}
			file := filepath.Join(t.TempDir(), "haproxy.cfg")
			text := fmt.Sprintf("defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\nlisten x\n bind 127.0.0.1:%s\n server s 127.0.0.1:%s\n", from, to)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			return start(t, program, "-db", "-f", file)
		},
		"nginx": func(t *testing.T, program, from, to string) *buffer {
			directory := t.TempDir()
			text := fmt.Sprintf("load_module /usr/lib/nginx/modules/ngx_stream_module.so; daemon off; pid %[1]s/pid; error_log stderr; events {} stream { server { listen 127.0.0.1:%[2]s; proxy_pass 127.0.0.1:%[3]s; } }", directory, from, to)
			return start(t, program, "-c", file(t, "nginx.conf", text), "-p", directory)
		},
	} {
		t.Run(name, func(t *testing.T) {
			program := c.copied(t, name)
			to, from := freePort(t), freePort(t)
			listening(t, to, start(t, openssl, "s_server", "-accept", to, "-quiet", "-cert", rsa, "-key", rsaKey))
			listening(t, from, relay(t, program, from, to))
			before := len(a.query(t, "wt-openssl"))
			printed := output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s", quit, openssl, from))
			ofOpenSSL(t, printed)
			waitFor(t, "both ends are recorded", func() bool { return len(a.query(t, "wt-openssl")) >= before+2 }, a.stderr.String)
			if got := a.query(t, "wt-"+name); len(got) > 0 {
				t.Errorf("the relay is recorded: %+v", got)
			}
		})
	}
}

// Only one socket of a tunnel is seen: the other end is inside SSH.
func TestHandshakesThroughATunnelAreMarkedAsSuspect(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can log in as itself with a key of the test")
	}
	need(t, "ssh", "ssh-keygen", "/usr/sbin/sshd")
	a := startAgent(t)
	o := opensslPeer(t, &tools{t.TempDir()})
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	for _, key := range []string{"host", "user"} {
		output(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(directory, key))
	}
	to, through, from := freePort(t), freePort(t), freePort(t)
	text := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %[2]s/host\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nAuthorizedKeysFile %[2]s/user.pub\n", through, directory)
	listening(t, through, start(t, "/usr/sbin/sshd", "-D", "-e", "-f", file(t, "sshd.conf", text)))
	listening(t, to, o.serve(t, to))
	listening(t, from, start(t, "ssh", "-N", "-F", "none", "-p", through, "-i", directory+"/user", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes", "-L", "127.0.0.1:"+from+":127.0.0.1:"+to, "root@127.0.0.1"))
	want := o.connect(t, from)
	for _, side := range []struct{ executable, role, relay string }{
		{"wt-openssl", "client", ""}, {"ssh", "server", "suspected"}, {"sshd*", "client", "suspected"}, {"wt-openssl", "server", ""},
	} {
		matches := want.matches(side.role)
		if side.relay != "" {
			matches = append(matches, "tls::relay="+side.relay)
		}
		got := a.recorded(t, side.executable, matches...)
		if relay, marked := got.Events["tls::relay"]; marked && side.relay == "" {
			t.Errorf("the %s is marked as a relay (%v)", side.role, relay)
		}
	}
}

// This process is both ends: a program without probes and without a library.
func TestAGoProgramIsRecordedWithPostQuantumGroups(t *testing.T) {
	a := startAgent(t)
	directory := t.TempDir()
	certificateFile, key := certificate(t, directory, "ec")
	pair, err := tls.LoadX509KeyPair(certificateFile, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP384} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{id}})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		state := c.ConnectionState()
		c.Close()
		for _, role := range []string{"client", "server"} {
			a.recorded(t, filepath.Base(self), "tls::role="+role, fmt.Sprintf("tls::protocol_version=%d", state.Version),
				fmt.Sprintf("tls::ciphersuite=%d", state.CipherSuite), fmt.Sprintf("tls::group=%d", state.CurveID), "tls::result=inferred")
		}
	}
	if printed := a.stderr.String(); strings.Contains(printed, "127.0.0.1") {
		t.Errorf("the agent writes an address:\n%s", printed)
	}
}
