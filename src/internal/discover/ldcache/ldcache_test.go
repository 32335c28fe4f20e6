// SPDX-License-Identifier: Apache-2.0

package ldcache_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"crypto-auditing/src/internal/discover/ldcache"
)

// cache makes a cache in the current format.
func cache(entries ...ldcache.Entry) []byte {
	b := []byte("glibc-ld.so.cache1.1")
	b = binary.NativeEndian.AppendUint32(b, uint32(len(entries)))
	b = append(b, make([]byte, 48-len(b))...)
	var strings []byte
	base := 48 + 24*len(entries)
	for _, e := range entries {
		b = binary.NativeEndian.AppendUint32(b, 3)
		b = binary.NativeEndian.AppendUint32(b, uint32(base+len(strings)))
		strings = append(append(strings, e.Soname...), 0)
		b = binary.NativeEndian.AppendUint32(b, uint32(base+len(strings)))
		strings = append(append(strings, e.Path...), 0)
		b = append(b, make([]byte, 12)...)
	}
	return append(b, strings...)
}

var sample = []ldcache.Entry{
	{Soname: "libssl.so.3", Path: "/usr/lib64/libssl.so.3"},
	{Soname: "libssl.so.3", Path: "/opt/lib/libssl.so.3"},
	{Soname: "libc.so.6", Path: "/usr/lib64/libc.so.6"},
}

func TestLibrariesAreFoundBySoname(t *testing.T) {
	entries, err := ldcache.Parse(cache(sample...))
	if err != nil {
		t.Fatal(err)
	}
	got := ldcache.Find(entries, func(s string) bool { return strings.HasPrefix(s, "libssl.so") })
	if strings.Join(got, " ") != "/usr/lib64/libssl.so.3 /opt/lib/libssl.so.3" {
		t.Errorf("found %q", got)
	}
}

func TestALeadingOldFormatIsSkipped(t *testing.T) {
	old := append([]byte("ld.so-1.7.0\x00"), binary.NativeEndian.AppendUint32(nil, 1)...)
	old = append(old, make([]byte, 12+4)...)
	entries, err := ldcache.Parse(append(old, cache(sample...)...))
	if err != nil || len(entries) != len(sample) {
		t.Errorf("%d entries, %v; want %d", len(entries), err, len(sample))
	}
}

func TestTheCacheOfThisMachineMatchesLdconfig(t *testing.T) {
	out, err := exec.Command("/sbin/ldconfig", "-p").Output()
	if err != nil {
		t.Skipf("no ldconfig: %v", err)
	}
	entries, err := ldcache.Read(ldcache.Path)
	if err != nil {
		t.Fatal(err)
	}
	// The first line of ldconfig is a heading.
	if lines := bytes.Count(out, []byte(" => ")); lines != len(entries) || lines == 0 {
		t.Errorf("%d entries, ldconfig prints %d", len(entries), lines)
	}
	for _, e := range entries {
		if !bytes.Contains(out, []byte(" => "+e.Path+"\n")) {
			t.Errorf("ldconfig does not print %+v", e)
		}
	}
}

func TestBadCachesAreRefused(t *testing.T) {
	good := cache(sample...)
	for name, b := range map[string][]byte{
		"empty":             {},
		"text":              []byte("this is no cache, but long enough to be one, really it is"),
		"too many entries":  append(append(bytes.Clone(good[:20]), 0xff, 0xff, 0xff, 0x7f), good[24:]...),
		"cut in the table":  good[:60],
		"cut in a string":   good[:len(good)-1],
		"old table too big": append([]byte("ld.so-1.7.0\x00\xff\xff\xff\xff"), good...),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ldcache.Parse(b); !errors.Is(err, ldcache.ErrFormat) {
				t.Errorf("error %v, want ErrFormat", err)
			}
		})
	}
	if _, err := ldcache.Read("/nonexistent/cache"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(cache(sample...))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ldcache.Parse(b)
		if err != nil && !errors.Is(err, ldcache.ErrFormat) {
			t.Errorf("error %v", err)
		}
		for _, e := range entries {
			if !bytes.Contains(b, []byte(e.Path)) {
				t.Errorf("entry %+v is not from the file", e)
			}
		}
	})
}
