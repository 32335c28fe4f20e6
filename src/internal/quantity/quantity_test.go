// SPDX-License-Identifier: Apache-2.0

package quantity_test

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/quantity"
)

const day = 24 * time.Hour

// durations are valid texts with their values.
var durations = map[string]time.Duration{
	"0":                      0,
	"0s":                     0,
	"000":                    0,
	"5s":                     5 * time.Second,
	"100ms":                  100 * time.Millisecond,
	"30d":                    30 * day,
	"30 days":                30 * day,
	"1day":                   day,
	"2weeks":                 14 * day,
	"2 weeks 3us":            14*day + 3*time.Microsecond,
	"1w1d":                   8 * day,
	"5min":                   5 * time.Minute,
	"5m":                     5 * time.Minute,
	"3 minutes":              3 * time.Minute,
	"1h 30min":               90 * time.Minute,
	"1h30m":                  90 * time.Minute,
	"2hours 1hr":             3 * time.Hour,
	"1month":                 30*day + 10*time.Hour + 30*time.Minute,
	"1M":                     30*day + 10*time.Hour + 30*time.Minute,
	"2months":                60*day + 21*time.Hour,
	"1y":                     365*day + 6*time.Hour,
	"2years 1year":           3 * (365*day + 6*time.Hour),
	"1.5d":                   36 * time.Hour,
	".5s":                    500 * time.Millisecond,
	"+5s":                    5 * time.Second,
	"0.1234567s":             123456 * time.Microsecond,
	"1µs":                    time.Microsecond, // U+00B5
	"1μs":                    time.Microsecond, // U+03BC
	"20usec 1msec":           1020 * time.Microsecond,
	" \t1h\n":                time.Hour,
	"infinity":               quantity.Infinity,
	"24h0m0s":                day,
	"1second 1sec 2seconds ": 4 * time.Second,
}

func TestDurationsMatchSystemdTime(t *testing.T) {
	for text, want := range durations {
		got, err := quantity.ParseDuration(text, 0)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]time.Duration{"90": 90 * time.Second, "1h 30": time.Hour + 30*time.Second, "5m5": 305 * time.Second, "1.5": 1500 * time.Millisecond, "12.34 .56": 12900 * time.Millisecond} {
		got, err := quantity.ParseDuration(text, time.Second)
		if err != nil || got != want {
			t.Errorf("%q in seconds: %v, %v, want %v", text, got, err, want)
		}
	}
}

// invalid are texts that systemd also refuses.
var invalid = []string{
	"", " ", "soon", "s", "30D", "5S", "1.s", "1. 5s", "12.34.56", "1h-5m", "-5s", "- 5s", "+", "+.5s", "1h+", "1x", "1h,2m", "infinity 1s",
	"infinity1", "inf", "1 hour ago", "0x10s", "1_000s", "99999999999999999999s", "1e3s", "5 s s", "1minn",
}

func TestDurationsAreFormattedInDaysAndSmallerUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 30 * day: "30d", 7 * day: "7d", 90 * time.Minute: "1h 30min", 100 * time.Millisecond: "100ms", 1500 * time.Microsecond: "1ms 500us",
		quantity.Infinity: "infinity", day + time.Second: "1d 1s",
	} {
		if got := quantity.FormatDuration(d); got != want {
			t.Errorf("%d ns are formatted as %s, want %s", int64(d), got, want)
		}
	}
}

