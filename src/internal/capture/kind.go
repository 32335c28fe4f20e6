// SPDX-License-Identifier: Apache-2.0

package capture

import "slices"

// Kind is the operation of the event model that a hit of a site represents.
type Kind uint8

// The kinds. The BPF programs use the same numbers and names (enum record_kind of
// bpf/audit.bpf.h), the provider's probes the same names.
const (
	NewContext Kind = 1 + iota
	WordData
	StringData
	BlobData
	Data
	NewContextWithData
)

// kinds lists for each kind its name and the names of its parameters in order. Each
// parameter is a machine word. An array points to count elements, each a key pointer,
// a value and a size.
func kinds() [NewContextWithData + 1][]string {
	return [...][]string{
		NewContext:         {"new_context", "context", "parent"},
		WordData:           {"word_data", "context", "key", "value"},
		StringData:         {"string_data", "context", "key", "value"},
		BlobData:           {"blob_data", "context", "key", "value", "size"},
		Data:               {"data", "context", "array", "count"},
		NewContextWithData: {"new_context_with_data", "context", "parent", "array", "count"},
	}
}

// KindOf returns the kind of a name; false if the name is unknown.
func KindOf(name string) (Kind, bool) {
	table := kinds()
	k := slices.IndexFunc(table[:], func(row []string) bool { return row != nil && row[0] == name })
	return Kind(max(k, 0)), k > 0
}

// String returns the name of the kind, empty for an invalid one.
func (k Kind) String() string {
	if table := kinds(); k > 0 && int(k) < len(table) {
		return table[k][0]
	}
	return ""
}

// Parameters returns the names of the kind's parameters in their order.
func (k Kind) Parameters() []string { return kinds()[k][1:] }
