// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/status"
)

// statusPrinter prints a status as text.
type statusPrinter struct {
	now      time.Time
	location *time.Location
	color    bool
	b        bytes.Buffer
}

// The colours of the dot, the same as systemctl's.
const (
	dotGood   = "\x1b[1;32m"
	dotWarn   = "\x1b[1;33m"
	dotBad    = "\x1b[1;31m"
	dotNormal = "\x1b[0m"
)

// agent prints the agent's status.
func (p *statusPrinter) agent(s *status.Agent) {
	lostHits, lostEvents := lost(s)
	dot := dotGood
	switch {
	case s.Full != "" || s.Problem != "":
		dot = dotBad
	case lostHits > 0 || lostEvents > 0 || recording(s) == 0 && atSockets(s) == nil:
		dot = dotWarn
	}
	p.name("●", dot, "crau-agent "+printable(s.Version))
	p.line("State", "%s since %s", state(s), p.since(s.Started))
	if s.Full != "" {
		p.line("Trouble", "log write failed: %s", printable(s.Full))
	}
	if s.Problem != "" {
		p.line("Trouble", "%s", printable(s.Problem))
	}
	p.line("Attaches", "%s", profile(s.Profile))
	p.functions(s)
	p.sockets(s)
	p.line("Log", "%s, %s in %s, %s free", printable(s.LogDirectory), render.Size(int64(s.DiskUsage)), render.Counted(s.Segments, "segment"), render.Size(int64(s.DiskFree)))
	p.line("Newest", "%s", printable(s.Newest))
	p.line("Oldest", "%s", printable(s.Oldest))
	excluded := ""
	if s.HitsExcluded > 0 {
		excluded = ", " + grouped(s.HitsExcluded) + " excluded"
	}
	p.line("Hits", "%s seen, %s recorded, %s lost%s", grouped(s.HitsSeen), grouped(s.Hits), grouped(lostHits), excluded)
	p.line("Events", "%s recorded in %s and %s, %s lost",
		grouped(s.Events), render.Counted(s.Groups, "group"), render.Counted(s.Chunks, "chunk"), grouped(lostEvents))
	p.losses(s)
	p.exclusions(s)
	p.line("Ring", "%s, at most %s used", render.Size(int64(s.RingSize)), render.Size(int64(s.RingHighWater)))
	p.line("Latency", "%s", latency(&s.Latency))
	p.line("CPU", "%v", s.CPU)
	p.line("Memory", "%s", render.Size(int64(s.Resident)))
	p.libraries(s)
	p.programs(s)
}

// exclusions prints the programs that are not recorded.
func (p *statusPrinter) exclusions(s *status.Agent) {
	name := "Excludes"
	for i := range s.Exclusions {
		o := &s.Exclusions[i]
		p.line(name, "%s: %s, %s", printable(o.Rule), render.Counted(o.Handshakes, "handshake"), render.Counted(o.Hits, "hit"))
		name = ""
	}
}

// functions prints the function source, or recommends it if no other source captures
// signatures and public-key operations.
func (p *statusPrinter) functions(s *status.Agent) {
	for i := range s.Sources {
		o := &s.Sources[i]
		if o.Name != sourceFunction {
			continue
		}
		if o.FrontEnd == "" {
			p.line("Functions", "not recorded: %s", printable(o.Error))
			return
		}
		dropped := ""
		if o.Dropped > 0 {
			dropped = ", " + render.Counted(o.Dropped, "record") + " dropped"
		}
		p.line("Functions", "%s and %s outside of them%s", render.Counted(o.Handshakes, "handshake"), render.Counted(o.Operations, "operation"), dropped)
		return
	}
	if len(s.Sources) > 0 && recording(s) == 0 {
		p.line("Functions", "off; to record signatures and public-key operations, add \"function\" to sources in agent.conf")
	}
}

// sourceFunction is the name of the source that captures function calls in libraries.
const sourceFunction = "function"

