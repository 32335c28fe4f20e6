// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"strings"
	"testing"
)

const second = opt + "/libreplay1.so"

func TestReloadAppliesTheConfiguration(t *testing.T) {
	a := recording(t, libraries(library))
	process := a.pid(t)
	fired := a.replay(t, library, 5)
	a.write(t, "/etc/crypto-auditing/agent.conf", libraries(library, second))
	a.run(t, "systemctl", "reload", service)
	// The configuration is in effect when the reload returns.
	fired += a.replay(t, second, 5)
	fired += a.replay(t, library, 5)
	if got := a.pid(t); got != process {
		t.Errorf("the process of the agent is %s, was %s", got, process)
	}
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestReloadRefusesABadConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ text, where, what string }{
		"unknown key": {libraries(second) + "librarry = []\n", "agent.conf:3:", `"librarry"`},
		"wrong type":  {"\n\nlibrary = 5\n", "agent.conf:3:", "library"},
	} {
		t.Run(name, func(t *testing.T) {
			a := recording(t, libraries(library))
			process := a.pid(t)
			a.write(t, "/etc/crypto-auditing/agent.conf", c.text)
			if output, err := a.try(t, "systemctl", "reload", service); err == nil {
				t.Errorf("the reload succeeded:\n%s", output)
			}
			const subject = "The configuration could not be reloaded"
			failed := a.message(t, service, subject)
			check(t, failed, map[string]string{"PRIORITY": "3", "SYSLOG_IDENTIFIER": "crau-agent"})
			for _, want := range []string{"the old configuration stays in effect", c.where, c.what} {
				if !strings.Contains(failed["ERROR"], want) {
					t.Errorf("the error is %q, want %q in it", failed["ERROR"], want)
				}
			}
			// The signal has the same effect.
			a.run(t, "kill", "-HUP", process)
			waitFor(t, "the agent's error", func() bool { return len(a.messages(t, service, subject)) == 2 })
			if got := a.pid(t); got != process || !a.active(t) {
				t.Errorf("the process of the agent is %s, was %s", got, process)
			}
			fired := a.replay(t, library, 5)
			if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
				t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
			}
		})
	}
}

func TestReloadFailsIfALibraryIsMissing(t *testing.T) {
	for name, missing := range map[string]string{
		"a path": opt + "/none.so", "a glob": opt + "/none*.so", "no probes": "/usr/bin/env",
	} {
		t.Run(name, func(t *testing.T) {
			a := recording(t, libraries(library))
			a.write(t, "/etc/crypto-auditing/agent.conf", libraries(second, missing))
			// A second reload must fail, too.
			for range 2 {
				output, err := a.try(t, "systemctl", "reload", service)
				if err == nil {
					t.Errorf("the reload succeeded:\n%s", output)
				}
				// The agent's command prints the reason.
				output, err = a.try(t, "crau-agent", "--reload")
				if err == nil || !strings.Contains(output, "some libraries are not recorded: cannot attach to "+missing) {
					t.Errorf("crau-agent --reload failed with %v: %s", err, output)
				}
			}
			// The rest of the configuration is in effect.
			fired := a.replay(t, second, 5)
			if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
				t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
			}
		})
	}
}

func TestCheckRunsAsTheServicesUser(t *testing.T) {
	const dropIn = "/etc/crypto-auditing/agent.conf.d/50-test.conf"
	for name, c := range map[string]struct {
		prepare func(t *testing.T, a *agent)
		want    []string // in the output; empty: the check succeeds
	}{
		"nothing": {func(*testing.T, *agent) {}, nil},
		"an unreadable drop-in": {func(t *testing.T, a *agent) {
			a.write(t, dropIn, "rate_limit = 5\n")
			a.run(t, "chmod", "600", dropIn)
		}, []string{dropIn + ": permission denied"}},
		"a missing library and one without probes": {func(t *testing.T, a *agent) {
			a.write(t, dropIn, libraries(library, opt+"/none*.so", "/usr/bin/env"))
		}, []string{"cannot attach to " + opt + "/none*.so: no such file", "cannot attach to /usr/bin/env: it has no probe"}},
		"an unreadable library": {func(t *testing.T, a *agent) {
			a.run(t, "install", "-m", "600", library, opt+"/secret.so")
			a.write(t, dropIn, libraries(opt+"/secret.so"))
		}, []string{opt + "/secret.so: permission denied"}},
		"an unwritable log directory": {func(t *testing.T, a *agent) {
			a.run(t, "chown", "root:", logDir)
		}, []string{"cannot write the log in " + logDir + ": permission denied"}},
		"a bad key": {func(t *testing.T, a *agent) {
			a.write(t, dropIn, "librarry = 5\n")
		}, []string{dropIn + ":1: unknown key"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := recording(t, libraries(library))
			c.prepare(t, a)
			output, err := a.try(t, "crau-agent", "--check")
			if c.want == nil {
				if err != nil || output != "as user crypto-auditing: the configuration is valid (/etc/crypto-auditing/agent.conf); libraries with probes: 1; "+logDir+" is writable\n" {
					t.Errorf("the check returns %v: %s", err, output)
				}
				return
			}
			if err == nil {
				t.Errorf("the check succeeds:\n%s", output)
			}
			for _, want := range append(c.want, "crau-agent: ") {
				if !strings.Contains(output, want) {
					t.Errorf("got %q, want %q in it", output, want)
				}
			}
		})
	}
}

func TestStatusShowsWhatIsRecorded(t *testing.T) {
	a := recording(t, libraries(library, second))
	if got := a.property(t, service, "StatusText"); !strings.HasPrefix(got, "recording 2 libraries, 0 hits, nothing lost") {
		t.Errorf("the status is %q", got)
	}
	a.replay(t, library, 1)
	waitFor(t, "the hits in the status", func() bool {
		return a.property(t, service, "StatusText") == "recording 2 libraries, 28 hits, nothing lost"
	})
}
