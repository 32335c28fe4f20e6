// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"bytes"
	"crypto/tls"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/src/internal/probe/sockets"
)

// dialogue returns portions in which client and server alternate; "" skips a turn.
func dialogue(turns ...string) (portions []portion) {
	for i, turn := range turns {
		if turn != "" {
			portions = append(portions, portion{i%2 == 0, []byte(turn)})
		}
	}
	return portions
}

// bytewise makes a call transfer one byte at a time.
func bytewise(c call) call {
	return func(fd int, b []byte) (int, error) { return c(fd, b[:1]) }
}

func TestAConnectionThatSwitchesToTLSIsRecordedFromTheSwitch(t *testing.T) {
	w := watch(t)
	a, b := connect(t)
	hello := record(t, a, b, &tls.Config{InsecureSkipVerify: true}, &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}})
	for name, before := range map[string][]portion{
		"SMTP":                dialogue("", "220 mail ESMTP ready\r\n", "EHLO me\r\n", "250-mail\r\n"+strings.Repeat("250-SOMETHING\r\n", 20)+"250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"),
		"IMAP":                dialogue("", "* OK IMAP4 ready\r\n", "a STARTTLS\r\n", "a OK begin\r\n"),
		"POP3":                dialogue("", "+OK POP3\r\n", "CAPA\r\n", "+OK\r\nSTLS\r\n.\r\n", "STLS\r\n", "+OK\r\n"),
		"FTP":                 dialogue("", "220 FTP\r\n", "AUTH TLS\r\n", "234 go\r\n"),
		"PostgreSQL":          dialogue("\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"),
		"MySQL":               dialogue("", "\x5b\x00\x00\x00\x0a8.0.36\x00"+strings.Repeat("g", 70), "\x20\x00\x00\x01"+strings.Repeat("r", 32)),
		"LDAP":                dialogue("0\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "0\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
		"XMPP":                dialogue("<?xml version='1.0'?><stream:stream>", "<?xml version='1.0'?><stream:features/>", "<starttls/>", "<proceed/>"),
		"a HTTP proxy":        dialogue("CONNECT host:443 HTTP/1.1\r\nHost: host\r\n\r\n", "HTTP/1.1 200 Connection established\r\n\r\n"),
		"SOCKS 5":             dialogue("\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", "\x05\x00\x00\x01\x7f\x00\x00\x01\x01\xbb"),
		"SOCKS 4":             dialogue("\x04\x01\x01\xbb\x7f\x00\x00\x01me\x00", "\x00\x5a\x01\xbb\x7f\x00\x00\x01"),
		"the PROXY protocol":  dialogue("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"),
		"an unknown protocol": dialogue("TLS please: "+strings.Repeat("x", 30), "yes"),
	} {
		for way, calls := range map[string][2]call{
			"whole":        {syscall.Write, syscall.Read},
			"byte by byte": {syscall.Write, bytewise(syscall.Read)},
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				client, server := connect(t)
				cookies := []uint64{cookie(t, client), cookie(t, server)}
				receive := calls[1]
				// Only the data before the switch is received byte by byte.
				n := 0
				for _, p := range before {
					n += len(p.data)
				}
				replay(t, client, server, append(append([]portion{}, before...), hello...), calls[0], func(fd int, b []byte) (int, error) {
					if n <= 0 {
						return syscall.Read(fd, b)
					}
					k, err := receive(fd, b)
					n -= k
					return k, err
				})
				var fromClient, fromServer []byte
				for _, p := range hello {
					if p.fromClient {
						fromClient = append(fromClient, p.data...)
					} else {
						fromServer = append(fromServer, p.data...)
					}
				}
				ends := []*tee{{moved: [2][]byte{fromClient, fromServer}}, {moved: [2][]byte{fromServer, fromClient}}}
				for i, s := range w.await(t, cookies...) {
					expect(t, s, ends[i])
				}
			})
		}
	}
}

