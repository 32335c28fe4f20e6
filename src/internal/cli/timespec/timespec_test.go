// SPDX-License-Identifier: Apache-2.0

package timespec_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli/timespec"
)

// prague is used as a local time zone with summer time.
func prague(t testing.TB) *time.Location {
	l, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestATimeIsReadInEveryForm(t *testing.T) {
	l := prague(t)
	now := time.Date(2026, 7, 24, 15, 30, 45, 123456789, l)
	for name, c := range map[string]struct{ text, want string }{
		"RFC 3339 in UTC":               {"2026-02-24T23:14:23Z", "2026-02-24T23:14:23Z"},
		"RFC 3339 with a fraction":      {"2026-02-24T23:14:23.25Z", "2026-02-24T23:14:23.25Z"},
		"RFC 3339 with an offset":       {"2026-02-25T08:14:23+09:00", "2026-02-24T23:14:23Z"},
		"date and time, local":          {"2026-02-25 00:14:23", "2026-02-24T23:14:23Z"},
		"date and time in summer":       {"2026-07-01 12:00:00", "2026-07-01T10:00:00Z"},
		"date and time of UTC":          {"2026-02-24 23:14:23 UTC", "2026-02-24T23:14:23Z"},
		"date and time with an offset":  {"2026-02-25 08:14:23 +09:00", "2026-02-24T23:14:23Z"},
		"date and time of a named zone": {"2026-02-25 08:14:23 Asia/Tokyo", "2026-02-24T23:14:23Z"},
		"date and time of a local name": {"2026-07-01 12:00 CEST", "2026-07-01T10:00:00Z"},
		"date and time with a fraction": {"2026-02-25 00:14:23.5", "2026-02-24T23:14:23.5Z"},
		"date with a T, no zone":        {"2026-02-25T00:14:23", "2026-02-24T23:14:23Z"},
		"without seconds":               {"2026-02-25 00:14", "2026-02-24T23:14:00Z"},
		"with the day of the week":      {"Wed 2026-02-25 00:14:23", "2026-02-24T23:14:23Z"},
		"only a date":                   {"2026-02-25", "2026-02-24T23:00:00Z"},
		"only a time":                   {"08:15:30", "2026-07-24T06:15:30Z"},
		"a time without seconds":        {"08:15", "2026-07-24T06:15:00Z"},
		"now":                           {"now", "2026-07-24T13:30:45.123456789Z"},
		"today":                         {"today", "2026-07-23T22:00:00Z"},
		"yesterday, in capitals":        {"Yesterday", "2026-07-22T22:00:00Z"},
		"tomorrow":                      {"tomorrow", "2026-07-24T22:00:00Z"},
		"today in UTC":                  {"today UTC", "2026-07-24T00:00:00Z"},
		"an hour back":                  {"-1h", "2026-07-24T12:30:45.123456789Z"},
		"an hour and a half back":       {"-1h 30min", "2026-07-24T12:00:45.123456789Z"},
		"joined units":                  {"-1h30m5s", "2026-07-24T12:00:40.123456789Z"},
		"ahead":                         {"+2days", "2026-07-26T13:30:45.123456789Z"},
		"two hours ago":                 {"2 hours ago", "2026-07-24T11:30:45.123456789Z"},
		"a month, not a minute":         {"1M ago", "2026-06-24T03:00:45.123456789Z"},
		"a fraction of a day":           {"0.5 d ago", "2026-07-24T01:30:45.123456789Z"},
		"seconds without a unit":        {"90 ago", "2026-07-24T13:29:15.123456789Z"},
		"time left":                     {"1week left", "2026-07-31T13:30:45.123456789Z"},
		"seconds since the epoch":       {"@1771974863", "2026-02-24T23:14:23Z"},
		"with a fraction since":         {"@1771974863.5", "2026-02-24T23:14:23.5Z"},
		"before the epoch":              {"@-1.5", "1969-12-31T23:59:58.5Z"},
		"spaces around":                 {"  now ", "2026-07-24T13:30:45.123456789Z"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := timespec.Parse(c.text, now)
			if err != nil {
				t.Fatal(err)
			}
			if s := got.UTC().Format(time.RFC3339Nano); s != c.want {
				t.Errorf("%q is %s, want %s", c.text, s, c.want)
			}
		})
	}
}

func TestInvalidTimesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"a word":             "teatime",
		"a bad month":        "2026-13-01",
		"no such day":        "2026-02-30",
		"hour 25":            "25:00",
		"a bad unit":         "5 parsecs ago",
		"a span without end": "-",
		"no number":          "h ago",
		"two points":         "1.2.3h ago",
		"beyond 64 bits":     "@99999999999999",
		"far ahead":          "+9999y",
		"half an epoch":      "@12x",
		"an endless text":    strings.Repeat("1h", 200) + " ago",
		"a bad zone":         "2026-02-25 00:14:23 Mars/Olympus",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := timespec.Parse(text, time.Now())
			var bad *timespec.Error
			if !errors.As(err, &bad) {
				t.Errorf("%q is %v (error %v), want an error", text, got, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"now", "-1h30min", "@1.5", "2026-02-24T23:14:23Z", "Wed 2026-02-25 00:14:23 UTC", "1M ago", "08:15"} {
		f.Add(s)
	}
	now := time.Date(2026, 7, 24, 15, 30, 45, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := timespec.Parse(s, now)
		if err != nil {
			return
		}
		if back := time.Unix(0, got.UnixNano()); !back.Equal(got) {
			t.Errorf("%q is %v, which nanoseconds since the epoch cannot express", s, got)
		}
	})
}
