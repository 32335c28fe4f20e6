// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"

	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// graph has programs, libraries and cryptographic assets, with their dependencies.
type graph struct {
	table    *table
	registry *schema.Registry
	latest   bool // CycloneDX 1.7
	assets   map[string]*asset
}

// asset is a component under construction.
type asset struct {
	component cyclonedx.Component
	dependsOn map[string]bool
	provides  map[string]bool
	functions map[string]bool
	places    map[place]*tally
	suites    map[string]*suite // of a protocol
}

// place identifies the program and unit that used an asset.
type place struct{ executable, unit string }

// tally counts the operations at a place.
type tally struct {
	count, failures uint64
	first, last     time.Time
}

// suite is a cipher suite of a protocol, with the values that were used with it.
type suite struct{ algorithms, groups, schemes map[string]bool }

// ref returns the reference of a component, which depends only on its contents.
func ref(kind, name string) string { return kind + "/" + url.PathEscape(name) }

// asset returns the component with a reference; make makes it the first time.
func (g *graph) asset(ref string, make func() cyclonedx.Component) *asset {
	a := g.assets[ref]
	if a == nil {
		a = newAsset(make())
		a.component.BOMRef = ref
		g.assets[ref] = a
	}
	return a
}

func newAsset(c cyclonedx.Component) *asset {
	return &asset{
		component: c, dependsOn: map[string]bool{}, provides: map[string]bool{}, functions: map[string]bool{},
		places: map[place]*tally{}, suites: map[string]*suite{},
	}
}

// used records that operations of a row used an asset.
func (a *asset) used(r *row.Row) {
	at := place{r.Executable, r.Unit}
	t := a.places[at]
	if t == nil {
		t = &tally{first: r.First, last: r.Last}
		a.places[at] = t
	}
	t.count += r.Count
	t.failures += r.Failures
	if r.First.Before(t.first) {
		t.first = r.First
	}
	if r.Last.After(t.last) {
		t.last = r.Last
	}
}

// add adds the operations of a row.
func (g *graph) add(r *row.Row) {
	var assets []*asset
	switch r.Operation {
	case row.TLSHandshake:
		assets = g.tls(r)
	case row.SSHHandshake:
		assets = g.ssh(r)
	default:
		a, ok := g.table.publicKey(&r.Use)
		if !ok {
			return
		}
		assets = g.algorithms([]algorithm{a}, function(r.Operation))
	}
	program := g.program(r)
	program.used(r)
	library := g.library(r)
	if library != nil {
		library.used(r)
		program.dependsOn[library.component.BOMRef] = true
	}
	// An asset that occurs in two fields of a row was used once.
	slices.SortFunc(assets, func(a, b *asset) int { return strings.Compare(a.component.BOMRef, b.component.BOMRef) })
	for _, a := range slices.Compact(assets) {
		a.used(r)
		program.dependsOn[a.component.BOMRef] = true
		if library != nil {
			library.provides[a.component.BOMRef] = true
		}
	}
}

func (g *graph) program(r *row.Row) *asset {
	name := r.Executable
	if name == "" {
		name = "unknown program"
	}
	return g.asset(ref("program", r.Executable), func() cyclonedx.Component {
		return cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, Name: name}
	})
}

// library returns the library of a row, nil if it is unknown.
func (g *graph) library(r *row.Row) *asset {
	name, whole := r.Library, r.Library+"@"+r.LibraryID
	switch {
	case name == "" && r.LibraryID == "":
		return nil
	case name == "":
		name, whole = r.LibraryID, r.LibraryID
	case r.LibraryID == "":
		whole = name
	}
	return g.asset(ref("library", whole), func() cyclonedx.Component {
		c := cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: name}
		var p properties
		p.add("build-id", r.LibraryID)
		c.Properties = p.list()
		return c
	})
}

// algorithms returns the assets of algorithms and of their parts.
func (g *graph) algorithms(list []algorithm, function string) (assets []*asset) {
	for i := range list {
		a := g.algorithm(&list[i])
		if function != "" {
			a.functions[function] = true
		}
		assets = append(assets, a)
		for _, part := range g.algorithms(g.table.all(list[i].Parts), "") {
			assets = append(assets, part)
			a.dependsOn[part.component.BOMRef] = true
		}
	}
	return assets
}

func (g *graph) algorithm(a *algorithm) *asset {
	return g.asset(ref("crypto/algorithm", a.name), func() cyclonedx.Component {
		p := cyclonedx.CryptoAlgorithmProperties{
			Primitive: cyclonedx.CryptoPrimitive(a.Primitive), ParameterSetIdentifier: a.Parameters,
			Mode: cyclonedx.CryptoAlgorithmMode(a.Mode), Padding: cyclonedx.CryptoPadding(a.Padding),
			ClassicalSecurityLevel: a.Classical, NistQuantumSecurityLevel: a.Quantum,
		}
		var sources properties
		sources.add("source:oid", g.table.Sources[a.OIDSource])
		sources.add("source:classical-security-level", g.table.Sources[a.ClassicalSource])
		sources.add("source:nist-quantum-security-level", g.table.Sources[a.QuantumSource])
		if g.latest {
			p.AlgorithmFamily = a.Family
			p.EllipticCurve = g.table.Curves[a.Curve]
		} else {
			p.Curve = a.Curve
		}
		return cyclonedx.Component{
			Type: cyclonedx.ComponentTypeCryptographicAsset, Name: a.name, Properties: sources.list(),
			CryptoProperties: &cyclonedx.CryptoProperties{AssetType: cyclonedx.CryptoAssetTypeAlgorithm, AlgorithmProperties: &p, OID: a.OID},
		}
	})
}

