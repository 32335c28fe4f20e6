// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/cli"
)

func TestTheRemedyIsPrintedWithoutABus(t *testing.T) {
	for name, arguments := range map[string][]string{
		"inventory":     {"inventory"},
		"summary":       {"summary"},
		"cbom":          {"cbom"},
		"report":        {"report"},
		"query":         {"query"},
		"monitor":       {"monitor"},
		"subscriptions": {"subscriptions"},
		"delete":        {"subscriptions", "delete", "nightly"},
		"vacuum":        {"vacuum"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			e := environment(t, &stdout, &stderr)
			e.Lookup = func(name string) (string, bool) {
				if name == "DBUS_SYSTEM_BUS_ADDRESS" {
					return "unix:path=" + filepath.Join(t.TempDir(), "none"), true
				}
				return "", false
			}
			code := cli.Run(context.Background(), arguments, e)
			if code != 1 || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, output %q, errors %q, want 1, none and one line", code, stdout.String(), stderr.String())
			}
			wanted := []string{"cannot reach the broker: ", "is crypto-auditing-broker installed, and a system bus running?"}
			switch name {
			case "inventory", "summary", "cbom", "report":
				wanted = []string{"cannot reach the inventory: ", "is crypto-auditing-inventory installed, and a system bus running? (--directory DIR counts a log without it)"}
			}
			for _, want := range wanted {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("error is %q, want %q in it", stderr.String(), want)
				}
			}
		})
	}
}

func TestTheServiceManagerIsAskedAboutABrokerThatDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct{ program, want string }{
		"it is not installed": {"", "is crypto-auditing-broker installed, and a system bus running?"},
		"it fails":            {"/bin/false", "see systemctl status crypto-auditing-broker"},
	} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t, bustest.Daemon)
			if c.program != "" {
				bus.Activate(t, "org.crypto_auditing.Broker", c.program)
			}
			var stdout, stderr bytes.Buffer
			e := environment(t, &stdout, &stderr)
			e.Lookup = func(name string) (string, bool) { return bus.Address, name == "DBUS_SYSTEM_BUS_ADDRESS" }
			code := cli.Run(context.Background(), []string{"query"}, e)
			if code != 1 || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "crauctl: cannot reach the broker: ") || !strings.HasSuffix(stderr.String(), ": "+c.want+"\n") {
				t.Errorf("exit code %d, output %q, errors %q, want 1, none and %q", code, stdout.String(), stderr.String(), c.want)
			}
		})
	}
}

func TestBadUsageOfTheBusIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"an invalid duration":          {[]string{"vacuum", "--vacuum-time", "soon"}, "--vacuum-time"},
		"an invalid size":              {[]string{"vacuum", "--vacuum-size", "big"}, "--vacuum-size"},
		"an invalid free space":        {[]string{"vacuum", "--keep-free", "-1"}, "--keep-free"},
		"a duration without a unit":    {[]string{"vacuum", "--vacuum-time", "30"}, `"30" has no unit: use for example 30d`},
		"a size without a unit":        {[]string{"vacuum", "--vacuum-size", "1000"}, `"1000" has no unit: use for example 512M, 4G or 10%`},
		"more than all":                {[]string{"vacuum", "--vacuum-size", "101%"}, "--vacuum-size"},
		"an invalid hold":              {[]string{"vacuum", "--hold", ""}, "--hold"},
		"an unknown rule":              {[]string{"vacuum", "--reading", "burn"}, "ignore, keep, drop"},
		"an argument":                  {[]string{"vacuum", "all"}, "all"},
		"an unknown format":            {[]string{"subscriptions", "-o", "xml"}, "xml"},
		"an unknown format of vacuum":  {[]string{"vacuum", "-o", "xml"}, "xml"},
		"no name":                      {[]string{"subscriptions", "delete"}, "at least one NAME"},
		"an invalid match":             {[]string{"monitor", "tls"}, "KEY=VALUE"},
		"an unknown format of monitor": {[]string{"monitor", "-o", "xml"}, "xml"},
		"cursors of files":             {[]string{"query", "--file", "x", "--show-cursor"}, "--file"},
		"an endless pretty array":      {[]string{"query", "-f", "-o", "json-pretty"}, "json-pretty"},
		"an invalid context":           {[]string{"monitor", "--context", "a b"}, "--context"},
	} {
		t.Run(name, func(t *testing.T) {
			got := crauctl(t, c.arguments...)
			if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit code %d, output %q, errors %q, want 2, none and %q", got.code, got.stdout, got.stderr, c.want)
			}
		})
	}
}
