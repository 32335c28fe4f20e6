// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// turn is the expected end of a client's message, and the server's answer.
type turn struct{ ask, answer string }

// serve starts a server that exchanges plaintext with each client, then TLS.
func serve(t *testing.T, config *tls.Config, greeting string, turns ...turn) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	talk := func(c net.Conn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, greeting)
		for _, turn := range turns {
			for received := ""; !strings.HasSuffix(received, turn.ask); {
				b := make([]byte, 1)
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				received += string(b)
			}
			_, _ = io.WriteString(c, turn.answer)
		}
		_, _ = io.Copy(io.Discard, tls.Server(c, config))
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go talk(c)
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTheHandshakeOfAConnectionThatBeganInPlaintextIsRecorded(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	openssl := c.copied(t, "openssl")
	file, key := certificate(t, c.directory, "ec")
	pair, err := tls.LoadX509KeyPair(file, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	self := filepath.Base(os.Args[0])
	// The suites distinguish the connections.
	for name, test := range map[string]struct {
		suite, protocol, greeting string
		turns                     []turn
	}{
		"SMTP": {"TLS_AES_128_GCM_SHA256", "smtp", "220 mail ESMTP\r\n", []turn{
			{"\r\n", "250-mail\r\n250 STARTTLS\r\n"}, {"STARTTLS\r\n", "220 go\r\n"}}},
		"IMAP": {"TLS_AES_256_GCM_SHA384", "imap", "* OK ready\r\n", []turn{
			{"CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 STARTTLS\r\n. OK\r\n"}, {"STARTTLS\r\n", ". OK go\r\n"}}},
		"POP3":       {"TLS_CHACHA20_POLY1305_SHA256", "pop3", "+OK ready\r\n", []turn{{"STLS\r\n", "+OK go\r\n"}}},
		"PostgreSQL": {"ECDHE-ECDSA-AES128-GCM-SHA256", "postgres", "", []turn{{"\x04\xd2\x16\x2f", "S"}}},
	} {
		t.Run(name, func(t *testing.T) {
			port := serve(t, config, test.greeting, test.turns...)
			suites := "-ciphersuites " + test.suite
			if !strings.HasPrefix(test.suite, "TLS_") {
				suites = "-tls1_2 -cipher " + test.suite
			}
			want := ofOpenSSL(t, output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s -starttls %s %s", quit, openssl, port, test.protocol, suites)))
			a.recorded(t, "wt-openssl", want.matches("client")...)
			a.recorded(t, self, want.matches("server")...)
		})
	}
}

// relay forwards the data of two connections to each other.
func relay(a io.ReadWriteCloser, b io.ReadWriteCloser) {
	go func() {
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
}

// httpProxy and socksProxy serve a client of a proxy: they connect it with the requested
// address.
func httpProxy(c net.Conn) {
	r := bufio.NewReader(c)
	request, err := http.ReadRequest(r)
	if err != nil {
		c.Close()
		return
	}
	to, err := net.Dial("tcp", request.Host)
	if err != nil {
		c.Close()
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	relay(c, to)
}

func socksProxy(c net.Conn) {
	b := make([]byte, 300)
	// The methods, then a request with an address of IPv4 (RFC 1928).
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		c.Close()
		return
	}
	_, _ = io.ReadFull(c, b[:b[1]])
	_, _ = c.Write([]byte{5, 0})
	if _, err := io.ReadFull(c, b[:10]); err != nil || b[3] != 1 {
		c.Close()
		return
	}
	to, err := net.Dial("tcp", net.JoinHostPort(net.IP(b[4:8]).String(), strconv.Itoa(int(binary.BigEndian.Uint16(b[8:])))))
	if err != nil {
		c.Close()
		return
	}
	_, _ = c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0})
	relay(c, to)
}

func TestAHandshakeThroughAProxyIsAttributedToTheClient(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	openssl, curl := c.copied(t, "openssl"), c.copied(t, "curl")
	rsa, rsaKey := certificate(t, c.directory, "rsa")
	for name, test := range map[string]struct {
		proxy func(net.Conn)
		kind  string
		// The suite distinguishes the connections.
		suite string
	}{
		"HTTP":    {httpProxy, "http", "TLS_AES_128_GCM_SHA256"},
		"SOCKS 5": {socksProxy, "socks5", "TLS_CHACHA20_POLY1305_SHA256"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
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
					go test.proxy(c)
				}
			}()
			port := freePort(t)
			listening(t, port, start(t, openssl, "s_server", "-accept", port, "-www", "-cert", rsa, "-key", rsaKey, "-ciphersuites", test.suite))
			printed := output(t, "", curl, "-sS", "-k", "-v", "--proxy", test.kind+"://"+l.Addr().String(), "https://127.0.0.1:"+port+"/")
			find(t, `SSL connection using (TLSv1.3) / `+test.suite, printed)
			want := values{"tls::protocol_version": "TLS 1.3", "tls::ciphersuite": test.suite}
			a.recorded(t, "wt-curl", want.matches("client")...)
			a.recorded(t, "wt-openssl", want.matches("server")...)
			for _, o := range a.query(t, filepath.Base(os.Args[0]), want.matches("client")...) {
				// Losses are listed, too: a proxy may use splice(2).
				if o.Executable != "" {
					t.Errorf("the proxy is recorded: %+v", o)
				}
			}
		})
	}
}

