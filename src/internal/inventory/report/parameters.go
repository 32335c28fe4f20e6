// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// ParameterNames are the names of parameters in the order in which they are shown.
func ParameterNames() []string {
	return []string{
		"version", "suite", "group", "signature", "peer_signature", "resumed", "extended_secret", "transport",
		"kex", "host_key", "client_key", "cipher_out", "cipher_in", "mac_out", "mac_in",
		"algorithm", "curve", "bits", "hash", "padding",
	}
}

// parameters returns the recorded parameters by name.
func parameters(p *row.Parameters) map[string]string {
	bits := ""
	if p.Bits != 0 {
		bits = strconv.Itoa(p.Bits)
	}
	values := []string{
		p.Version, p.Suite, p.Group, p.Signature, p.PeerSignature, p.Resumed, p.ExtendedSecret, p.Transport,
		p.Kex, p.HostKey, p.ClientKey, p.CipherOut, p.CipherIn, p.MACOut, p.MACIn,
		p.Algorithm, p.Curve, bits, p.Hash, p.Padding,
	}
	all := make(map[string]string)
	for i, name := range ParameterNames() {
		if values[i] != "" {
			all[name] = values[i]
		}
	}
	return all
}

// Describe returns the recorded parameters in a line.
func Describe(p *row.Parameters) string { return parametersText(parameters(p)) }

// parametersText returns parameters in a line, with names only for values that would be unclear without
// them.
func parametersText(all map[string]string) string {
	words := make([]string, 0, len(all))
	for _, name := range ParameterNames() {
		value := all[name]
		switch name {
		case "resumed":
			if value != "yes" {
				continue
			}
			value = "resumed"
		case "extended_secret":
			if value != "no" {
				continue
			}
			value = "without extended master secret"
		case "transport":
			if value == "tcp" {
				continue
			}
		case "cipher_in":
			if value == all["cipher_out"] {
				continue
			}
		case "mac_in":
			if value == all["mac_out"] {
				continue
			}
		case "peer_signature", "client_key":
			if value != "" {
				value = strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(name, "_signature"), "_key"), "_", " ") + " " + value
			}
		case "bits":
			if value != "" {
				value += " bits"
			}
		}
		if value != "" {
			words = append(words, value)
		}
	}
	if len(words) == 0 {
		return "(no parameters recorded)"
	}
	return strings.Join(words, " ")
}
