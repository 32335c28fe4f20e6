// SPDX-License-Identifier: Apache-2.0

// Command apidoc writes the documentation of the D-Bus APIs from the comments of
// their introspection XML: docs/dbus-api.md and docs/inventory-api.md, and the manual
// pages org.crypto_auditing.Broker(5) and org.crypto_auditing.Inventory(5). It runs in
// dbus/ (go generate ./dbus).
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// inventoryScripts is the prefix of the names of programs that use the inventory.
const inventoryScripts = "inventory"

// service is a service with its documentation: source and generated files, relative to dbus/.
type service struct {
	// name is the name on the bus.
	name string
	// examplesFile is the file of examples; ownScript reports whether a program in
	// dbus/examples belongs to the service.
	examplesFile string
	ownScript    func(name string) bool

	markdownFile, manualFile string
	// title and introduction begin the document; short and long begin the manual page.
	title, introduction string
	date, short, long   string
	// files are further entries of the manual page's list of files, seeAlso its references.
	files, seeAlso string
}

func documents() []service {
	return []service{{
		name: "org.crypto_auditing.Broker", examplesFile: "examples.txt",
		ownScript:    func(name string) bool { return !strings.HasPrefix(name, inventoryScripts) },
		markdownFile: "../docs/dbus-api.md", manualFile: "../docs/man/org.crypto_auditing.Broker.5.in",
		title: "The D-Bus API",
		introduction: "Any D-Bus client can read the log of cryptographic events, be notified of events as they are " +
			"recorded, and keep the log small. The examples are complete commands: run them as root, or as a member of " +
			"the group `crypto-auditing`. For Go programs there is the package `src/client`, for the " +
			"command line [crauctl](query.md).",
		date: "November 24, 2026", short: "the log of cryptographic events on the system bus",
		long: `D-Bus clients can read the log of cryptographic events, receive
events as they are recorded, and keep the log small.
`,
		files: `.It Pa /usr/share/polkit-1/actions/org.crypto-auditing.broker.policy
The polkit actions.
`,
		seeAlso: `.Xr busctl 1 ,
.Xr crauctl 1 ,
.Xr gdbus 1 ,
.Xr polkit 8
`,
	}, {
		name: "org.crypto_auditing.Inventory", examplesFile: "inventory-examples.txt",
		ownScript:    func(name string) bool { return strings.HasPrefix(name, inventoryScripts) },
		markdownFile: "../docs/inventory-api.md", manualFile: "../docs/man/org.crypto_auditing.Inventory.5.in",
		title: "The D-Bus API of the inventory",
		introduction: "Any D-Bus client can query which cryptography programs used, how often and since when, without " +
			"processing trees of events or IANA tables. The examples are complete commands: run them as root, or as a member of " +
			"the group `crypto-auditing`. For Go programs there is the package `src/client/inventory`. [Another API](dbus-api.md) " +
			"gives access to the log itself.",
		date: "November 30, 2026", short: "what programs used, counted, on the system bus",
		long: `D-Bus clients can query which cryptography programs used, how often and
since when, and receive reports and the results of policy checks.
`,
		seeAlso: `.Xr busctl 1 ,
.Xr crauctl 1 ,
.Xr gdbus 1 ,
.Xr crypto-auditing-inventory.conf 5 ,
.Xr org.crypto_auditing.Broker 5 ,
.Xr crau-inventory 8 ,
.Xr polkit 8
`,
	}}
}

func main() {
	files, err := generate(".")
	if err == nil {
		for name, content := range files {
			if err = os.WriteFile(name, content, 0o644); err != nil {
				err = fmt.Errorf("cannot write documentation: %w", err)
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

// source is the input for the documentation of a service.
type source struct {
	service
	interfaces []*iface
	examples   map[string][]example // by interface and member
	scripts    []script
}

// script is a program that uses the API.
type script struct {
	name, text string
}

// generate returns the generated files by path, relative to dir.
func generate(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range documents() {
		s, err := d.read(dir)
		if err != nil {
			return nil, err
		}
		files[d.markdownFile], files[d.manualFile] = markdown(s), manual(s)
	}
	return files, nil
}

// read reads the sources of a service.
func (d *service) read(dir string) (*source, error) {
	s := source{service: *d}
	introspection := d.name + ".xml"
	text, err := os.ReadFile(filepath.Join(dir, introspection))
	if err != nil {
		return nil, fmt.Errorf("cannot read the API: %w", err)
	}
	if s.interfaces, err = parse(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("cannot parse %s: %w", introspection, err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, d.examplesFile)); err != nil {
		return nil, fmt.Errorf("cannot read examples: %w", err)
	}
	if s.examples, err = parseExamples(string(text), s.interfaces); err != nil {
		return nil, fmt.Errorf("cannot parse %s: %w", d.examplesFile, err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "examples/*"))
	if err != nil {
		return nil, fmt.Errorf("cannot list examples: %w", err)
	}
	for _, path := range paths {
		if !d.ownScript(filepath.Base(path)) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read examples: %w", err)
		}
		s.scripts = append(s.scripts, script{filepath.Base(path), string(text)})
	}
	return &s, nil
}
