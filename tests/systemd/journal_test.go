// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"os"
	"strings"
	"testing"

	throwaway "crypto-auditing/tests/machine"
)

// messageID returns the id of the message with a subject in the catalog.
func messageID(t *testing.T, subject string) string {
	t.Helper()
	text, err := os.ReadFile("../../systemd/crypto-auditing.catalog")
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if after, ok := strings.CutPrefix(line, "-- "); ok {
			id = after
		}
		if line == "Subject: "+subject {
			return id
		}
	}
	t.Fatalf("the catalog has no subject %q", subject)
	return ""
}

// message waits for a message by its subject and returns its first entry.
func (a *agent) message(t *testing.T, unit, subject string) throwaway.Entry {
	t.Helper()
	var found []throwaway.Entry
	waitFor(t, "the message "+subject, func() bool {
		found = a.messages(t, unit, subject)
		return len(found) > 0
	})
	return found[0]
}

// messages returns the entries of a message by its subject.
func (a *agent) messages(t *testing.T, unit, subject string) (found []throwaway.Entry) {
	t.Helper()
	id := messageID(t, subject)
	for _, entry := range a.entries(t, "-u", unit) {
		if entry["MESSAGE_ID"] == id {
			found = append(found, entry)
		}
	}
	return found
}

// check compares fields of an entry.
func check(t *testing.T, entry throwaway.Entry, want map[string]string) {
	t.Helper()
	for field, value := range want {
		if entry[field] != value {
			t.Errorf("the message %q has %s=%q, want %q", entry["MESSAGE"], field, entry[field], value)
		}
	}
}

func TestTheJournalHasPriorityFieldsAndExplanation(t *testing.T) {
	a := recording(t, libraries(library)+"rate_limit = 100\n")
	check(t, a.message(t, service, "The agent records cryptographic operations"), map[string]string{
		"PRIORITY": "6", "LOG_DIR": logDir, "_TRANSPORT": "journal", "SYSLOG_IDENTIFIER": "crau-agent",
		"MESSAGE": "recording (log_dir=" + logDir + ")",
	})
	check(t, a.message(t, service, "A library is recorded"), map[string]string{"PRIORITY": "6", "LIBRARY": library})
	a.checkNoComplaints(t, service)

	a.replay(t, library, 100)
	losses := a.message(t, service, "Events are being lost")
	check(t, losses, map[string]string{"PRIORITY": "4", "REASON": "rate-limit"})
	if losses["LOST_HITS"] == "" || losses["LOST_HITS"] == "0" {
		t.Errorf("the message is %v", losses)
	}
	for _, arguments := range [][]string{{"-p", "warning"}, {"-p", "warning..warning"}} {
		if found := a.entries(t, append(arguments, "-u", service)...); len(found) == 0 || found[0]["MESSAGE_ID"] != losses["MESSAGE_ID"] {
			t.Errorf("journalctl %v shows %v", arguments, found)
		}
	}
	shown := a.run(t, "journalctl", "-x", "--cursor", a.cursor, "MESSAGE_ID="+losses["MESSAGE_ID"])
	for _, want := range []string{"Subject: Events are being lost", "for the reason rate-limit.", "Documentation: man:crau-agent(8)"} {
		if !strings.Contains(shown, want) {
			t.Errorf("journalctl -x does not show %q:\n%s", want, shown)
		}
	}
}

func TestTheJournalShowsWhenTheDiskFillsAndRecovers(t *testing.T) {
	a := installed(t, libraries(library)+"max_size = 0\nkeep_free = 0\n")
	a.run(t, "mkdir", logDir)
	a.run(t, "mount", "-t", "tmpfs", "-o", "size=1m", "log", logDir)
	t.Cleanup(func() {
		a.run(t, "systemctl", "stop", service)
		a.run(t, "umount", logDir)
	})
	a.run(t, "systemctl", "start", service)
	a.try(t, "dd", "if=/dev/zero", "of="+logDir+"/filler", "bs=4k")
	// The store queues chunks that wait for the disk, so that one replay may not be enough.
	waitFor(t, "the full disk", func() bool {
		a.replay(t, library, 200)
		return len(a.messages(t, service, "The disk is full")) > 0
	})
	full := a.message(t, service, "The disk is full")
	check(t, full, map[string]string{"PRIORITY": "3", "REASON": "disk-full", "ERROR": full["ERROR"]})
	if !strings.Contains(full["ERROR"], "no space left on device") {
		t.Errorf("the error is %q", full["ERROR"])
	}
	a.run(t, "rm", logDir+"/filler")
	waitFor(t, "the log to be written again", func() bool {
		a.replay(t, library, 1)
		return len(a.messages(t, service, "The log is written again")) > 0
	})
	check(t, a.message(t, service, "The log is written again"), map[string]string{"PRIORITY": "5"})
}

func TestTheJournalHasTheErrorOfAServiceThatDoesNotStart(t *testing.T) {
	a := installed(t, "library = []\nlibrarry = []\n")
	a.try(t, "systemctl", "start", service)
	failed := a.message(t, service, "A service of crypto-auditing has failed")
	check(t, failed, map[string]string{"PRIORITY": "3", "SYSLOG_IDENTIFIER": "crau-agent"})
	if !strings.Contains(failed["ERROR"], "/etc/crypto-auditing/agent.conf:2:") {
		t.Errorf("the error is %q", failed["ERROR"])
	}
}

func TestEveryMessageIsInTheCatalog(t *testing.T) {
	m := needMachine(t)
	list := m.run(t, "journalctl", "--list-catalog")
	text, err := os.ReadFile("../../systemd/crypto-auditing.catalog")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-- "); ok && !strings.Contains(list, id+" crypto-auditing: ") {
			t.Errorf("journalctl --list-catalog does not list %s", id)
		}
	}
}
