// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ours are the licences of this project.
var ours = []string{"Apache-2.0", "GPL-2.0-or-later", "MIT"}

// texts are sentences by which licences are recognised.
var texts = map[string]*regexp.Regexp{
	"Apache-2.0":   regexp.MustCompile(`Apache License\s+Version 2\.0, January 2004`),
	"MIT":          regexp.MustCompile(`Permission is hereby granted, free of charge, to any person`),
	"BSD-2-Clause": regexp.MustCompile(`Redistribution and use in source and binary forms`),
	"BSD-3-Clause": regexp.MustCompile(`(Neither the name of|[Nn]or the names of its)`),
	// What nobody expects here.
	"GPL": regexp.MustCompile(`GNU (LESSER |AFFERO )?GENERAL PUBLIC LICENSE`),
	"MPL": regexp.MustCompile(`Mozilla Public License`),
}

func TestTheLicencesOfWhatIsBuiltInAreListedAndInTheTag(t *testing.T) {
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
			t.Fatalf("rpm/bundled-licences.txt has the line %q", line)
		}
		listed[fields[0]] = fields[2]
		all = append(all, strings.Split(fields[2], " AND ")...)
	}
	for _, module := range vendored(t, sources) {
		// What is for other systems is delivered, and not listed.
		got := recognised(t, filepath.Join(sources, "vendor", module))
		if licences, ok := listed[module]; ok && got != licences {
			t.Errorf("rpm/bundled-licences.txt says %s is under %q, its texts are %q", module, licences, got)
		}
		all = append(all, strings.Split(got, " AND ")...)
		delete(listed, module)
	}
	for module := range listed {
		t.Errorf("rpm/bundled-licences.txt lists %s, which is not delivered", module)
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
		t.Errorf("the spec file says the licences are %v, they are %v", got, want)
	}
}

// vendored returns the modules that are delivered with the sources.
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
		t.Fatalf("only %v are vendored", modules)
	}
	return modules
}

// recognised returns the licences whose texts are below a folder.
func recognised(t *testing.T, folder string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), "LICENSE") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for name, sentence := range texts {
			if name == "BSD-2-Clause" && texts["BSD-3-Clause"].Match(text) {
				continue
			}
			if sentence.Match(text) {
				found = append(found, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " AND ")
}

func TestPackagesSayWhichModulesAreBuiltInAndHaveTheirLicences(t *testing.T) {
	built := rpms(t)
	_, sources := tarball(t)
	// The broker comes with the agent only, which has the texts.
	for name, texts := range map[string]bool{"crypto-auditing-agent": true, "crypto-auditing-broker": false, "crauctl": true} {
		i := slices.IndexFunc(built.binary, func(path string) bool { return strings.HasPrefix(filepath.Base(path), name+"-"+version(t)) })
		if i < 0 {
			t.Errorf("there is no package %s", name)
			continue
		}
		provides := mustRun(t, "/", "rpm", "-qp", "--provides", built.binary[i])
		files := mustRun(t, "/", "rpm", "-qp", "--licensefiles", built.binary[i])
		for _, module := range vendored(t, sources) {
			if !strings.Contains(provides, "bundled(golang("+module+")) = ") {
				t.Errorf("%s does not say that %s is built in", name, module)
			}
			if texts && !strings.Contains(files, "/bundled-licences/"+module+"/LICENSE") {
				t.Errorf("%s has no text of the licence of %s", name, module)
			}
		}
	}
}
