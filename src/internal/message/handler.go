// SPDX-License-Identifier: Apache-2.0

package message

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalSocket is the socket of the journal's native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
const journalSocket = "/run/systemd/journal/socket"

const (
	// longestValue keeps a message within the maximum size of a datagram.
	longestValue = 4 << 10
	// longestName is the limit of the journal (sd_journal_send(3)).
	longestName = 64
	// patience bounds the time that sending a message blocks the caller: recording
	// has priority over logging.
	patience = time.Second
)

// ToJournal reports whether stderr is connected to the journal.
func ToJournal(stderr io.Writer) bool {
	// An error indicates that JOURNAL_STREAM has an invalid value.
	connected, err := journal.StderrIsJournalStream()
	return err == nil && connected && stderr == os.Stderr
}

// New returns a logger for a daemon. If stderr is connected to the journal, it logs to
// the journal with priorities and fields, else as text to stderr.
func New(stderr io.Writer) *slog.Logger {
	if ToJournal(stderr) {
		return slog.New(&handler{sender: &sender{socket: journalSocket, stderr: stderr}})
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: textAttr}))
}

// textAttr names the levels that log/slog does not name, and drops the attribute meant
// for the journal only.
func textAttr(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == idKey:
		return slog.Attr{}
	case a.Key == slog.LevelKey:
		switch a.Value.Any() {
		case LevelNotice:
			a.Value = slog.StringValue("NOTICE")
		case LevelCritical:
			a.Value = slog.StringValue("CRITICAL")
		}
	}
	return a
}

// field is a field of a message. The key is in lower case and prefixed with the keys of
// its groups.
type field struct{ key, value string }

// handler sends records to the journal.
type handler struct {
	sender *sender
	fields []field
	group  string // with a trailing dot, or empty
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = h.fields[:len(h.fields):len(h.fields)]
	for _, a := range attrs {
		with.fields = appendFields(with.fields, h.group, a)
	}
	return &with
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	return &with
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := h.fields[:len(h.fields):len(h.fields)]
	r.Attrs(func(a slog.Attr) bool {
		fields = appendFields(fields, h.group, a)
		return true
	})
	return h.sender.send(Priority(r.Level), line(r.Message, fields), fields)
}

func appendFields(fields []field, group string, a slog.Attr) []field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			fields = appendFields(fields, group, inner)
		}
		return fields
	}
	if a.Equal(slog.Attr{}) {
		return fields
	}
	return append(fields, field{group + a.Key, clip(v.String())})
}

// clip limits the length of a value. It cuts between characters.
func clip(s string) string {
	if len(s) <= longestValue {
		return s
	}
	end := longestValue
	for end > longestValue-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// line returns the message line: the text, the error, then the other fields.
func line(text string, fields []field) string {
	var b, rest strings.Builder
	b.WriteString(text)
	for _, f := range fields {
		switch f.key {
		case idKey:
		case "error":
			b.WriteString(": " + f.value)
		default:
			if rest.Len() > 0 {
				rest.WriteString(", ")
			}
			value := f.value
			if value == "" || strings.ContainsAny(value, " ,=()\"") || strconv.Quote(value) != `"`+value+`"` {
				value = strconv.Quote(value)
			}
			rest.WriteString(f.key + "=" + value)
		}
	}
	if rest.Len() > 0 {
		b.WriteString(" (" + rest.String() + ")")
	}
	return b.String()
}

// sender sends messages to the journal. It is safe for concurrent use.
type sender struct {
	socket string
	// stderr receives the messages while the socket fails.
	stderr io.Writer

	mu         sync.Mutex
	connection net.Conn
}

func (s *sender) send(priority int, text string, fields []field) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	datagram := encode(priority, text, fields)
	err := s.write(datagram)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The connection may predate a restart of the journal.
		err = s.write(datagram)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	// The journal parses the priority prefix of a line (sd-daemon(3)).
	_, err = fmt.Fprintf(s.stderr, "<%d>%s\n", priority, strings.ReplaceAll(text, "\n", " "))
	return err
}

// write sends a datagram on a connection that is reused until it fails. The journal
// package of go-systemd binds its socket, which the sandbox of the services forbids.
func (s *sender) write(datagram []byte) (err error) {
	if s.connection == nil {
		if s.connection, err = net.Dial("unixgram", s.socket); err != nil {
			s.connection = nil
			return err
		}
	}
	if err = s.connection.SetWriteDeadline(time.Now().Add(patience)); err == nil {
		_, err = s.connection.Write(datagram)
	}
	if err != nil {
		s.connection.Close()
		s.connection = nil
	}
	return err
}

// encode returns a message in the native protocol of the journal.
func encode(priority int, text string, fields []field) []byte {
	var b []byte
	b = appendField(b, "PRIORITY", strconv.Itoa(priority))
	b = appendField(b, "SYSLOG_IDENTIFIER", filepath.Base(os.Args[0]))
	b = appendField(b, "MESSAGE", clip(text))
	for _, f := range fields {
		if name := fieldName(f.key); name != "" {
			b = appendField(b, name, f.value)
		}
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.ContainsRune(value, '\n') {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

// fieldName converts a key to a field name of the journal. It strips the leading
// underscore of the journal's own fields, and returns "" for the fields of the text, the
// priority and the identifier.
func fieldName(key string) string {
	name := strings.TrimLeft(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key), "_0123456789")
	switch name = name[:min(len(name), longestName)]; name {
	case "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER":
		return ""
	}
	return name
}
