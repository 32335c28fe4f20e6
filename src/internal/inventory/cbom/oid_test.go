// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// OpenSSL's table of object identifiers is independent of ours.
func TestObjectIdentifiersMatchOpenSSL(t *testing.T) {
	out, err := exec.Command("openssl", "list", "-objects").Output()
	if err != nil {
		t.Fatalf("cannot list the objects of OpenSSL (tests/setup.sh installs it): %v", err)
	}
	names := map[string]string{} // by OID
	for _, m := range regexp.MustCompile(`(?m)^(\S+) = (?:(.*), )?([0-9.]+)$`).FindAllStringSubmatch(string(out), -1) {
		names[m[3]] = m[1] + " " + m[2]
	}
	table, err := loadTable()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	simplify := func(s string) string {
		return strings.NewReplacer("-", "", "_", "", " ", "", "/", "").Replace(strings.ToLower(s))
	}
	for name, a := range table.Algorithms {
		known := names[a.OID]
		if a.OID == "" || known == "" {
			continue // older versions lack the newest
		}
		checked++
		parts := []string{name}
		switch a.Family {
		case "AES":
			parts = []string{"aes" + a.Parameters, a.Mode}
		case "RSASSA-PKCS1":
			parts = []string{"RSA", strings.Replace(a.Parts[0], "SHA-1", "SHA1", 1)}
		case "RSASSA-PSS":
			parts = []string{"RSASSA-PSS"}
		case "ECDSA", "DSA":
			parts = []string{a.Family, a.Parts[0]}
		case "RSAES-OAEP":
			parts = []string{"OAEP"}
		case "ChaCha20":
			parts = []string{"ChaCha20"}
		}
		for _, part := range parts {
			if !strings.Contains(simplify(known), simplify(part)) {
				t.Errorf("%s has the OID %s, which is of %s", name, a.OID, known)
			}
		}
	}
	if checked < 30 {
		t.Errorf("%d object identifiers were compared", checked)
	}
}
