// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"encoding/hex"
	"math"
	"strings"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/event"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// wireStatus returns a status, and the error that came with it, as the
// interface describes them.
func wireStatus(s agent.Status, err error, version string) api.Status {
	w := api.Status{
		Version:     version,
		StartedUSec: s.Started.UnixMicro(), Profile: s.Profile,
		Directory: escape(s.Directory), Newest: s.Newest.String(), Oldest: s.Oldest.String(),
		DiskUsage: clamp(s.DiskUsage), DiskFree: clamp(s.DiskFree), Segments: int64(s.Segments),
		Full:     sentence(s.Full),
		HitsSeen: clamp(s.HitsSeen), Hits: clamp(s.Hits),
		Events: clamp(s.Events), Groups: clamp(s.Groups), Chunks: clamp(s.Chunks),
		Lost:     make([]api.Loss, 0, len(s.Lost)),
		RingSize: clamp(s.RingSize), RingHighWater: clamp(s.RingHighWater),
		CpuUSec: s.CPU.Microseconds(), Resident: clamp(s.Resident),
		Latency:   wireLatency(s.Latency),
		Libraries: make([]api.Library, 0, len(s.Libraries)),
	}
	if err != nil {
		w.Problem = sentence(err.Error())
	}
	for _, l := range s.Lost {
		w.Lost = append(w.Lost, api.Loss{
			Place: l.Reason.Place(), Reason: string(l.Reason), Hits: clamp(l.Hits), Events: clamp(l.Events),
		})
	}
	for _, l := range s.Libraries {
		w.Libraries = append(w.Libraries, wireLibrary(l, s.Profile))
	}
	return w
}

func wireLibrary(l attach.LibraryStatus, profile string) api.Library {
	w := api.Library{
		Path: escape(l.Path), BuildId: hex.EncodeToString(l.BuildID), Provider: escape(l.Provider),
		Probes: make([]string, 0, len(l.Probes)), Sites: int64(l.Sites), Hits: clamp(l.Hits),
		Replaced: l.Replaced, Error: sentence(l.Error),
	}
	for _, name := range l.Probes {
		w.Probes = append(w.Probes, escape(name))
	}
	if !l.Since.IsZero() {
		w.Attached, w.AttachedUSec = profile, l.Since.UnixMicro()
	}
	return w
}

func wireLatency(l agent.Latency) api.Histogram {
	bounds := agent.LatencyBounds()
	w := api.Histogram{
		BoundsUSec: make([]int64, len(bounds)), Counts: make([]int64, len(bounds)+1),
		SumUSec: l.Sum.Microseconds(),
	}
	for i, b := range bounds {
		w.BoundsUSec[i] = b.Microseconds()
	}
	for i, n := range l.Counts[:min(len(l.Counts), len(w.Counts))] {
		w.Counts[i] = clamp(n)
	}
	return w
}

// clamp makes an int of the interface, which are signed.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// sentence writes the text of an error, which may be several, in one line.
func sentence(text string) string { return escape(strings.ReplaceAll(text, "\n", "; ")) }

// escape writes what may be any bytes as the interface describes it.
func escape(text string) string { return event.Escaped(text) }
