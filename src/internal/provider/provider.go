// SPDX-License-Identifier: Apache-2.0

// Package provider defines the interface between instrumented libraries and the agent: the
// provider's name and its probes, whose names are the names of the capture kinds. It is the
// source "usdt".
package provider

import (
	"fmt"
	"io"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/usdt"
)

// Name is the provider name of the probes of libraries.
const Name = "crypto_auditing"

// Names returns the accepted names: first Name, then the names of draft versions of the
// interface that existing libraries still have.
func Names() []string { return []string{Name, "audit", "openssl"} }

// Accepted reports whether a provider name is one of Names.
func Accepted(provider string) bool {
	switch provider {
	case Name, "audit", "openssl":
		return true
	}
	return false
}

// Source returns the source of the provider's probes.
func Source() capture.Source { return capture.Source{Name: "usdt", Plan: plan} }

func plan(r io.ReaderAt, size int64) (*capture.Plan, error) {
	file, err := usdt.Parse(r, size)
	if err != nil {
		return nil, err
	}
	p := &capture.Plan{Machine: file.Machine, BuildID: file.BuildID, Image: file.Image, Errors: file.Errors}
	type place struct {
		kind   capture.Kind
		offset uint64
	}
	seen := map[place]bool{}
	for i := range file.Sites {
		s := &file.Sites[i]
		kind, known := capture.KindOf(s.Name)
		// Linkers that fold identical functions leave one site with a note for each
		// function.
		at := place{kind, s.Offset}
		if !Accepted(s.Provider) || !known || seen[at] {
			continue
		}
		seen[at] = true
		if want := len(kind.Parameters()); len(s.Args) != want {
			p.AddError(fmt.Errorf("%s:%s at %#x: %d arguments instead of %d", s.Provider, s.Name, s.Addr, len(s.Args), want))
			continue
		}
		p.Sites = append(p.Sites, capture.Site{
			Provider: s.Provider, Probe: s.Name, Address: s.Addr, Offset: s.Offset, SemaphoreOffset: s.SemaphoreOffset,
			Kind: kind, Arguments: s.Args, FiveByteNop: s.Nop == usdt.NopFive,
		})
	}
	if len(p.Sites) == 0 {
		return nil, &capture.NoSitesError{Want: "probe of provider " + Name, Errors: p.Errors}
	}
	return p, nil
}
