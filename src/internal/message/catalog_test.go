// SPDX-License-Identifier: Apache-2.0

package message_test

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"crypto-auditing/src/internal/message"
)

// catalog returns the entries of the catalog by id.
func catalog(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../systemd/crypto-auditing.catalog")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for i, entry := range regexp.MustCompile(`(?m)^-- `).Split(string(text), -1) {
		if i == 0 {
			continue // text before the first entry
		}
		id, body, _ := strings.Cut(entry, "\n")
		if _, twice := entries[id]; twice {
			t.Errorf("the catalog has %s twice", id)
		}
		entries[id] = body
	}
	return entries
}

// comments returns the source with each comment on one line. The comments name the fields
// of messages.
func comments(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile("message.go")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(source), "\n\t// ", " ")
}

func TestTheCatalogExplainsExactlyTheMessages(t *testing.T) {
	entries := catalog(t)
	source := comments(t)
	unused := maps.Clone(entries)
	for _, m := range message.All() {
		entry, ok := entries[m.ID()]
		if !ok {
			t.Errorf("the catalog has no entry -- %s for %q", m.ID(), m.Text())
			continue
		}
		delete(unused, m.ID())
		header, body, _ := strings.Cut(entry, "\n\n")
		if !strings.HasPrefix(header, "Subject: ") || !strings.Contains(header, "\nDefined-By: crypto-auditing\n") ||
			!strings.Contains(header, "\nDocumentation: man:") || strings.TrimSpace(body) == "" {
			t.Errorf("the entry for %q is not complete:\n%s", m.Text(), entry)
		}
		for _, field := range regexp.MustCompile(`@(\w+)@`).FindAllStringSubmatch(body, -1) {
			if !regexp.MustCompile(`\b` + strings.ToLower(field[1]) + `\b`).MatchString(source) {
				t.Errorf("the entry for %q has %s, which no message has", m.Text(), field[0])
			}
		}
	}
	for id, entry := range unused {
		t.Errorf("the catalog explains %s, which is not a message:\n%s", id, entry)
	}
}

func TestMessagesAreCompleteAndDiffer(t *testing.T) {
	ids, texts := map[string]bool{}, map[string]bool{}
	for _, m := range message.All() {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(m.ID()) || m.Text() == "" {
			t.Errorf("message %d has the id %q and the text %q", m, m.ID(), m.Text())
		}
		if ids[m.ID()] || texts[m.Text()] {
			t.Errorf("another message has the id %s or the text %q, too", m.ID(), m.Text())
		}
		ids[m.ID()], texts[m.Text()] = true, true
	}
}
