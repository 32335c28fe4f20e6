// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"slices"
	"strings"

	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/fact"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// keyQuantum is a key whose value is derived from a tree: whether the keys that a handshake
// established, or the algorithm of a standalone public-key operation, resist quantum computers.
// Operations that neither establish nor sign anything by public keys have no value.
const keyQuantum = "pq"

// quantumValues returns the values of keyQuantum. It is unknown if the deciding values were not recorded.
func quantumValues() []string { return []string{"yes", "no", "unknown"} }

// resists returns the condition that keyQuantum has a value. The error is a *schema.MatchError.
func resists(r *schema.Registry, argument, value string) (func(root *schema.Span) bool, error) {
	if !slices.Contains(quantumValues(), value) {
		return nil, &schema.MatchError{Match: argument, Problem: "the values of " + keyQuantum + " are " + strings.Join(quantumValues(), ", ")}
	}
	reader, err := counting.NewReader(r)
	if err != nil {
		return nil, err
	}
	return func(root *schema.Span) (found bool) {
		reader.Uses(root, func(u *row.Use) {
			found = found || u.Within == "" && quantum(fact.Of(u)) == value
		})
		return found
	}, nil
}

// quantum returns the value of keyQuantum, empty if it has none.
func quantum(facts fact.Facts) string {
	for _, attribute := range []fact.Attribute{fact.Quantum, fact.AuthenticationQuantum} {
		f, ok := facts[attribute]
		switch {
		case !ok:
		case slices.Contains(f.Values, fact.Vulnerable):
			return "no"
		case slices.Contains(f.Values, fact.Safe):
			return "yes"
		case f.Complete:
			return ""
		default:
			return "unknown"
		}
	}
	return ""
}
