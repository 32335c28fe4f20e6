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

// Parameters returns the names of the parameters of a probe of the audit, in
// their order; false for a probe that is none of it. Every parameter is a
// machine word. An array points to count elements of a key pointer, a value
// and a size.
func Parameters(probe string) ([]string, bool) {
	switch probe {
	case "new_context":
		return []string{"context", "parent"}, true
	case "word_data", "string_data":
		return []string{"context", "key", "value"}, true
	case "blob_data":
		return []string{"context", "key", "value", "size"}, true
	case "data":
		return []string{"context", "array", "count"}, true
	case "new_context_with_data":
		return []string{"context", "parent", "array", "count"}, true
	}
	return nil, false
}