func TestDataOfOtherProtocolsIsNotCopied(t *testing.T) {
	w := watch(t)
	long := strings.Repeat("0123456789abcdef", 2000)
	var cookies []uint64
	before := w.counts(t)
	all := map[string][]portion{
		"HTTP":                      dialogue("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"+long),
		"HTTP 2":                    dialogue("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", long),
		"SMTP in plaintext":         dialogue("", "220 mail\r\n", "EHLO me\r\n", "250 mail\r\n", "DATA\r\n", "354 go\r\n", long),
		"an unknown protocol":       dialogue(long, long, long, long),
		"a hello too short":         dialogue("\x16\x03\x01\x00\x20\x01\x00\x00\x1c"+strings.Repeat("x", 28), long),
		"a hello too long":          dialogue("\x16\x03\x01\x40\x00\x01\x00\xf0\x00"+long, long),
		"only a record's header":    dialogue("\x16\x03\x01\x02\x00", "x", "no hello"+long, long),
		"an alert":                  dialogue("\x15\x03\x03\x00\x02\x02\x28", long),
		"data of a session unknown": dialogue("\x17\x03\x03\x00\x20"+long, long),
		"a hello of SSL 2":          dialogue("\x80\x2e\x01\x00\x02"+strings.Repeat("x", 50), long),
		"a hello after much else":   dialogue(long, long, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"+long),
	}
	for _, portions := range all {
		client, server := connect(t)
		cookies = append(cookies, cookie(t, client), cookie(t, server))
		replay(t, client, server, portions, syscall.Write, syscall.Read)
	}
	waitFor(t, "connections that are no handshakes", func() bool {
		return w.counts(t).NoHandshake-before.NoHandshake >= uint64(len(cookies))
	}, func() string { return "" })
	for _, cookie := range cookies {
		if s := w.side(cookie); s.pieces > 0 {
			t.Errorf("%q was copied: %s", s.data, describe(s))
		}
	}
}

// packet returns an SSH packet.
func packet(kind byte, size int) string {
	padding := 8
	length := 1 + size + padding
	return string([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length), byte(padding), kind}) + strings.Repeat("p", size-1+padding)
}

func TestPacketsOfSSHAreCopiedUpToTheNewKeys(t *testing.T) {
	w := watch(t)
	plain := packet(20, 900) + packet(30, 60) + packet(21, 1)
	secret := strings.Repeat("encrypted", 100)
	for name, portions := range map[string][]portion{
		"one by one": dialogue("SSH-2.0-client\r\n", "SSH-2.0-server comment\r\n", packet(20, 900), packet(20, 900),
			packet(30, 60), packet(30, 60), packet(21, 1), packet(21, 1), secret, secret),
		"together":                 dialogue("SSH-2.0-client\r\n"+plain+secret, "SSH-2.0-server\r\n"+plain+secret),
		"lines before the version": dialogue("SSH-2.0-client\r\n"+plain+secret, "Welcome to SSH-\r\nSSH\r\nSSH-2.0-server\r\n"+plain+secret),
	} {
		for way, receive := range map[string]call{
			"whole": syscall.Read, "eight bytes": func(fd int, b []byte) (int, error) { return syscall.Read(fd, b[:min(8, len(b))]) },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				client, server := connect(t)
				cookies := []uint64{cookie(t, client), cookie(t, server)}
				replay(t, client, server, portions, syscall.Write, receive)
				for _, s := range w.await(t, cookies...) {
					for d := range 2 {
						if s.protocol != sockets.SSH || s.invalid || s.cut || !s.ended[d] || string(s.data[d]) != plain {
							t.Errorf("%d bytes of %d are right, a side is %s", len(commonPrefix(s.data[d], []byte(plain))), len(plain), describe(s))
						}
					}
				}
			})
		}
	}
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// fragment splits the handshake records of a direction into records of n bytes (RFC 8446,
// section 5.1).
func fragment(b []byte, n int) (cut []byte) {
	changed := false
	for len(b) > 5 {
		length := int(b[3])<<8 | int(b[4])
		head, body := b[:3], b[5:min(5+length, len(b))]
		b = b[5+len(body):]
		changed = changed || head[0] == 20
		for len(body) > 0 {
			k := min(n, len(body))
			if head[0] != 22 || changed {
				k = len(body)
			}
			cut = append(append(append(cut, head...), byte(k>>8), byte(k)), body[:k]...)
			body = body[k:]
		}
	}
	return cut
}

func TestMessagesInManyRecordsAreFollowed(t *testing.T) {
	w := watch(t)
	a, b := connect(t)
	portions := record(t, a, b, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, &tls.Config{Certificates: []tls.Certificate{certificate(t, 3000)}})
	for i := range portions {
		portions[i].data = fragment(portions[i].data, 42)
	}
	client, server := connect(t)
	cookies := []uint64{cookie(t, client), cookie(t, server)}
	fromClient, fromServer := replay(t, client, server, portions, syscall.Write, syscall.Read)
	ends := []*tee{{moved: [2][]byte{fromClient, fromServer}}, {moved: [2][]byte{fromServer, fromClient}}}
	for i, s := range w.await(t, cookies...) {
		expect(t, s, ends[i])
	}
	if !bytes.Contains(fromClient, []byte{22, 3, 1, 0, 42, 1}) {
		t.Error("the hello is not in records of 42 bytes")
	}
}