// serverKey returns the asset of a server's public key, nil if the key is unknown.
func (g *graph) serverKey(name string, bits int, curve string) []*asset {
	if name == "" {
		return nil
	}
	a := g.table.named(name)
	if name == "RSA" || name == "EC" {
		a.Primitive = "unknown" // the key may be for several uses
	}
	algorithm := g.algorithm(&a)
	whole := name
	if curve != "" {
		whole += " " + curve
	} else if bits > 0 {
		whole += fmt.Sprintf(" %d", bits)
	}
	key := g.asset(ref("crypto/key", whole), func() cyclonedx.Component {
		p := cyclonedx.RelatedCryptoMaterialProperties{Type: cyclonedx.RelatedCryptoMaterialTypePublicKey}
		if bits > 0 {
			p.Size = &bits
		}
		if g.latest {
			p.RelatedCryptographicAssets = &[]cyclonedx.RelatedCryptographicAsset{{Type: "algorithm", Ref: algorithm.component.BOMRef}}
		} else {
			p.AlgorithmRef = cyclonedx.BOMReference(algorithm.component.BOMRef)
		}
		return cyclonedx.Component{
			Type: cyclonedx.ComponentTypeCryptographicAsset, Name: whole + " public key of a server",
			CryptoProperties: &cyclonedx.CryptoProperties{AssetType: cyclonedx.CryptoAssetTypeRelatedCryptoMaterial, RelatedCryptoMaterialProperties: &p},
		}
	})
	key.dependsOn[algorithm.component.BOMRef] = true
	return []*asset{key, algorithm}
}

// components returns all components and their dependencies, in the order of their references.
func (g *graph) components(tool string) (*[]cyclonedx.Component, *[]cyclonedx.Dependency) {
	components := []cyclonedx.Component{}
	dependencies := []cyclonedx.Dependency{}
	for _, ref := range slices.Sorted(maps.Keys(g.assets)) {
		a := g.assets[ref]
		g.finish(a, tool)
		components = append(components, a.component)
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: ref, Dependencies: sorted(a.dependsOn), Provides: sorted(a.provides)})
	}
	return &components, &dependencies
}

// finish completes a component with the collected values.
func (g *graph) finish(a *asset, tool string) {
	certain := float32(1)
	a.component.Evidence = &cyclonedx.Evidence{
		Identity: &cyclonedx.EvidenceIdentityChoice{Identities: &[]cyclonedx.EvidenceIdentity{{
			Field: cyclonedx.EvidenceIdentityFieldTypeName, Confidence: &certain,
			Methods: &[]cyclonedx.EvidenceIdentityMethod{{Technique: cyclonedx.EvidenceIdentityTechniqueInstrumentation, Confidence: &certain}},
			Tools:   &[]cyclonedx.BOMReference{cyclonedx.BOMReference(tool)},
		}}},
	}
	if occurrences := a.occurrences(); len(occurrences) > 0 {
		a.component.Evidence.Occurrences = &occurrences
	}
	crypto := a.component.CryptoProperties
	if crypto == nil {
		return
	}
	if functions := sorted(a.functions); functions != nil && crypto.AlgorithmProperties != nil {
		var list []cyclonedx.CryptoFunction
		for _, f := range *functions {
			list = append(list, cyclonedx.CryptoFunction(f))
		}
		crypto.AlgorithmProperties.CryptoFunctions = &list
	}
	if crypto.ProtocolProperties != nil {
		g.finishProtocol(a, crypto.ProtocolProperties)
	}
}

func (a *asset) occurrences() (list []cyclonedx.EvidenceOccurrence) {
	for _, at := range slices.SortedFunc(maps.Keys(a.places), func(x, y place) int {
		return cmp.Or(strings.Compare(x.executable, y.executable), strings.Compare(x.unit, y.unit))
	}) {
		t := a.places[at]
		location, text := at.executable, fmt.Sprintf("operations: %d; failed: %d; first: %s; last: %s", t.count, t.failures, timestamp(t.first), timestamp(t.last))
		if location == "" {
			location = "unknown program"
		}
		if at.unit != "" {
			text += "; unit: " + at.unit
		}
		list = append(list, cyclonedx.EvidenceOccurrence{Location: location, AdditionalContext: text})
	}
	return list
}

// sorted returns the members of a set, nil if there are none.
func sorted(set map[string]bool) *[]string {
	if len(set) == 0 {
		return nil
	}
	list := slices.Sorted(maps.Keys(set))
	return &list
}