// sockets prints the source that captures handshakes at sockets.
func (p *statusPrinter) sockets(s *status.Agent) {
	for i := range s.Sources {
		o := &s.Sources[i]
		if o.Name != sourceWire {
			continue
		}
		if o.FrontEnd == "" {
			p.line("Sockets", "not recorded: %s", printable(o.Error))
			continue
		}
		refused := ""
		if o.Refused != "" {
			refused = "; no " + printable(o.Refused)
		}
		p.line("Sockets", "by %s%s", printable(o.FrontEnd), refused)
		excluded := ""
		if o.Excluded > 0 {
			excluded = ", " + grouped(o.Excluded) + " excluded"
		}
		p.line("", "%s seen, %s with a handshake, %s without, %s relayed%s", render.Counted(o.Connections, "connection end"),
			grouped(o.Handshakes), grouped(o.NoHandshake), grouped(o.Relayed), excluded)
		var both, all uint64
		for _, c := range s.Coverage {
			both += c.Matched
			all += c.Matched + c.Socket + c.Mismatched
		}
		if all > 0 {
			p.line("Coverage", "a library reported %s of %s, too", grouped(both), render.Counted(all, "TLS handshake"))
		}
	}
}

// sourceWire is the name of the source that captures handshakes at sockets.
const sourceWire = "wire"

// atSockets returns that source if it is active, else nil.
func atSockets(s *status.Agent) *status.Source {
	for i := range s.Sources {
		if o := &s.Sources[i]; o.Name == sourceWire && o.FrontEnd != "" {
			return o
		}
	}
	return nil
}

// line prints a named line; an empty name continues the previous line's.
func (p *statusPrinter) line(name, format string, arguments ...any) {
	if name != "" {
		name += ":"
	}
	fmt.Fprintf(&p.b, "%10s %s\n", name, fmt.Sprintf(format, arguments...))
}

func (p *statusPrinter) losses(s *status.Agent) {
	name := "Lost"
	for i := range s.Losses {
		l := &s.Losses[i]
		if l.Hits == 0 && l.Events == 0 {
			continue
		}
		p.line(name, "%s (%s): %s, %s", printable(l.Reason), printable(l.Place), render.Counted(l.Hits, "hit"), render.Counted(l.Events, "event"))
		name = ""
	}
}

