// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"unsafe"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/pipeline/window"
	"crypto-auditing/src/internal/probe"
)

// Such a call is counted as lost, and must not also count as recorded.
func TestACallThatCannotBeDecodedIsNotRecorded(t *testing.T) {
	tracer, err := probe.Load(probe.Options{RingSize: 1 << 16})
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		t.Skip("loading needs CAP_BPF and CAP_PERFMON")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	cipher, err := event.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	judge := exclude.NewJudge(&exclude.Set{}, func(string) string { return "" })
	for name, happened := range map[string]probe.CallEvent{"an unknown event": 99, "an unknown library": probe.KeyOperation} {
		t.Run(name, func(t *testing.T) {
			call := bpf.FunctionCall{Event: uint8(happened)}
			raw := unsafe.Slice((*byte)(unsafe.Pointer(&call)), unsafe.Sizeof(call))
			w := window.New(cipher)
			if err := (&functions{}).take(tracer, w, judge, raw); err == nil {
				t.Error("it is decoded")
			}
			if !w.Empty() {
				t.Error("it counts as recorded")
			}
		})
	}
}
