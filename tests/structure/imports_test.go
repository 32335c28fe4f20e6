// SPDX-License-Identifier: Apache-2.0

// Package structure checks the direction of imports that docs/architecture.md
// describes. The linter has the rules about other people's modules; this has
// those about our own packages, and needs nothing but Go.
package structure

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "crypto-auditing/"

// mayImport says which packages of the project a package may import, besides
// those below itself. A package that is not listed may import nothing of it.
var mayImport = map[string][]string{
	"bpf":                               {},
	"src/internal/event":                {},
	"src/internal/capture":              {},
	"src/internal/usdt":                 {"src/internal/capture"},
	"src/internal/provider":             {"src/internal/capture", "src/internal/usdt"},
	"src/internal/quantity":             {},
	"src/internal/quota":                {},
	"src/internal/config":               {"src/internal/quantity"},
	"src/internal/message":              {},
	"src/internal/program":              {"src/internal/quantity", "src/internal/config", "src/internal/message"},
	"src/internal/agentunit":            {"src/internal/program"},
	"src/internal/ldcache":              {},
	"src/internal/probe":                {"bpf", "src/internal/capture"},
	"src/internal/logstore/file":        {},
	"src/internal/logstore/frame":       {},
	"src/internal/logstore/segment":     {"src/internal/logstore/frame", "src/internal/logstore/file"},
	"src/internal/logstore":             {"src/internal/quantity"},
	"src/internal/schema":               {"src/internal/event"},
	"src/internal/agent":                {"src/internal/quantity", "src/internal/ldcache", "src/internal/capture", "src/internal/provider", "src/internal/probe", "src/internal/event", "src/internal/logstore", "src/internal/message"},
	"src/internal/broker":               {"src/internal/quantity", "src/internal/quota", "src/internal/event", "src/internal/logstore", "src/internal/message", "src/internal/schema"},
	"src/internal/busservice/transport": {},
	"src/internal/busservice": {
		"dbus", "src/internal/broker", "src/internal/event", "src/internal/logstore", "src/internal/message", "src/internal/quota",
	},
	"src/client":                {"src/internal/event"},
	"src/internal/cli/terminal": {},
	"src/internal/cli/timespec": {"src/internal/quantity"},
	"src/internal/cli/console":  {"src/internal/agentunit"},
	"src/internal/cli/bus":      {"src/client", "src/internal/cli/console", "src/internal/cli/terminal"},
	"src/internal/cli/render":   {"src/internal/cli/console", "src/internal/event", "src/internal/schema"},
	"src/internal/cli/source": {
		"src/client", "src/internal/cli/bus", "src/internal/cli/console", "src/internal/event", "src/internal/logstore",
	},
	"src/internal/cli/query": {
		"src/client", "src/internal/cli/console", "src/internal/cli/render", "src/internal/cli/source", "src/internal/cli/terminal",
		"src/internal/cli/timespec", "src/internal/event", "src/internal/logstore", "src/internal/schema",
	},
	"src/internal/cli/agentctl": {
		"src/client", "src/internal/agentunit", "src/internal/cli/bus", "src/internal/cli/console", "src/internal/cli/render",
		"src/internal/cli/terminal", "src/internal/event", "src/internal/varlinkservice/orgcryptoauditingagent",
	},
	"src/internal/cli/logctl": {
		"src/client", "src/internal/cli/bus", "src/internal/cli/console", "src/internal/cli/render", "src/internal/cli/source",
		"src/internal/cli/terminal", "src/internal/event", "src/internal/logstore", "src/internal/quantity",
	},
	"src/internal/cli/probes":     {"src/internal/cli/console", "src/internal/capture", "src/internal/provider", "src/internal/usdt"},
	"src/internal/cli":            {"src/internal/schema"},
	"src/internal/varlinkservice": {"src/internal/quota"},
	"src/internal/varlinkservice/agentservice": {
		"src/internal/varlinkservice", "src/internal/agent", "src/internal/quota", "src/internal/event", "src/internal/logstore", "src/internal/config",
	},
	"src/internal/varlinkservice/agentclient": {
		"src/internal/varlinkservice", "src/internal/broker", "src/internal/logstore",
	},
	"src/internal/varlinkservice/brokerservice": {
		"src/internal/varlinkservice", "src/internal/broker", "src/internal/event", "src/internal/quota", "src/internal/logstore",
	},
	"src/cmd/crau-broker": {
		"src/internal/agentunit", "src/internal/broker", "src/internal/busservice", "src/internal/config", "src/internal/message", "src/internal/program", "src/internal/schema", "src/internal/varlinkservice",
	},
	"src/cmd/crau-agent": {"src/internal/agent", "src/internal/config", "src/internal/message", "src/internal/program", "src/internal/varlinkservice"},
	"src/cmd/crauctl":    {"src/internal/cli"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports", "./bpf/...", "./src/...")
	command.Dir = "../.."
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// rule returns the entry for a package: its own, or that of the nearest
// package above it.
func rule(pkg string) (name string, allowed []string, ok bool) {
	for name = pkg; name != "."; {
		if allowed, ok = mayImport[name]; ok {
			return name, allowed, true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	return "", nil, false
}

func TestImportsPointDown(t *testing.T) {
	all := packages(t)
	if len(all) < 8 {
		t.Fatalf("only %d packages were found", len(all))
	}
	for _, p := range all {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		name, allowed, ok := rule(pkg)
		if !ok {
			t.Errorf("%s has no rule: say in this test what it may import", pkg)
			continue
		}
		for _, path := range p.Imports {
			path, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			below := strings.HasPrefix(path, name+"/") || strings.HasPrefix(pkg, path+"/") && path == name
			if !below && !slices.ContainsFunc(allowed, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") }) {
				t.Errorf("%s must not import %s", pkg, path)
			}
		}
	}
}
