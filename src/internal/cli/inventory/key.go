// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/mistake"
	"crypto-auditing/src/internal/schema"
)

// key is a field of rows with the name that users know from crauctl query: the name in the
// registry, if the registry has a key of this meaning.
type key struct {
	name        string
	description string
	row.Field
}

// keys returns the keys of all fields, in the order of columns.
func keys() (list []key) {
	for _, k := range []struct{ name, field, description string }{
		{"executable", "executable", "the program"},
		{"unit", "unit", "its systemd unit"},
		{"library", "library", "the library"},
		{"library_id", "library_id", "the build-id of the library"},
		{"source", "source", "how the operation was captured"},
		{"operation", "operation", "the kind of the operation"},
		{"within", "within", "the kind of the operation of which it was a part"},
		{"role", "role", "client or server, of a handshake"},
		{"tls::protocol_version", "version", "negotiated protocol version"},
		{"tls::ciphersuite", "suite", "negotiated cipher suite"},
		{"tls::group", "group", "group of the key exchange, or of a key"},
		{"group_bits", "group_bits", "size of a group without a name, in bits"},
		{"tls::signature_algorithm", "signature", "scheme of the program's signature"},
		{"tls::peer_signature_algorithm", "peer_signature", "scheme of the signature of the peer that was verified"},
		{"tls::resumed", "resumed", "whether the session continues an earlier one"},
		{"tls::extended_master_secret", "extended_secret", "whether the master secret depends on the whole handshake (RFC 7627)"},
		{"tls::transport", "transport", "what carries the handshake: tcp, quic, or udp for DTLS"},
		{"ssh::kex_algorithm", "kex", "negotiated key exchange"},
		{"ssh::key_algorithm", "host_key", "algorithm of the host key"},
		{"ssh::client_key_algorithm", "client_key", "algorithm of the client's signature"},
		{"ssh::c2s_cipher", "cipher_out", "cipher, client to server"},
		{"ssh::s2c_cipher", "cipher_in", "cipher, server to client"},
		{"ssh::c2s_mac", "mac_out", "integrity algorithm, client to server"},
		{"ssh::s2c_mac", "mac_in", "integrity algorithm, server to client"},
		{"pk::algorithm", "algorithm", "algorithm of the key"},
		{"pk::curve", "curve", "elliptic curve of the key"},
		{"pk::bits", "bits", "size of the key in bits"},
		{"pk::hash", "hash", "hash function"},
		{"pk::rsa_padding", "padding", "padding of an RSA operation"},
	} {
		if field, ok := row.FieldNamed(k.field); ok {
			list = append(list, key{k.name, k.description, field})
		}
	}
	return list
}

// scoped reports whether the key is a parameter of operations.
func (k *key) scoped() bool { return schema.Scope(k.name) != "" }

// concerns reports whether operations of a kind can have the key. Keys of scope tls apply to TLS
// handshakes, keys of scope ssh to SSH handshakes; all others may apply to any operation.
func (k *key) concerns(operation string) bool {
	scope := schema.Scope(k.name)
	return scope == "" || scope == "pk" || scope == schema.Scope(operation)
}

// value returns the value of the key, text or a number; nil if it was not recorded.
func (k *key) value(u *row.Use) any {
	if k.Text(u) == "" {
		return nil
	}
	return k.Value(u)
}

// copy copies the key from one use to another.
func (k *key) copy(to, from *row.Use) {
	_ = k.SetText(to, k.Text(from)) // the text of a number is valid
}

// keysNamed returns the keys with names: names of the registry, with an optional scope, or names of
// fields. The error is a UsageError.
func keysNamed(names []string) (found []key, err error) {
	for _, name := range names {
		var known []string
		before := len(found)
		for _, k := range keys() {
			_, short, _ := strings.Cut(k.name, "::")
			if name == k.name || name == k.Name || short != "" && name == short {
				found = append(found, k)
			}
			known = append(known, k.name)
			if short != "" {
				known = append(known, short)
			}
		}
		if len(found) == before {
			problem := fmt.Sprintf("there is no key %q to count by", name)
			if near := mistake.Nearest(name, known); near != "" {
				problem += fmt.Sprintf("; did you mean %q?", near)
			}
			return nil, console.Usagef("%s", problem)
		}
	}
	if found == nil {
		return nil, console.Usagef("--by needs at least one key")
	}
	return found, nil
}

// completeKeys completes the last key of a list.
func completeKeys(typed string) (words []string, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	for _, k := range keys() {
		if !strings.Contains(","+before, ","+k.name+",") {
			words = append(words, before+k.name+"\t"+k.description)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
