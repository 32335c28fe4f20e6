// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/dbus"
)

// element is an element of introspection data with its children.
type element struct {
	XMLName    xml.Name
	Attributes []xml.Attr `xml:",any,attr"`
	Children   []element  `xml:",any"`
}

func (e *element) attribute(name string) string {
	for _, a := range e.Attributes {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// interfaces returns the interfaces of an object, each as a sorted list of its members.
func interfaces(t *testing.T, text string) map[string][]string {
	t.Helper()
	var node element
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	all := map[string][]string{}
	for _, i := range node.Children {
		if i.XMLName.Local != "interface" {
			continue
		}
		var list []string
		for _, m := range i.Children {
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s %s %s", m.XMLName.Local, m.attribute("name"), m.attribute("type"), m.attribute("access"))
			var annotations []string
			for _, a := range m.Children {
				if a.XMLName.Local == "annotation" {
					annotations = append(annotations, a.attribute("name")+"="+a.attribute("value"))
					continue
				}
				direction := a.attribute("direction")
				if direction == "" && m.XMLName.Local == "method" {
					direction = "in"
				}
				if m.XMLName.Local == "signal" {
					direction = "" // optional
				}
				fmt.Fprintf(&b, " (%s %s %s)", a.attribute("name"), a.attribute("type"), direction)
			}
			slices.Sort(annotations)
			fmt.Fprintf(&b, " %v", annotations)
			list = append(list, b.String())
		}
		slices.Sort(list)
		all[i.attribute("name")] = list
	}
	return all
}

func TestIntrospectionIsAsDocumented(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		documented := interfaces(t, dbus.Introspection)
		_, quoted, _ := strings.Cut(w.must(t, member, call("Subscribe", "sa{sv}a{sv}", "introspected", "0", "0")...), `"`)
		subscription, _, _ := strings.Cut(quoted, `"`)
		defer w.must(t, member, "crauctl", "subscriptions", "delete", "introspected")
		for path, name := range map[string]string{
			"/org/crypto_auditing/Broker": "org.crypto_auditing.Broker",
			subscription:                  "org.crypto_auditing.Broker.Subscription",
		} {
			live := interfaces(t, w.must(t, member, "gdbus", "introspect", "--system", "--dest", "org.crypto_auditing.Broker", "--object-path", path, "--xml"))
			if !slices.Equal(live[name], documented[name]) {
				t.Errorf("%s is\n%s\nand documented as\n%s", name, strings.Join(live[name], "\n"), strings.Join(documented[name], "\n"))
			}
			delete(live, name)
			standard := []string{"org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Properties"}
			if others := slices.Sorted(maps.Keys(live)); !slices.Equal(others, standard) {
				t.Errorf("%s has the further interfaces %v", path, others)
			}
		}
	})
}
