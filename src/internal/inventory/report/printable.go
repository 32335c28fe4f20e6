// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"strings"
	"unicode"

	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// Printable returns observations with names that are safe to print: programs choose some of them, and could
// control a terminal.
func Printable(o *observed.Observed) *observed.Observed {
	all := *o
	all.Uses = slices.Clone(o.Uses)
	for i := range all.Uses {
		cleanUse(&all.Uses[i].Use)
	}
	c := &all.Coverage
	c.Down = slices.Clone(c.Down)
	for i := range c.Down {
		c.Down[i].Library, c.Down[i].Reason = clean(c.Down[i].Library), clean(c.Down[i].Reason)
	}
	if c.Lost != nil {
		lost := make(map[string]uint64, len(c.Lost))
		for reason, n := range c.Lost {
			lost[clean(reason)] += n
		}
		c.Lost = lost
	}
	c.Sources = cleanAll(c.Sources)
	c.Chain = clean(c.Chain)
	c.Libraries = slices.Clone(c.Libraries)
	for i := range c.Libraries {
		c.Libraries[i].ID, c.Libraries[i].Name = clean(c.Libraries[i].ID), clean(c.Libraries[i].Name)
	}
	c.Programs = slices.Clone(c.Programs)
	for i := range c.Programs {
		c.Programs[i].Executable, c.Programs[i].Unit = clean(c.Programs[i].Executable), clean(c.Programs[i].Unit)
	}
	c.Unseen = cleanAll(c.Unseen)
	return &all
}

func cleanUse(u *row.Use) {
	p := &u.Parameters
	for _, text := range []*string{
		&u.Executable, &u.Unit, &u.LibraryID, &u.Library, &u.Source, &u.Operation, &u.Within, &u.Role,
		&p.Version, &p.Suite, &p.Group, &p.Signature, &p.PeerSignature, &p.Resumed, &p.ExtendedSecret, &p.Transport,
		&p.Kex, &p.HostKey, &p.ClientKey, &p.CipherOut, &p.CipherIn, &p.MACOut, &p.MACIn,
		&p.Algorithm, &p.Curve, &p.Hash, &p.Padding,
	} {
		*text = clean(*text)
	}
}

func cleanAll(texts []string) []string {
	texts = slices.Clone(texts)
	for i := range texts {
		texts[i] = clean(texts[i])
	}
	return texts
}

// clean replaces characters that are not printable.
func clean(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, text)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
