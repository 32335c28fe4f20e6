// SPDX-License-Identifier: Apache-2.0

// Package answers makes the answers of the service that are derived from observations: reports, checks
// of policies, and bills of materials.
package answers

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/cbom"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/policycheck"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/report/form"
	"crypto-auditing/src/internal/inventory/rules"
	"crypto-auditing/src/internal/inventoryservice"
	"crypto-auditing/src/internal/schema"
)

// Answers implements inventoryservice.Answers. Files are read for each answer, so that changes of the
// administrator are in effect at once.
type Answers struct {
	// Version is the version of the service.
	Version string
	// Registry has the numbers of names.
	Registry *schema.Registry
	// RulesDirs are the directories of rules, the administrator's last.
	RulesDirs []string
	// Machine has the directories of policies.
	Machine cryptopolicy.Machine
	// Now returns the time.
	Now func() time.Time
}

// New returns the answers of a version of the service on this machine.
func New(version string, registry *schema.Registry) *Answers {
	return &Answers{
		Version:   version,
		Registry:  registry,
		RulesDirs: []string{"/usr/lib/crypto-auditing/rules.d", "/etc/crypto-auditing/rules.d"},
		Machine:   cryptopolicy.ThisMachine(),
		Now:       time.Now,
	}
}

// Policies implements inventoryservice.Answers.
func (a *Answers) Policies() ([]string, error) {
	entries, err := cryptopolicy.List(a.Machine.Directories())
	if err != nil {
		return nil, inventoryservice.Failed(err)
	}
	var names []string
	for _, e := range entries {
		if !e.Module {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// CheckPolicy implements inventoryservice.Answers.
func (a *Answers) CheckPolicy(o *observed.Observed, name string) (any, error) {
	// The library also accepts paths, but a client must not make the service read other files.
	for part := range strings.SplitSeq(name, ":") {
		if part == "" || strings.ContainsAny(part, "/.\x00") {
			return nil, fmt.Errorf("%w: %q is not the name of a policy, with modules as in DEFAULT:NO-PQ", inventoryservice.ErrNoPolicy, name)
		}
	}
	policy, err := cryptopolicy.Load(name, a.Machine.Directories())
	var missing *cryptopolicy.NotFoundError
	switch {
	case errors.As(err, &missing):
		return nil, fmt.Errorf("%w: %w", inventoryservice.ErrNoPolicy, err)
	case err != nil:
		return nil, inventoryservice.Failed(err)
	}
	return policycheck.Check(policy, o), nil
}

// Report implements inventoryservice.Answers.
func (a *Answers) Report(o *observed.Observed, options inventoryservice.ReportOptions) (any, error) {
	return a.report(o, options)
}

func (a *Answers) report(o *observed.Observed, options inventoryservice.ReportOptions) (*report.Report, error) {
	profiles := options.Profiles
	if len(profiles) == 0 {
		profiles = rules.DefaultProfiles()
	}
	files, err := rules.Files(a.RulesDirs...)
	if err != nil {
		return nil, inventoryservice.Failed(err)
	}
	set, err := rules.Load(files...)
	if err != nil {
		return nil, inventoryservice.Failed(err)
	}
	picked, err := set.Pick(profiles...)
	if err != nil {
		return nil, &inventoryservice.InvalidError{Problem: err.Error()}
	}
	// Without a readable policy on the machine, the report names none.
	policy, _, err := a.Machine.Applied()
	if err != nil {
		policy = ""
	}
	return report.Make(o, report.Options{
		Rules: picked, Profiles: profiles, Now: a.Now(), Tool: "crau-inventory " + a.Version, Policy: policy, Anonymous: options.Anonymous,
	}), nil
}

// Formats that are not reports.
const (
	observedJSON = "observed-json"
	cbomPrefix   = "cbom-"
)

// reportForms are the forms of reports that are exported.
func reportForms() []string { return []string{"html", "json", "csv", "junit"} }

// Formats implements inventoryservice.Answers.
func (a *Answers) Formats() (names []string) {
	for _, s := range cbom.Specs() {
		names = append(names, cbomPrefix+string(s))
	}
	for _, f := range reportForms() {
		names = append(names, inventoryservice.ReportPrefix+f)
	}
	return append(names, observedJSON)
}

// Export implements inventoryservice.Answers.
func (a *Answers) Export(w io.Writer, format string, o *observed.Observed, options inventoryservice.ReportOptions) error {
	if format == observedJSON {
		return observed.Write(w, o)
	}
	if spec, ok := strings.CutPrefix(format, cbomPrefix); ok {
		return cbom.Write(w, o, cbom.Options{Spec: cbom.Spec(spec), Version: a.Version, Registry: a.Registry})
	}
	name, ok := strings.CutPrefix(format, inventoryservice.ReportPrefix)
	if !ok {
		return &inventoryservice.InvalidError{Problem: fmt.Sprintf("there is no format %q", format)}
	}
	r, err := a.report(o, options)
	if err != nil {
		return err
	}
	return form.Write(w, r, name, form.Style{})
}
