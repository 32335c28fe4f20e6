// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"io"
	"os"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/probe/emulation"
)

// A library with probes is not also recorded by its functions.
func TestALibraryIsPlannedByTheFirstSourceThatHasSites(t *testing.T) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	none, broken := &capture.NoSitesError{Want: "probe"}, errors.New("not an ELF file")
	for name, c := range map[string]struct {
		errs   []error // of the sources usdt and function
		want   string
		err    error
		called int
	}{
		"both have sites": {[]error{nil, nil}, "usdt", nil, 1},
		"only the second": {[]error{none, nil}, "function", nil, 2},
		"neither":         {[]error{none, none}, "", none, 2},
		"an invalid file": {[]error{broken, nil}, "usdt", broken, 1},
	} {
		t.Run(name, func(t *testing.T) {
			called := 0
			var sources []capture.Source
			for i, source := range []string{"usdt", "function"} {
				sources = append(sources, capture.Source{Name: source, Plan: func(io.ReaderAt, int64) (*capture.Plan, error) {
					called++
					if c.errs[i] != nil {
						return nil, c.errs[i]
					}
					return &capture.Plan{Machine: emulation.Machine(), BuildID: []byte(source)}, nil
				}})
			}
			p, source, err := plan(f, 1, sources)
			if source != c.want || !errors.Is(err, c.err) || called != c.called || err == nil && string(p.BuildID) != c.want {
				t.Errorf("the plan is %v from source %q after %d calls, %v", p, source, called, err)
			}
		})
	}
}

// An emulator may run the programs of another architecture.
func TestCodeOfAnotherArchitectureIsNotProbed(t *testing.T) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := elf.EM_AARCH64
	if emulation.Machine() == other {
		other = elf.EM_X86_64
	}
	_, _, err = plan(f, 1, []capture.Source{{Name: "usdt", Plan: func(io.ReaderAt, int64) (*capture.Plan, error) {
		return &capture.Plan{Machine: other}, nil
	}}})
	var none *capture.NoSitesError
	if !errors.As(err, &none) || !none.Limited() {
		t.Errorf("the error is %v, want a NoSitesError for a valid file", err)
	}
}