func TestErrorsOfInvalidDurationsHaveExamples(t *testing.T) {
	for _, text := range append([]string{"1h 30", "5m5", "300y", "9223372036854775807us", strings.Repeat("1s ", 100)}, invalid...) {
		_, err := quantity.ParseDuration(text, 0)
		var bad *quantity.Error
		if !errors.As(err, &bad) || bad.NoUnit || !strings.Contains(err.Error(), ": use ") || len(err.Error()) > 250 {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := quantity.ParseDuration("30", 0)
	var bad *quantity.Error
	if !errors.As(err, &bad) || !bad.NoUnit || err.Error() != `"30" has no unit: use for example 30d, 2weeks or "1h 30min"` {
		t.Errorf("a bare number: %v", err)
	}
	if _, err = quantity.ParseDuration("soon", 0); err == nil || err.Error() != `"soon" is not a valid duration: use for example 30d, 2weeks or "1h 30min"` {
		t.Errorf("a word: %v", err)
	}
}

// analyze parses a text with systemd, and returns the microseconds and their format; ok is
// false if systemd refuses the text.
func analyze(t *testing.T, text string) (us uint64, human string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.Command(program, "timespan", "--", text).Output()
	if err != nil {
		return 0, "", false
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name = strings.TrimSpace(name); {
		case name == "Human":
			human = value
		case strings.HasSuffix(name, "s"):
			if us, err = strconv.ParseUint(value, 10, 64); err != nil {
				t.Fatalf("%q: %v in %s", text, err, out)
			}
		}
	}
	return us, human, true
}

func TestSystemdParsesDurationsTheSame(t *testing.T) {
	for text, want := range durations {
		us, human, ok := analyze(t, text)
		switch {
		case !ok:
			t.Errorf("systemd refuses %q", text)
		case want == quantity.Infinity:
			if human != "infinity" {
				t.Errorf("systemd formats %q as %s", text, human)
			}
		case us != uint64(want/time.Microsecond):
			t.Errorf("%q: systemd parses it as %d us, want %v", text, us, want)
		}
		if again, _, ok := analyze(t, quantity.FormatDuration(want)); !ok || again != us {
			t.Errorf("%q is formatted as %s, which systemd parses as %d us, not %d", text, quantity.FormatDuration(want), again, us)
		}
	}
	for _, text := range invalid {
		if us, _, ok := analyze(t, text); ok {
			t.Errorf("systemd parses %q as %d us", text, us)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0K": 0, "1K": 1 << 10, "512M": 512 << 20, "4G": 4 << 30, "2T": 2 << 40, "8m": 8 << 20, "1.5G": 3 << 29, "512B": 512,
		"4 G": 4 << 30, "1KiB": 1 << 10, "1MB": 1 << 20, "4194304T": 1 << 62, "00": 0,
	} {
		if got, err := quantity.ParseSize(text, quantity.SizeHelp); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "big", "1 gigabyte", "8Q", "-1", "-1K", "+1K", "1.5B", "1.5", "1K1", "1Ki", "99999999999T", "4194305T", "10%", "K", "1 K B", "0x1K", "1.K",
		strings.Repeat("1", 200) + "K",
	} {
		_, err := quantity.ParseSize(text, quantity.ShareHelp)
		var bad *quantity.Error
		if !errors.As(err, &bad) || bad.NoUnit || !strings.HasSuffix(err.Error(), " is not a valid size: use for example 512M, 4G or 10%") {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := quantity.ParseSize("1073741824", quantity.SizeHelp)
	var bad *quantity.Error
	if !errors.As(err, &bad) || !bad.NoUnit || err.Error() != `"1073741824" has no unit: use for example 512M or 4G` {
		t.Errorf("a bare number: %v", err)
	}
	for n, want := range map[int64]string{0: "0", 5000: "5000B", 1 << 20: "1M", 3 << 29: "1536M", 1 << 50: "1024T"} {
		if got := quantity.FormatSize(n); got != want {
			t.Errorf("%d is formatted as %s, want %s", n, got, want)
		}
	}
}

func TestPercentages(t *testing.T) {
	for text, want := range map[string]int{"0%": 0, "10%": 10, "100%": 100} {
		if got, ok := quantity.ParsePercent(text); !ok || got != want {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "%", "101%", "-1%", "1.5%", "10", "10%%", "0010%", " 10%"} {
		if got, ok := quantity.ParsePercent(text); ok {
			t.Errorf("%q is parsed as %d", text, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for text := range durations {
		f.Add(text)
	}
	for _, text := range invalid {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, unit := range []time.Duration{0, time.Second} {
			d, err := quantity.ParseDuration(text, unit)
			if err != nil {
				continue
			}
			written := quantity.FormatDuration(d)
			if again, err := quantity.ParseDuration(written, 0); d < 0 || err != nil || again != d {
				t.Errorf("%q is %d ns, formatted as %s, which is %d ns, %v", text, d, written, again, err)
			}
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, text := range []string{"0", "1.5G", "512M", "5000B", "1KiB", "10%", "-1", "99999999T"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := quantity.ParsePercent(text); ok && (p < 0 || p > 100) {
			t.Errorf("%q is %d percent", text, p)
		}
		n, err := quantity.ParseSize(text, quantity.SizeHelp)
		if err != nil {
			return
		}
		written := quantity.FormatSize(n)
		if again, err := quantity.ParseSize(written, quantity.SizeHelp); n < 0 || err != nil || again != n {
			t.Errorf("%q is %d, formatted as %s, which is %d, %v", text, n, written, again, err)
		}
	})
}
