// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ours are the licences of this project.
var ours = []string{"Apache-2.0", "GPL-2.0-or-later", "MIT"}

func TestLicencesOfBundledModulesAreListedAndInTheTag(t *testing.T) {
	_, sources := tarball(t)
	list, err := os.ReadFile(filepath.Join(sources, "rpm/bundled-licences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	all := slices.Clone(ours)
	for line := range strings.Lines(string(list)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(fields) != 3 {
			t.Fatalf("rpm/bundled-licences.txt has the invalid line %q", line)
		}
		listed[fields[0]] = fields[2]
		all = append(all, strings.Split(fields[2], " AND ")...)
	}
	for line := range strings.Lines(mustRun(t, filepath.Join(root, "tests/tools"), "go", "run", "./licences", "--vendored", sources)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		module, got := fields[0], fields[2]
		// Modules for other systems are bundled, but not listed.
		if licences, ok := listed[module]; ok && got != licences {
			t.Errorf("rpm/bundled-licences.txt lists the licence of %s as %q, its texts are %q", module, licences, got)
		}
		all = append(all, strings.Split(got, " AND ")...)
		delete(listed, module)
	}
	for module := range listed {
		t.Errorf("rpm/bundled-licences.txt lists %s, which is not bundled", module)
	}

	spec, err := os.ReadFile(filepath.Join(root, "rpm/crypto-auditing.spec"))
	if err != nil {
		t.Fatal(err)
	}
	tag := regexp.MustCompile(`(?m)^License: +(.*)$`).FindSubmatch(spec)
	if tag == nil {
		t.Fatal("the spec file has no licence tag")
	}
	got := strings.Split(string(tag[1]), " AND ")
	slices.Sort(got)
	slices.Sort(all)
	if want := slices.Compact(all); !slices.Equal(got, want) {
		t.Errorf("the licences in the spec file are %v, want %v", got, want)
	}
}

// vendored returns the modules that are bundled with the sources.
func vendored(t *testing.T, sources string) (modules []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sources, "vendor/modules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "#" {
			modules = append(modules, fields[1])
		}
	}
	if len(modules) < 10 {
		t.Fatalf("only the modules %v are vendored", modules)
	}
	return modules
}

func TestPackagesListBundledModulesAndContainTheirLicences(t *testing.T) {
	built := rpms(t)
	_, sources := tarball(t)
	// The broker requires the agent, whose package has the texts.
	for name, texts := range map[string]bool{"crypto-auditing-agent": true, "crypto-auditing-broker": false, "crypto-auditing-inventory": false, "crauctl": true} {
		i := slices.IndexFunc(built.binary, func(path string) bool { return strings.HasPrefix(filepath.Base(path), name+"-"+version(t)) })
		if i < 0 {
			t.Errorf("there is no package %s", name)
			continue
		}
		provides := mustRun(t, "/", "rpm", "-qp", "--provides", built.binary[i])
		files := mustRun(t, "/", "rpm", "-qp", "--licensefiles", built.binary[i])
		for _, module := range vendored(t, sources) {
			if !strings.Contains(provides, "bundled(golang("+module+")) = ") {
				t.Errorf("%s does not list %s as bundled", name, module)
			}
			if texts && !strings.Contains(files, "/bundled-licences/"+module+"/LICENSE") {
				t.Errorf("%s does not contain the licence text of %s", name, module)
			}
		}
	}
}

func TestLicenceTagOfAPackageCoversItsProgram(t *testing.T) {
	built := rpms(t)
	_, sources := tarball(t)
	list, err := os.ReadFile(filepath.Join(sources, "rpm/bundled-licences.txt"))
	if err != nil {
		t.Fatal(err)
	}
	licences := map[string][]string{}
	for line := range strings.Lines(string(list)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		licences[fields[0]] = strings.Split(fields[2], " AND ")
	}
	for name, program := range map[string]string{"crypto-auditing-agent": "crau-agent", "crypto-auditing-broker": "crau-broker", "crypto-auditing-inventory": "crau-inventory", "crauctl": "crauctl"} {
		want := []string{"Apache-2.0"}
		for line := range strings.Lines(mustRun(t, "/", "go", "version", "-m", filepath.Join(built.root, "usr/bin", program))) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != "dep" {
				continue
			}
			module, ok := licences[fields[1]]
			if !ok {
				t.Errorf("%s contains %s, which rpm/bundled-licences.txt does not list", program, fields[1])
			}
			want = append(want, module...)
			if fields[1] == "github.com/cilium/ebpf" { // the program embeds BPF objects
				want = append(want, "GPL-2.0-or-later")
			}
		}
		i := slices.IndexFunc(built.binary, func(path string) bool { return strings.HasPrefix(filepath.Base(path), name+"-"+version(t)) })
		if i < 0 {
			t.Fatalf("there is no package %s", name)
		}
		got := strings.Split(mustRun(t, "/", "rpm", "-qp", "--qf", "%{LICENSE}", built.binary[i]), " AND ")
		slices.Sort(got)
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("the licence tag of %s has %v, want %v as for its program", name, got, want)
		}
	}
}
