// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/usdt"
)

// probesDir holds ELF files with known probes.
const probesDir = "../../usdt/testdata"

// probes runs the command in the directory of the ELF files.
func probes(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Chdir(probesDir)
	var out bytes.Buffer
	cmd := NewCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestProbesAreShown(t *testing.T) {
	for name, args := range map[string][]string{
		"good":        {"prelinked.elf"},
		"many":        {"amd64.elf"},
		"many-all":    {"--all", "amd64.elf"},
		"several":     {"prelinked.elf", "arm64.elf", "amd64.S"},
		"json":        {"-o", "json", "prelinked.elf"},
		"json-pretty": {"-o", "json-pretty", "-a", "arm64.elf", "amd64.S"},
	} {
		t.Run(name, func(t *testing.T) {
			golden, err := filepath.Abs(filepath.Join("testdata", name+".golden"))
			if err != nil {
				t.Fatal(err)
			}
			got, runErr := probes(t, args...)
			got += "-- error --\n"
			if runErr != nil {
				got += runErr.Error() + "\n"
			}
			if os.Getenv("UPDATE_GOLDEN") == "1" {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant (UPDATE_GOLDEN=1 rewrites it)\n%s", got, want)
			}
		})
	}
}

func TestAValidFileIsNotAnError(t *testing.T) {
	if _, err := probes(t, "prelinked.elf"); err != nil {
		t.Error(err)
	}
}

func TestErrorsNameTheFileAndTheRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"no file":          {nil, []string{"needs at least one FILE"}},
		"missing":          {[]string{"missing.so"}, []string{"cannot read the probes of missing.so: no such file"}},
		"directory":        {[]string{"fuzz"}, []string{"cannot read the probes of fuzz: not a regular file"}},
		"script":           {[]string{"note.inc"}, []string{"note.inc: not an ELF file: name a shared library or a program"}},
		"unknown output":   {[]string{"-o", "xml", "prelinked.elf"}, []string{`unknown output form "xml": there are short, json, json-pretty`}},
		"two of three bad": {[]string{"note.inc", "prelinked.elf", "missing.so"}, []string{"note.inc", "missing.so"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := probes(t, c.args...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want one with %q", err, want)
				}
			}
		})
	}
}

func TestOnlyMistakesInTheCommandLineAreUsageErrors(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want bool
	}{
		"missing":        {[]string{"prelinked.elf", "missing.so"}, false},
		"no probes":      {[]string{"note.inc"}, false},
		"unknown output": {[]string{"-o", "xml", "prelinked.elf"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := probes(t, c.args...)
			if got := errors.As(err, new(console.UsageError)); err == nil || got != c.want {
				t.Errorf("error %v is one of usage: %v, want %v", err, got, c.want)
			}
		})
	}
}

// The exit status for a log without read permission does not apply to libraries.
func TestAFileWithoutReadPermissionIsNotReportedAsTheLog(t *testing.T) {
	err := error(filesError{withRemedy(os.ErrPermission)})
	if errors.Is(err, os.ErrPermission) {
		t.Errorf("the error %v would end the command with %d", err, console.ExitDenied)
	}
}

func TestBadFileDoesNotHideGoodOnes(t *testing.T) {
	out, err := probes(t, "missing.so", "prelinked.elf", "note.inc")
	if err == nil || !strings.Contains(out, "word_data, 1 site") {
		t.Errorf("got error %v and output\n%s", err, out)
	}
}

func TestAFileWithoutReadPermissionIsReported(t *testing.T) {
	err := withRemedy(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission})
	if !strings.Contains(err.Error(), "may read the file") {
		t.Errorf("got %v", err)
	}
}

