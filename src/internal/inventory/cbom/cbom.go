// SPDX-License-Identifier: Apache-2.0

// Package cbom writes observations as a cryptography bill of materials in CycloneDX
// (https://cyclonedx.org/docs/1.7/json/). The same observations always result in the same bytes.
package cbom

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/schema"
)

// Spec is a version of CycloneDX.
type Spec string

// The supported versions. Importers of other projects support the older one.
const (
	Spec16 Spec = "1.6"
	Spec17 Spec = "1.7"
)

// Specs returns the supported versions, the default first.
func Specs() []Spec { return []Spec{Spec16, Spec17} }

// Options of a bill of materials.
type Options struct {
	Spec Spec
	// Version is the version of crypto-auditing.
	Version string
	// Name names the observed object, such as a machine; empty for no name.
	Name string
	// Registry has the numbers of cipher suites.
	Registry *schema.Registry
}

// Write writes a bill of materials in JSON.
func Write(w io.Writer, o *observed.Observed, options Options) error {
	t, err := loadTable()
	if err != nil {
		return err
	}
	// The conversion of the library to other versions turns cryptographic assets into applications.
	// Therefore the parts are created for the version, and not converted.
	bom := cyclonedx.NewBOM()
	bom.JSONSchema = "http://cyclonedx.org/schema/bom-" + string(options.Spec) + ".schema.json"
	switch options.Spec {
	case Spec16:
		bom.SpecVersion = cyclonedx.SpecVersion1_6
	case Spec17:
		bom.SpecVersion = cyclonedx.SpecVersion1_7
	default:
		return fmt.Errorf("cannot write a bill of materials of CycloneDX %q: there are %v", options.Spec, Specs())
	}
	g := graph{table: t, registry: options.Registry, latest: options.Spec == Spec17, assets: make(map[string]*asset)}
	for i := range o.Uses {
		g.add(&o.Uses[i])
	}
	tool := "tool/crypto-auditing"
	bom.Metadata = metadata(&o.Coverage, &options, tool)
	bom.Components, bom.Dependencies = g.components(tool)
	bom.Compositions = &[]cyclonedx.Composition{{Aggregate: aggregate(&o.Coverage)}}
	var text bytes.Buffer
	if err := encode(&text, bom); err != nil {
		return err
	}
	bom.SerialNumber = serial(text.Bytes())
	text.Reset()
	if err := encode(&text, bom); err != nil {
		return err
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return fmt.Errorf("cannot write bill of materials: %w", err)
	}
	return nil
}

func encode(w io.Writer, bom *cyclonedx.BOM) error {
	err := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
	if err != nil {
		return fmt.Errorf("cannot encode bill of materials: %w", err)
	}
	return nil
}

// serial returns a UUID (version 8 of RFC 9562) for contents.
func serial(contents []byte) string {
	sum := sha256.Sum256(contents)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// metadata describes the observation. Its time is the end of the period, so that it does not
// depend on the time of writing.
func metadata(c *coverage.Coverage, options *Options, tool string) *cyclonedx.Metadata {
	m := cyclonedx.Metadata{
		Lifecycles: &[]cyclonedx.Lifecycle{{Phase: cyclonedx.LifecyclePhaseOperations}},
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{
			BOMRef: tool, Type: cyclonedx.ComponentTypeApplication, Name: "crypto-auditing", Version: options.Version,
		}}},
	}
	if !c.To.IsZero() {
		m.Timestamp = timestamp(c.To)
	}
	if options.Name != "" {
		m.Component = &cyclonedx.Component{BOMRef: "observed", Type: cyclonedx.ComponentTypePlatform, Name: options.Name}
	}
	m.Properties = coverageProperties(c)
	return &m
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// aggregate returns how complete the components are. Observations are never known to be complete.
func aggregate(c *coverage.Coverage) cyclonedx.CompositionAggregate {
	if c.Empty() || len(c.Down) == 0 && len(c.Lost) == 0 && c.Missing == 0 && len(c.Unseen) == 0 && !socketOnly(c) {
		return cyclonedx.CompositionAggregateUnknown
	}
	return cyclonedx.CompositionAggregateIncomplete
}

// socketOnly reports whether some handshakes were captured only at a socket.
func socketOnly(c *coverage.Coverage) bool {
	return slices.ContainsFunc(c.Programs, func(p coverage.Program) bool { return p.Socket > 0 })
}

// namespace begins the names of our properties.
const namespace = "crypto-auditing:"

// properties collects properties, without the ones with empty values.
type properties []cyclonedx.Property

func (p *properties) add(name, value string) {
	if value != "" {
		*p = append(*p, cyclonedx.Property{Name: namespace + name, Value: value})
	}
}

func (p *properties) count(name string, n uint64) {
	if n > 0 {
		p.add(name, strconv.FormatUint(n, 10))
	}
}

func (p properties) list() *[]cyclonedx.Property {
	if len(p) == 0 {
		return nil
	}
	return (*[]cyclonedx.Property)(&p)
}

func coverageProperties(c *coverage.Coverage) *[]cyclonedx.Property {
	var p properties
	if c.Empty() {
		p.add("coverage", "nothing was recorded: what is not listed is unknown")
		return p.list()
	}
	p.add("coverage", "what was observed while it ran: what is not listed may be in use nevertheless")
	p.add("coverage:from", timestamp(c.From))
	p.add("coverage:to", timestamp(c.To))
	for _, down := range c.Down {
		text := timestamp(down.From) + "/" + timestamp(down.To) + " " + down.Reason
		if down.Library != "" {
			text += " " + down.Library
		}
		p.add("coverage:down", text)
	}
	for _, reason := range slices.Sorted(maps.Keys(c.Lost)) {
		p.count("coverage:lost:"+reason, c.Lost[reason])
	}
	p.count("coverage:missing", c.Missing)
	p.add("coverage:sources", strings.Join(c.Sources, " "))
	for _, text := range c.Unseen {
		p.add("coverage:unseen", text)
	}
	p.count("log:first", c.First)
	p.count("log:last", c.Last)
	p.add("log:chain", c.Chain)
	for i := range c.Programs {
		program := &c.Programs[i]
		if program.Handshakes == 0 {
			continue
		}
		name := program.Executable
		if program.Unit != "" {
			name += " (" + program.Unit + ")"
		}
		text := fmt.Sprintf("%s: %d handshakes, key exchange known of %d, authentication of %d", name, program.Handshakes, program.KeyExchange, program.Authentication)
		if program.Socket > 0 {
			text += fmt.Sprintf(", %d seen at sockets only", program.Socket)
		}
		p.add("coverage:program", text)
	}
	return p.list()
}
