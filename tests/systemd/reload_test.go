// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"strings"
	"testing"
)

const second = opt + "/libreplay1.so"

func TestReloadTakesOverTheConfiguration(t *testing.T) {
	a := recording(t, libraries(library))
	process := a.pid(t)
	fired := a.replay(t, library, 5)
	a.write(t, "/etc/crypto-auditing/agent.conf", libraries(library, second))
	a.run(t, "systemctl", "reload", service)
	waitFor(t, "the other library", func() bool { return a.said(t, "the new configuration is in effect") })
	fired += a.replay(t, second, 5)
	fired += a.replay(t, library, 5)
	if got := a.pid(t); got != process {
		t.Errorf("the agent is another process: %s, was %s", got, process)
	}
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestReloadRefusesABadConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ text, where, what string }{
		"unknown key": {libraries(second) + "librarry = []\n", "agent.conf:2:", `"librarry"`},
		"wrong type":  {"\n\nlibrary = 5\n", "agent.conf:3:", "library"},
	} {
		t.Run(name, func(t *testing.T) {
			a := recording(t, libraries(library))
			process := a.pid(t)
			a.write(t, "/etc/crypto-auditing/agent.conf", c.text)
			if output, err := a.try(t, "systemctl", "reload", service); err == nil {
				t.Errorf("the reload succeeded:\n%s", output)
			}
			waitFor(t, "the journal to say what is wrong", func() bool { return a.said(t, c.where, c.what) })
			// The agent itself, not asked by systemctl.
			a.run(t, "kill", "-HUP", process)
			waitFor(t, "the agent's error", func() bool {
				return a.said(t, "cannot reload the configuration: ", "recording goes on as before", c.where)
			})
			if got := a.pid(t); got != process || !a.active(t) {
				t.Errorf("the agent is another process: %s, was %s", got, process)
			}
			fired := a.replay(t, library, 5)
			if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
				t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
			}
		})
	}
}

func TestStatusSaysWhatIsRecorded(t *testing.T) {
	a := recording(t, libraries(library, second))
	if got := a.property(t, service, "StatusText"); !strings.HasPrefix(got, "recording 2 libraries, 0 hits, nothing lost") {
		t.Errorf("the status is %q", got)
	}
	a.replay(t, library, 1)
	waitFor(t, "the hits in the status", func() bool {
		return a.property(t, service, "StatusText") == "recording 2 libraries, 28 hits, nothing lost"
	})
}
