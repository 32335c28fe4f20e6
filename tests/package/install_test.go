// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkgConfig has files of pkg-config whose directories are not below the prefix.
var pkgConfig = map[string]string{
	"systemd":          "systemdsystemunitdir=/pc/units\nsystemdsystempresetdir=/pc/presets\ncatalogdir=/pc/catalog\nsysusersdir=/pc/sysusers\ntmpfilesdir=/pc/tmpfiles\n",
	"dbus-1":           "interfaces_dir=/pc/interfaces\nsystem_bus_services_dir=/pc/services\n",
	"polkit-gobject-1": "actiondir=/pc/actions\n",
	"bash-completion":  "completionsdir=/pc/bash\n",
	"fish":             "completionsdir=/pc/fish\n",
}

// someFiles has one file of each configurable directory.
var someFiles = []string{
	"crypto-auditing-agent.service", "90-crypto-auditing.preset", "crypto-auditing.catalog", "sysusers.conf", "tmpfiles.conf",
	"org.crypto_auditing.Broker.xml", "org.crypto_auditing.Broker.service", "org.crypto_auditing.Broker.conf",
	"org.crypto-auditing.broker.policy", "crauctl", "_crauctl", "crauctl.fish", "crau-agent", "agent.conf",
}

func TestDirectoriesAreTakenFromOptionsThenPkgConfigThenPrefix(t *testing.T) {
	need(t, "meson", "ninja", "go", "pkg-config")
	for name, c := range map[string]struct {
		arguments []string
		packages  map[string]string
		want      string // the directories of someFiles
	}{
		"defaults": {
			want: "/usr/lib/systemd/system /usr/lib/systemd/system-preset /usr/lib/systemd/catalog /usr/lib/sysusers.d /usr/lib/tmpfiles.d " +
				"/usr/share/dbus-1/interfaces /usr/share/dbus-1/system-services /usr/share/dbus-1/system.d " +
				"/usr/share/polkit-1/actions /usr/share/bash-completion/completions /usr/share/zsh/site-functions /usr/share/fish/vendor_completions.d " +
				"/usr/bin /usr/lib/crypto-auditing",
		},
		"pkg-config": {
			packages: pkgConfig,
			want: "/pc/units /pc/presets /pc/catalog /pc/sysusers /pc/tmpfiles " +
				"/pc/interfaces /pc/services /usr/share/dbus-1/system.d " +
				"/pc/actions /pc/bash /usr/share/zsh/site-functions /pc/fish " +
				"/usr/bin /usr/lib/crypto-auditing",
		},
		"another prefix": {
			arguments: []string{"--prefix=/opt/own"},
			packages:  pkgConfig,
			want: "/opt/own/lib/systemd/system /opt/own/lib/systemd/system-preset /opt/own/lib/systemd/catalog /opt/own/lib/sysusers.d /opt/own/lib/tmpfiles.d " +
				"/opt/own/share/dbus-1/interfaces /opt/own/share/dbus-1/system-services /opt/own/share/dbus-1/system.d " +
				"/opt/own/share/polkit-1/actions /opt/own/share/bash-completion/completions /opt/own/share/zsh/site-functions /opt/own/share/fish/vendor_completions.d " +
				"/opt/own/bin /usr/lib/crypto-auditing",
		},
		"options": {
			arguments: []string{
				"-Dsystemdsystemunitdir=/o/units", "-Dsystemdsystempresetdir=/o/presets", "-Dsystemdcatalogdir=/o/catalog", "-Dsysusersdir=/o/sysusers", "-Dtmpfilesdir=/o/tmpfiles",
				"-Ddbusinterfacesdir=/o/interfaces", "-Ddbussystemservicesdir=/o/services", "-Ddbuspolicydir=/o/policy",
				"-Dpolkitactionsdir=/o/actions", "-Dbashcompletionsdir=/o/bash", "-Dzshcompletionsdir=/o/zsh", "-Dfishcompletionsdir=/o/fish",
				"--bindir=/o/bin",
			},
			packages: pkgConfig,
			want:     "/o/units /o/presets /o/catalog /o/sysusers /o/tmpfiles /o/interfaces /o/services /o/policy /o/actions /o/bash /o/zsh /o/fish /o/bin /usr/lib/crypto-auditing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			build, packages := filepath.Join(t.TempDir(), "build"), t.TempDir()
			for name, variables := range c.packages {
				text := variables + "\nName: " + name + "\nDescription: none\nVersion: 1\n"
				if err := os.WriteFile(filepath.Join(packages, name+".pc"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			setup := append([]string{"meson", "setup", build}, c.arguments...)
			if _, err := command(root, []string{"PKG_CONFIG_LIBDIR=" + packages}, setup...); err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(c.want)
			got := installed(t, build)
			for i, file := range someFiles {
				if !slices.Contains(got[file], want[i]) {
					t.Errorf("%s is installed in %v, not in %s", file, got[file], want[i])
				}
			}
		})
	}
}

// installed returns the directories into which a build installs its files, by their
// names. Files that are installed as crypto-auditing.conf are named after their sources.
func installed(t *testing.T, build string) map[string][]string {
	t.Helper()
	var plan map[string]string
	if err := json.Unmarshal([]byte(mustRun(t, root, "meson", "introspect", build, "--installed")), &plan); err != nil {
		t.Fatal(err)
	}
	directories := map[string][]string{}
	for source, path := range plan {
		name := filepath.Base(path)
		if name == "crypto-auditing.conf" {
			name = strings.TrimPrefix(filepath.Base(source), "crypto-auditing.")
		}
		directories[name] = append(directories[name], filepath.Dir(path))
	}
	return directories
}

func TestTarballIsBuiltTestedInstalledAndUninstalledWithoutNetwork(t *testing.T) {
	_, sources := tarball(t)
	build, stage := filepath.Join(t.TempDir(), "build"), filepath.Join(t.TempDir(), "stage")
	for _, arguments := range [][]string{
		{"meson", "setup", "--prefix=/usr", build},
		{"meson", "compile", "-C", build},
		// This suite lists packages, like tests that build programs.
		{"meson", "test", "-C", build, "--suite", "structure", "--print-errorlogs"},
		{"go", "vet", "./src/cmd/..."},
		{"meson", "install", "-C", build, "--no-rebuild", "--destdir", stage},
	} {
		if output, err := offline(sources, arguments...); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}

	for _, program := range []string{"crauctl", "crau-agent", "crau-broker", "crau-inventory", "crau-opener"} {
		path := filepath.Join(stage, "usr/bin", program)
		if got, want := mustRun(t, "/", path, "--version"), version(t); !strings.HasSuffix(strings.TrimSpace(got), " "+want) {
			t.Errorf("the version of %s is %q, not %s", program, got, want)
		}
		if needs := libraries(t, path); len(needs) > 0 {
			t.Errorf("%s is not static: it needs %v", program, needs)
		}
	}
	files := 0
	for _, paths := range installed(t, build) {
		files += len(paths)
	}
	if got := len(filesBelow(t, stage)); got < 30 || got < files {
		t.Fatalf("%d files are installed, want at least %d", got, max(files, 30))
	}
	mustRun(t, build, "ninja", "uninstall")
	if left := filesBelow(t, stage); len(left) > 0 {
		t.Errorf("files remain after uninstalling: %v", left)
	}
	// meson also removes the directories that it has created.
	if entries, err := os.ReadDir(stage); err == nil && len(entries) > 0 {
		t.Errorf("directories remain after uninstalling: %v", entries)
	}
}

// filesBelow returns the paths of all files below a directory.
func filesBelow(t *testing.T, directory string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && !entry.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, directory))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// libraries returns the libraries that a program is linked with.
func libraries(t *testing.T, path string) []string {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	needs, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	return needs
}
