// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"crypto-auditing/src/internal/goldentest"
)

// family is a metric as a scraper sees it.
type family struct {
	kind, help string
	// samples are values by name and labels, the labels sorted by name and
	// their values quoted.
	samples map[string]float64
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*`)
)

// parseMetrics parses the text format, version 0.0.4. It rejects everything that the
// definition of the format or the naming conventions do not allow.
func parseMetrics(text string) (map[string]*family, error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	all := map[string]*family{}
	current := ""
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fail := func(format string, arguments ...any) (map[string]*family, error) {
			return nil, fmt.Errorf("line %d: %s: %s", i+1, fmt.Sprintf(format, arguments...), line)
		}
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, ok := strings.Cut(rest, " ")
			if !ok || metricName.FindString(name) != name || all[name] != nil || strings.TrimSpace(help) == "" {
				return fail("bad or second HELP")
			}
			current = name
			all[name] = &family{help: help, samples: map[string]float64{}}
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != current || all[name].kind != "" || len(all[name].samples) > 0 {
				return fail("TYPE out of place")
			}
			if !slices.Contains([]string{"counter", "gauge", "histogram"}, kind) {
				return fail("unknown type %q", kind)
			}
			if strings.HasSuffix(name, "_total") != (kind == "counter") {
				return fail("counters, and they alone, end in _total")
			}
			all[name].kind = kind
			continue
		}
		name := metricName.FindString(line)
		f := all[current]
		if f == nil || f.kind == "" {
			return fail("a sample before HELP and TYPE")
		}
		suffix, ok := strings.CutPrefix(name, current)
		if !ok || suffix != "" && (f.kind != "histogram" || !slices.Contains([]string{"_bucket", "_sum", "_count"}, suffix)) {
			return fail("a sample of another metric")
		}
		rest := line[len(name):]
		var labels []string
		if strings.HasPrefix(rest, "{") {
			var err error
			if labels, rest, err = parseLabels(rest[1:]); err != nil {
				return fail("%v", err)
			}
		}
		value, err := strconv.ParseFloat(strings.TrimPrefix(rest, " "), 64)
		if err != nil || !strings.HasPrefix(rest, " ") || math.IsNaN(value) {
			return fail("bad value")
		}
		if f.kind != "gauge" && value < 0 {
			return fail("a counter below zero")
		}
		key := name + "{" + strings.Join(labels, ",") + "}"
		if _, ok := f.samples[key]; ok {
			return fail("a second sample")
		}
		f.samples[key] = value
	}
	for name, f := range all {
		if f.kind == "" {
			return nil, fmt.Errorf("%s has no TYPE", name)
		}
	}
	return all, nil
}

func parseLabels(text string) (labels []string, rest string, err error) {
	for {
		name := labelName.FindString(text)
		if name == "" || strings.HasPrefix(name, "__") || !strings.HasPrefix(text[len(name):], `="`) {
			return nil, "", fmt.Errorf("bad label")
		}
		text = text[len(name)+2:]
		var value strings.Builder
		for !strings.HasPrefix(text, `"`) {
			if text == "" {
				return nil, "", fmt.Errorf("an unterminated label")
			}
			if text[0] != '\\' {
				value.WriteByte(text[0])
				text = text[1:]
				continue
			}
			escaped, ok := map[string]string{`\\`: `\`, `\"`: `"`, `\n`: "\n"}[text[:min(2, len(text))]]
			if !ok {
				return nil, "", fmt.Errorf("bad escape")
			}
			value.WriteString(escaped)
			text = text[2:]
		}
		labels = append(labels, name+"="+strconv.Quote(value.String()))
		text = text[1:]
		if rest, ok := strings.CutPrefix(text, "}"); ok {
			slices.Sort(labels)
			return labels, rest, nil
		}
		var ok bool
		if text, ok = strings.CutPrefix(text, ","); !ok {
			return nil, "", fmt.Errorf("labels that are not separated")
		}
	}
}

func TestMetricsHaveThePrometheusFormat(t *testing.T) {
	got := crauctl(t, "metrics", "--socket", serveAgent(t, busy()))
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit status %d, stderr %q", got.code, got.stderr)
	}
	all, err := parseMetrics(got.stdout)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"up{}": 1,
		`agent_info{profile="uprobe_multi",version="1.2.3"}`:    1,
		"start_time_seconds{}":                                  float64(busy().status.Started.Unix()),
		"seen_hits_total{}":                                     1_234_575,
		"recorded_hits_total{}":                                 1_234_567,
		"recorded_events_total{}":                               2_345_678,
		"recorded_groups_total{}":                               100,
		"recorded_chunks_total{}":                               1,
		`lost_hits_total{place="kernel",reason="ring-full"}`:    7,
		`lost_hits_total{place="kernel",reason="spec-missing"}`: 0,
		`lost_hits_total{place="disk",reason="disk-full"}`:      1,
		`lost_events_total{place="disk",reason="disk-full"}`:    1000,
		"ring_size_bytes{}":                                     8 << 20,
		"ring_high_water_bytes{}":                               12 << 10,
		"cpu_seconds_total{}":                                   1.5,
		"resident_memory_bytes{}":                               20 << 20,
		"log_size_bytes{}":                                      12_900_000,
		"log_free_bytes{}":                                      20 << 30,
		"log_segments{}":                                        4,
		"log_full{}":                                            0,
		`commit_latency_seconds_bucket{le="0.05"}`:              0,
		`commit_latency_seconds_bucket{le="0.075"}`:             49,
		`commit_latency_seconds_bucket{le="0.1"}`:               97,
		`commit_latency_seconds_bucket{le="0.15"}`:              99,
		`commit_latency_seconds_bucket{le="10"}`:                99,
		`commit_latency_seconds_bucket{le="+Inf"}`:              100,
		"commit_latency_seconds_sum{}":                          1.2345,
		"commit_latency_seconds_count{}":                        100,
		`library_hits_total{build_id="abcdef0102030405",path="/usr/lib64/libgnutls.so.30"}`: 1_234_567,
		`library_sites{build_id="abcdef0102030405",path="/usr/lib64/libgnutls.so.30"}`:      10,
		`library_attached{build_id="abcdef0102030405",path="/usr/lib64/libgnutls.so.30"}`:   1,
		`library_attached{build_id="",path="/opt/\\x1b[31m\"odd\"\\x5c\\x0a.so"}`:           0,
		`library_hits_total{build_id="",path="/opt/\\x1b[31m\"odd\"\\x5c\\x0a.so"}`:         0,
	}
	found := map[string]float64{}
	for name, f := range all {
		if !strings.HasPrefix(name, "crypto_auditing_") {
			t.Errorf("the name of %s lacks our prefix", name)
		}
		for key, value := range f.samples {
			found[strings.TrimPrefix(key, "crypto_auditing_")] = value
		}
	}
	for key, value := range want {
		if got, ok := found[key]; !ok || got != value {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, value)
		}
	}
}

func TestMetricsMatchTheGoldenFile(t *testing.T) {
	goldentest.Compare(t, "status/metrics.golden", crauctl(t, "metrics", "--socket", serveAgent(t, busy())).stdout)
}

func TestBucketsOfTheHistogramGrow(t *testing.T) {
	all, err := parseMetrics(crauctl(t, "metrics", "--socket", serveAgent(t, busy())).stdout)
	if err != nil {
		t.Fatal(err)
	}
	h := all["crypto_auditing_commit_latency_seconds"]
	type bucket struct{ le, count float64 }
	var buckets []bucket
	for key, count := range h.samples {
		if label, ok := strings.CutPrefix(key, `crypto_auditing_commit_latency_seconds_bucket{le="`); ok {
			le, err := strconv.ParseFloat(strings.TrimSuffix(label, `"}`), 64)
			if err != nil {
				t.Fatal(err)
			}
			buckets = append(buckets, bucket{le, count})
		}
	}
	slices.SortFunc(buckets, func(a, b bucket) int {
		if a.le < b.le {
			return -1
		}
		return 1
	})
	if len(buckets) != len(busy().status.Latency.Counts) || !math.IsInf(buckets[len(buckets)-1].le, 1) {
		t.Fatalf("the buckets are %v", buckets)
	}
	for i := 1; i < len(buckets); i++ {
		if buckets[i].count < buckets[i-1].count {
			t.Errorf("bucket %v has a lower count than the previous one", buckets[i])
		}
	}
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: only the parser of these tests checks the format")
	}
	for name, r := range map[string]*recorder{"busy": busy(), "idle": idle()} {
		command := exec.Command(promtool, "check", "metrics")
		command.Stdin = strings.NewReader(crauctl(t, "metrics", "--socket", serveAgent(t, r)).stdout)
		if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestMetricsReplaceAFileAtomically(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "crypto-auditing.prom")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	got := crauctl(t, "metrics", "--output", file, "--socket", serveAgent(t, busy()))
	if got.code != 0 || got.stdout != "" || got.stderr != "" {
		t.Fatalf("exit status %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := parseMetrics(string(text)); err != nil || all["crypto_auditing_recorded_hits_total"] == nil {
		t.Errorf("the file is %q: %v", text, err)
	}
	// A program that has the old file open can still read all of it.
	b := make([]byte, 10)
	if n, _ := old.Read(b); string(b[:n]) != "old" {
		t.Errorf("the old file is %q", b[:n])
	}
	wantAlone(t, file)
}

// wantAlone checks that a file is the only one in its directory, and that all users may
// read it.
func wantAlone(t *testing.T, file string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the directory contains %v", entries)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o644 {
		t.Errorf("the mode is %v", info.Mode())
	}
}

func TestMetricsShowThatTheAgentIsUnreachable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.prom")
	got := crauctl(t, "metrics", "--output", file, "--socket", filepath.Join(t.TempDir(), "none"))
	if got.code != 1 || !strings.Contains(got.stderr, "cannot reach the agent") {
		t.Errorf("exit status %d, stderr %q", got.code, got.stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseMetrics(string(text))
	if err != nil || len(all) != 1 || all["crypto_auditing_up"].samples["crypto_auditing_up{}"] != 0 {
		t.Errorf("the file is %q: %v", text, err)
	}
	wantAlone(t, file)
}

func TestMetricsThatCannotBeWrittenLeaveNoFile(t *testing.T) {
	dir := t.TempDir()
	directory := filepath.Join(dir, "directory")
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := serveAgent(t, busy())
	for name, file := range map[string]string{"a directory": directory, "in a missing directory": filepath.Join(dir, "none", "x.prom")} {
		got := crauctl(t, "metrics", "--output", file, "--socket", socket)
		if got.code != 1 || !strings.Contains(got.stderr, "cannot replace "+file) {
			t.Errorf("%s: exit status %d, stderr %q", name, got.code, got.stderr)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory contains %v, %v", entries, err)
	}
}