func TestJSONIsOneArrayWithEveryFile(t *testing.T) {
	for _, output := range []string{"json", "json-pretty"} {
		t.Run(output, func(t *testing.T) {
			out, err := probes(t, "-o", output, "prelinked.elf", "missing.so", "note.inc")
			if err == nil {
				t.Error("no error")
			}
			var reports []map[string]any
			if err := json.Unmarshal([]byte(out), &reports); err != nil {
				t.Fatal(err)
			}
			if len(reports) != 3 {
				t.Fatalf("%d files, want 3", len(reports))
			}
			for i, want := range []bool{false, true, true} {
				if _, bad := reports[i]["error"]; bad != want {
					t.Errorf("file %v has an error: %v, want %v", reports[i]["file"], bad, want)
				}
			}
		})
	}
}

func site(provider, name string, spec string) usdt.Site {
	s := usdt.Site{Provider: provider, Name: name, Addr: 0x1000, Offset: 0x1000, RawArgs: spec}
	for range strings.Fields(spec) {
		s.Args = append(s.Args, capture.Arg{Kind: capture.ArgReg, Reg: capture.RAX, Size: 8})
	}
	return s
}

func TestOnlyProbesOfTheProviderAreAccepted(t *testing.T) {
	good := site("crypto_auditing", "new_context", "8@%rax 8@%rax")
	noteError := func(provider, name string) error {
		return &usdt.NoteError{Provider: provider, Name: name, Err: errors.New("broken")}
	}
	for name, c := range map[string]struct {
		file usdt.File
		want string
	}{
		"a probe":              {usdt.File{Sites: []usdt.Site{good}}, ""},
		"a draft's provider":   {usdt.File{Sites: []usdt.Site{site("audit", "new_context", "8@%rax 8@%rax")}}, ""},
		"no probes":            {usdt.File{}, "cannot find probes"},
		"others only":          {usdt.File{Sites: []usdt.Site{site("libc", "setjmp", "8@%rax")}}, "cannot find probes"},
		"a draft's other":      {usdt.File{Sites: []usdt.Site{site("openssl", "other", "8@%rax")}}, "cannot find probes"},
		"others too":           {usdt.File{Sites: []usdt.Site{good, site("openssl", "other", "8@%rax"), site("libc", "setjmp", "")}}, ""},
		"too few arguments":    {usdt.File{Sites: []usdt.Site{good, site("crypto_auditing", "data", "8@%rax")}}, "has 1 argument, not the 3 of the probe: context, array, count"},
		"an unusable note":     {usdt.File{Sites: []usdt.Site{good}, Errors: []error{noteError("audit", "data")}}, "cannot use a probe site of lib.so"},
		"two unusable notes":   {usdt.File{Sites: []usdt.Site{good}, Errors: []error{noteError("audit", "data"), noteError("", "")}}, "cannot use 2 probe sites of lib.so"},
		"unusable others":      {usdt.File{Sites: []usdt.Site{good}, Errors: []error{noteError("libc", "setjmp"), noteError("openssl", "other")}}, ""},
		"notes not readable":   {usdt.File{Sites: []usdt.Site{good}, Errors: []error{&usdt.FormatError{Part: ".note.stapsdt", Reason: "is odd"}}}, "odd"},
		"a note without names": {usdt.File{Sites: []usdt.Site{good}, Errors: []error{noteError("crypto_auditing", "")}}, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			c.file.Path = "lib.so"
			r := newProbesReport(&c.file, false)
			err := r.problem()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got error %v, want one with %q", err, c.want)
			case err != nil && !strings.Contains(err.Error(), "lib.so"):
				t.Errorf("the error %v does not name the file", err)
			}
		})
	}
}

