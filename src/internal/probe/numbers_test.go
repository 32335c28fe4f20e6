// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout"
)

// Plans pass the numbers of layout to the programs.
func TestNumbersInBPFMatchLayout(t *testing.T) {
	spec, err := bpf.LoadFunction()
	if err != nil {
		t.Fatal(err)
	}
	for enum, name := range map[string]func(uint64) string{
		"call_value": func(n uint64) string { return layout.ValueID(n).String() },
		"call_role":  func(n uint64) string { return layout.Role(n).String() },
	} {
		var e *btf.Enum
		if err := spec.Types.TypeByName(enum, &e); err != nil {
			t.Fatal(err)
		}
		for _, v := range e.Values {
			if v.Name == "VALUE_COUNT" {
				continue
			}
			_, want, _ := strings.Cut(strings.ToLower(v.Name), "_")
			if got := strings.ReplaceAll(name(v.Value), " ", "_"); got != want {
				t.Errorf("%s of the programs is %s in layout", v.Name, got)
			}
		}
	}
	for n := 1; layout.ValueID(n).String() != ""; n++ {
		if n >= len(bpf.FunctionLayout{}.Chains) {
			t.Errorf("the programs have no room for the value %d", n)
		}
	}
	const generate = 8 // OPERATION_GENERATE
	if layout.Generate != generate {
		t.Errorf("the operation generate has the number %d in layout, %d in the programs", layout.Generate, generate)
	}
	const loads = 5 // CHAIN_LOADS
	if n := len(bpf.FunctionLayout{}.Chains[0].Offsets); n != loads || layout.MaxLoads != loads || capture.MaxLoads != loads {
		t.Errorf("chains have %d loads in layout, %d in plans, %d in the programs", layout.MaxLoads, capture.MaxLoads, n)
	}
}
