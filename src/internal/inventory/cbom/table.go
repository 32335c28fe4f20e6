// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"bytes"
	_ "embed" // the table
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

//go:embed algorithms.toml
var algorithmsFile []byte

// algorithm has the properties of an algorithm. Its file describes the fields.
type algorithm struct {
	name string

	Primitive       string   `toml:"primitive"`
	Family          string   `toml:"family"`
	Parameters      string   `toml:"parameters"`
	Curve           string   `toml:"curve"`
	Mode            string   `toml:"mode"`
	Padding         string   `toml:"padding"`
	Parts           []string `toml:"parts"`
	OID             string   `toml:"oid"`
	OIDSource       string   `toml:"oid-source"`
	Classical       *int     `toml:"classical"`
	ClassicalSource string   `toml:"classical-source"`
	Quantum         *int     `toml:"quantum"`
	QuantumSource   string   `toml:"quantum-source"`
}

// table has the properties of algorithms, and maps names to algorithms.
type table struct {
	Sources    map[string]string    `toml:"sources"`
	Algorithms map[string]algorithm `toml:"algorithm"`
	Curves     map[string]string    `toml:"curve"`
	TLS        struct {
		Group     map[string][]string `toml:"group"`
		Signature map[string][]string `toml:"signature"`
		Exchange  map[string][]string `toml:"exchange"`
		Cipher    map[string]string   `toml:"cipher"`
		Hash      map[string]string   `toml:"hash"`
	} `toml:"tls"`
	SSH struct {
		Kex    map[string][]string `toml:"kex"`
		Key    map[string][]string `toml:"key"`
		Cipher map[string][]string `toml:"cipher"`
		MAC    map[string][]string `toml:"mac"`
	} `toml:"ssh"`
}

func loadTable() (*table, error) {
	var t table
	d := toml.NewDecoder(bytes.NewReader(algorithmsFile))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("cannot read the table of algorithms: %w", err)
	}
	return &t, nil
}

// named returns an algorithm, with only the name if it is not in the table.
func (t *table) named(name string) algorithm {
	a, ok := t.Algorithms[name]
	if !ok {
		a.Primitive = "unknown"
	}
	a.name = name
	return a
}

// all returns the algorithms with names.
func (t *table) all(names []string) (list []algorithm) {
	for _, name := range names {
		list = append(list, t.named(name))
	}
	return list
}

// group returns the algorithms of a TLS group whose curve or field has a name.
func (t *table) group(name string) []algorithm { return t.lookup(t.TLS.Group, name) }

// lookup returns the algorithms for a name; one of that name if it is not in the table, none if
// the name is empty.
func (t *table) lookup(names map[string][]string, name string) []algorithm {
	if name == "" {
		return nil
	}
	if list, ok := names[name]; ok {
		return t.all(list)
	}
	return []algorithm{t.named(name)}
}

// suite returns the algorithms of a cipher suite by its IANA name: exchange for key exchange and
// authentication, records for the records. It ignores parts of the name that are not in the table.
func (t *table) suite(name string) (exchange, records []algorithm) {
	rest, ok := strings.CutPrefix(name, "TLS_")
	if !ok {
		return nil, nil
	}
	if before, after, ok := strings.Cut(rest, "_WITH_"); ok {
		exchange = t.all(t.TLS.Exchange[strings.TrimSuffix(before, "_EXPORT")])
		rest = after
	}
	cipher, hash := rest, ""
	if i := strings.LastIndexByte(rest, '_'); i > 0 && t.TLS.Hash[rest[i+1:]] != "" {
		cipher, hash = rest[:i], t.TLS.Hash[rest[i+1:]]
	}
	authenticated := false
	if known, ok := t.TLS.Cipher[cipher]; ok {
		c := t.named(known)
		records = append(records, c)
		authenticated = c.Primitive == "ae"
	}
	if hash != "" && !authenticated {
		hash = "HMAC-" + hash
	}
	if hash != "" {
		records = append(records, t.named(hash))
	}
	return exchange, records
}

// keySize returns the classical security level of RSA, DSA and finite-field keys of a size (SP 800-57
// Part 1 Rev. 5, table 2). Other sizes have none.
func keySize(bits int) (level int, ok bool) {
	switch bits {
	case 2048:
		return 112, true
	case 3072:
		return 128, true
	case 7680:
		return 192, true
	case 15360:
		return 256, true
	}
	return 0, false
}

// curveSize is the same for curves.
func curveSize(curve string) (level int, ok bool) {
	switch curve {
	case "secp224r1":
		return 112, true
	case "secp256r1":
		return 128, true
	case "secp384r1":
		return 192, true
	case "secp521r1":
		return 256, true
	}
	return 0, false
}

const sp800 = "sp800-57"

// sized returns the algorithm for keys of a size.
func (a algorithm) sized(bits int) algorithm {
	if bits <= 0 {
		return a
	}
	a.name += "-" + strconv.Itoa(bits)
	a.Parameters = strconv.Itoa(bits)
	a.Classical, a.ClassicalSource = nil, ""
	if level, ok := keySize(bits); ok {
		a.Classical, a.ClassicalSource = &level, sp800
	}
	return a
}

// on returns the algorithm on a curve; family is the part of its name before the curve.
func (a algorithm) on(curve, family string) algorithm {
	if curve == "" {
		return a
	}
	a.name = family + "-" + curve + strings.TrimPrefix(a.name, family)
	a.Curve = curve
	if level, ok := curveSize(curve); ok {
		a.Classical, a.ClassicalSource = &level, sp800
	}
	return a
}
