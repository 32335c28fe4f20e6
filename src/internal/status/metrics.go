// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exposition is a text in the exposition format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats).
type exposition struct{ bytes.Buffer }

// metricPrefix is the prefix of the names of all metrics.
const metricPrefix = "crypto_auditing_"

// family is a metric.
type family struct {
	name, kind, help string
	// rank is the sort key of the metric.
	rank    int
	samples func(x *exposition, name string)
}

func (x *exposition) family(f family) {
	x.WriteString("# HELP " + metricPrefix + f.name + " " + strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(f.help) + "\n")
	x.WriteString("# TYPE " + metricPrefix + f.name + " " + f.kind + "\n")
	f.samples(x, f.name)
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

// Metrics returns an agent's status as metrics for Prometheus; nil means that the agent
// does not answer.
func Metrics(a *Agent) []byte {
	var x exposition
	up := 1.0
	if a == nil {
		up = 0
	}
	x.family(family{"up", "gauge", "Whether the agent answers.", 0, singleSample(up)})
	if a == nil {
		return x.Bytes()
	}
	x.family(family{"agent_info", "gauge", "The version of the agent and how it attaches.", 0, singleSample(1, "version", a.Version, "profile", a.Profile)})
	all := families(reflect.ValueOf(a).Elem())
	slices.SortStableFunc(all, func(a, b family) int { return a.rank - b.rank })
	for _, f := range all {
		x.family(f)
	}
	return x.Bytes()
}

// singleSample returns a function that writes one sample.
func singleSample(value float64, labels ...string) func(*exposition, string) {
	return func(x *exposition, name string) { x.sample(name, value, labels...) }
}

// families returns the metrics of a structure.
func families(v reflect.Value) (all []family) {
	for i := range v.NumField() {
		field := v.Field(i)
		if f, ok := familyOf(v.Type().Field(i)); ok {
			if h, ok := field.Interface().(Histogram); ok {
				f.samples = h.samples
			} else {
				f.samples = singleSample(number(field))
			}
			all = append(all, f)
		} else if field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct {
			all = append(all, familiesOfRows(field)...)
		}
	}
	return all
}

// familyOf returns the metric of a field's tag, without samples.
func familyOf(f reflect.StructField) (m family, ok bool) {
	words := strings.Fields(f.Tag.Get("metric"))
	if len(words) < 2 {
		return m, false
	}
	m = family{name: words[0], kind: words[1], help: f.Tag.Get("help")}
	if len(words) > 2 {
		m.rank, _ = strconv.Atoi(words[2]) // a constant of this package
	}
	return m, true
}

// familiesOfRows returns the metrics of an array. Elements with equal labels become one
// sample: a file that was replaced by an identical one is the same library.
func familiesOfRows(rows reflect.Value) (all []family) {
	t := rows.Type().Elem()
	for i := range t.NumField() {
		f, ok := familyOf(t.Field(i))
		if !ok {
			continue
		}
		var labels [][]string
		var values []float64
		for row := range rows.Len() {
			own := labelsOf(rows.Index(row))
			value := number(rows.Index(row).Field(i))
			at := slices.IndexFunc(labels, func(other []string) bool { return slices.Equal(own, other) })
			switch {
			case at < 0:
				labels, values = append(labels, own), append(values, value)
			case f.kind == "counter":
				values[at] += value
			default:
				values[at] = max(values[at], value)
			}
		}
		f.samples = func(x *exposition, name string) {
			for at := range labels {
				x.sample(name, values[at], labels[at]...)
			}
		}
		all = append(all, f)
	}
	return all
}

func labelsOf(row reflect.Value) (labels []string) {
	for i := range row.NumField() {
		if label := row.Type().Field(i).Tag.Get("label"); label != "" {
			labels = append(labels, label, row.Field(i).String())
		}
	}
	return labels
}

// number returns the value of a metric: seconds for times; for other types 1, or 0 if
// the value is empty.
func number(v reflect.Value) float64 {
	switch value := v.Interface().(type) {
	case time.Time:
		return float64(micros(value)) / 1e6
	case time.Duration:
		return seconds(value)
	case uint64:
		return float64(value)
	}
	if v.IsZero() {
		return 0
	}
	return 1
}

func seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

func (h *Histogram) samples(x *exposition, name string) {
	sum := 0.0
	for i, bound := range h.Bounds {
		sum += float64(h.Counts[i])
		x.sample(name+"_bucket", sum, "le", strconv.FormatFloat(seconds(bound), 'g', -1, 64))
	}
	sum += float64(h.Counts[len(h.Bounds)])
	x.sample(name+"_bucket", sum, "le", "+Inf")
	x.sample(name+"_sum", seconds(h.Sum))
	x.sample(name+"_count", sum)
}
