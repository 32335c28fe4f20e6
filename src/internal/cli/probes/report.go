// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/usdt"
)

// probesReport is the report on one file. Its JSON form is a stable interface: keys are
// added, never changed. Addresses and offsets are plain numbers.
type probesReport struct {
	File    string `json:"file"`
	BuildID string `json:"build_id,omitempty"`
	Machine string `json:"machine,omitempty"`
	// Providers are the crypto-auditing providers, then the others if requested.
	Providers []providerReport `json:"providers,omitempty"`
	// Unusable describes the notes that no site could be parsed from.
	Unusable []string `json:"unusable,omitempty"`
	// Library is the result for a known library without probes.
	Library *libraryReport `json:"library,omitempty"`
	// Error is the problem of the file.
	Error string `json:"error,omitempty"`

	// hidden are the names of the providers that are not listed.
	hidden []string
	// found reports a site of a crypto-auditing probe. broken counts the unusable
	// ones, firstBroken is the reason of the first.
	found       bool
	broken      int
	firstBroken string
}

type providerReport struct {
	Name string `json:"name"`
	// Accepted reports whether the agent attaches to the provider's probes.
	Accepted bool          `json:"accepted"`
	Probes   []probeReport `json:"probes"`
}

type probeReport struct {
	Name  string       `json:"name"`
	Sites []siteReport `json:"sites"`
}

type siteReport struct {
	Address          uint64           `json:"address"`
	Offset           uint64           `json:"offset"`
	SemaphoreAddress uint64           `json:"semaphore_address,omitempty"`
	SemaphoreOffset  uint64           `json:"semaphore_offset,omitempty"`
	Nop              string           `json:"nop"`
	Spec             string           `json:"spec"`
	Arguments        []argumentReport `json:"arguments"`
	// Problem is the reason why the site is not recorded.
	Problem string `json:"problem,omitempty"`
}

// argumentReport is one argument. Kind determines the keys: value for a constant;
// register and shift for a register; register, index, scale and offset for memory.
type argumentReport struct {
	// Name is the parameter's name, for crypto-auditing probes.
	Name     string `json:"name,omitempty"`
	Kind     string `json:"kind"`
	Size     int8   `json:"size"`
	Signed   bool   `json:"signed"`
	Value    any    `json:"value,omitempty"`
	Register string `json:"register,omitempty"`
	Shift    uint8  `json:"shift,omitempty"`
	Index    string `json:"index,omitempty"`
	Scale    uint8  `json:"scale,omitempty"`
	Offset   int64  `json:"offset,omitempty"`

	text string
}

// newProbesReport groups the sites of a file by provider and probe, in the order of the
// file, crypto-auditing providers first.
func newProbesReport(f *usdt.File, all bool) probesReport {
	r := probesReport{
		File:    f.Path,
		BuildID: hex.EncodeToString(f.BuildID),
		Machine: elffile.MachineName(f.Machine),
	}
	for _, accepted := range []bool{true, false} {
		for i := range f.Sites {
			s := &f.Sites[i]
			if provider.Accepted(s.Provider) != accepted {
				continue
			}
			if !accepted && !all {
				r.hide(s.Provider)
				continue
			}
			r.add(s)
		}
	}
	for _, err := range f.Errors {
		ours := mayBeOurs(err)
		if ours {
			r.breaks(err.Error())
		}
		if ours || all || acceptedNote(err) {
			r.Unusable = append(r.Unusable, err.Error())
		}
	}
	if f.Dropped > 0 {
		r.Unusable = append(r.Unusable, fmt.Sprintf("cannot use %d more probe notes", f.Dropped))
	}
	return r
}

// mayBeOurs reports whether an error of usdt.File may concern a crypto-auditing site. A
// note of unknown provider may.
func mayBeOurs(err error) bool {
	var note *usdt.NoteError
	if !errors.As(err, &note) || note.Provider == "" {
		return true
	}
	_, known := capture.KindOf(note.Name)
	return provider.Accepted(note.Provider) && (known || note.Name == "")
}

