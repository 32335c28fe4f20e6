// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"crypto-auditing/src/internal/function"
	"crypto-auditing/src/internal/layout/decoder"
)

// libraryReport has the result of decoding a library without probes for the function source.
type libraryReport struct {
	Family string `json:"family"`
	// Handshakes and PublicKey report what can be recorded.
	Handshakes bool `json:"handshakes"`
	PublicKey  bool `json:"public_key"`
	// Static: both layers are in one file.
	Static   bool             `json:"static"`
	Values   []valueReport    `json:"values"`
	Sites    []functionReport `json:"sites"`
	Refusals []refusalReport  `json:"refusals"`

	// recordable reports whether the source records anything.
	recordable bool
}

type valueReport struct {
	Name     string   `json:"name"`
	Loads    []uint16 `json:"loads"`
	Size     uint8    `json:"size"`
	Evidence string   `json:"evidence"`
	Sources  []string `json:"sources"`

	chain string
}

type functionReport struct {
	Function    string `json:"function"`
	Role        string `json:"role"`
	Operation   string `json:"operation,omitempty"`
	Address     uint64 `json:"address"`
	Offset      uint64 `json:"offset"`
	Instruction string `json:"instruction"`
	Emulated    bool   `json:"emulated"`
	StackDelta  uint32 `json:"stack_delta,omitempty"`
}

type refusalReport struct {
	Subject string `json:"what"`
	Reason  string `json:"why"`
}

// newLibraryReport decodes the file at path. A library that is known but not supported has
// only a refusal. It returns nil if the file contains no known library or cannot be read; then the report on its
// probes has the error.
func newLibraryReport(path string) *libraryReport {
	lib, err := decoder.Open(path)
	var refused *decoder.UnsupportedError
	if errors.As(err, &refused) {
		return &libraryReport{
			Family: refused.Library, Values: []valueReport{}, Sites: []functionReport{},
			Refusals: []refusalReport{{refused.Library, refused.Reason()}},
		}
	}
	if err != nil {
		return nil
	}
	r := &libraryReport{
		Family: lib.Family.String(), Handshakes: lib.Handshakes, PublicKey: lib.PublicKey, Static: lib.Static,
		recordable: function.Recordable(lib),
		Values:     []valueReport{}, Sites: []functionReport{}, Refusals: []refusalReport{},
	}
	for _, v := range lib.Values {
		r.Values = append(r.Values, valueReport{
			Name: v.ID.String(), Loads: v.Chain.Offsets, Size: v.Chain.Width,
			Evidence: v.Evidence.String(), Sources: v.Sources, chain: v.Chain.String(),
		})
	}
	for _, s := range lib.Sites {
		r.Sites = append(r.Sites, functionReport{
			Function: s.Function, Role: s.Role.String(), Operation: s.Operation.String(), Address: s.Addr,
			Offset: s.Offset, Instruction: s.Instruction, Emulated: s.Emulated, StackDelta: s.StackDelta,
		})
	}
	for _, refusal := range lib.Refusals {
		r.Refusals = append(r.Refusals, refusalReport{refusal.Subject, refusal.Reason})
	}
	return r
}

func (r *libraryReport) writeText(t *tabwriter.Writer) {
	fmt.Fprintf(t, "  functions of %s: %s\n", r.Family, r.layers())
	if len(r.Values) > 0 {
		fmt.Fprintf(t, "      VALUE\tLOADS\tEVIDENCE\n")
	}
	for _, v := range r.Values {
		fmt.Fprintf(t, "      %s\t%s\t%s\n", v.Name, v.chain, v.Evidence)
	}
	if len(r.Sites) > 0 {
		fmt.Fprintf(t, "      FUNCTION\tADDRESS\tOFFSET\tINSTRUCTION\tROLE\n")
	}
	for _, s := range r.Sites {
		instruction, role := s.Instruction, s.Role
		if !s.Emulated {
			instruction += " (stepped)"
		}
		if s.Operation != "" {
			role += ": " + s.Operation
		}
		fmt.Fprintf(t, "      %s\t%#x\t%#x\t%s\t%s\n", s.Function, s.Address, s.Offset, instruction, role)
	}
	for _, refusal := range r.Refusals {
		fmt.Fprintf(t, "    ! %s: %s\n", refusal.Subject, refusal.Reason)
	}
}

// layers returns what can be recorded, as text.
func (r *libraryReport) layers() string {
	switch {
	case r.Handshakes && r.PublicKey:
		return "handshakes and public-key operations"
	case r.Handshakes:
		return "handshakes"
	case r.PublicKey:
		return "public-key operations"
	}
	return "refused"
}
