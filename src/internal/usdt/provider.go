// SPDX-License-Identifier: Apache-2.0

package usdt

// Provider is the name under which libraries publish the probes of the audit.
const Provider = "crypto_auditing"

// Providers returns the accepted provider names: the published one first, then
// those that drafts of the interface used and that built libraries still have.
func Providers() []string { return []string{Provider, "audit", "openssl"} }

// Accepted reports whether a provider's probes are those of the audit.
func Accepted(provider string) bool {
	switch provider {
	case Provider, "audit", "openssl":
		return true
	}
	return false
}
