// SPDX-License-Identifier: Apache-2.0

package quic_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"crypto-auditing/src/internal/wire/quic"
	"crypto-auditing/src/internal/wire/wiretest"
)

// The packets of RFC 9001, appendix A.2 and A.3, and their messages.
const (
	clientInitial = "" +
		"c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399" +
		"1c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c8eb7539ec4d4905fed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df6212" +
		"30c83711b39343fa028cea7f7fb5ff89eac2308249a02252155e2347b63d58c5457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c208" +
		"4dce25ff9b06cde535d0f920a2db1bf362c23e596d11a4f5a6cf3948838a3aec4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760b7bad1db4ba3" +
		"485e8a94dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db059ae0648db2f64264ed5e39be2e20d82df566da8dd5998ccabdae053060ae6c" +
		"7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363aa5f89937f5a67258bf63ad6f1a0b1d96dbd4faddfcefc5266ba6611722395c906556" +
		"be52afe3f565636ad1b17d508b73d8743eeb524be22b3dcbc2c7468d54119c7468449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663a" +
		"c69890f4157015853d91e923037c227a33cdd5ec281ca3f79c44546b9d90ca00f064c99e3dd97911d39fe9c5d0b23a229a234cb36186c4819e8b9c5927726632" +
		"291d6a418211cc2962e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe5896425c5bac4aee82e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2c25e50fd" +
		"14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c1f28ff18f58891ffef132eef2fa09346aee33c28eb130ff28f5b766953334113211996d20011a198" +
		"e3fc433f9f2541010ae17c1bf202580f6047472fb36857fe843b19f5984009ddc324044e847a4f4a0ab34f719595de37252d6235365e9b84392b061085349d73" +
		"203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da510b0ff20dcc0c77fcb2c0e0eb605cb0504db87632cf3d8b4dae6e705769d1de354270123cb11450e" +
		"fc60ac47683d7b8d0f811365565fd98c4c8eb936bcab8d069fc33bd801b03adea2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e724047" +
		"90a2181014f3b94a4e97d117b438130368cc39dbb2d198065ae3986547926cd2162f40a29f0c3c8745c0f50fba3852e566d44575c29d39a03f0cda721984b6f4" +
		"40591f355e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca06948109f23f350db82123535eb8a7433bdabcb909271a6ecbcb58b936a88cd4e" +
		"8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e308f76f0be79e2fb8f5d5fbbe2e30ecadd220723c8c0aea8078cdfcb3868263ff8f09400" +
		"54da48781893a7e49ad5aff4af300cd804a6b6279ab3ff3afb64491c85194aab760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9" +
		"f96f3ca9ec1dde434da7d2d392b905ddf3d1f9af93d1af5950bd493f5aa731b4056df31bd267b6b90a079831aaf579be0a39013137aac6d404f518cfd4684064" +
		"7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934"

	clientMessage = "" +
		"010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578616d706c" +
		"652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559f" +
		"edba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c000240010039003204" +
		"08ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff"

	serverInitial = "" +
		"cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3" +
		"dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4" +
		"2158407dd074ee"

	serverMessage = "" +
		"020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c940d89690b84d08a6099" +
		"3c144eca684d1081287c834d5311bcf32bb9da1a002b00020304"
)

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packet(t testing.TB, datagram []byte) quic.Packet {
	t.Helper()
	p, initial, ok := quic.Next(&datagram)
	if !initial || !ok || len(datagram) != 0 {
		t.Fatalf("initial %v, ok %v, %d bytes left", initial, ok, len(datagram))
	}
	return p
}

func TestPacketsOfTheRFCAreDecrypted(t *testing.T) {
	p := packet(t, decode(t, clientInitial))
	c, frames := quic.Begin(&p)
	if c == nil {
		t.Fatal("the client's packet is not opened")
	}
	var got []byte
	c.Frames(true, frames, func(b []byte) { got = append(got, b...) })
	if !bytes.Equal(got, decode(t, clientMessage)) {
		t.Errorf("the client's message is %x", got)
	}
	p = packet(t, decode(t, serverInitial))
	frames, restarted := c.Open(false, &p)
	got = nil
	c.Frames(false, frames, func(b []byte) { got = append(got, b...) })
	if restarted || !bytes.Equal(got, decode(t, serverMessage)) {
		t.Errorf("the server's message is %x", got)
	}
}

func TestModifiedPacketsAreNotDecrypted(t *testing.T) {
	whole := decode(t, clientInitial)
	for _, at := range []int{1, 6, 17, 20, 25, 100, len(whole) - 1} {
		b := bytes.Clone(whole)
		b[at] ^= 1
		if p, initial, ok := quic.Next(&b); ok && initial {
			if c, _ := quic.Begin(&p); c != nil {
				t.Errorf("a change of byte %d is not noticed", at)
			}
		}
	}
}

func TestCryptoFramesComeInAnyOrder(t *testing.T) {
	p := packet(t, decode(t, clientInitial))
	c, _ := quic.Begin(&p)
	var got []byte
	for _, frame := range [][]byte{
		{6, 4, 2, 'e', 'f', 0}, {1, 6, 2, 3, 'c', 'd', 'e'}, {2, 1, 0, 1, 0, 0, 0, 6, 0, 1, 'a'}, {3, 1, 0, 0, 0, 1, 1, 1, 6, 1, 1, 'b'}, {6, 0, 3, 'a', 'b', 'c'},
	} {
		c.Frames(true, frame, func(b []byte) { got = append(got, b...) })
	}
	if string(got) != "abcdef" || c.Held() != 0 {
		t.Errorf("%q, %d bytes are kept", got, c.Held())
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(decode(f, clientInitial), decode(f, serverInitial), []byte{6, 4, 2, 'e', 'f'})
	for _, c := range wiretest.Captures(f) {
		if c.Want["protocol"] == "quic" {
			f.Add(c.Portions[0].Data, c.Portions[1].Data, []byte{2, 1, 0, 1, 0, 0, 0})
		}
	}
	f.Fuzz(func(t *testing.T, client, server, frames []byte) {
		var c *quic.Connection
		for i, datagram := range [][]byte{client, server} {
			for len(datagram) > 0 {
				p, initial, ok := quic.Next(&datagram)
				if !ok {
					break
				}
				if !initial {
					continue
				}
				if c == nil {
					c, _ = quic.Begin(&p)
					continue
				}
				opened, _ := c.Open(i == 0, &p)
				c.Frames(i == 0, opened, func([]byte) {})
			}
		}
		if c == nil {
			c = &quic.Connection{}
		}
		c.Frames(true, frames, func([]byte) {})
		c.Frames(false, frames, func([]byte) {})
		if c.Held() > 64<<10 {
			t.Fatalf("%d bytes are kept", c.Held())
		}
	})
}