func TestFunctionsOfLibrariesWithoutProbesAreShown(t *testing.T) {
	libraries, _ := filepath.Glob("/usr/lib*/*/libssl.so.3")
	if len(libraries) == 0 {
		t.Skip("this machine has no libssl.so.3")
	}
	out, err := probes(t, libraries[0])
	if err != nil {
		t.Errorf("got error %v for a library that is recorded by its functions", err)
	}
	for _, want := range []string{
		"no probes of the audit: recorded by functions", "functions of OpenSSL: handshakes\n", "cipher_suite", "decoded twice", "ossl_statem_accept", "handshake server",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output does not have %q:\n%s", want, out)
		}
	}
	out, _ = probes(t, "-o", "json", libraries[0])
	var reports []probesReport
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		t.Fatal(err)
	}
	l := reports[0].Library
	if l == nil || !l.Handshakes || l.PublicKey || len(l.Values) < 8 || len(l.Sites) < 4 || len(l.Values[0].Loads) == 0 {
		t.Errorf("the report of the library is %+v", l)
	}
}

func TestLibrariesThatAreNotSupportedAreNamed(t *testing.T) {
	libraries, _ := filepath.Glob("/usr/lib*/*/libgcrypt.so.20")
	// Fedora has no directories for architectures.
	more, _ := filepath.Glob("/usr/lib*/libgcrypt.so.20")
	if libraries = append(libraries, more...); len(libraries) == 0 && os.Geteuid() == 0 {
		t.Fatal("this machine has no libgcrypt.so.20: run make setup")
	}
	if len(libraries) == 0 {
		t.Skip("this machine has no libgcrypt.so.20")
	}
	out, err := probes(t, libraries[0])
	if err == nil || !strings.Contains(err.Error(), "libgcrypt: not supported") {
		t.Errorf("got error %v for a library that is not supported", err)
	}
	if !strings.Contains(out, "functions of libgcrypt: refused\n") || strings.Contains(out, "recorded by functions if") {
		t.Errorf("the output is\n%s", out)
	}
	out, _ = probes(t, "-o", "json", libraries[0])
	var reports []probesReport
	if err := json.Unmarshal([]byte(out), &reports); err != nil {
		t.Fatal(err)
	}
	if l := reports[0].Library; l == nil || l.Family != "libgcrypt" || len(l.Refusals) != 1 || len(l.Sites) != 0 {
		t.Errorf("the report of the library is %+v", l)
	}
}

func TestSitesOfAProbeAreListedTogether(t *testing.T) {
	a, b := site("crypto_auditing", "data", "8@%rax 8@%rax 8@%rax"), site("crypto_auditing", "new_context", "8@%rax 8@%rax")
	other := site("libc", "setjmp", "")
	r := newProbesReport(&usdt.File{Sites: []usdt.Site{other, a, b, a}}, true)
	if len(r.Providers) != 2 || r.Providers[0].Name != "crypto_auditing" {
		t.Fatalf("providers %+v, want crypto_auditing, then libc", r.Providers)
	}
	p := r.Providers[0].Probes
	if len(p) != 2 || p[0].Name != "data" || len(p[0].Sites) != 2 || len(p[1].Sites) != 1 {
		t.Errorf("probes %+v, want data with 2 sites and new_context with 1", p)
	}
}

func TestConstantsOfValueZeroAreInTheJSON(t *testing.T) {
	for want, a := range map[string]capture.Arg{
		`"value":0`:                    {Kind: capture.ArgConst, Size: 8},
		`"value":-1`:                   {Kind: capture.ArgConst, Size: 8, Signed: true, Const: -1},
		`"value":18446744073709551615`: {Kind: capture.ArgConst, Size: 8, Const: -1},
	} {
		b, err := json.Marshal(newArgumentReport(&a))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("got %s, want %s in it", b, want)
		}
	}
}

// full is a writer that fails because it is full.
type full struct{}

var errFull = errors.New("no room")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestFailedWritesAreErrors(t *testing.T) {
	for _, output := range []string{"short", "json", "json-pretty"} {
		cmd := NewCommand()
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetOut(full{})
		cmd.SetArgs([]string{"-o", output, filepath.Join(probesDir, "prelinked.elf")})
		err := cmd.Execute()
		if !errors.Is(err, errFull) {
			t.Errorf("%s: got error %v, want the writer's", output, err)
		}
	}
}
