// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf/features"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/probe/emulation"
)

// The verifier must accept the programs for each way of attaching.
func TestTheProgramsAtFunctionsAreAccepted(t *testing.T) {
	profiles := []Profile{PerfEvent}
	if features.HaveBPFLinkUprobeMulti() == nil {
		profiles = append(profiles, UprobeMulti)
	}
	for _, profile := range profiles {
		for _, followed := range []bool{false, true} {
			tracer, err := Load(Options{RingSize: 1 << 16, Profile: profile, Followed: followed})
			if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
				t.Skip("loading needs CAP_BPF and CAP_PERFMON")
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := tracer.LoadFunctions(); err != nil {
				t.Errorf("%s, followed processes only: %v: %+v", profile, followed, err)
			}
			tracer.Close()
		}
	}
}

// In some libraries, the end of a handshake is a call. All its sites are then skipped.
func TestCallsAreNotProbedIfThatBreaksShadowStacks(t *testing.T) {
	site := func(probe, layer string, call bool) capture.Site {
		return capture.Site{Probe: probe, CallInstruction: call, Call: &capture.Call{Layer: layer}}
	}
	plan := func() *capture.Plan {
		return &capture.Plan{Machine: emulation.Machine(), Calls: &capture.Calls{}, Sites: []capture.Site{
			site("begin", "handshakes", false), site("end", "handshakes", true), site("sign", "operations", false),
		}}
	}
	for name, c := range map[string]struct {
		breaks bool
		want   []string
		errors int
	}{
		"a kernel that emulates calls":                   {false, []string{"begin", "end", "sign"}, 0},
		"a kernel that does not update the shadow stack": {true, []string{"sign"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tracer := &Tracer{functions: &functions{}, breaksShadowStacks: c.breaks}
			l := &Library{}
			if _, err := tracer.arrange(l, plan()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l.Probes, c.want) {
				t.Errorf("probes are %q, want %q", l.Probes, c.want)
			}
			if len(l.Errors) != c.errors || c.errors > 0 && !errors.Is(l.Errors[0], errShadowStack) {
				t.Errorf("errors are %v", l.Errors)
			}
		})
	}
}