// As in containers, the network is separate, and its addresses name other hosts than here.
func TestHandshakesInANetworkNamespaceAreRecorded(t *testing.T) {
	need(t, "unshare", "ip")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	openssl := c.copied(t, "openssl")
	rsa, rsaKey := certificate(t, c.directory, "rsa")
	// The script ends the server once the client has connected.
	script := fmt.Sprintf(`ip link set lo up
%[1]s s_server -accept 127.0.0.1:443 -quiet -cert %[2]s -key %[3]s </dev/null & server=$!
until printed=$( (%[4]s) | %[1]s s_client -connect 127.0.0.1:443 2>&1); do sleep 0.1; done
kill $server; printf '%%s\n' "$printed"`, openssl, rsa, rsaKey, quit)
	want := ofOpenSSL(t, output(t, "", "unshare", "--net", "--", "sh", "-c", script))
	a.recorded(t, "wt-openssl", want.matches("client")...)
	a.recorded(t, "wt-openssl", want.matches("server")...)
}

// memory returns the peak of a process's resident memory, in bytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(find(t, `VmHWM:\s+(\d+) kB`, string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// floodVariable makes this program call flood.
const floodVariable = "CRAU_WIRE_FLOOD"

// flood makes connections that begin like handshakes and resets them, as fast as it can, until
// its input ends.
func flood() {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	garbage := append([]byte("\x16\x03\x01\x1f\xf0\x01\x00\x1f\xec\x03\x03"), make([]byte, 8000)...)
	for n := uint32(0); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		binary.BigEndian.PutUint32(garbage[11:], n)
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		server, err := l.Accept()
		if err != nil {
			panic(err)
		}
		part := garbage[:100+n%8000]
		_, _ = client.Write(part)
		_, _ = io.ReadFull(server, part)
		_ = client.(*net.TCPConn).SetLinger(0)
		client.Close()
		server.Close()
	}
}

func TestAFloodOfIncompleteHandshakesUsesBoundedMemoryAndAffectsNoOtherPrograms(t *testing.T) {
	a := startAgent(t)
	c := &tools{t.TempDir()}
	openssl := c.copied(t, "openssl")
	rsa, rsaKey := certificate(t, c.directory, "rsa")
	flooder := exec.Command("/proc/self/exe")
	flooder.Env = append(os.Environ(), floodVariable+"=1")
	stdin, err := flooder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := flooder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = flooder.Wait()
	})
	port := freePort(t)
	listening(t, port, start(t, openssl, "s_server", "-accept", port, "-quiet", "-cert", rsa, "-key", rsaKey))
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		want := ofOpenSSL(t, output(t, "", "sh", "-c", fmt.Sprintf("(%s) | %s s_client -connect 127.0.0.1:%s -ciphersuites %s", quit, openssl, port, suite)))
		a.recorded(t, "wt-openssl", want.matches("client")...)
		a.recorded(t, "wt-openssl", want.matches("server")...)
	}
	const limit = 128 << 20
	if used := memory(t, a.stderr.pid); used > limit {
		t.Errorf("the agent used %d MiB, want at most %d", used>>20, limit>>20)
	}
}
