// SPDX-License-Identifier: Apache-2.0

package form_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/report/form"
	"crypto-auditing/src/internal/inventory/report/reporttest"
)

func TestJSONMatchesItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../../../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d reports, error %v", len(files), err)
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		document, err := jsonschema.UnmarshalJSON(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := schema.Validate(map[string]any{"schema": 2}); err == nil {
		t.Error("the schema accepts anything")
	}
}

func TestFormsOfAReport(t *testing.T) {
	o := reporttest.Options(t)
	changed := report.Make(reporttest.Sample(), o)
	before := reporttest.Sample()
	before.Coverage.To = reporttest.Now().Add(-3 * time.Hour)
	before.Uses = before.Uses[1:6]
	baseline := report.Make(before, o)
	changed.Compare(baseline)
	anonymous := o
	anonymous.Anonymous = true
	for _, f := range form.Forms() {
		for name, r := range map[string]*report.Report{
			"report": report.Make(reporttest.Sample(), o), "changes": changed, "empty": report.Make(&observed.Observed{}, o), "anonymous": report.Make(reporttest.Sample(), anonymous),
		} {
			t.Run(f.Name+" of "+name, func(t *testing.T) {
				var out bytes.Buffer
				if err := form.Write(&out, r, f.Name, form.Style{}); err != nil {
					t.Fatal(err)
				}
				goldentest.Compare(t, name+"."+f.Name, out.String())
			})
		}
	}
	if err := form.Write(io.Discard, changed, "pdf", form.Style{}); !errors.As(err, new(*form.UnknownFormError)) {
		t.Errorf("error is %v, want one about the form", err)
	}
}

func TestTextHas80ColumnsAndNoControlCharacters(t *testing.T) {
	for _, profiles := range [][]string{nil, {"all"}} {
		var out bytes.Buffer
		r := report.Make(reporttest.Sample(), reporttest.Options(t, profiles...))
		empty := report.Make(&observed.Observed{}, reporttest.Options(t, profiles...))
		r.Compare(empty)
		if err := form.Text(&out, r, form.Style{}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if len([]rune(line)) > 80 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("a line has %d columns: %s", len([]rune(line)), line)
			}
			if strings.ContainsAny(line, "\x1b\t") || strings.TrimRight(line, " ") != line {
				t.Errorf("a line has control characters or trailing blanks: %q", line)
			}
		}
	}
	var out bytes.Buffer
	if err := form.Text(&out, report.Make(reporttest.Sample(), reporttest.Options(t)), form.Style{Color: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[32mready\x1b[0m") || strings.Contains(out.String(), "\x1b[2J") {
		t.Error("not only verdicts are coloured")
	}
}

func TestFormsAreWellFormed(t *testing.T) {
	r := report.Make(reporttest.Sample(), reporttest.Options(t, "all"))
	write := func(name string) []byte {
		var out bytes.Buffer
		if err := form.Write(&out, r, name, form.Style{}); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	var back report.Report
	if err := json.Unmarshal(write("json"), &back); err != nil || len(back.Uses) != len(r.Uses) {
		t.Errorf("the JSON contains %d of %d uses (error %v)", len(back.Uses), len(r.Uses), err)
	}
	lines, err := csv.NewReader(bytes.NewReader(write("csv"))).ReadAll()
	if err != nil || len(lines) != len(r.Uses)+1 {
		t.Errorf("CSV has %d lines (error %v), want %d", len(lines), err, len(r.Uses)+1)
	}
	for _, name := range []string{"junit", "html"} {
		d := xml.NewDecoder(bytes.NewReader(write(name)))
		d.Strict, d.AutoClose, d.Entity = name == "junit", xml.HTMLAutoClose, xml.HTMLEntity
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
	if page := string(write("html")); strings.Contains(page, "http-equiv") || strings.Contains(page, "<script") || strings.Contains(page, "<link") || strings.Contains(page, "url(") {
		t.Error("the page refers to other resources")
	}
}

func TestAnAnonymousReportHasNoPrograms(t *testing.T) {
	o := reporttest.Options(t, "all")
	o.Anonymous = true
	for _, f := range form.Forms() {
		for _, executables := range []bool{false, true} {
			o.Executables = executables
			var out bytes.Buffer
			if err := form.Write(&out, report.Make(reporttest.Sample(), o), f.Name, form.Style{}); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"nginx.service", "erp.service", "user@1000", "libcrypto", "00ff17", "J. Doe", "shop", "java", "ab12cd34", "424242", "10:30", "09:30", ":30:00"} {
				if strings.Contains(out.String(), name) {
					t.Errorf("%s has %q", f.Name, name)
				}
			}
			for _, name := range []string{"nginx", "erp-client", "openssl"} {
				if strings.Contains(out.String(), name) != executables && f.Name != "text" {
					t.Errorf("%s has %q: %v, want %v", f.Name, name, !executables, executables)
				}
			}
			if !strings.Contains(out.String(), "TLS_AES_128_GCM_SHA256") && f.Name != "junit" {
				t.Errorf("%s lacks the statistics", f.Name)
			}
		}
	}
}

// mark sets all strings of a value, except members that an anonymous report keeps.
func mark(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Struct:
		for i := range v.NumField() {
			switch name := v.Type().Field(i).Name; name {
			case "Reason", "Sources", "Operation", "Source", "Within", "Role", "Parameters": // enumerations, or statistics
			default:
				if v.Type().Field(i).IsExported() {
					mark(v.Field(i), text)
				}
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			mark(v.Index(i), text)
		}
	}
}

// New members are marked, too.
func TestAnAnonymousReportContainsNoNames(t *testing.T) {
	const name = "canary"
	sample := reporttest.Sample()
	sample.Coverage.Down[0].Library = "x"
	mark(reflect.ValueOf(sample).Elem(), name)
	if u := sample.Uses[0]; u.Executable != name || u.Unit != name || u.LibraryID != name || sample.Coverage.Unseen[0] != name || sample.Coverage.Down[0].Library != name || sample.Coverage.Chain != name {
		t.Fatalf("not all names are marked: %+v, %+v", u, sample.Coverage)
	}
	o := reporttest.Options(t, "all")
	for _, f := range form.Forms() {
		var named, anonymous bytes.Buffer
		o.Anonymous = false
		if err := form.Write(&named, report.Make(sample, o), f.Name, form.Style{}); err != nil {
			t.Fatal(err)
		}
		o.Anonymous = true
		if err := form.Write(&anonymous, report.Make(sample, o), f.Name, form.Style{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(named.String(), name) || strings.Contains(anonymous.String(), name) {
			t.Errorf("%s contains the name: %t, anonymous: %t", f.Name, strings.Contains(named.String(), name), strings.Contains(anonymous.String(), name))
		}
	}
}
