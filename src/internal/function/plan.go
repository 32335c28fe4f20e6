// SPDX-License-Identifier: Apache-2.0

package function

import (
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout"
)

// randomBytes of the server's random are read to distinguish handshakes.
const randomBytes = 8

// Recordable reports whether the source records anything of a library.
func Recordable(l *layout.Library) bool {
	return l.Handshakes || l.PublicKey
}

// planOf returns the plan of a library.
func planOf(l *layout.Library) (*capture.Plan, error) {
	p := &capture.Plan{Machine: l.Machine, BuildID: l.BuildID, Image: capture.Image{Segments: l.Segments}}
	for _, r := range l.Refusals {
		p.AddError(&capture.LimitError{Text: r.String()})
	}
	p.Calls = &capture.Calls{Text: l.Text.Start, TextSize: l.Text.End - l.Text.Start, Chains: map[uint8]capture.Chain{}}
	for i := range l.Values {
		v := &l.Values[i]
		chain := capture.Chain{Offsets: v.Chain.Offsets, Width: v.Chain.Width}
		if v.ID == layout.ServerRandom {
			chain.Width = randomBytes
		}
		p.Calls.Chains[uint8(v.ID)] = chain
	}
	for i := range l.Sites {
		s := &l.Sites[i]
		if wanted(l, s) {
			p.Sites = append(p.Sites, capture.Site{
				Provider: Name, Probe: s.Function, Address: s.Addr, Offset: s.Offset, Call: call(s),
				CallInstruction: usesShadowStack(s),
			})
		}
	}
	if len(p.Sites) == 0 {
		return nil, none(p)
	}
	return p, nil
}

// usesShadowStack reports whether the kernel emulates an instruction at the site that
// changes a program's shadow stack.
func usesShadowStack(s *layout.Site) bool {
	return s.Emulated && (s.Instruction == "call" || s.Instruction == "bl" || s.Instruction == "ret")
}

func none(p *capture.Plan) error {
	return &capture.NoSitesError{Want: wantFunction, Errors: p.Errors}
}

// The layers of a library.
const (
	handshakes = "handshakes"
	publicKeys = "public-key operations"
)

// layer returns the layer that a site belongs to, empty if it is not used.
func layer(s *layout.Site) string {
	switch s.Role {
	case layout.HandshakeServer, layout.HandshakeClient, layout.Handshake, layout.HandshakeEnd, layout.ConnectionFree:
		return handshakes
	}
	return publicKeys
}

// wanted reports whether a site belongs to a complete layer.
func wanted(l *layout.Library, s *layout.Site) bool {
	switch layer(s) {
	case handshakes:
		return l.Handshakes
	case publicKeys:
		return l.PublicKey
	}
	return false
}

// call converts a site of a layout to a call of a plan.
func call(s *layout.Site) *capture.Call {
	c := &capture.Call{
		Role: uint8(s.Role), Operation: uint8(s.Operation), Layer: layer(s), StackDelta: s.StackDelta, External: s.External,
	}
	if s.Role == layout.HandshakeEnd {
		c.Reach = layout.MaxFrame
	}
	for i := range s.Params {
		p := &s.Params[i]
		switch p.Kind {
		case layout.Object, layout.KeyDSA, layout.KeyDH:
			c.Object = p.Register
		case layout.KeyRSA:
			c.Object, c.Value = p.Register, uint8(layout.ModulusWords)
		case layout.KeyEC:
			c.Object, c.Value = p.Register, uint8(layout.Curve)
		case layout.Output:
			c.Output = p.Register
		case layout.Digest:
			c.Digest = p.Register
		case layout.DigestNID:
			c.DigestNID = p.Register
		case layout.InputLength:
			c.Length = p.Register
		case layout.Bits:
			c.Bits = p.Register
		case layout.NID:
			c.CurveNID = p.Register
		case layout.Text:
			c.Text = p.Register
		case layout.Command:
			c.Command = p.Register
		case layout.Result:
			c.Result = p.Register
		case layout.Algorithm:
			c.Algorithm = p.Register
		case layout.Data:
			c.Data = p.Register
		case layout.Signing:
			c.Signing = p.Register
		case layout.Signature:
			c.Signature = p.Register
		}
	}
	return c
}
