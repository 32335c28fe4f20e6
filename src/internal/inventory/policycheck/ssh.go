// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"strings"

	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/row"
)

// sshExchange has the values that a policy must allow for a key exchange of SSH. Without a group, the
// policy must allow arbitrary groups.
type sshExchange struct{ exchange, group, hash string }

// sshExchanges returns the required values of the key exchanges that crypto-policies configures for SSH.
func sshExchanges() map[string]sshExchange {
	return map[string]sshExchange{
		"ecdh-sha2-nistp256":                   {"ECDHE", "SECP256R1", "SHA2-256"},
		"ecdh-sha2-nistp384":                   {"ECDHE", "SECP384R1", "SHA2-384"},
		"ecdh-sha2-nistp521":                   {"ECDHE", "SECP521R1", "SHA2-512"},
		"curve25519-sha256":                    {"ECDHE", "X25519", "SHA2-256"},
		"diffie-hellman-group1-sha1":           {"DHE", "FFDHE-1024", "SHA1"},
		"diffie-hellman-group14-sha1":          {"DHE", "FFDHE-2048", "SHA1"},
		"diffie-hellman-group14-sha256":        {"DHE", "FFDHE-2048", "SHA2-256"},
		"diffie-hellman-group16-sha512":        {"DHE", "FFDHE-4096", "SHA2-512"},
		"diffie-hellman-group18-sha512":        {"DHE", "FFDHE-8192", "SHA2-512"},
		"diffie-hellman-group-exchange-sha1":   {"DHE", "", "SHA1"},
		"diffie-hellman-group-exchange-sha256": {"DHE", "", "SHA2-256"},
		"sntrup761x25519-sha512":               {"SNTRUP", "X25519", "SHA2-512"},
		"mlkem768x25519-sha256":                {"KEM-ECDH", "MLKEM768-X25519", "SHA2-256"},
		"mlkem768nistp256-sha256":              {"KEM-ECDH", "P256-MLKEM768", "SHA2-256"},
		"mlkem1024nistp384-sha384":             {"KEM-ECDH", "P384-MLKEM1024", "SHA2-384"},
		"gss-gex-sha1":                         {"DHE-GSS", "", "SHA1"},
		"gss-group1-sha1":                      {"DHE-GSS", "FFDHE-1024", "SHA1"},
		"gss-group14-sha1":                     {"DHE-GSS", "FFDHE-2048", "SHA1"},
		"gss-group14-sha256":                   {"DHE-GSS", "FFDHE-2048", "SHA2-256"},
		"gss-group16-sha512":                   {"DHE-GSS", "FFDHE-4096", "SHA2-512"},
		"gss-nistp256-sha256":                  {"ECDHE-GSS", "SECP256R1", "SHA2-256"},
		"gss-curve25519-sha256":                {"ECDHE-GSS", "X25519", "SHA2-256"},
	}
}

// sshKex returns the required values of a key exchange, by its name in SSH.
func sshKex(kex string) (sshExchange, bool) {
	kex, _, _ = strings.Cut(kex, "@") // curve25519-sha256@libssh.org, sntrup761x25519-sha512@openssh.com
	if strings.HasPrefix(kex, "gss-") {
		kex, _, _ = cutLast(kex, "-") // gss-NAME-MECHANISM
	}
	e, ok := sshExchanges()[kex]
	return e, ok
}

// sshCipher returns the name of a cipher, and whether it needs no MAC.
func sshCipher(cipher string) (name string, aead bool) {
	switch cipher {
	case "aes128-gcm@openssh.com", "AEAD_AES_128_GCM":
		return "AES-128-GCM", true
	case "aes256-gcm@openssh.com", "AEAD_AES_256_GCM":
		return "AES-256-GCM", true
	case "chacha20-poly1305@openssh.com", "chacha20-poly1305":
		return "CHACHA20-POLY1305", true
	case "3des-cbc":
		return "3DES-CBC", false
	}
	for _, bits := range []string{"128", "192", "256"} {
		for _, mode := range []string{"ctr", "cbc"} {
			if cipher == "aes"+bits+"-"+mode {
				return "AES-" + bits + "-" + strings.ToUpper(mode), false
			}
		}
	}
	return "", false
}

// sshMAC returns the name of a MAC, and whether it is computed after encryption.
func sshMAC(mac string) (name string, etm bool) {
	mac, etm = strings.CutSuffix(strings.TrimSuffix(mac, "@openssh.com"), "-etm")
	switch mac {
	case "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-md5":
		return strings.ToUpper(mac), etm
	case "umac-64", "umac-128":
		return strings.ToUpper(mac), etm
	}
	return "", etm
}

