// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/row"
)

// words returns the words that a program prints.
func words(t *testing.T, name string, arguments ...string) []string {
	t.Helper()
	out, err := exec.Command(name, arguments...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, arguments, err)
	}
	return strings.Fields(string(out))
}

// setting returns the value of a line of a configuration.
func setting(configuration, name string) string {
	for line := range strings.Lines(configuration) {
		if value, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// A policy allows exactly the values that are enabled by the configurations which crypto-policies generates from
// it, for OpenSSL, as reported by the library itself, and for SSH. CRYPTO_POLICIES is a source tree of
// crypto-policies, or an installed /usr/share/crypto-policies.
func TestVerdictsAgreeWithTheConfigurationsOfLibraries(t *testing.T) {
	release := os.Getenv("CRYPTO_POLICIES")
	if release == "" {
		release = cryptopolicy.ThisMachine().Share
		if _, err := os.Stat(filepath.Join(release, "python", "policygenerators")); err != nil {
			t.Skip("neither is crypto-policies installed, nor does CRYPTO_POLICIES name a release")
		}
	}
	names := []string{"DEFAULT", "FUTURE", "LEGACY", "FIPS", "FIPS:OSPP", "FUTURE:NO-SHA1", "DEFAULT:ECDHE-ONLY"}
	out, err := exec.Command("python3", append([]string{"testdata/configurations.py", release}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var configurations map[string]map[string]string
	if err := json.Unmarshal(out, &configurations); err != nil || len(configurations) != len(names) {
		t.Fatal(len(configurations), err)
	}
	for name, c := range configurations {
		t.Run(name, func(t *testing.T) {
			policy, err := cryptopolicy.Load(name, []cryptopolicy.Directory{{Path: filepath.Join(release, "policies"), Distribution: true}})
			if err != nil {
				t.Fatal(err)
			}
			agreeWithOpenSSL(t, policy, c[openSSL])
			for _, b := range []string{openSSHServer, openSSHClient, libSSH} {
				agreeWithSSH(t, policy, b, c[b])
			}
		})
	}
}

// suites returns the suites of TLS 1.2 and older that OpenSSL enables, without shared keys.
func suites(t *testing.T, ciphers string) (names []string) {
	t.Helper()
	for _, word := range words(t, "openssl", "ciphers", "-stdname", "-tls1_2", "-s", ciphers) {
		if strings.HasPrefix(word, "TLS_") && strings.Contains(word, "_WITH_") && !strings.Contains(word, "PSK") {
			names = append(names, word)
		}
	}
	return names
}

func agreeWithOpenSSL(t *testing.T, policy *cryptopolicy.Policy, configuration string) {
	enabled := suites(t, setting(configuration, "CipherString = "))
	all := suites(t, "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
	if len(all) < 30 || len(enabled) == 0 {
		t.Fatalf("OpenSSL has %d suites, %d of them enabled", len(all), len(enabled))
	}
	c := checker{policy, map[string]*cryptopolicy.Scoped{}}
	for _, name := range all {
		use := older(func(u *row.Use) {
			u.Suite, u.Group, u.ExtendedSecret = name, "secp384r1", "yes"
			u.PeerSignature, u.Algorithm, u.Bits = "rsa_pkcs1_sha384", "RSA", 4096
			if strings.Contains(name, "ECDSA") {
				u.PeerSignature, u.Algorithm, u.Bits = "ecdsa_secp384r1_sha384", "EC", 384
			}
			if strings.Contains(name, "_DHE_") {
				u.Group = "ffdhe4096"
			}
		})
		if r := c.judge(&use); (r.Verdict == Allowed) != slices.Contains(enabled, name) {
			t.Errorf("%s is %s %+v, enabled is %v", name, r.Verdict, r.Findings, slices.Contains(enabled, name))
		}
	}
}

func agreeWithSSH(t *testing.T, policy *cryptopolicy.Policy, name, configuration string) {
	at := slices.IndexFunc(sshBackEnds(), func(b backEnd) bool { return b.name == name })
	b := sshBackEnds()[at]
	for _, c := range []struct {
		query, setting string
		judge          func(j *judge, value string)
	}{
		{"kex", "KexAlgorithms ", (*judge).sshKex},
		{"cipher", "Ciphers ", func(j *judge, value string) { j.sshDirection(value, "hmac-sha2-256") }},
		{"mac", "MACs ", func(j *judge, value string) { j.sshDirection("aes256-ctr", value) }},
		{"key", "PubkeyAcceptedAlgorithms ", (*judge).sshSignature},
		{"key", "HostKeyAlgorithms ", (*judge).sshSignature},
	} {
		enabled := strings.Split(setting(configuration, c.setting), ",")
		if enabled[0] == "" {
			continue // libssh uses another name, clients none
		}
		for _, value := range slices.Concat(words(t, "ssh", "-Q", c.query), enabled) {
			j := judge{policy: policy, backEnd: b, scoped: policy.Scoped(b.scopes...)}
			c.judge(&j, value)
			if r := j.result(); (r.Verdict == Allowed) != slices.Contains(enabled, value) {
				t.Errorf("%s for %s is %s %+v, enabled is %v", value, name, r.Verdict, r.Findings, slices.Contains(enabled, value))
			}
		}
	}
}
