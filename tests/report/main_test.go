// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The streams in testdata are recorded output of go test -json, for packages that fail in
// all possible ways.
func TestSummaryListsFailuresWithReasons(t *testing.T) {
	const project = "example.org/project/"
	for name, want := range map[string][]string{
		"pass": {"skipped 1: looked the kernel is too old", "skipped 1: the kernel is too old", "2 passed, 0 failed, 2 skipped"},
		"none": {"0 passed, 0 failed, 0 skipped"},
		"subtests": {
			"failed: " + project + "subtests TestParts/group/inner: x_test.go:6: inner is wrong",
			"failed: " + project + "subtests TestParts/bad_one: x_test.go:5: looking",
			"    " + "    x_test.go:5: it is 2,",
			"            not 1",
			"failed: " + project + "subtests TestBoth/part: x_test.go:9: the part is wrong",
			"failed: " + project + "subtests TestBoth: x_test.go:10: and the whole is",
			"2 passed, 4 failed, 0 skipped",
		},
		"build":  {"failed: " + project + "build: does not build", "    build/x_test.go:3:30: undefined: undefinedName", "0 passed, 1 failed, 0 skipped"},
		"vetted": {"failed: " + project + "vetted: does not build", `    vetted/x_test.go:3:42: fmt.Printf format %d has arg "text" of wrong type string`, "0 passed, 1 failed, 0 skipped"},
		"dep": {
			"failed: " + project + "dep: does not build", "    broken/b.go:2:19: too many return values", "    \thave (number)", "    \twant ()",
			"0 passed, 1 failed, 0 skipped",
		},
		"panicking": {
			"failed: " + project + "panicking TestPanics: panic: runtime error: invalid memory address or nil pointer dereference [recovered, repanicked]",
			"    [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x5e33e0]",
			"    goroutine 8 [running]:",
			"    " + project + "panicking.TestPanics(0xc000136488)",
			"    \t/src/panicking/x_test.go:4 +0x60",
			"1 passed, 1 failed, 0 skipped",
		},
		"background": {
			"failed: " + project + "background TestWaits: panic: in the background",
			"    goroutine 8 [running]:",
			"    " + project + "background.TestStarts.func1()",
			"    \t/src/background/x_test.go:3 +0x38",
			"    created by " + project + "background.TestStarts in goroutine 7",
			"    \t/src/background/x_test.go:3 +0x25",
			"    the process ended before the test",
			"1 passed, 1 failed, 0 skipped",
		},
		"timeout": {
			"failed: " + project + "timeout TestHangs/part: panic: test timed out after 500ms",
			"    \trunning tests:", "    \t\tTestHangs (1s)", "    \t\tTestHangs/part (1s)", "    goroutine 5 [running]:",
			"    goroutine 1 [chan receive]:", "    main.main()", "    \t_testmain.go:50 +0x9b", "    goroutine 20 [chan receive]:",
			"    " + project + "timeout.TestHangs(0x1d0f38456488?)", "    \t/src/timeout/x_test.go:4 +0x26", "    goroutine 21 [sleep]:",
			"    … (3 more lines above)",
			"1 passed, 1 failed, 0 skipped",
		},
		"racing": {
			"failed: " + project + "racing TestRaces: WARNING: DATA RACE",
			"…", "1 passed, 1 failed, 0 skipped",
		},
		"raced": {
			"failed: " + project + "raced: WARNING: DATA RACE",
			"…", "1 passed, 1 failed, 0 skipped",
		},
		"mains": {"failed: " + project + "mains: main_test: cannot build the publishers: no compiler", "0 passed, 1 failed, 0 skipped"},
		"exits": {"failed: " + project + "exits TestExits: x_test.go:3: now", "    the process ended before the test", "0 passed, 1 failed, 0 skipped"},
		"fuzz": {
			"failed: " + project + "fz FuzzIt: testing.go:1927: panic: long",
			"                goroutine 49 [running]:",
			"                " + project + "fz.FuzzIt.func1(0xbfb46ed8d88, {0xbfb46e22678, 0x4})",
			"                \t/src/fz/x_test.go:3 +0x18e",
			"        Failing input written to testdata/fuzz/FuzzIt/81476e3145e0ed8c",
			"        To re-run:", "        go test -run=FuzzIt/81476e3145e0ed8c",
			"0 passed, 1 failed, 0 skipped",
		},
	} {
		t.Run(name, func(t *testing.T) {
			recorded, err := os.Open(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			defer recorded.Close()
			s := newStream(&bytes.Buffer{})
			if err := s.read(recorded); err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSuffix(s.Summary(), "\n"), "\n")
			for len(want) > 0 && len(got) > 0 && want[0] == got[0] {
				want, got = want[1:], got[1:]
			}
			// … stands for any number of lines.
			if len(want) > 1 && want[0] == "…" && len(got) >= len(want)-1 {
				want = want[1:]
				got = got[len(got)-len(want):]
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("the summary continues with\n%s\nwant\n%s\nin:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), s.Summary())
			}
		})
	}
}

func TestWholeOutputOfFailureIsPrinted(t *testing.T) {
	for name, want := range map[string]string{
		"subtests": "it is 2,", "build": "undefined: undefinedName", "timeout": "time.Sleep(", "mains": "no compiler", "exits": "x_test.go:3: now",
		"none": "ok\t", "pass": "ok\t",
	} {
		recorded, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		// Programs may write to the output of go test.
		if err := newStream(&printed).read(strings.NewReader("go: downloading\n" + string(recorded))); err != nil {
			t.Fatal(err)
		}
		if name == "none" {
			want = "go: downloading"
		}
		if !strings.Contains(printed.String(), want) || !strings.HasPrefix(printed.String(), "go: downloading\n") {
			t.Errorf("%s: %q is not in the output:\n%s", name, want, printed.String())
		}
	}
}

func TestSummaryAddsUpAllParts(t *testing.T) {
	t.Chdir(t.TempDir())
	must := func(want bool, arguments ...string) string {
		t.Helper()
		var printed bytes.Buffer
		good, err := run(&printed, arguments)
		if err != nil || good != want {
			t.Errorf("%q: good is %v, want %v: %v", arguments, good, want, err)
		}
		return printed.String()
	}
	must(true, "step", "format", "true")
	must(false, "step", "lint", "sh", "-c", "echo a.go:1: wrong; echo a.go:2: wrong, too >&2; exit 1")
	must(false, "step", "drift", "false")
	must(false, "step", "absent", "./no-such-program")
	long := must(false, "step", "long", "sh", "-c", "seq 20; exit 1")
	if !strings.HasSuffix(long, "\n20\n") {
		t.Errorf("the output of a step is incomplete: %q", long)
	}
	if err := os.WriteFile("other.json", []byte(`{"Passed": 7, "Skipped": {"old": 2}, "Failed": [{"Name": "pkg TestOne"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	parts, err := filepath.Glob("build/report/*.json")
	if err != nil || len(parts) != 4 {
		t.Fatalf("the parts are %q: %v", parts, err)
	}
	got := must(false, append([]string{"summary", "-failed", "make check-vm", "other.json"}, parts...)...)
	want := "failed: pkg TestOne\n" +
		"failed: lint: a.go:1: wrong\n    a.go:2: wrong, too\n" +
		"failed: drift: exit status 1\n" +
		"failed: absent: fork/exec ./no-such-program: no such file or directory\n" +
		"failed: long: 1\n    2\n    3\n    4\n    5\n    6\n    7\n    8\n    9\n    10\n    11\n    12\n    … (8 more lines above)\n" +
		"failed: make check-vm: it ended before it had results: see its output\n" +
		"skipped 2: old\n7 passed, 6 failed, 2 skipped\n"
	if got != want {
		t.Errorf("the summary is\n%s\nwant\n%s", got, want)
	}
	if text, err := os.ReadFile("build/report.txt"); string(text) != want {
		t.Errorf("build/report.txt has %q: %v", text, err)
	}
	if err := os.WriteFile("cut.json", []byte(`{"Passed": 7`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"absent.json", "cut.json"} {
		if got := must(false, "summary", file); !strings.HasPrefix(got, "failed: report: cannot read results") || !strings.HasSuffix(got, "0 passed, 1 failed, 0 skipped\n") {
			t.Errorf("with the unreadable %s the summary is %q", file, got)
		}
	}
}

func TestGoTestThatCannotRunIsAFailure(t *testing.T) {
	o, err := goTest(&bytes.Buffer{}, []string{"-mod=nonsense"})
	if err != nil || len(o.Failed) != 1 || o.Failed[0].Name != "go test" || len(o.Failed[0].Reason) == 0 {
		t.Errorf("the outcome is %+v: %v", o, err)
	}
}