func (p *statusPrinter) libraries(s *status.Agent) {
	if len(s.Libraries) == 0 {
		p.b.WriteString("\nNo library with probes was found.\n")
		return
	}
	p.b.WriteByte('\n')
	var table bytes.Buffer
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LIBRARY\tBUILD-ID\tSITES\tHITS\tATTACHED\tSINCE")
	for i := range s.Libraries {
		l := &s.Libraries[i]
		attached, since := "no", "-"
		if l.Attached != "" {
			attached, since = printable(l.Attached), p.time(l.Since)
		}
		if l.Replaced {
			attached += ", replaced"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", printable(l.Path), buildID(l.BuildID), l.Sites, grouped(l.Hits), attached, since)
	}
	// The writer is a buffer in memory.
	_ = t.Flush()
	// Errors are too long for a column: each follows its library.
	for i, row := range strings.SplitAfter(strings.TrimSuffix(table.String(), "\n"), "\n") {
		p.b.WriteString(strings.TrimSuffix(row, "\n") + "\n")
		if i > 0 && s.Libraries[i-1].Error != "" {
			fmt.Fprintf(&p.b, "    %s\n", printable(s.Libraries[i-1].Error))
		}
	}
}

// maxPrograms bounds the listed programs.
const maxPrograms = 10

// programs prints the programs with the most TLS handshakes, by source.
func (p *statusPrinter) programs(s *status.Agent) {
	if len(s.Coverage) == 0 {
		return
	}
	all := func(c *status.Coverage) uint64 { return c.Matched + c.Socket + c.Library + c.Mismatched + c.Excluded }
	list := slices.Clone(s.Coverage)
	slices.SortStableFunc(list, func(a, b status.Coverage) int { return cmp.Compare(all(&b), all(&a)) })
	p.b.WriteByte('\n')
	t := tabwriter.NewWriter(&p.b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROGRAM\tTLS HANDSHAKES\tSOCKET ONLY\tAND LIBRARY\tDIFFERENT\tLIBRARY ONLY\tEXCLUDED")
	for i := range list[:min(len(list), maxPrograms)] {
		c := &list[i]
		name := printable(c.Executable)
		if name == "" {
			name = "(others)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, grouped(all(c)), grouped(c.Socket), grouped(c.Matched), grouped(c.Mismatched), grouped(c.Library), grouped(c.Excluded))
	}
	// The writer is a buffer in memory.
	_ = t.Flush()
	if more := len(list) - maxPrograms; more > 0 {
		fmt.Fprintf(&p.b, "%s more: --output=json lists all.\n", render.Counted(uint64(more), "program"))
	}
}

// buildID shortens a build-id to a prefix that distinguishes libraries.
func buildID(id string) string {
	const maxDigits = 12
	switch id = printable(id); {
	case id == "":
		return "-"
	case len(id) > maxDigits:
		return id[:maxDigits]
	}
	return id
}

// recording returns the number of attached libraries.
func recording(s *status.Agent) (n uint64) {
	for i := range s.Libraries {
		if s.Libraries[i].Attached != "" {
			n++
		}
	}
	return n
}

func state(s *status.Agent) string {
	var recorded []string
	if n := recording(s); n > 0 {
		recorded = append(recorded, render.Counted(n, "library"))
	}
	if atSockets(s) != nil {
		recorded = append(recorded, "handshakes at sockets")
	}
	if len(recorded) > 0 {
		return "recording " + strings.Join(recorded, " and ")
	}
	return "waiting for libraries with probes"
}

// profile describes how the kernel lets the agent attach.
func profile(name string) string {
	switch name {
	case "uprobe_multi":
		return "by uprobe_multi"
	case "perf_event":
		return "by perf-event uprobes: the kernel is older than 6.6"
	}
	return "by " + printable(name)
}

// lost returns the sums of the losses of all reasons.
func lost(s *status.Agent) (hits, events uint64) {
	for i := range s.Losses {
		hits += s.Losses[i].Hits
		events += s.Losses[i].Events
	}
	return hits, events
}

// latency describes the median and the 99th percentile of a histogram by its bounds.
func latency(h *status.Histogram) string {
	var all uint64
	for _, n := range h.Counts {
		all += n
	}
	if all == 0 {
		return "nothing recorded yet"
	}
	return fmt.Sprintf("p50 %s, p99 %s, of %s", below(h, all, 50), below(h, all, 99), render.Counted(all, "group"))
}

// below describes the smallest bound that at least the given percentage does not exceed.
func below(h *status.Histogram, all, percent uint64) string {
	var sum uint64
	for i, bound := range h.Bounds {
		sum += h.Counts[i]
		// In floating point, as integers could overflow.
		if float64(sum) >= float64(all)*float64(percent)/100 {
			return fmt.Sprintf("≤ %v", bound)
		}
	}
	if len(h.Bounds) == 0 {
		return "unknown"
	}
	return fmt.Sprintf("> %v", h.Bounds[len(h.Bounds)-1])
}

// time formats a time like systemctl.
func (p *statusPrinter) time(t time.Time) string {
	return t.In(p.location).Format("Mon 2006-01-02 15:04:05 MST")
}

// since formats a time and its age.
func (p *statusPrinter) since(t time.Time) string {
	return p.time(t) + "; " + ago(p.now.Sub(t))
}

// ago formats a duration by its two largest units.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dmin %ds ago", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh %dmin ago", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %dh ago", d/day, d%day/time.Hour)
}

// grouped formats a number with its digits in groups of three.
func grouped(n uint64) string {
	number, _, _ := strings.Cut(render.Counted(n, "-"), " ")
	return number
}