// acceptedNote reports whether err concerns a note of an accepted provider.
func acceptedNote(err error) bool {
	var note *usdt.NoteError
	return errors.As(err, &note) && provider.Accepted(note.Provider)
}

// breaks counts an unusable crypto-auditing site.
func (r *probesReport) breaks(reason string) {
	if r.broken == 0 {
		r.firstBroken = reason
	}
	r.broken++
}

func (r *probesReport) hide(name string) {
	for _, p := range r.hidden {
		if p == name {
			return
		}
	}
	r.hidden = append(r.hidden, name)
}

// add adds a site to its provider and probe.
func (r *probesReport) add(s *usdt.Site) {
	var group *providerReport
	for i := range r.Providers {
		if r.Providers[i].Name == s.Provider {
			group = &r.Providers[i]
		}
	}
	if group == nil {
		r.Providers = append(r.Providers, providerReport{Name: s.Provider, Accepted: provider.Accepted(s.Provider)})
		group = &r.Providers[len(r.Providers)-1]
	}
	var probe *probeReport
	for i := range group.Probes {
		if group.Probes[i].Name == s.Name {
			probe = &group.Probes[i]
		}
	}
	if probe == nil {
		group.Probes = append(group.Probes, probeReport{Name: s.Name})
		probe = &group.Probes[len(group.Probes)-1]
	}
	site := newSiteReport(s)
	if kind, known := capture.KindOf(s.Name); group.Accepted && known {
		r.found = true
		site.name(kind.Parameters())
		if site.Problem != "" {
			r.breaks(fmt.Sprintf("%s:%s at %#x %s", s.Provider, s.Name, s.Addr, site.Problem))
		}
	} else if group.Accepted {
		// Not an error: others may use the provider names of the draft, too.
		site.Problem = "is not a probe of the audit"
	}
	probe.Sites = append(probe.Sites, site)
}

func newSiteReport(s *usdt.Site) siteReport {
	r := siteReport{
		Address: s.Addr, Offset: s.Offset,
		SemaphoreAddress: s.SemaphoreAddr, SemaphoreOffset: s.SemaphoreOffset,
		Nop: s.Nop.String(), Spec: s.RawArgs,
		Arguments: make([]argumentReport, len(s.Args)),
	}
	for i := range s.Args {
		r.Arguments[i] = newArgumentReport(&s.Args[i])
	}
	return r
}

// name sets the names of the arguments to those of the probe's parameters.
func (s *siteReport) name(parameters []string) {
	if len(parameters) != len(s.Arguments) {
		s.Problem = fmt.Sprintf("has %s, not the %d of the probe: %s",
			count(len(s.Arguments), "argument"), len(parameters), strings.Join(parameters, ", "))
		return
	}
	for i := range s.Arguments {
		s.Arguments[i].Name = parameters[i]
	}
}

func newArgumentReport(a *capture.Arg) argumentReport {
	r := argumentReport{
		Kind: a.Kind.String(), Size: a.Size, Signed: a.Signed,
		Shift: a.Shift, Scale: a.Scale, Offset: a.Off,
		text: a.String(),
	}
	if a.Kind == capture.ArgConst {
		r.Value = a.Const
		if !a.Signed {
			r.Value = uint64(a.Const)
		}
	}
	if a.Reg != capture.NoRegister {
		r.Register = a.Reg.String()
	}
	if a.Index != capture.NoRegister {
		r.Index = a.Index.String()
	}
	return r
}

