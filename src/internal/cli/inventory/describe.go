// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/inventory/row"
)

// describe returns a description of a row's operations, in phrases between which lines may be
// broken. It names neither program nor unit.
func (l *listing) describe(r *row.Row) (phrases []string) {
	add := func(words ...string) {
		var known []string
		for i, word := range words {
			if word == "" {
				if i == 0 || i == len(words)-1 {
					return
				}
				continue
			}
			known = append(known, l.shown(word))
		}
		phrases = append(phrases, strings.Join(known, " "))
	}
	head := l.shown(r.Operation)
	if r.Role != "" {
		head += " " + l.shown(r.Role)
	}
	add(r.Version)
	add(r.Group)
	if r.GroupBits > 0 {
		add("group of", strconv.Itoa(r.GroupBits), "bits")
	}
	add(r.Suite)
	add("own", r.Signature)
	add("peer", r.PeerSignature)
	if r.Resumed == "yes" {
		add("resumed")
	}
	if r.ExtendedSecret == "no" {
		add("no extended master secret")
	}
	if r.Transport != "" && r.Transport != "tcp" {
		add("over", r.Transport)
	}
	add(r.Kex)
	add("host key", r.HostKey)
	add("client key", r.ClientKey)
	both(add, "", r.CipherOut, r.CipherIn)
	both(add, "MAC", r.MACOut, r.MACIn)
	if words := publicKey(r); words != nil {
		if r.Operation == row.TLSHandshake || r.Operation == row.SSHHandshake {
			words = append([]string{"server key"}, words...)
		}
		add(strings.Join(words, " "))
	}
	add("in", r.Within)
	if r.Failures > 0 {
		add(strconv.FormatUint(r.Failures, 10), "failed")
	}
	if r.Relays > 0 {
		add(strconv.FormatUint(r.Relays, 10), "may be of others, only passed on")
	}
	if len(phrases) > 0 {
		phrases[0] = head + ": " + phrases[0]
	} else {
		phrases = []string{head}
	}
	add("[" + strings.Join(known(r.Source, r.Library), ", ") + "]")
	return phrases
}

// shown returns a text of a row for a terminal.
func (l *listing) shown(text string) string { return render.Visible(text, l.ascii) }

// publicKey returns the words about the public key of an operation.
func publicKey(r *row.Row) (words []string) {
	bits := ""
	if r.Bits > 0 && r.Curve == "" {
		bits = strconv.Itoa(r.Bits)
		if r.Algorithm == "" {
			bits += " bits"
		}
	}
	return known(r.Algorithm, r.Curve, bits, r.Padding, r.Hash)
}

// both returns the algorithm of each direction, or the common one.
func both(add func(...string), noun, out, in string) {
	switch {
	case out == in && noun != "":
		add(noun, out)
	case out == in:
		add(out)
	default:
		add(strings.Join(known(noun, "to server"), " "), out)
		add(strings.Join(known(noun, "to client"), " "), in)
	}
}

// known returns the non-empty words.
func known(words ...string) (list []string) {
	for _, word := range words {
		if word != "" {
			list = append(list, word)
		}
	}
	return list
}

// wrap joins phrases by commas into lines of at most width bytes, unless a phrase is longer.
func wrap(phrases []string, width int) (lines []string) {
	line := ""
	for i, phrase := range phrases {
		if i < len(phrases)-1 && !strings.HasPrefix(phrases[i+1], "[") {
			phrase += ","
		}
		switch {
		case line == "":
			line = phrase
		case len(line)+1+len(phrase) <= width:
			line += " " + phrase
		default:
			lines = append(lines, line)
			line = phrase
		}
	}
	return append(lines, line)
}
