// SPDX-License-Identifier: Apache-2.0

package ssh

import "strings"

// other replaces a name that is not registered: peers can choose any name.
const other = "other"

// registered returns an algorithm name if IANA lists it
// (https://www.iana.org/assignments/ssh-parameters) or an implementation documents it
// as its own, else "other".
func registered(name []byte) string {
	switch string(name) {
	case
		// Key exchange: RFC 4253, 4419, 4432, 5656, 8268, 8731 and the drafts for
		// post-quantum hybrids.
		"diffie-hellman-group-exchange-sha1", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group1-sha1",
		"diffie-hellman-group14-sha1", "diffie-hellman-group14-sha256", "diffie-hellman-group15-sha512",
		"diffie-hellman-group16-sha512", "diffie-hellman-group17-sha512", "diffie-hellman-group18-sha512",
		"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "ecdh-sha2-1.3.132.0.10", "ecmqv-sha2",
		"rsa1024-sha1", "rsa2048-sha256", "curve25519-sha256", "curve448-sha512", "curve25519-sha256@libssh.org",
		"sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "sntrup4591761x25519-sha512@tinyssh.org",
		"mlkem768x25519-sha256", "mlkem768nistp256-sha256", "mlkem1024nistp384-sha384", "sm2kep-sha2-nistp256",
		"diffie-hellman-group14-sha256@ssh.com", "diffie-hellman-group14-sha224@ssh.com", "diffie-hellman-group15-sha256@ssh.com",
		"diffie-hellman-group15-sha384@ssh.com", "diffie-hellman-group16-sha384@ssh.com", "diffie-hellman-group16-sha512@ssh.com",
		"diffie-hellman-group18-sha512@ssh.com", "diffie-hellman-group-exchange-sha224@ssh.com",
		"diffie-hellman-group-exchange-sha384@ssh.com", "diffie-hellman-group-exchange-sha512@ssh.com",
		"ecdh-nistp256-kyber-512r3-sha256-d00@openquantumsafe.org", "x25519-kyber-512r3-sha256-d00@amazon.com",
		"ecdh-nistp384-kyber-768r3-sha384-d00@openquantumsafe.org", "ecdh-nistp521-kyber-1024r3-sha512-d00@openquantumsafe.org",
		// Host keys: RFC 4253, 4462, 5656, 6187, 8332, 8709 and OpenSSH's PROTOCOL.
		"ssh-dss", "ssh-rsa", "rsa-sha2-256", "rsa-sha2-512", "spki-sign-rsa", "spki-sign-dss", "pgp-sign-rsa", "pgp-sign-dss", "null",
		"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ecdsa-sha2-1.3.132.0.10", "ssh-ed25519", "ssh-ed448",
		"x509v3-ssh-dss", "x509v3-ssh-rsa", "x509v3-rsa2048-sha256", "x509v3-ecdsa-sha2-nistp256", "x509v3-ecdsa-sha2-nistp384",
		"x509v3-ecdsa-sha2-nistp521", "x509v3-sign-rsa", "x509v3-sign-dss", "x509v3-sign-rsa-sha256@ssh.com",
		"ssh-rsa-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com",
		"ssh-dss-cert-v01@openssh.com", "ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com",
		"ecdsa-sha2-nistp521-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com",
		"sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
		"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "ssh-mldsa-44", "ssh-mldsa-65", "ssh-mldsa-87", "ssh-mldsa44-ed25519@openssh.com",
		// Ciphers: RFC 4253, 4344, 4345, 5647 and OpenSSH's PROTOCOL.
		"3des-cbc", "blowfish-cbc", "twofish256-cbc", "twofish-cbc", "twofish192-cbc", "twofish128-cbc", "aes256-cbc", "aes192-cbc",
		"aes128-cbc", "serpent256-cbc", "serpent192-cbc", "serpent128-cbc", "arcfour", "arcfour128", "arcfour256", "idea-cbc",
		"cast128-cbc", "des-cbc", "none", "aes128-ctr", "aes192-ctr", "aes256-ctr", "3des-ctr", "blowfish-ctr", "twofish128-ctr",
		"twofish192-ctr", "twofish256-ctr", "serpent128-ctr", "serpent192-ctr", "serpent256-ctr", "idea-ctr", "cast128-ctr",
		"AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "aes128-gcm", "aes256-gcm", "chacha20-poly1305", "camellia128-cbc", "camellia192-cbc",
		"camellia256-cbc", "camellia128-ctr", "camellia192-ctr", "camellia256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com",
		"chacha20-poly1305@openssh.com", "rijndael-cbc@lysator.liu.se", "sm4-cbc", "sm4-ctr", "sm4-gcm",
		// Integrity: RFC 4253, 6668 and OpenSSH's PROTOCOL.
		"hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-96", "hmac-sha2-512-96",
		"hmac-sha1-etm@openssh.com", "hmac-sha1-96-etm@openssh.com", "hmac-md5-etm@openssh.com", "hmac-md5-96-etm@openssh.com",
		"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-64@openssh.com", "umac-128@openssh.com",
		"umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-ripemd160", "hmac-ripemd160@openssh.com",
		"hmac-ripemd160-etm@openssh.com", "hmac-sha256@ssh.com", "hmac-sha256-2@ssh.com", "hmac-sha224@ssh.com", "hmac-sha384@ssh.com",
		"hmac-sha512@ssh.com", "hmac-sm3",
		// Compression: RFC 4253 and OpenSSH's PROTOCOL.
		"zlib", "zlib@openssh.com":
		return string(name)
	}
	// With GSS-API (RFC 4462, RFC 8732) a digest of the mechanism follows the prefix.
	for _, prefix := range []string{
		"gss-group1-sha1-", "gss-group14-sha1-", "gss-gex-sha1-", "gss-group14-sha256-", "gss-group15-sha512-", "gss-group16-sha512-",
		"gss-group17-sha512-", "gss-group18-sha512-", "gss-nistp256-sha256-", "gss-nistp384-sha384-", "gss-nistp521-sha512-",
		"gss-curve25519-sha256-", "gss-curve448-sha512-",
	} {
		if strings.HasPrefix(string(name), prefix) {
			return prefix + "*"
		}
	}
	return other
}

// indicator reports whether a name in the list of key exchange methods is not a method
// but signals an extension of the sender (RFC 8308, section 2.1).
func indicator(name []byte) bool {
	for _, prefix := range []string{"ext-info-", "kex-strict-", "kexguess2@"} {
		if strings.HasPrefix(string(name), prefix) {
			return true
		}
	}
	return false
}
