// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/outcome"
)

// printable escapes untrusted text so that it cannot control a terminal: the characters
// that event.AppendEscaped escapes, and characters that change the direction or order of
// text or are invisible.
func printable(b []byte) string {
	if isPlain(b) {
		return string(b)
	}
	escaped := event.AppendEscaped(nil, b)
	out := make([]byte, 0, len(escaped))
	for len(escaped) > 0 {
		r, n := utf8.DecodeRune(escaped)
		if unicode.IsPrint(r) {
			out = append(out, escaped[:n]...)
		} else {
			for _, c := range escaped[:n] {
				out = append(out, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			}
		}
		escaped = escaped[n:]
	}
	return string(out)
}

// Visible escapes characters of a text that could control a terminal, or that are invisible. The text
// may already contain escapes: backslashes are unchanged. With ascii, it escapes all other characters.
func Visible(text string, ascii bool) string {
	if isPlain([]byte(text)) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		part := text[i : i+size]
		i += size
		if unicode.IsPrint(r) && !(r == utf8.RuneError && size == 1) && !(ascii && r >= utf8.RuneSelf) {
			out.WriteString(part)
			continue
		}
		for _, c := range []byte(part) {
			fmt.Fprintf(&out, `\x%02x`, c)
		}
	}
	return out.String()
}

const hexDigits = "0123456789abcdef"

// isPlain reports whether b is printable ASCII without backslash.
func isPlain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e || c == '\\' {
			return false
		}
	}
	return true
}

// maxShown bounds the bytes of a value that a line shows.
const maxShown = 256

// valueText formats a value for a line, a number by its name if it has one.
func valueText(key *schema.Key, v *event.Value) string {
	if v.Kind == event.Word {
		return outcome.Text(key, v.Word)
	}
	if v.Unreadable {
		return "(unreadable)"
	}
	b, more := v.Bytes, v.Truncated
	if len(b) > maxShown {
		b, more = cutText(b, maxShown), true
	}
	text := printable(b)
	if more {
		text += "…"
	}
	return text
}

// cutText returns the first n bytes of b, or fewer if they would split a character.
func cutText(b []byte, n int) []byte {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(b[i]) {
			return b[:i]
		}
	}
	return b[:n]
}

// quoted returns text in quotes if it would not be read as a single word.
func quoted(text string) string {
	if text == "" {
		return `""`
	}
	for _, r := range text {
		if r == ' ' || r == '"' || r == ',' || r == '=' {
			return `"` + text + `"`
		}
	}
	return text
}

// Size formats a number of bytes with a unit.
func Size(bytes int64) string {
	const units = "KMGTPE"
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	value, unit := float64(bytes)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// asciiText converts readable lines to ASCII: box drawing characters and dashes by
// similar characters, other characters by their escaped bytes.
func asciiText(text string) string {
	text = strings.NewReplacer("├─", "|-", "└─", "`-", "│", "|", "—", "--", "–", "-", "…", "...").Replace(text)
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c < utf8.RuneSelf {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, `\x%02x`, c)
		}
	}
	return out.String()
}
