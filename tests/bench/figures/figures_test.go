// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for name, c := range map[string]struct {
		of   Sample
		q    float64
		want float64
	}{
		"single value":       {Sample{7}, 0.99, 7},
		"middle value":       {Sample{3, 1, 2}, 0.5, 2},
		"between two values": {Sample{4, 2}, 0.5, 3},
		"minimum":            {Sample{3, 1, 2}, 0, 1},
		"maximum":            {Sample{3, 1, 2}, 1, 3},
		"interpolated":       {Sample{0, 10}, 0.99, 9.9},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.of.Quantile(c.q); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestFigureIsComparedWithItsTarget(t *testing.T) {
	for name, c := range map[string]struct {
		figure          Figure
		target, verdict string
	}{
		"no target":            {Figure{Value: 5}, "", ""},
		"below an upper bound": {Figure{Value: 1, Target: 2, Kind: AtMost}, "≤ 2", "ok"},
		"above an upper bound": {Figure{Value: 2.01, Target: 2, Kind: AtMost}, "≤ 2", "MISSED"},
		"above a lower bound":  {Figure{Value: 3, Target: 2, Kind: AtLeast}, "≥ 2", "ok"},
		"below a lower bound":  {Figure{Value: 1.06, Target: 1.5, Kind: AtLeast}, "≥ 1.500", "MISSED"},
		"at an upper bound":    {Figure{Value: 1.06, Target: 1.06, Kind: AtMost}, "≤ 1.060", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			if target, verdict := c.figure.verdict(); target != c.target || verdict != c.verdict {
				t.Errorf("got %q %q, want %q %q", target, verdict, c.target, c.verdict)
			}
		})
	}
}

func TestMergeKeepsFiguresOfOtherPrograms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "build", "bench.json")
	for _, f := range []List{{{Name: "theirs", Value: 1}, {Name: "both", Value: 2}}, {{Name: "ours", Value: 0.5}, {Name: "both", Value: 3}}} {
		if err := f.Merge(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"both\": 3,\n  \"ours\": 0.5,\n  \"theirs\": 1\n}\n"; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (List{}).Merge(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is not an object of numbers gives %v", err)
	}
}

func TestTableHasFiguresOfAllPrograms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	for _, f := range []List{
		{{Name: "first", Value: 1, Target: 2, Kind: AtMost}, {Name: "again", Value: 1, Target: 2, Kind: AtMost}},
		{{Name: "noisy", Value: 3, Target: 2, Kind: AtMost, Others: 0.5}, {Name: "again", Value: 3, Target: 2, Kind: AtMost}, {Name: "free", Value: 4}},
	} {
		if err := (Options{Output: path, Later: true}).Report(f); err != nil {
			t.Fatal(err)
		}
	}
	all, err := All(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := all.Print(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"4 figures: 1 targets met, 2 missed (noisy, again).", "The machine is NOISY: other programs used more than 10 % of its processors during 1 figures",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
}

func TestOthersReturnsShareOfOtherPrograms(t *testing.T) {
	text := "cpu  100 20 30 1000 40 5 6 7 0 0\ncpu0 50 10 15 500 20 2 3 3 0 0\ncpu1 50 10 15 500 20 3 3 4 0 0\nintr 5\n"
	busy, processors := parseStat(text)
	if busy != 1680*time.Millisecond || processors != 2 {
		t.Errorf("busy for %v on %d processors", busy, processors)
	}
	begin := moment{at: time.Unix(10, 0), busy: 5 * time.Second, ours: time.Second, processors: 2}
	end := moment{at: time.Unix(20, 0), busy: 15 * time.Second, ours: 6 * time.Second, processors: 2}
	if got := begin.others(end); got != 0.25 {
		t.Errorf("others used %v, want 0.25", got)
	}
	if got := (moment{}).others(end); got != 0 {
		t.Errorf("an unknown share is %v, want 0", got)
	}
}
