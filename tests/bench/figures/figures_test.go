// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQuantiles(t *testing.T) {
	for name, c := range map[string]struct {
		of   Sample
		q    float64
		want float64
	}{
		"the only one":      {Sample{7}, 0.99, 7},
		"the middle":        {Sample{3, 1, 2}, 0.5, 2},
		"between the two":   {Sample{4, 2}, 0.5, 3},
		"the least":         {Sample{3, 1, 2}, 0, 1},
		"the most":          {Sample{3, 1, 2}, 1, 3},
		"a part of the way": {Sample{0, 10}, 0.99, 9.9},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.of.Quantile(c.q); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAFigureIsHeldAgainstItsTarget(t *testing.T) {
	for name, c := range map[string]struct {
		figure          Figure
		target, verdict string
	}{
		"none":             {Figure{Value: 5}, "", ""},
		"below what may":   {Figure{Value: 1, Target: 2, Kind: AtMost}, "≤ 2", "ok"},
		"above what may":   {Figure{Value: 2.01, Target: 2, Kind: AtMost}, "≤ 2", "MISSED"},
		"above what must":  {Figure{Value: 3, Target: 2, Kind: AtLeast}, "≥ 2", "ok"},
		"below what must":  {Figure{Value: 1.06, Target: 1.5, Kind: AtLeast}, "≥ 1.500", "MISSED"},
		"just what it may": {Figure{Value: 1.06, Target: 1.06, Kind: AtMost}, "≤ 1.060", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			if target, verdict := c.figure.verdict(); target != c.target || verdict != c.verdict {
				t.Errorf("got %q %q, want %q %q", target, verdict, c.target, c.verdict)
			}
		})
	}
}

func TestFiguresOfOthersStayInTheFile(t *testing.T) {
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
		t.Errorf("a file of something else gave %v", err)
	}
}
