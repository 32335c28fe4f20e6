// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"

	"crypto-auditing/src/internal/inventory/row"
)

// protocol returns the asset of a protocol.
func (g *graph) protocol(name string, kind cyclonedx.CryptoProtocolType, version string) *asset {
	return g.asset(ref("crypto/protocol", name), func() cyclonedx.Component {
		return cyclonedx.Component{
			Type: cyclonedx.ComponentTypeCryptographicAsset, Name: name,
			CryptoProperties: &cyclonedx.CryptoProperties{
				AssetType:          cyclonedx.CryptoAssetTypeProtocol,
				ProtocolProperties: &cyclonedx.CryptoProtocolProperties{Type: kind, Version: version},
			},
		}
	})
}

// tlsProtocol returns the asset of a version of TLS, as rows name it.
func (g *graph) tlsProtocol(version string) *asset {
	name, number, _ := strings.Cut(version, " ")
	switch {
	case version == "":
		return g.protocol("TLS", cyclonedx.CryptoProtocolTypeTLS, "")
	case name == "TLS":
		return g.protocol(version, cyclonedx.CryptoProtocolTypeTLS, number)
	case name == "SSL":
		return g.protocol(version, cyclonedx.CryptoProtocolTypeTLS, version)
	case name == "DTLS" && g.latest:
		return g.protocol(version, cyclonedx.CryptoProtocolTypeDTLS, number)
	}
	return g.protocol(version, cyclonedx.CryptoProtocolTypeOther, number)
}

// tls returns the assets of a TLS handshake.
func (g *graph) tls(r *row.Row) (assets []*asset) {
	exchange, records := g.table.suite(r.Suite)
	group := g.table.lookup(g.table.TLS.Group, r.Group)
	if r.Group == "" && r.GroupBits > 0 {
		group = []algorithm{g.table.named("FFDHE").sized(r.GroupBits)}
	}
	own, peer := g.table.lookup(g.table.TLS.Signature, r.Signature), g.table.lookup(g.table.TLS.Signature, r.PeerSignature)
	exchange = slices.DeleteFunc(exchange, func(a algorithm) bool {
		// Precisely known algorithms replace those of the suite.
		return group != nil && a.Primitive == "key-agree" || (own != nil || peer != nil) && a.Primitive == "signature"
	})
	protocol := g.tlsProtocol(r.Version)
	assets = append(assets, g.algorithms(slices.Concat(exchange, records, group), "")...)
	assets = append(assets, g.algorithms(own, "sign")...)
	assets = append(assets, g.algorithms(peer, "verify")...)
	assets = append(assets, g.serverKey(r.Algorithm, r.Bits, r.Curve)...)
	if r.Suite != "" {
		s := protocol.suites[r.Suite]
		if s == nil {
			s = &suite{algorithms: map[string]bool{}, groups: map[string]bool{}, schemes: map[string]bool{}}
			protocol.suites[r.Suite] = s
		}
		for _, a := range g.algorithms(slices.Concat(exchange, records, group, own, peer), "") {
			s.algorithms[a.component.BOMRef] = true
		}
		note(s.groups, r.Group)
		note(s.schemes, r.Signature)
		note(s.schemes, r.PeerSignature)
	}
	protocol.depend(assets)
	assets = append(assets, protocol)
	if r.Transport == "quic" {
		kind := cyclonedx.CryptoProtocolTypeOther
		if g.latest {
			kind = cyclonedx.CryptoProtocolTypeQUIC
		}
		quic := g.protocol("QUIC", kind, "")
		quic.depend([]*asset{protocol})
		assets = append(assets, quic)
	}
	return assets
}

// ssh returns the assets of an SSH handshake.
func (g *graph) ssh(r *row.Row) (assets []*asset) {
	t := g.table
	kex := t.lookup(t.SSH.Kex, r.Kex)
	for i := range kex {
		if kex[i].name == "FFDHE" {
			kex[i] = kex[i].sized(r.GroupBits)
		}
	}
	assets = g.algorithms(slices.Concat(kex, t.lookup(t.SSH.Cipher, r.CipherOut), t.lookup(t.SSH.Cipher, r.CipherIn), t.lookup(t.SSH.MAC, r.MACOut), t.lookup(t.SSH.MAC, r.MACIn)), "")
	host, client := "verify", "sign"
	if r.Role == "server" {
		host, client = client, host
	}
	if r.Role == "" {
		host, client = "", ""
	}
	assets = append(assets, g.algorithms(t.lookup(t.SSH.Key, r.HostKey), host)...)
	assets = append(assets, g.algorithms(t.lookup(t.SSH.Key, r.ClientKey), client)...)
	if strings.Contains(r.HostKey, "rsa") && r.Bits > 0 {
		assets = append(assets, g.serverKey("RSA", r.Bits, "")...)
	}
	protocol := g.protocol("SSH 2.0", cyclonedx.CryptoProtocolTypeSSH, "2.0")
	protocol.depend(assets)
	return append(assets, protocol)
}

func note(set map[string]bool, name string) {
	if name != "" {
		set[name] = true
	}
}

// depend records the dependencies of a protocol.
func (a *asset) depend(assets []*asset) {
	for _, on := range assets {
		a.dependsOn[on.component.BOMRef] = true
	}
}

// finishProtocol completes a protocol with its suites and algorithms.
func (g *graph) finishProtocol(a *asset, p *cyclonedx.CryptoProtocolProperties) {
	var suites []cyclonedx.CipherSuite
	for _, name := range slices.Sorted(maps.Keys(a.suites)) {
		s := a.suites[name]
		c := cyclonedx.CipherSuite{Name: name, Identifiers: g.identifiers(name), Algorithms: references(s.algorithms)}
		if g.latest {
			c.TLSGroups, c.TLSSignatureSchemes = sorted(s.groups), sorted(s.schemes)
		}
		suites = append(suites, c)
	}
	if suites != nil {
		p.CipherSuites = &suites
	}
	if !g.latest {
		p.CryptoRefArray = references(a.dependsOn)
		return
	}
	var related []cyclonedx.RelatedCryptographicAsset
	for _, ref := range slices.Sorted(maps.Keys(a.dependsOn)) {
		kind := "algorithm"
		switch {
		case strings.HasPrefix(ref, "crypto/key/"):
			kind = "publicKey"
		case strings.HasPrefix(ref, "crypto/protocol/"):
			kind = "protocol"
		}
		related = append(related, cyclonedx.RelatedCryptographicAsset{Type: kind, Ref: ref})
	}
	if related != nil {
		p.RelatedCryptographicAssets = &related
	}
}

// identifiers returns the two bytes of a cipher suite, nil if its number is unknown.
func (g *graph) identifiers(suite string) *[]string {
	number, ok := g.registry.Key("tls::ciphersuite").Parse(suite)
	if !ok || number < 0 || number > 0xffff {
		return nil
	}
	return &[]string{fmt.Sprintf("0x%02X", number>>8), fmt.Sprintf("0x%02X", number&0xff)}
}

// references returns the members of a set as references, nil if there are none.
func references(set map[string]bool) *[]cyclonedx.BOMReference {
	if len(set) == 0 {
		return nil
	}
	var list []cyclonedx.BOMReference
	for _, ref := range slices.Sorted(maps.Keys(set)) {
		list = append(list, cyclonedx.BOMReference(ref))
	}
	return &list
}