// problem returns the problem of a file that was read, nil if there is none.
func (r *probesReport) problem() error {
	switch {
	case r.broken == 1:
		return fmt.Errorf("cannot use a probe site of %s, which is not recorded: %s", r.File, r.firstBroken)
	case r.broken > 1:
		return fmt.Errorf("cannot use %d probe sites of %s, which are not recorded; the first: %s", r.broken, r.File, r.firstBroken)
	case !r.found && !r.byFunctions():
		functions := ""
		if r.Library != nil && len(r.Library.Refusals) > 0 {
			first := r.Library.Refusals[0]
			functions = fmt.Sprintf(", and its functions are refused (%s: %s)", first.Subject, first.Reason)
		}
		return fmt.Errorf("cannot find probes of the audit in %s: it has none of the providers %s%s; "+
			"use a build with support for crypto-auditing", r.File, strings.Join(provider.Names(), ", "), functions)
	}
	return nil
}

// byFunctions reports whether the function source records the file, since it has no probes.
func (r *probesReport) byFunctions() bool {
	return !r.found && r.Library != nil && r.Library.recordable
}

// writeProbesText writes the reports of the files as text.
func writeProbesText(w io.Writer, reports []probesReport) error {
	// Flush returns the errors of the writer.
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	first := true
	for i := range reports {
		r := &reports[i]
		if r.Machine == "" {
			continue
		}
		if !first {
			fmt.Fprintln(t)
		}
		first = false
		r.writeText(t)
	}
	return t.Flush()
}

func (r *probesReport) writeText(t *tabwriter.Writer) {
	fmt.Fprintln(t, r.File)
	if r.BuildID != "" {
		fmt.Fprintf(t, "  build-id %s\n", r.BuildID)
	} else {
		fmt.Fprintln(t, "  build-id none")
	}
	fmt.Fprintf(t, "  machine  %s\n", r.Machine)
	for _, group := range r.Providers {
		fmt.Fprintf(t, "  provider %s%s\n", group.Name, group.remark())
		for _, probe := range group.Probes {
			fmt.Fprintf(t, "    %s, %s\n", probe.Name, count(len(probe.Sites), "site"))
			fmt.Fprintf(t, "      ADDRESS\tOFFSET\tSEMAPHORE\tNOP\tARGUMENTS\n")
			for _, s := range probe.Sites {
				s.writeText(t)
			}
		}
	}
	if len(r.hidden) > 0 {
		fmt.Fprintf(t, "  not shown: %s %s (--all shows all)\n",
			plural(len(r.hidden), "provider"), strings.Join(r.hidden, ", "))
	}
	for _, u := range r.Unusable {
		fmt.Fprintf(t, "  ! %s\n", u)
	}
	if r.byFunctions() {
		fmt.Fprintln(t, "  no probes of the audit: recorded by functions if the sources of the agent have \"function\"")
	}
	if r.Library != nil {
		r.Library.writeText(t)
	}
}

// remark is the text for Accepted.
func (p *providerReport) remark() string {
	switch {
	case p.Name == provider.Name:
		return ""
	case p.Accepted:
		return " (accepted: a draft's name)"
	}
	return " (not of the audit)"
}

func (s *siteReport) writeText(t *tabwriter.Writer) {
	semaphore := "-"
	if s.SemaphoreAddress != 0 {
		semaphore = fmt.Sprintf("%#x/%#x", s.SemaphoreAddress, s.SemaphoreOffset)
	}
	spec := s.Spec
	if spec == "" {
		spec = "-"
	}
	fmt.Fprintf(t, "      %#x\t%#x\t%s\t%s\t%s\n", s.Address, s.Offset, semaphore, s.Nop, spec)
	if len(s.Arguments) > 0 {
		texts := make([]string, len(s.Arguments))
		for i, a := range s.Arguments {
			texts[i] = a.text
			if a.Name != "" {
				texts[i] = a.Name + ": " + a.text
			}
		}
		fmt.Fprintf(t, "      \t\t\t\t%s\n", strings.Join(texts, ", "))
	}
	if s.Problem != "" {
		fmt.Fprintf(t, "      \t\t\t\t! %s\n", s.Problem)
	}
}

// count formats a number with its noun.
func count(n int, noun string) string { return fmt.Sprintf("%d %s", n, plural(n, noun)) }

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
