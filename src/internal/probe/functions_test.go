// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/cilium/ebpf/features"
)

// The verifier of each kernel has to accept the programs, for each way of attaching.
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
