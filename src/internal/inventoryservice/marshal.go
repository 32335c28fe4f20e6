// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// number is a field whose names have numbers.
type number struct {
	field row.Field
	key   *schema.Key
}

// numbersOf returns the fields whose names have numbers by a registry.
func numbersOf(r *schema.Registry) (numbers []number) {
	for field, key := range map[string]string{
		"version": "tls::protocol_version", "suite": "tls::ciphersuite", "group": "tls::group",
		"signature": "tls::signature_algorithm", "peer_signature": "tls::signature_algorithm",
	} {
		if f, ok := row.FieldNamed(field); ok {
			numbers = append(numbers, number{f, r.Key(key)})
		}
	}
	return numbers
}

// rowOf encodes a row. Values that were not recorded have no key.
func (s *Service) rowOf(r *row.Row) dictionary.Dictionary {
	d := dictionary.Dictionary{
		"count": dbus.MakeVariant(r.Count), "failures": dbus.MakeVariant(r.Failures),
		"first": dbus.MakeVariant(microseconds(r.First)), "last": dbus.MakeVariant(microseconds(r.Last)),
	}
	if r.Length > 0 {
		d["start"], d["length"] = dbus.MakeVariant(microseconds(r.Start)), dbus.MakeVariant(uint64(r.Length.Microseconds()))
	}
	if r.Relays > 0 {
		d["relays"] = dbus.MakeVariant(r.Relays)
	}
	for _, f := range row.Fields() {
		switch value := f.Value(&r.Use).(type) {
		case string:
			if value != "" {
				d[f.Name] = dbus.MakeVariant(plain(value))
			}
		case int:
			if value > 0 {
				d[f.Name] = dbus.MakeVariant(uint32(value))
			}
		}
	}
	for _, n := range s.numbers {
		if value, ok := n.key.Parse(n.field.Text(&r.Use)); ok {
			d[n.field.Name+"_number"] = dbus.MakeVariant(uint32(value))
		}
	}
	return d
}

// rowsOf encodes rows.
func (s *Service) rowsOf(rows []row.Row) []dictionary.Dictionary {
	all := make([]dictionary.Dictionary, len(rows))
	for i := range rows {
		all[i] = s.rowOf(&rows[i])
	}
	return all
}

// microseconds is a time on the bus, 0 for the zero time.
func microseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMicro(), 0))
}

// plain returns a text in the form that a bus accepts: UTF-8 without NUL.
func plain(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", `\x00`)
}

// documentOf encodes a value by its JSON form, which must be an object: objects become a{sv}, arrays
// av, integers x, other numbers d. Null members are omitted.
func documentOf(value any) (dictionary.Dictionary, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot encode an answer: %w", err)
	}
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("cannot encode an answer: %w", err)
	}
	return objectOf(tree), nil
}

func objectOf(members map[string]any) dictionary.Dictionary {
	d := dictionary.Dictionary{}
	for name, value := range members {
		if value != nil {
			d[plain(name)] = variantOf(value)
		}
	}
	return d
}

// variantOf encodes a decoded value of JSON, except null.
func variantOf(value any) dbus.Variant {
	switch v := value.(type) {
	case map[string]any:
		return dbus.MakeVariant(objectOf(v))
	case []any:
		list := []dbus.Variant{}
		for _, each := range v {
			if each != nil {
				list = append(list, variantOf(each))
			}
		}
		return dbus.MakeVariant(list)
	case string:
		return dbus.MakeVariant(plain(v))
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return dbus.MakeVariant(n)
		}
		f, _ := v.Float64() // out of range: the nearest
		return dbus.MakeVariant(f)
	}
	return dbus.MakeVariant(value) // a bool
}
