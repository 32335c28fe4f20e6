// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/retention"
)

func TestKeysOfTheBrokerAreRead(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "broker.conf"), `
log_dir = "/srv/log"
state_dir = "/srv/state"
agent_socket = "/run/x"
idle_timeout = 0
answer_timeout = "2s"
max_subscriptions = 7
max_user_subscriptions = 6
max_streams = 5
max_user_streams = 4
[truncate]
max_age = "30days"
max_size = "1G"
keep_free = "0%"
reading = "drop"
hold = "1d"
`)
	got, warnings, err := config.LoadBroker(file)
	want := config.Broker{
		LogDir: "/srv/log", StateDir: "/srv/state", AgentSocket: "/run/x",
		AnswerTimeout:    config.For(2 * time.Second),
		MaxSubscriptions: 7, MaxUserSubscriptions: 6, MaxStreams: 5, MaxUserStreams: 4,
		Truncate: config.Truncate{
			Retention: config.Retention{
				MaxAge: config.For(720 * time.Hour), MaxSize: config.Limit{Limit: retention.Limit{Bytes: 1 << 30}},
			},
			Reading: "drop", Hold: config.For(24 * time.Hour),
		},
	}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", got, warnings, err, want)
	}
}

func TestBadFilesOfTheBrokerAreRefusedByFileAndLine(t *testing.T) {
	cases := map[string]struct {
		text, problem string
		line          int
	}{
		"unknown key":          {"log_dir = \"/x\"\nlibrary = []\n", `unknown key "library"`, 2},
		"unknown key in table": {"[truncate]\nmax_aeg = 1\n", "max_aeg", 2},
		"wrong type":           {"max_streams = \"many\"\n", "max_streams", 1},
		"no subscriptions":     {"max_subscriptions = 0\n", "from 1 to", 1},
		"reading":              {"[truncate]\nreading = \"maybe\"\n", `"ignore", "keep" or "drop"`, 2},
		"dotted key":           {"# kept\ntruncate.reading = \"maybe\"\n", "truncate.reading", 2},
		"inline table":         {"\n\ntruncate = { max_age = 0, reading = \"maybe\" }\n", "truncate.reading", 3},
		"short answer timeout": {"answer_timeout = \"1ms\"\n", "at least 100ms", 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "broker.conf"), c.text)
			_, _, err := config.LoadBroker(file)
			var bad *config.Error
			if !errors.As(err, &bad) {
				t.Fatalf("error %v, want a *config.Error", err)
			}
			if bad.File != file || bad.Line != c.line || !strings.Contains(bad.Problem, c.problem) {
				t.Errorf("%v: want line %d and %q", err, c.line, c.problem)
			}
		})
	}
}

func TestABadValueIsReportedWithTheFileThatSetsIt(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, filepath.Join(dir, "broker.conf"), "log_dir = \"/x\"\nmax_streams = 0\n")
	later := write(t, filepath.Join(dir, "broker.conf.d/later.conf"), "log_dir = \"/y\"\n")
	_, _, err := config.LoadBroker(bad, later)
	if err == nil || !strings.HasPrefix(err.Error(), bad+":2: max_streams 0 must be from 1 to") {
		t.Errorf("error %v, want one at %s:2", err, bad)
	}
}

func TestLimitsThatWouldRemoveTheLogAreIgnored(t *testing.T) {
	for form, text := range map[string]string{
		"table":        "[truncate]\nmax_age = 30\nhold = 604800000\n",
		"dotted keys":  "# here\ntruncate.max_age = 30\ntruncate.hold = \"604800000\"\n",
		"inline table": "\ntruncate = { max_age = 30, hold = 604800000 }\n",
		"other case":   "[Truncate]\nMax_Age = 30\nHOLD = 604800000\n",
	} {
		t.Run(form, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "broker.conf"), text)
			got, warnings, err := config.LoadBroker(file)
			if want := config.DefaultBroker(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
			if len(warnings) != 2 || warnings[0].Line != 2 || !strings.Contains(warnings[0].Problem, `truncate.max_age = 30 has no unit and is ignored`) ||
				!strings.HasSuffix(warnings[1].String(), `truncate.hold = 604800000 has no unit and is ignored, since version 0.1.0 took it for milliseconds: write truncate.hold = "7d"`) {
				t.Errorf("warnings %v", warnings)
			}
		})
	}
}
