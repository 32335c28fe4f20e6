// SPDX-License-Identifier: Apache-2.0

package dbus_test

import (
	"encoding/xml"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/dbus"
)

// node is introspection data, as the D-Bus specification describes it.
type node struct {
	Name       string      `xml:"name,attr"`
	Interfaces []ifaceNode `xml:"interface"`
}

type ifaceNode struct {
	Name       string         `xml:"name,attr"`
	Methods    []memberNode   `xml:"method"`
	Signals    []memberNode   `xml:"signal"`
	Properties []propertyNode `xml:"property"`
}

type memberNode struct {
	Name string `xml:"name,attr"`
	Args []struct {
		Name      string `xml:"name,attr"`
		Type      string `xml:"type,attr"`
		Direction string `xml:"direction,attr"`
	} `xml:"arg"`
}

type propertyNode struct {
	Name        string `xml:"name,attr"`
	Type        string `xml:"type,attr"`
	Access      string `xml:"access,attr"`
	Annotations []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"annotation"`
}

func introspection(t *testing.T) node {
	t.Helper()
	var n node
	if err := xml.Unmarshal([]byte(dbus.Introspection), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// signatures returns the members of an interface with their signatures.
func signatures(i *ifaceNode) map[string]string {
	members := map[string]string{}
	for _, m := range i.Methods {
		in, out := "", ""
		for _, a := range m.Args {
			if a.Direction == "out" {
				out += a.Type
			} else {
				in += a.Type
			}
		}
		members["method "+m.Name] = in + " → " + out
	}
	for _, s := range i.Signals {
		for _, a := range s.Args {
			members["signal "+s.Name] += a.Type
		}
	}
	for _, p := range i.Properties {
		members["property "+p.Name] = p.Type + " " + p.Access
	}
	return members
}

// The API is a contract: members may be added, but not changed or removed.
func TestInterfacesKeepTheirMembers(t *testing.T) {
	const groups = "a(tstta{sv}a(sv))"
	agreed := map[string]map[string]string{
		"org.crypto_auditing.Broker": {
			"method Read":               "sa{sv}u → " + groups + "st",
			"method ReadOperations":     "sa{sv}ua{sv} → aa{sv}st",
			"method Open":               "sa{sv}a{sv} → h",
			"method Subscribe":          "sa{sv}a{sv} → o",
			"method GetSubscription":    "s → o",
			"method ListSubscriptions":  " → a(sotta{sv})",
			"method Flush":              " → s",
			"method Truncate":           "a{sv} → tus",
			"method GetStatus":          " → a{sv}",
			"signal Appended":           "st",
			"property Version":          "s read",
			"property InterfaceVersion": "u read",
			"property Newest":           "s read",
			"property Oldest":           "s read",
			"property EventsLost":       "t read",
			"property DiskUsage":        "t read",
			"property AgentActive":      "b read",
		},
		"org.crypto_auditing.Broker.Subscription": {
			"method Attach":      " → ",
			"method Acknowledge": "s → ",
			"method Seek":        "s → ",
			"method Close":       " → ",
			"signal Events":      groups + "s",
			"signal Operations":  "aa{sv}s",
			"signal Skipped":     "ssts",
			"property Name":      "s read",
			"property Position":  "s read",
			"property Filter":    "a{sv} read",
			"property Delivered": "t read",
			"property Skipped":   "t read",
			"property Pending":   "t read",
			"property Flow":      "s read",
			"property Form":      "s read",
		},
	}
	n := introspection(t)
	if n.Name != "/org/crypto_auditing/Broker" {
		t.Errorf("the object is %s", n.Name)
	}
	for i := range n.Interfaces {
		want, got := agreed[n.Interfaces[i].Name], signatures(&n.Interfaces[i])
		for member, signature := range want {
			if got[member] != signature {
				t.Errorf("%s: %s has the signature %q, want %q", n.Interfaces[i].Name, member, got[member], signature)
			}
		}
		delete(agreed, n.Interfaces[i].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(agreed)) {
		t.Errorf("%s is missing", name)
	}
}

func TestEveryPropertyDeclaresItsChangeSignal(t *testing.T) {
	n := introspection(t)
	for _, i := range n.Interfaces {
		for _, p := range i.Properties {
			annotated := slices.ContainsFunc(p.Annotations, func(a struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			}) bool {
				return a.Name == "org.freedesktop.DBus.Property.EmitsChangedSignal" &&
					slices.Contains([]string{"true", "false", "const", "invalidates"}, a.Value)
			})
			if !annotated {
				t.Errorf("%s.%s does not declare its change signal", i.Name, p.Name)
			}
		}
	}
}

func TestAllFilesNameTheSameService(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	activation := read("org.crypto_auditing.Broker.service")
	for _, line := range []string{
		"Name=org.crypto_auditing.Broker\n",
		"SystemdService=crypto-auditing-broker.service\n",
		"User=crypto-auditing-broker\n",
	} {
		if !strings.Contains(activation, "\n"+line) {
			t.Errorf("the activation file has no line %q", line)
		}
	}
	var policy struct {
		Actions []struct {
			ID       string `xml:"id,attr"`
			Defaults struct {
				Any      string `xml:"allow_any"`
				Inactive string `xml:"allow_inactive"`
				Active   string `xml:"allow_active"`
			} `xml:"defaults"`
			Annotations []struct {
				Key   string `xml:"key,attr"`
				Value string `xml:",chardata"`
			} `xml:"annotate"`
		} `xml:"action"`
	}
	if err := xml.Unmarshal([]byte(read("org.crypto-auditing.broker.policy")), &policy); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, a := range policy.Actions {
		ids = append(ids, a.ID)
		for _, allowed := range []string{a.Defaults.Any, a.Defaults.Inactive, a.Defaults.Active} {
			if !strings.HasPrefix(allowed, "auth_admin") {
				t.Errorf("%s has the default %q, want auth_admin", a.ID, allowed)
			}
		}
		// Without the annotation, polkit answers only root. The inventory asks polkit as well.
		owners := "unix-user:crypto-auditing-broker"
		if a.ID == "org.crypto-auditing.broker.read" {
			owners += " unix-user:crypto-auditing-inventory"
		}
		if len(a.Annotations) == 0 || a.Annotations[0].Key != "org.freedesktop.policykit.owner" || a.Annotations[0].Value != owners {
			t.Errorf("%s is not owned by %s: %v", a.ID, owners, a.Annotations)
		}
		if !strings.Contains(dbus.Introspection, "`"+a.ID+"`") {
			t.Errorf("the API does not describe the purpose of %s", a.ID)
		}
	}
	want := []string{"org.crypto-auditing.broker.read", "org.crypto-auditing.broker.subscribe", "org.crypto-auditing.broker.truncate"}
	if !slices.Equal(ids, want) {
		t.Errorf("actions %v, want %v", ids, want)
	}
}
