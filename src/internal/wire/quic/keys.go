// SPDX-License-Identifier: Apache-2.0

package quic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// The salts of the versions (RFC 9001, section 5.2; RFC 9369, section 3.3.1).
const (
	salt1 = "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a"
	salt2 = "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9"
)

// keys protect the Initial packets of one side. Any observer of the packets can derive
// them.
type keys struct {
	header cipher.Block
	packet cipher.AEAD
	iv     [12]byte
}

// derive returns the keys of the client and of the server (RFC 9001, section 5.2).
func derive(destination []byte, version uint32) (client, server *keys) {
	salt, prefix := salt1, "quic "
	if version == version2 {
		salt, prefix = salt2, "quicv2 "
	}
	secret, err := hkdf.Extract(sha256.New, destination, []byte(salt))
	if err != nil {
		// The library only fails if policy forbids the sizes.
		return nil, nil
	}
	return newKeys(expand(secret, "client in", 32), prefix), newKeys(expand(secret, "server in", 32), prefix)
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1, with an empty context.
func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		return nil
	}
	return out
}

func newKeys(secret []byte, prefix string) *keys {
	header, err := aes.NewCipher(expand(secret, prefix+"hp", 16))
	if err != nil {
		return nil
	}
	block, err := aes.NewCipher(expand(secret, prefix+"key", 16))
	if err != nil {
		return nil
	}
	packet, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	k := &keys{header: header, packet: packet}
	copy(k.iv[:], expand(secret, prefix+"iv", 12))
	return k
}

// open returns the frames of a packet (RFC 9001, sections 5.3 and 5.4), nil if the keys
// do not decrypt it. It does not modify the packet.
func (k *keys) open(p *Packet) []byte {
	const sample = 16
	if k == nil || len(p.raw) < p.number+4+sample {
		return nil
	}
	var mask [sample]byte
	k.header.Encrypt(mask[:], p.raw[p.number+4:p.number+4+sample])
	first := p.raw[0] ^ mask[0]&0x0f
	size := int(first&3) + 1
	head := append([]byte(nil), p.raw[:p.number+size]...)
	head[0] = first
	nonce := k.iv
	for i := range size {
		b := p.raw[p.number+i] ^ mask[1+i]
		head[p.number+i] = b
		// The packet numbers at the beginning of a connection are not truncated.
		nonce[len(nonce)-size+i] ^= b
	}
	frames, err := k.packet.Open(nil, nonce[:], p.raw[p.number+size:], head)
	if err != nil {
		return nil
	}
	return frames
}
