// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"fmt"
	"strings"

	"crypto-auditing/src/internal/inventory/cryptopolicy"
)

// Verdict is the effect of a policy on an operation.
type Verdict string

// Verdicts. A denied operation would have to be negotiated differently, or fail: policies set defaults,
// and a peer might have agreed to other parameters. Policies do not cover all operations:
// most public-key operations outside of handshakes are not covered.
const (
	Allowed     Verdict = "allowed"
	Denied      Verdict = "denied"
	Undecidable Verdict = "undecidable"
	NotCovered  Verdict = "not_covered"
)

// Finding is a property of the policy that denies an operation, or makes it undecidable.
type Finding struct {
	Property string `json:"property"`
	// Value is the used value: by its name in policies, else as recorded; empty if it was not recorded.
	Value string `json:"value,omitempty"`
	// Scope is the back end for which the policy was evaluated; tls or ssh if it is unknown.
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
	// Directive is the left side of the directive that decides, with its place; empty if there is none.
	Directive string `json:"directive,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
}

// Result is the verdict on an operation. Findings are the reasons of Denied and Undecidable.
type Result struct {
	Verdict  Verdict
	Findings []Finding
}

// judge compares an operation with a policy for one back end.
type judge struct {
	policy  *cryptopolicy.Policy
	backEnd backEnd
	scoped  *cryptopolicy.Scoped

	denials, doubts []Finding
	notCovered      bool
}

func (j *judge) result() Result {
	switch {
	case j.notCovered:
		return Result{Verdict: NotCovered}
	case len(j.denials) > 0:
		return Result{Denied, j.denials}
	case len(j.doubts) > 0:
		return Result{Undecidable, j.doubts}
	}
	return Result{Verdict: Allowed}
}

func (j *judge) finding(property, value, reason string) Finding {
	f := Finding{Property: property, Value: value, Scope: j.backEnd.name, Reason: reason}
	if origin, ok := j.scoped.Origin(property, value); ok {
		f.Directive, f.File, f.Line = origin.Directive, origin.Place.File, origin.Place.Line
	}
	return f
}

func (j *judge) deny(property, value, reason string) {
	j.denials = append(j.denials, j.finding(property, value, reason))
}

func (j *judge) undecidable(property, value, reason string) {
	j.doubts = append(j.doubts, j.finding(property, value, reason))
}

// missing adds a finding about a value that was not recorded.
func (j *judge) missing(property, noun string) {
	f := j.finding(property, "", noun+" was not recorded")
	if j.scoped.List(property) != nil { // it is unknown whether a directive denies the value
		f.Directive, f.File, f.Line = "", "", 0
	}
	j.doubts = append(j.doubts, f)
}

// notEnabled adds a finding about a value that the policy lists but the back end does not enable.
func (j *judge) notEnabled(property, value string) {
	j.undecidable(property, value, fmt.Sprintf("crypto-policies leaves it out of the configuration of %s, even if the policy lists it", j.backEnd.name))
}

// requires judges a value of a list. recorded is its registered name, for values without a name in
// policies.
func (j *judge) requires(property, value, recorded string) {
	switch {
	case value == "":
		j.deny(property, recorded, "policies have no name for it")
	case !j.scoped.Allows(property, value):
		j.deny(property, value, "the policy does not list it")
	}
}

// signs reports whether the policy lists a signature algorithm.
func (j *judge) signs(name string) bool {
	if j.scoped.Allows(cryptopolicy.Sign, name) {
		return true
	}
	// Older releases use one name for both kinds of RSA keys.
	if hash, ok := strings.CutPrefix(name, "RSA-PSS-RSAE-"); ok && !j.policy.Names(cryptopolicy.Sign, "RSA-PSS-RSAE-") {
		return j.scoped.Allows(cryptopolicy.Sign, "RSA-PSS-"+hash)
	}
	return false
}

// size judges the size of a key. bits is 0 if it was not recorded.
func (j *judge) size(property string, bits int, noun string) {
	smallest := j.scoped.Integer(property)
	switch {
	case smallest == 0:
	case bits == 0:
		j.missing(property, noun)
	case bits < smallest:
		j.deny(property, fmt.Sprint(bits), fmt.Sprintf("the policy demands %d bits", smallest))
	}
}
