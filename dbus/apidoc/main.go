// SPDX-License-Identifier: Apache-2.0

// Command apidoc writes the documentation of the D-Bus API from the comments of
// its introspection XML: docs/dbus-api.md and the manual page
// org.crypto_auditing.Broker(5). It runs in dbus/ (go generate ./dbus).
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// The sources and what is made of them, relative to dbus/.
const (
	introspectionFile = "org.crypto_auditing.Broker.xml"
	examplesFile      = "examples.txt"
	scriptsPattern    = "examples/*"

	markdownFile = "../docs/dbus-api.md"
	manualFile   = "../docs/man/org.crypto_auditing.Broker.5.in"
)

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

// source is all that the documentation is made of.
type source struct {
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
	var s source
	text, err := os.ReadFile(filepath.Join(dir, introspectionFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the API: %w", err)
	}
	if s.interfaces, err = parse(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("cannot parse %s: %w", introspectionFile, err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, examplesFile)); err != nil {
		return nil, fmt.Errorf("cannot read examples: %w", err)
	}
	if s.examples, err = parseExamples(string(text), s.interfaces); err != nil {
		return nil, fmt.Errorf("cannot parse %s: %w", examplesFile, err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, scriptsPattern))
	if err != nil {
		return nil, fmt.Errorf("cannot list examples: %w", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read examples: %w", err)
		}
		s.scripts = append(s.scripts, script{filepath.Base(path), string(text)})
	}
	return map[string][]byte{
		markdownFile: markdown(&s),
		manualFile:   manual(&s),
	}, nil
}