// sshKey returns the name of the signatures of a kind of key, and whether the key is in a certificate.
func sshKey(algorithm string) (name string, certificate bool) {
	algorithm, _ = strings.CutSuffix(algorithm, "@openssh.com")
	algorithm, certificate = strings.CutSuffix(algorithm, "-cert-v01")
	names := map[string]string{
		"ssh-rsa": "RSA-SHA1", "ssh-dss": "DSA-SHA1", "rsa-sha2-256": "RSA-SHA2-256", "rsa-sha2-512": "RSA-SHA2-512",
		"ecdsa-sha2-nistp256": "ECDSA-SHA2-256", "ecdsa-sha2-nistp384": "ECDSA-SHA2-384", "ecdsa-sha2-nistp521": "ECDSA-SHA2-512",
		"ssh-ed25519": "EDDSA-ED25519", "sk-ssh-ed25519": "EDDSA-ED25519-FIDO", "sk-ecdsa-sha2-nistp256": "ECDSA-SHA2-256-FIDO",
	}
	return names[algorithm], certificate
}

// ssh judges a handshake of SSH.
func (j *judge) ssh(use *row.Use) {
	j.sshKex(use.Kex)
	j.sshDirection(use.CipherOut, use.MACOut)
	if use.CipherIn != use.CipherOut || use.MACIn != use.MACOut {
		j.sshDirection(use.CipherIn, use.MACIn)
	}
	j.sshHostKey(use)
	if use.ClientKey != "" {
		j.sshSignature(use.ClientKey)
	}
}

func (j *judge) sshKex(kex string) {
	if kex == "" {
		j.missing(cryptopolicy.KeyExchange, "the key exchange")
		return
	}
	needs, ok := sshKex(kex)
	if !ok {
		j.deny(cryptopolicy.KeyExchange, kex, "no policy enables it")
		return
	}
	j.requires(cryptopolicy.KeyExchange, needs.exchange, kex)
	j.requires(cryptopolicy.Hash, needs.hash, kex)
	switch {
	case needs.group != "":
		j.requires(cryptopolicy.Group, needs.group, kex)
	case j.scoped.Integer(cryptopolicy.ArbitraryDHGroups) == 0:
		j.deny(cryptopolicy.ArbitraryDHGroups, kex, "the policy allows no group but those it lists")
	}
	if j.backEnd.name == openSSHServer && needs.group == "FFDHE-1024" {
		j.notEnabled(cryptopolicy.Group, needs.group)
	}
}

// sshDirection judges how one direction is protected.
func (j *judge) sshDirection(cipher, mac string) {
	if cipher == "" {
		j.missing(cryptopolicy.Cipher, "the cipher")
		return
	}
	name, aead := sshCipher(cipher)
	j.requires(cryptopolicy.Cipher, name, cipher)
	if aead {
		return
	}
	if mac == "" {
		j.missing(cryptopolicy.MAC, "the MAC")
		return
	}
	name, etm := sshMAC(mac)
	j.requires(cryptopolicy.MAC, name, mac)
	if j.backEnd.name == libSSH && strings.HasPrefix(name, "UMAC-") {
		j.notEnabled(cryptopolicy.MAC, name)
	}
	if order := j.scoped.Enum(cryptopolicy.EtM); etm && order == "DISABLE_ETM" || !etm && order == "DISABLE_NON_ETM" {
		j.deny(cryptopolicy.EtM, mac, "the policy has "+order)
	}
}

func (j *judge) sshHostKey(use *row.Use) {
	if use.HostKey == "" {
		j.missing(cryptopolicy.Sign, "the algorithm of the host key")
		return
	}
	if j.backEnd.name == openSSHClient {
		// crypto-policies sets HostKeyAlgorithms for servers only.
		if name, _ := sshKey(use.HostKey); !j.signs(name) {
			j.undecidable(cryptopolicy.Sign, use.HostKey, "the policy does not list it, but OpenSSH clients do not take the algorithms of host keys from the policy")
		}
	} else {
		j.sshSignature(use.HostKey)
	}
	if strings.Contains(use.HostKey, "rsa") {
		j.size(cryptopolicy.MinRSASize, use.Bits, "the size of the host key")
	}
}

func (j *judge) sshSignature(algorithm string) {
	name, certificate := sshKey(algorithm)
	if !j.signs(name) {
		j.requires(cryptopolicy.Sign, name, algorithm)
	}
	if name == "DSA-SHA1" && j.backEnd.name != libSSH { // OpenSSH has removed it
		j.notEnabled(cryptopolicy.Sign, name)
	}
	if certificate && j.scoped.Integer(cryptopolicy.SSHCerts) == 0 {
		j.deny(cryptopolicy.SSHCerts, algorithm, "the policy does not allow certificates")
	}
}
