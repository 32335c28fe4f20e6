// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"slices"
	"strings"
)

// Properties with lists of algorithms.
const (
	Cipher      = "cipher"
	Group       = "group"
	Hash        = "hash"
	KeyExchange = "key_exchange"
	MAC         = "mac"
	Protocol    = "protocol"
	Sign        = "sign"
)

// Properties with integers and enumerations.
const (
	ArbitraryDHGroups = "arbitrary_dh_groups"
	MinDHSize         = "min_dh_size"
	MinDSASize        = "min_dsa_size"
	MinRSASize        = "min_rsa_size"
	MinECSize         = "min_ec_size"
	SHA1InCerts       = "sha1_in_certs"
	SSHCerts          = "ssh_certs"
	BlockSHA1         = "__openssl_block_sha1_signatures"

	EtM            = "etm"
	ExtendedSecret = "__ems"
)

// vocabulary has the names that policies may use. It is the union of all releases of crypto-policies,
// to accept the policies of each. Globs expand to algorithms in this order.
type vocabulary struct {
	lists    map[string][]string
	integers map[string]int      // the values of properties that no directive sets
	enums    map[string][]string // the first value likewise
	scopes   []string
}

func newVocabulary() *vocabulary {
	return &vocabulary{
		lists: map[string][]string{
			Cipher: strings.Fields(`AES-256-GCM AES-256-CCM AES-192-GCM AES-192-CCM AES-128-GCM AES-128-CCM
				CHACHA20-POLY1305 CAMELLIA-256-GCM CAMELLIA-128-GCM AES-256-CTR AES-256-CBC AES-192-CTR
				AES-192-CBC AES-128-CTR AES-128-CBC AES-256-OCB AES-256-EAX AES-192-OCB AES-192-EAX
				AES-128-OCB AES-128-EAX CAMELLIA-256-CBC CAMELLIA-192-CBC CAMELLIA-128-CBC 3DES-CBC DES-CBC
				RC4-40 RC4-128 DES40-CBC RC2-CBC IDEA-CBC SEED-CBC AES-256-CFB AES-192-CFB AES-128-CFB
				CAMELLIA-256-CFB CAMELLIA-192-CFB CAMELLIA-128-CFB 3DES-CFB IDEA-CFB GOST28147-TC26Z-CFB
				GOST28147-CPA-CFB GOST28147-CPB-CFB GOST28147-CPC-CFB GOST28147-CPD-CFB GOST28147-TC26Z-CNT
				MAGMA-CTR-ACPKM KUZNYECHIK-CTR-ACPKM NULL`),
			Group: strings.Fields(`MLKEM768-X25519 P256-MLKEM768 P384-MLKEM1024 MLKEM1024-X448 X25519 SECP256R1
				SECP384R1 SECP521R1 X448 FFDHE-1536 FFDHE-2048 FFDHE-3072 FFDHE-4096 FFDHE-6144 FFDHE-8192
				FFDHE-1024 GOST-GC256A GOST-GC256B GOST-GC256C GOST-GC256D GOST-GC512A GOST-GC512B
				GOST-GC512C BRAINPOOL-P256R1 BRAINPOOL-P384R1 BRAINPOOL-P512R1 MLKEM512 X25519-MLKEM512
				MLKEM768 X448-MLKEM768 P256-MLKEM512 MLKEM1024 P384-MLKEM768 P521-MLKEM1024`),
			Hash: strings.Fields(`SHA2-256 SHA2-384 SHA2-512 SHA3-256 SHA3-384 SHA3-512 SHA2-224 SHA3-224
				SHAKE-256 SHAKE-128 SHA1 MD5 STREEBOG-256 STREEBOG-512 GOSTR94`),
			KeyExchange: strings.Fields(`PSK DHE-PSK ECDHE-PSK RSA-PSK ECDHE RSA DHE DHE-RSA DHE-DSS EXPORT ANON
				DH ECDH VKO-GOST-2001 VKO-GOST-2012 VKO-GOST-KDF DHE-GSS ECDHE-GSS KEM-ECDH SNTRUP`),
			MAC: strings.Fields(`AEAD UMAC-128 HMAC-SHA1 HMAC-SHA2-256 HMAC-SHA2-384 HMAC-SHA2-512 UMAC-64
				HMAC-MD5 HMAC-STREEBOG-256 HMAC-STREEBOG-512 GOST28147-CPA-IMIT GOST28147-TC26Z-IMIT
				MAGMA-OMAC KUZNYECHIK-OMAC MAGMA-OMAC-ACPKM KUZNYECHIK-OMAC-ACPKM`),
			Protocol: slices.Concat(tlsProtocols(), dtlsProtocols(), []string{"IKEv2", "IKEv1"}),
			Sign:     signatures(),
		},
		integers: map[string]int{
			ArbitraryDHGroups: 0, MinDHSize: 0, MinDSASize: 0, MinRSASize: 0, MinECSize: 256, SHA1InCerts: 0,
			SSHCerts: 0, BlockSHA1: 1,
		},
		enums: map[string][]string{
			EtM:            {"ANY", "DISABLE_ETM", "DISABLE_NON_ETM"},
			ExtendedSecret: {"DEFAULT", "ENFORCE", "RELAX"},
		},
		scopes: strings.Fields(`tls ssl openssl gnutls java-tls nss nss-tls pkcs12 pkcs12-import nss-pkcs12
			nss-pkcs12-import smime smime-import nss-smime nss-smime-import ssh openssh openssh-server
			openssh-client libssh ipsec ike libreswan kerberos krb5 dnssec bind sequoia rpm rpm-sequoia`),
	}
}

