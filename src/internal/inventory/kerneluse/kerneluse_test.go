// SPDX-License-Identifier: Apache-2.0

package kerneluse_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"crypto-auditing/src/internal/inventory/kerneluse"
)

func TestUsesOfTheKernelAreFoundInSysfs(t *testing.T) {
	module := func(name, references string, holders ...string) fstest.MapFS {
		m := fstest.MapFS{
			"module/" + name + "/initstate": {Data: []byte("live\n")},
			"module/" + name + "/refcnt":    {Data: []byte(references + "\n")},
			"module/" + name + "/holders/.": {Mode: 0o755},
		}
		for _, h := range holders {
			m["module/"+name+"/holders/"+h] = &fstest.MapFile{}
		}
		return m
	}
	volume := func(device, id string) fstest.MapFS {
		return fstest.MapFS{"block/" + device + "/dm/uuid": {Data: []byte(id + "\n")}}
	}
	for name, c := range map[string]struct {
		files []fstest.MapFS
		want  []string
	}{
		"nothing": {nil, nil},
		"an encrypted volume": {
			[]fstest.MapFS{volume("dm-0", "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-root"), volume("dm-1", "LVM-abc")},
			[]string{"disk encryption (1 volume)"},
		},
		"volumes without encryption": {
			[]fstest.MapFS{volume("dm-0", "CRYPT-VERITY-01-usr"), volume("dm-1", "CRYPT-SUBDEV-01-x"), volume("dm-2", "CRYPT-INTEGRITY-01-x"), volume("dm-3", "")},
			nil,
		},
		"plain and LUKS": {
			[]fstest.MapFS{volume("dm-0", "CRYPT-PLAIN-swap"), volume("dm-12", "CRYPT-LUKS1-01-home")},
			[]string{"disk encryption (2 volumes)"},
		},
		"a module that only another one uses": {[]fstest.MapFS{module("esp4", "1", "esp4_offload"), module("tls", "0")}, nil},
		"security associations":               {[]fstest.MapFS{module("esp4", "3", "esp4_offload")}, []string{"IPsec"}},
		"WireGuard":                           {[]fstest.MapFS{module("wireguard", "0")}, []string{"WireGuard (its module is loaded)"}},
		"WireGuard built in":                  {[]fstest.MapFS{{"module/wireguard/version": {Data: []byte("1.0.0\n")}}}, nil},
		"sockets": {
			[]fstest.MapFS{module("tls", "2"), module("af_alg", "3", "algif_hash", "algif_skcipher")},
			[]string{"kernel TLS (2 sockets)", "AF_ALG (1 socket)"},
		},
		"an invalid count": {[]fstest.MapFS{module("tls", "-"), module("af_alg", "-1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sys := fstest.MapFS{}
			for _, files := range c.files {
				for name, file := range files {
					sys[strings.TrimSuffix(name, "/.")] = file
					if strings.HasSuffix(name, "/.") {
						sys[strings.TrimSuffix(name, "/.")] = &fstest.MapFile{Mode: os.ModeDir | file.Mode}
					}
				}
			}
			if got := kerneluse.Find(sys); !reflect.DeepEqual(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// /proc/modules and lsblk agree about this machine.
func TestUsesOfThisMachineMatchTheKernelLists(t *testing.T) {
	modules, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without modules has no list
		t.Fatal(err)
	}
	wireguard := bytes.Contains(append([]byte("\n"), modules...), []byte("\nwireguard "))
	uses := kerneluse.Find(os.DirFS("/sys"))
	if got := slices.Contains(uses, "WireGuard (its module is loaded)"); got != wireguard {
		t.Errorf("found %q, /proc/modules has WireGuard: %t", uses, wireguard)
	}
	lsblk, err := exec.Command("lsblk", "--noheadings", "--raw", "--output", "TYPE").Output()
	if err != nil {
		t.Skipf("lsblk, a part of util-linux, lists no devices: %v", err)
	}
	crypt := slices.Contains(strings.Fields(string(lsblk)), "crypt")
	if got := slices.ContainsFunc(uses, func(use string) bool { return strings.HasPrefix(use, "disk encryption") }); got != crypt {
		t.Errorf("found %q, lsblk has encrypted volumes: %t", uses, crypt)
	}
}
