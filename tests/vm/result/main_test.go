// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/tests/report/outcome"
)

const (
	passed = "=== RUN   TestOne\n--- PASS: TestOne (0.10s)\n"
	// As the audit daemon writes them.
	own = `type=AVC msg=audit(1795675245.732:31): avc:  denied  { write add_name } for  pid=150 comm="crau-agent" name="x" dev="vda" ino=148 scontext=system_u:system_r:crau_agent_t:s0 tcontext=system_u:object_r:etc_t:s0 tclass=dir permissive=0` + "\n"
	bus = `type=USER_AVC msg=audit(1795675246.000:32): pid=170 uid=100 auid=4294967295 ses=4294967295 subj=system_u:system_r:system_dbusd_t:s0 msg='avc:  denied  { send_msg } for  scontext=system_u:system_r:crau_broker_t:s0 tcontext=unconfined_u:unconfined_r:unconfined_t:s0 tclass=dbus permissive=0'` + "\n"
	// As the kernel logs it before the audit daemon runs.
	early   = `[   42.9] machine kernel: audit: type=1400 audit(1795675245.732:3): avc:  denied  { map } for  pid=5 comm="crau-agent" path="/x" scontext=system_u:system_r:crau_agent_t:s0 tcontext=system_u:system_r:crau_agent_t:s0 tclass=file permissive=0` + "\n"
	purpose = `type=AVC msg=audit(1795675247.732:33): avc:  denied  { read } for  pid=150 comm="intruder" name="shadow" dev="vda" ino=148 scontext=system_u:system_r:crau_agent_t:s0 tcontext=system_u:object_r:shadow_t:s0 tclass=file permissive=0` + "\n"
	foreign = `type=AVC msg=audit(1795675248.732:34): avc:  denied  { relabelfrom } for  pid=150 comm="systemd-tmpfile" name="mtab" dev="vda" ino=148 scontext=system_u:system_r:systemd_tmpfiles_t:s0 tcontext=system_u:object_r:etc_t:s0 tclass=lnk_file permissive=0` + "\n"
	failure = `type=SELINUX_ERR msg=audit(1795675249.732:35): op=security_compute_sid invalid_context="system_u:system_r:crau_agent_t:s0" scontext=a tcontext=b tclass=process` + "\n"
)

func TestARunPassesIfAllTestsPassedWithoutDenials(t *testing.T) {
	for name, c := range map[string]struct {
		tests, audit, journal string
		good                  bool
		want                  []string
	}{
		"all is well":       {passed + "PASS\n", purpose + foreign, "", true, []string{"2 passed, 0 failed, 0 skipped", "(1 denied on purpose, 1 of the distribution)"}},
		"a test failed":     {passed + "=== RUN   TestTwo\n    why\n--- FAIL: TestTwo (1s)\nFAIL\n", "", "", false, []string{"--- FAIL: TestTwo", "    why", "failed: tests/vm TestTwo: why\n2 passed, 1 failed, 0 skipped"}},
		"a test is skipped": {passed + "=== RUN   TestTwo\n    because\n--- SKIP: TestTwo (1s)\nPASS\n", "", "", true, []string{"    because", "skipped 1: because\n2 passed, 0 failed, 1 skipped"}},
		"a part failed":     {"=== RUN   TestTwo\n=== RUN   TestTwo/part\n    why\n--- FAIL: TestTwo (1s)\n    --- FAIL: TestTwo/part (1s)\nFAIL\n", "", "", false, []string{"    why", "1 passed, 1 failed, 0 skipped"}},
		"the machine hung":  {passed + "=== RUN   TestTwo\r\n    half\r\n", "", "", false, []string{"did not come to the end", "    half", "failed: tests/vm TheMachineCameToTheEnd: it ended before", "2 passed, 1 failed"}},
		"a panic":           {"=== RUN   TestTwo\npanic: no\n", "", "", false, []string{"panic: no"}},
		"a denial":          {passed + "PASS\n", own + own, "", false, []string{"allow crau_agent_t etc_t:dir { add_name write };", "1 passed, 1 failed"}},
		"one on the bus":    {passed + "PASS\n", bus, "", false, []string{"allow crau_broker_t unconfined_t:dbus { send_msg };"}},
		"an early one":      {passed + "PASS\n", "", early, false, []string{"allow crau_agent_t self:file { map };"}},
		"a bad context":     {passed + "PASS\n", failure, "", false, []string{"security_compute_sid"}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			if err := os.Mkdir(filepath.Join(directory, "audit"), 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"tests.log": c.tests, "audit/audit.log": c.audit, "journal.txt": c.journal} {
				if err := os.WriteFile(filepath.Join(directory, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var b bytes.Buffer
			good, err := report(&b, directory)
			if err != nil || good != c.good {
				t.Errorf("good is %v, want %v: %v\n%s", good, c.good, err, b.String())
			}
			saved, err := outcome.Load(filepath.Join(directory, "results.json"))
			if err != nil || !strings.HasSuffix(b.String(), "\n"+saved.Summary()) {
				t.Errorf("results.json has %+v: %v", saved, err)
			}
			for _, want := range c.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("the summary has no %q:\n%s", want, b.String())
				}
			}
		})
	}
}

func TestDenialsAreUnknownWithoutAnAuditLog(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "tests.log"), []byte(passed+"PASS\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	good, err := report(&b, directory)
	if good || err != nil || !strings.Contains(b.String(), "nobody knows what was denied") || !strings.Contains(b.String(), "1 passed, 1 failed, 0 skipped") {
		t.Errorf("good is %v, %v:\n%s", good, err, b.String())
	}
}
