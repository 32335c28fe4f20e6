// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"bytes"
	"strconv"
	"strings"

	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// exposition is a text in the format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats).
type exposition struct{ bytes.Buffer }

// metricPrefix begins the names of all metrics.
const metricPrefix = "crypto_auditing_"

// family begins a metric with its type and description. Its samples follow.
func (x *exposition) family(name, kind, help string) {
	x.WriteString("# HELP " + metricPrefix + name + " " + strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help) + "\n")
	x.WriteString("# TYPE " + metricPrefix + name + " " + kind + "\n")
}

// sample writes a value; labels are names and values in turn.
func (x *exposition) sample(name string, value float64, labels ...string) {
	x.WriteString(metricPrefix + name)
	for i := 0; i < len(labels); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		x.WriteByte(separator)
		x.WriteString(labels[i] + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		x.WriteByte('}')
	}
	x.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// one writes a metric that has one sample.
func (x *exposition) one(name, kind, help string, value float64) {
	x.family(name, kind, help)
	x.sample(name, value)
}

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// metricsText returns the metrics of a status; nil: the agent cannot be asked.
func metricsText(s *api.Status) []byte {
	var x exposition
	up := 1.0
	if s == nil {
		up = 0
	}
	x.one("up", gauge, "Whether the agent answers.", up)
	if s == nil {
		return x.Bytes()
	}
	x.family("agent_info", gauge, "The version of the agent and how it attaches.")
	x.sample("agent_info", 1, "version", s.Version, "profile", s.Profile)
	x.one("start_time_seconds", gauge, "When the agent started, since the Unix epoch.", seconds(s.StartedUSec))
	x.one("seen_hits_total", counter, "Hits of probes that the kernel saw.", float64(s.HitsSeen))
	x.one("recorded_hits_total", counter, "Hits of probes that are in the log.", float64(s.Hits))
	x.one("recorded_events_total", counter, "Events in the log: contexts opened and values.", float64(s.Events))
	x.one("recorded_groups_total", counter, "Groups of events in the log.", float64(s.Groups))
	x.one("recorded_chunks_total", counter, "Chunks written to the log.", float64(s.Chunks))
	x.family("lost_hits_total", counter, "Hits of probes that are not in the log.")
	for i := range s.Lost {
		x.sample("lost_hits_total", float64(s.Lost[i].Hits), "place", s.Lost[i].Place, "reason", s.Lost[i].Reason)
	}
	x.family("lost_events_total", counter, "Events known to be lost.")
	for i := range s.Lost {
		x.sample("lost_events_total", float64(s.Lost[i].Events), "place", s.Lost[i].Place, "reason", s.Lost[i].Reason)
	}
	x.one("ring_size_bytes", gauge, "Size of the ring between kernel and agent.", float64(s.RingSize))
	x.one("ring_high_water_bytes", gauge, "The most that ever waited in the ring.", float64(s.RingHighWater))
	x.one("cpu_seconds_total", counter, "Processor time that the agent has used.", seconds(s.CpuUSec))
	x.one("resident_memory_bytes", gauge, "Resident memory of the agent.", float64(s.Resident))
	x.one("log_size_bytes", gauge, "Size of all segments of the log.", float64(s.DiskUsage))
	x.one("log_free_bytes", gauge, "What the file system of the log has left.", float64(s.DiskFree))
	x.one("log_segments", gauge, "Number of segments of the log.", float64(s.Segments))
	full := 0.0
	if s.Full != "" {
		full = 1
	}
	x.one("log_full", gauge, "Whether the log takes nothing at the moment.", full)
	x.latency(&s.Latency)
	x.libraries(s.Libraries)
	return x.Bytes()
}

func seconds(usec int64) float64 { return float64(usec) / 1e6 }

func (x *exposition) latency(h *api.Histogram) {
	const name = "commit_latency_seconds"
	x.family(name, histogram, "Groups by the time from their first probe to the commit.")
	sum := 0.0
	for i, bound := range h.BoundsUSec {
		sum += float64(h.Counts[i])
		x.sample(name+"_bucket", sum, "le", strconv.FormatFloat(seconds(bound), 'g', -1, 64))
	}
	sum += float64(h.Counts[len(h.BoundsUSec)])
	x.sample(name+"_bucket", sum, "le", "+Inf")
	x.sample(name+"_sum", seconds(h.SumUSec))
	x.sample(name+"_count", sum)
}

// libraryKey is what tells libraries apart in the metrics.
type libraryKey struct{ path, buildID string }

func (x *exposition) libraries(all []api.Library) {
	// A file that was replaced by an equal one is the same library.
	var keys []libraryKey
	hits, sites, attached := map[libraryKey]float64{}, map[libraryKey]float64{}, map[libraryKey]float64{}
	for i := range all {
		l := &all[i]
		k := libraryKey{l.Path, l.BuildId}
		if _, ok := hits[k]; !ok {
			keys = append(keys, k)
		}
		hits[k] += float64(l.Hits)
		sites[k] = max(sites[k], float64(l.Sites))
		if l.Attached != "" {
			attached[k] = 1
		}
	}
	for _, m := range []struct {
		name, kind, help string
		values           map[libraryKey]float64
	}{
		{"library_hits_total", counter, "Recorded hits of a library's probes.", hits},
		{"library_sites", gauge, "Places of a library's probes.", sites},
		{"library_attached", gauge, "Whether the library is recorded.", attached},
	} {
		x.family(m.name, m.kind, m.help)
		for _, k := range keys {
			x.sample(m.name, m.values[k], "path", k.path, "build_id", k.buildID)
		}
	}
}
