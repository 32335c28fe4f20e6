// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"crypto-auditing/src/internal/capture"
)

func TestProvidersOfTheAuditAreAccepted(t *testing.T) {
	for _, p := range Names() {
		if !Accepted(p) {
			t.Errorf("%s is listed but not accepted", p)
		}
	}
	if Names()[0] != Name {
		t.Errorf("the first provider is %s, want %s", Names()[0], Name)
	}
	for _, p := range []string{"", "libc", "crypto", strings.ToUpper(Name)} {
		if Accepted(p) {
			t.Errorf("%q is accepted", p)
		}
	}
}

func TestAPlanHasTheSitesOfTheProviderOnly(t *testing.T) {
	b, err := os.ReadFile("../usdt/testdata/amd64.elf")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Source().Plan(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Sites {
		s := &p.Sites[i]
		if !Accepted(s.Provider) || s.Kind.String() != s.Probe || len(s.Arguments) != len(s.Kind.Parameters()) {
			t.Errorf("site %+v", s)
		}
	}
	if len(p.Sites) == 0 || len(p.BuildID) == 0 || len(p.Image.Segments) == 0 {
		t.Errorf("the plan is %+v", p)
	}
}

func TestAFileWithoutProbesHasNoPlan(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	info, err := self.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var none *capture.NoSitesError
	if _, err := Source().Plan(self, info.Size()); !errors.As(err, &none) || len(none.Errors) > 0 {
		t.Errorf("the error is %v, want a NoSitesError without errors of sites", err)
	}
}