// tlsProtocols and dtlsProtocols are in the order from the newest to the oldest.
func tlsProtocols() []string {
	return []string{"TLS1.3", "TLS1.2", "TLS1.1", "TLS1.0", "SSL3.0", "SSL2.0"}
}
func dtlsProtocols() []string { return []string{"DTLS1.2", "DTLS1.0", "DTLS0.9"} }

// signatures returns the algorithms of the property sign.
func signatures() []string {
	names := strings.Fields("MLDSA44 MLDSA65 MLDSA87 MLDSA65-ED25519 MLDSA87-ED448 RSA-MD5")
	for _, hash := range strings.Fields("SHA1 SHA2-224 SHA2-256 SHA2-384 SHA2-512 SHA3-224 SHA3-256 SHA3-384 SHA3-512") {
		names = append(names, "RSA-"+hash, "DSA-"+hash, "ECDSA-"+hash)
		if hash == "SHA2-256" {
			names = append(names, "ECDSA-SHA2-256-FIDO")
		}
	}
	names = append(names, "EDDSA-ED25519", "EDDSA-ED25519-FIDO", "EDDSA-ED448")
	for _, key := range []string{"RSA-PSS-", "RSA-PSS-RSAE-"} {
		for _, hash := range strings.Fields("SHA1 SHA2-224 SHA2-256 SHA2-384 SHA2-512") {
			names = append(names, key+hash)
		}
	}
	names = append(names, strings.Fields(`RSA-PSS-SHA3-224 RSA-PSS-SHA3-256 RSA-PSS-SHA3-384 RSA-PSS-SHA3-512
		RSA-PSS-RSAE-SHA3-256 RSA-PSS-RSAE-SHA3-384 RSA-PSS-RSAE-SHA3-512 ECDSA-BRAINPOOLP256-SHA2-256
		ECDSA-BRAINPOOLP384-SHA2-384 ECDSA-BRAINPOOLP512-SHA2-512 GOSTR341012-512 GOSTR341012-256 GOSTR341001
		P256-MLDSA44 RSA3072-MLDSA44 MLDSA44-PSS2048 MLDSA44-RSA2048 MLDSA44-ED25519 MLDSA44-P256
		MLDSA44-BP256 P384-MLDSA65 MLDSA65-PSS3072 MLDSA65-RSA3072 MLDSA65-P256 MLDSA65-BP256 P521-MLDSA87
		MLDSA87-P384 MLDSA87-BP384`)...)
	for _, family := range []struct{ names, prefixes string }{
		{"FALCON512 FALCONPADDED512", "P256- RSA3072-"},
		{"FALCON1024 FALCONPADDED1024", "P521-"},
		{"SPHINCSSHA2128FSIMPLE SPHINCSSHA2128SSIMPLE", "P256- RSA3072-"},
		{"SPHINCSSHA2192FSIMPLE", "P384-"},
		{"SPHINCSSHAKE128FSIMPLE", "P256- RSA3072-"},
	} {
		for _, name := range strings.Fields(family.names) {
			names = append(names, name)
			for _, prefix := range strings.Fields(family.prefixes) {
				names = append(names, prefix+name)
			}
		}
	}
	return names
}

// properties returns all known properties, sorted.
func (v *vocabulary) properties() []string {
	var names []string
	for name := range v.lists {
		names = append(names, name)
	}
	for name := range v.integers {
		names = append(names, name)
	}
	for name := range v.enums {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
