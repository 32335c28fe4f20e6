// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/report/reporttest"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

// verdicts returns the verdicts of a program with uses.
func verdicts(t *testing.T, uses ...row.Row) map[rules.Axis]report.Verdict {
	t.Helper()
	r := report.Make(&observed.Observed{Uses: uses, Coverage: reporttest.Sample().Coverage}, reporttest.Options(t))
	all := make(map[rules.Axis]report.Verdict)
	for _, v := range r.Programs[0].Verdicts {
		all[v.Axis] = v.Verdict
	}
	return all
}

func TestUnknownValuesAreNeitherAllowedNorDenied(t *testing.T) {
	hybrid := reporttest.Handshake("a", "", 5, row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768"})
	classical := reporttest.Handshake("a", "", 1, row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "x25519"})
	unknown := reporttest.Handshake("a", "", 1, row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256"})
	failed := classical
	failed.Failures = failed.Count
	resumed := reporttest.Handshake("a", "", 3, row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", Resumed: "yes"})
	signed := reporttest.Handshake("a", "", 3, row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", PeerSignature: "mldsa65"})
	for name, c := range map[string]struct {
		uses []row.Row
		want [3]report.Verdict // key establishment, authentication, classical
	}{
		"all are post-quantum":               {[]row.Row{hybrid}, [3]report.Verdict{report.Ready, report.Unknown, report.Unknown}},
		"none is post-quantum":               {[]row.Row{classical}, [3]report.Verdict{report.NotReady, report.Unknown, report.Unknown}},
		"some are post-quantum":              {[]row.Row{hybrid, classical}, [3]report.Verdict{report.Partly, report.Unknown, report.Unknown}},
		"some are, some are unknown":         {[]row.Row{hybrid, unknown}, [3]report.Verdict{report.Unknown, report.Unknown, report.Unknown}},
		"some are not, some are unknown":     {[]row.Row{classical, unknown}, [3]report.Verdict{report.NotReady, report.Unknown, report.Unknown}},
		"some are, some not, some unknown":   {[]row.Row{hybrid, classical, unknown}, [3]report.Verdict{report.Partly, report.Unknown, report.Unknown}},
		"all are unknown":                    {[]row.Row{unknown}, [3]report.Verdict{report.Unknown, report.Unknown, report.Unknown}},
		"the classical ones failed":          {[]row.Row{hybrid, failed}, [3]report.Verdict{report.Ready, report.Unknown, report.Unknown}},
		"all failed":                         {[]row.Row{failed}, [3]report.Verdict{report.Unknown, report.Unknown, report.Unknown}},
		"the session was resumed":            {[]row.Row{resumed}, [3]report.Verdict{report.Ready, report.Unknown, report.Ready}},
		"the signature is post-quantum, too": {[]row.Row{signed}, [3]report.Verdict{report.Ready, report.Ready, report.Ready}},
		"TLS 1.2 with SHA-1": {
			[]row.Row{reporttest.Handshake("a", "", 1, row.Parameters{Version: "TLS 1.2", Suite: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Group: "x25519", PeerSignature: "rsa_pkcs1_sha1", Algorithm: "RSA", Bits: 2048})},
			[3]report.Verdict{report.NotReady, report.NotReady, report.NotReady},
		},
		"TLS 1.2 without": {
			[]row.Row{reporttest.Handshake("a", "", 1, row.Parameters{Version: "TLS 1.2", Suite: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Group: "x25519", PeerSignature: "rsa_pkcs1_sha256", Algorithm: "RSA", Bits: 2048})},
			[3]report.Verdict{report.NotReady, report.NotReady, report.Ready},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := verdicts(t, c.uses...)
			for i, axis := range rules.Axes() {
				if got[axis] != c.want[i] {
					t.Errorf("%s is %s, want %s", axis, got[axis], c.want[i])
				}
			}
		})
	}
}

func TestAProfileCanRequireMore(t *testing.T) {
	o := &observed.Observed{Uses: reporttest.Sample().Uses[:2], Coverage: reporttest.Sample().Coverage}
	r := report.Make(o, reporttest.Options(t, "cnsa2"))
	// ML-KEM-1024 with ML-DSA-87, and ML-KEM-768.
	for i, want := range []report.Verdict{report.Ready, report.NotReady} {
		if got := r.Programs[i].Verdicts[0].Verdict; got != want {
			t.Errorf("key establishment of %s is %s, want %s", r.Programs[i].Executable, got, want)
		}
	}
	if r.Failed() {
		t.Error("a rule that is not in force is a failure")
	}
	if f := r.Findings[0]; f.Rule != "nsa.cnsa2.ke" || f.DaysLeft != 1857 {
		t.Errorf("finding is %+v, want nsa.cnsa2.ke with 1857 days left", f)
	}
}

func TestAFindingWithAValidExceptionIsNotAFailure(t *testing.T) {
	o := &observed.Observed{Uses: []row.Row{reporttest.Handshake("erp-client", "erp.service", 7, row.Parameters{Version: "TLS 1.1", Suite: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"})}, Coverage: reporttest.Sample().Coverage}
	opts := reporttest.Options(t)
	r := report.Make(o, opts)
	if r.Failed() {
		t.Error("an accepted use is a failure")
	}
	if got := r.Programs[0].Verdicts[2].Verdict; got != report.NotReady {
		t.Errorf("classical hygiene is %s, want not ready: an exception changes no fact", got)
	}
	if e := r.Exceptions[0]; e.Operations != 7 || e.Expired {
		t.Errorf("exception is %+v, want one of 7 operations", e)
	}
	opts.Now = time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
	if r := report.Make(o, opts); !r.Failed() || !r.Exceptions[0].Expired {
		t.Error("an expired exception still holds")
	}
}

// signs returns observations of a program that signs with SHA-1. last is the time of its last signature, to is the
// end of the coverage.
func signs(last, to time.Time, sources ...string) *observed.Observed {
	sign := reporttest.Use("openssl", "", row.Sign, 3, last, row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-1", Padding: "PKCS1"})
	sign.Source, sign.Library = "function", "libcrypto.so.3"
	other := reporttest.Use("curl", "", row.Sign, 1, to.Add(-time.Second), row.Parameters{Algorithm: "RSA", Bits: 4096, Hash: "SHA-256", Padding: "PSS"})
	o := &observed.Observed{
		Uses: []row.Row{other, sign},
		Coverage: coverage.Coverage{
			From: reporttest.Now().Add(-100 * time.Hour), To: to, Sources: sources, Libraries: []coverage.Library{{Name: "libcrypto.so.3"}},
		},
	}
	return o
}

func TestTheEndOfSignaturesIsOnlyConfirmedWithoutGaps(t *testing.T) {
	const rule = "nist.sp800-131ar2.sha1"
	change := reporttest.Now().Add(-24 * time.Hour)
	sources := []string{"usdt", "wire", "function"}
	opts := reporttest.Options(t)
	opts.Now = change
	var saved bytes.Buffer
	if err := report.Make(signs(change.Add(-time.Minute), change, sources...), opts).JSON(&saved); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *observed.Observed)
		want   report.State
		fails  string
	}{
		"it stopped":          {func(*observed.Observed) {}, report.Stopped, ""},
		"it continues":        {func(o *observed.Observed) { o.Uses[1].Last = change.Add(time.Hour) }, report.Still, "still in use"},
		"events were lost":    {func(o *observed.Observed) { o.Coverage.Lost = map[string]uint64{"ring-full": 1} }, report.NotSeen, "not seen"},
		"entries are missing": {func(o *observed.Observed) { o.Coverage.Missing = 1 }, report.NotSeen, "not seen"},
		"the agent was down":  {func(o *observed.Observed) { o.Coverage.Down = []coverage.Span{{From: change, To: reporttest.Now()}} }, report.NotSeen, "not seen"},
		"the agent was down before": {func(o *observed.Observed) {
			o.Coverage.Down = []coverage.Span{{From: change.Add(-time.Hour), To: change}}
		}, report.Stopped, ""},
		"the source is off":          {func(o *observed.Observed) { o.Coverage.Sources = []string{"wire"} }, report.NotSeen, "not seen"},
		"the library is not watched": {func(o *observed.Observed) { o.Coverage.Libraries = nil }, report.NotSeen, "not seen"},
		"observations of a log":      {func(o *observed.Observed) { o.Coverage.Sources, o.Coverage.Libraries = nil, nil }, report.Stopped, ""},
		"observations begin later":   {func(o *observed.Observed) { o.Coverage.From = change.Add(time.Hour) }, report.NotSeen, "not seen"},
		"nothing was recorded since": {func(o *observed.Observed) { o.Coverage.To = change }, report.NotSeen, "not seen"},
		"nothing was recorded":       {func(o *observed.Observed) { *o = observed.Observed{} }, report.NotSeen, "not seen"},
	} {
		t.Run(name, func(t *testing.T) {
			baseline, err := report.ReadBaseline(bytes.NewReader(saved.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			after := signs(change.Add(-time.Minute), reporttest.Now(), sources...)
			c.change(after)
			r := report.Make(after, reporttest.Options(t))
			r.Compare(baseline)
			var got report.State
			for _, f := range r.Changes.Findings {
				if f.Rule == rule && f.Executable == "openssl" {
					got = f.State
				}
			}
			if got != c.want {
				t.Errorf("the signatures are %q, want %q", got, c.want)
			}
			if err := r.Confirm(rule); (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("confirmation fails with %v, want %q", err, c.fails)
			}
			if r.Failed() {
				t.Error("nothing is new, but the report fails")
			}
		})
	}
	r := report.Make(signs(reporttest.Now(), reporttest.Now(), sources...), reporttest.Options(t))
	r.Compare(r)
	if err := r.Confirm("no.rule"); err == nil {
		t.Error("an unknown rule is confirmed")
	}
}

func TestANewFindingFails(t *testing.T) {
	change := reporttest.Now().Add(-24 * time.Hour)
	opts := reporttest.Options(t)
	opts.Now = change
	baseline := report.Make(&observed.Observed{Coverage: coverage.Coverage{From: change.Add(-time.Hour), To: change}}, opts)
	r := report.Make(signs(reporttest.Now().Add(-time.Minute), reporttest.Now()), reporttest.Options(t))
	r.Compare(baseline)
	if !r.Failed() {
		t.Error("a new finding is not a failure")
	}
	if n := len(r.Changes.Uses); n != 2 || r.Changes.Uses[0].State != report.New {
		t.Errorf("there are %d changes of uses, want two new ones", n)
	}
}

func TestABaselineIsAReportInJSON(t *testing.T) {
	opts := reporttest.Options(t)
	opts.Anonymous = true
	var anonymous bytes.Buffer
	if err := report.Make(reporttest.Sample(), opts).JSON(&anonymous); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"text": "Cryptography in use", "other JSON": "{}", "an anonymous report": anonymous.String(), "no time": `{"schema":1}`} {
		if _, err := report.ReadBaseline(strings.NewReader(text)); !errors.As(err, new(*report.BaselineError)) {
			t.Errorf("%s: error is %v, want one about the baseline", name, err)
		}
	}
}
