// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/tests/machine"
)

// keys makes keys and certificates in a directory, one pair of each kind.
type keys struct{ directory string }

// pair returns the files of a certificate and its key.
func (k *keys) pair(t *testing.T, kind string) (certificate, key string) {
	t.Helper()
	certificate, key = filepath.Join(k.directory, kind+".crt"), filepath.Join(k.directory, kind+".key")
	if _, err := os.Stat(key); err == nil {
		return certificate, key
	}
	arguments := map[string][]string{
		"rsa":     {"-newkey", "rsa:2048"},
		"ec":      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"p384":    {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
		"ed25519": {"-newkey", "ed25519"},
	}[kind]
	out := output(t, "", append(append([]string{"openssl", "req", "-x509", "-nodes"}, arguments...), "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=secret-host.example")...)
	if _, err := os.Stat(key); err != nil {
		t.Fatal(out)
	}
	return certificate, key
}

// flat formats an operation and all contexts below it as text: their names and elements.
func (o *operation) flat() string {
	var b strings.Builder
	fmt.Fprint(&b, o.Events["name"])
	for _, key := range slices.Sorted(maps.Keys(o.Events)) {
		if key != "name" && !strings.HasPrefix(key, "crau::") {
			_, short, _ := strings.Cut(key, "::")
			fmt.Fprintf(&b, " %s=%v", short, o.Events[key])
		}
	}
	for i := range o.Spans {
		fmt.Fprintf(&b, " [%s]", o.Spans[i].flat())
	}
	return b.String()
}

// byFunctions returns the operations of an executable that were recorded by functions, sorted.
func (a *agent) byFunctions(t *testing.T, executable string) (all []string) {
	t.Helper()
	for _, o := range a.query(t, executable) {
		if o.Events["crau::source"] == "function" {
			all = append(all, o.flat())
		}
	}
	slices.Sort(all)
	return all
}

// waitForAll waits until the wanted operations of an executable are recorded by functions.
func (a *agent) waitForAll(t *testing.T, executable string, want []string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	waitFor(t, "the operations of "+executable+" are recorded", func() bool {
		got = a.byFunctions(t, executable)
		return len(got) >= len(want)
	}, func() string {
		return fmt.Sprintf("got\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), a.stderr)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the operations of %s are\n%s\nwant\n%s", executable, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// renamed copies a program to a new directory under another name.
func renamed(t *testing.T, program, name string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), name)
	// A process that is forked meanwhile would hold the file open for writing, and executing it
	// would fail.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// Each operation that the command was asked for is recorded once.
func TestPublicKeyOperationsOfACommandAreRecordedByItsFunctions(t *testing.T) {
	need(t, "openssl")
	a := startAgent(t, "usdt", "function")
	directory := t.TempDir()
	k := &keys{directory}
	_, rsa := k.pair(t, "rsa")
	_, ec := k.pair(t, "ec")
	_, ed25519 := k.pair(t, "ed25519")
	file := func(name string) string { return filepath.Join(directory, name) }
	public := func(key string) string {
		output(t, "", "openssl", "pkey", "-in", key, "-pubout", "-out", key+".pub")
		return key + ".pub"
	}
	digest := file("digest")
	if err := os.WriteFile(digest, []byte("01234567890123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "", "openssl", "genpkey", "-algorithm", "X25519", "-out", file("x.key"))
	openssl := strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl"))
	n := 0
	for _, c := range []struct {
		arguments []string
		want      []string
	}{
		{[]string{"dgst", "-sha1", "-sign", rsa, "-out", file("sha1"), rsa}, []string{"pk::sign algorithm=RSA bits=2048 hash=SHA1"}},
		{[]string{"dgst", "-sha1", "-verify", public(rsa), "-signature", file("sha1"), rsa}, []string{"pk::verify algorithm=RSA bits=2048 hash=SHA1"}},
		{[]string{"dgst", "-sha512", "-sign", ec, "-out", file("sha512"), rsa}, []string{"pk::sign algorithm=EC/ECDSA bits=256 curve=SECP256R1 hash=SHA512"}},
		{[]string{"dgst", "-sha512", "-verify", public(ec), "-signature", file("sha512"), rsa}, []string{"pk::verify algorithm=EC/ECDSA bits=256 curve=SECP256R1 hash=SHA512"}},
		// The hash is passed to the provider as a parameter, which is not read. It is not
		// guessed from the length.
		{[]string{"pkeyutl", "-sign", "-inkey", rsa, "-in", digest, "-out", file("raw"), "-pkeyopt", "digest:sha1"}, []string{"pk::sign algorithm=RSA bits=2048"}},
		{[]string{"pkeyutl", "-sign", "-inkey", rsa, "-in", digest, "-out", file("raw")}, []string{"pk::sign algorithm=RSA bits=2048"}},
		{[]string{"pkeyutl", "-verify", "-inkey", public(rsa), "-pubin", "-sigfile", file("raw"), "-in", digest}, []string{"pk::verify algorithm=RSA bits=2048"}},
		{[]string{"pkeyutl", "-sign", "-rawin", "-inkey", ed25519, "-in", digest, "-out", file("ed")}, []string{"pk::sign algorithm=EdDSA (Ed25519) bits=256"}},
		{[]string{"pkeyutl", "-encrypt", "-pubin", "-inkey", public(rsa), "-in", digest, "-out", file("enc")}, []string{"pk::encrypt algorithm=RSA bits=2048"}},
		{[]string{"pkeyutl", "-decrypt", "-inkey", rsa, "-in", file("enc"), "-out", file("dec")}, []string{"pk::decrypt algorithm=RSA bits=2048"}},
		{[]string{"pkeyutl", "-derive", "-inkey", file("x.key"), "-peerkey", public(file("x.key")), "-out", file("secret")}, []string{"pk::derive algorithm=ECDH (X25519) bits=253"}},
		{[]string{"genpkey", "-algorithm", "X25519", "-out", file("new")}, []string{"pk::generate algorithm=ECDH (X25519)"}},
		{[]string{"genpkey", "-algorithm", "ED25519", "-out", file("new")}, []string{"pk::generate algorithm=EdDSA (Ed25519)"}},
		{[]string{"genrsa", "-out", file("new"), "3072"}, []string{"pk::generate algorithm=RSA bits=3072"}},
		{[]string{"req", "-new", "-x509", "-key", rsa, "-sha384", "-subj", "/CN=x", "-out", file("new")}, []string{"pk::sign algorithm=RSA bits=2048 hash=SHA384"}},
		{[]string{"dgst", "-sha256", rsa}, nil},
		{[]string{"dgst", "-sha256", "-hmac", "secret", rsa}, nil},
		{[]string{"enc", "-aes-128-cbc", "-pbkdf2", "-k", "x", "-in", rsa, "-out", file("new")}, nil},
		{[]string{"rsa", "-in", rsa, "-noout", "-text"}, nil},
	} {
		n++
		name := fmt.Sprintf("wt-pk%d", n)
		t.Run(strings.Join(c.arguments[:2], " "), func(t *testing.T) {
			// The last operation shows that no other follows.
			program := renamed(t, openssl, name)
			out := output(t, "", append([]string{program}, c.arguments...)...)
			output(t, "", program, "genpkey", "-algorithm", "X448", "-out", file("end"))
			a.waitForAll(t, name, append(slices.Clone(c.want), "pk::generate algorithm=ECDH (X448)"))
			if t.Failed() {
				t.Log(out)
			}
		})
	}
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// build builds one of the programs with libraries, unless it is prebuilt, and returns its path.
func build(t *testing.T, name string, libraries ...string) string {
	t.Helper()
	if machine.Prebuilt() != "" {
		return filepath.Join(bin, name)
	}
	need(t, "gcc")
	program := filepath.Join(t.TempDir(), name)
	arguments := []string{"gcc", "-O2", "-Wall", "-Werror", "-Wno-unused-parameter", "-o", program, "programs/" + name + ".c"}
	if out := output(t, "", append(arguments, libraries...)...); out != "" {
		t.Fatal(out)
	}
	return program
}

// handshakes returns the path of the program that makes handshakes of OpenSSL.
func handshakes(t *testing.T) string {
	t.Helper()
	return build(t, "handshakes", "-lssl", "-lcrypto", "-lpthread")
}

// registeredGroup and registeredScheme return the registered numbers for the NIDs that the
// program reports, or 0 for none.
func registeredGroup(t *testing.T, nid int) int {
	t.Helper()
	// For a group of a provider, OpenSSL has no NID and returns the group with this bit.
	const withoutNID = 0x1000000
	if nid&withoutNID != 0 {
		return nid &^ withoutNID
	}
	number, ok := map[int]int{0: 0, 415: 23, 715: 24, 716: 25, 1034: 29, 1035: 30, 1126: 256, 1127: 257}[nid]
	if !ok {
		t.Fatalf("the group with NID %d is not known", nid)
	}
	return number
}

func registeredScheme(t *testing.T, nids string) int {
	t.Helper()
	number, ok := map[string]int{
		"0/0": 0, "408/672": 0x403, "408/673": 0x503, "408/674": 0x603, "912/672": 0x804, "912/673": 0x805, "912/674": 0x806, "1087/0": 0x807, "6/672": 0x401,
	}[nids]
	if !ok {
		t.Fatalf("the scheme with NIDs %s is not known", nids)
	}
	return number
}

// reported converts a line of the program to the form that sides returns.
func reported(t *testing.T, line string, signed bool) string {
	t.Helper()
	var role, peer, own string
	var done, version, suite, group, resumed int
	if n, _ := fmt.Sscan(line, &role, &done, &version, &suite, &group, &peer, &own, &resumed); n != 8 && (n != 2 || done != 0) {
		t.Fatalf("the program printed %q", line)
	}
	if done == 0 {
		return role + " failed"
	}
	if resumed == 1 && version == 0x303 {
		// The program reports the group of the session's first handshake.
		group = 0
	}
	o, p := registeredScheme(t, own), registeredScheme(t, peer)
	if !signed {
		// The program reports a scheme that was not used.
		o, p = 0, 0
	}
	return fmt.Sprintf("%s completed %#x %#x group %d own %#x peer %#x resumed %d", role, version, suite, registeredGroup(t, group), o, p, resumed)
}

// sides returns the handshakes of an executable that were recorded by functions.
func (a *agent) sides(t *testing.T, executable string) (all []string) {
	t.Helper()
	for _, o := range a.query(t, executable) {
		if o.Events["name"] != "tls::handshake" || o.Events["crau::source"] != "function" {
			continue
		}
		number := func(events map[string]any, key string) int {
			n, _ := events[key].(float64)
			return int(n)
		}
		var group, own, peer int
		for _, s := range o.Spans {
			switch s.Events["name"] {
			case "tls::key_exchange":
				group = number(s.Events, "tls::group")
			case "tls::sign":
				own = number(s.Events, "tls::signature_algorithm")
			case "tls::verify":
				peer = number(s.Events, "tls::signature_algorithm")
			}
		}
		role, result := o.Events["tls::role"], o.Events["tls::result"]
		if result != "completed" {
			all = append(all, fmt.Sprintf("%v %v", role, result))
			continue
		}
		all = append(all, fmt.Sprintf("%v completed %#x %#x group %d own %#x peer %#x resumed %d", role,
			number(o.Events, "tls::protocol_version"), number(o.Events, "tls::ciphersuite"), group, own, peer, number(o.Events, "tls::resumed")))
	}
	slices.Sort(all)
	return all
}

func TestHandshakesAreRecordedByTheFunctionsOfTheLibrary(t *testing.T) {
	a := startAgent(t, "usdt", "function")
	program := handshakes(t)
	k := &keys{t.TempDir()}
	with := func(kind string, options ...string) []string {
		certificate, key := k.pair(t, kind)
		return append([]string{"-certificate", certificate, "-key", key}, options...)
	}
	authority, _ := k.pair(t, "p384")
	clientCertificate, clientKey := k.pair(t, "rsa")
	own := []string{"-client-certificate", clientCertificate, "-client-key", clientKey}
	n := 0
	for name, c := range map[string]struct {
		options []string
		// unsigned: the suite has no signature; more are sides that the program does not
		// report.
		unsigned bool
		more     []string
	}{
		"TLS 1.3, ECDSA":                  {with("ec"), false, nil},
		"TLS 1.3, ECDSA with P-384":       {with("p384", "-groups", "P-384"), false, nil},
		"TLS 1.3, RSA":                    {with("rsa", "-groups", "P-521"), false, nil},
		"TLS 1.3, Ed25519":                {with("ed25519", "-groups", "X448"), false, nil},
		"TLS 1.3, finite field":           {with("ec", "-groups", "ffdhe2048"), false, nil},
		"TLS 1.3, retry":                  {with("ec", "-groups", "P-256:X25519"), false, nil},
		"TLS 1.2, ECDSA":                  {with("ec", "-12", "-groups", "P-256"), false, nil},
		"TLS 1.2, RSA":                    {with("rsa", "-12"), false, nil},
		"TLS 1.2, Ed25519":                {with("ed25519", "-12"), false, nil},
		"TLS 1.2, static RSA":             {with("rsa", "-12", "-cipher", "AES128-GCM-SHA256"), true, nil},
		"TLS 1.3, resumed":                {with("ec", "-resume", "-count", "3"), false, nil},
		"TLS 1.2, resumed":                {with("rsa", "-12", "-resume", "-count", "3"), false, nil},
		"TLS 1.3, client certificate":     {with("ec", own...), false, nil},
		"TLS 1.2, client certificate":     {with("ec", append([]string{"-12"}, own...)...), false, nil},
		"no common version":               {with("ec", "-12", "-only13"), false, nil},
		"no common suite":                 {with("rsa", "-12", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), false, nil},
		"certificate that is not trusted": {with("ec", "-authority", authority), false, nil},
		"jobs that are paused":            {with("ec", "-async", "-count", "5"), false, nil},
		"threads of several processes":    {with("ec", "-threads", "-processes", "3", "-count", "10"), false, nil},
		"jumps out of a handshake":        {with("ec", "-jump", "-count", "3"), false, slices.Repeat([]string{"client abandoned", "server abandoned"}, 3)},
		"incomplete handshakes":           {with("ec", "-rounds", "1"), false, nil},
		"clients that close at once":      {with("ec", "-leave", "-count", "3"), false, nil},
		"TLS 1.2, renegotiation":          {with("ec", "-12", "-renegotiate", "-count", "3"), false, nil},
	} {
		n++
		executable := fmt.Sprintf("wt-hs%d", n)
		t.Run(name, func(t *testing.T) {
			out := output(t, "", append([]string{renamed(t, program, executable)}, c.options...)...)
			want := slices.Clone(c.more)
			for line := range strings.Lines(out) {
				want = append(want, reported(t, line, !c.unsigned))
			}
			if len(want) < 2 {
				t.Fatal(out)
			}
			slices.Sort(want)
			var got []string
			waitFor(t, "the handshakes are recorded", func() bool {
				got = a.sides(t, executable)
				return len(got) >= len(want)
			}, func() string {
				return fmt.Sprintf("got\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), a.stderr)
			})
			// The program reports an abandoned handshake as failed.
			for i := range got {
				if strings.HasSuffix(got[i], " abandoned") && !slices.Contains(c.more, got[i]) {
					got[i] = strings.Replace(got[i], "abandoned", "failed", 1)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("recorded\n%s\nreported\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
	if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
		t.Error(log)
	}
}

// The operations of a service's program have the name of its unit, even if the socket
// shows them, too.
func TestOperationsRecordedByFunctionsHaveTheUnit(t *testing.T) {
	need(t, "openssl")
	a := startAgent(t, "usdt", "function")
	k := &keys{t.TempDir()}
	certificate, key := k.pair(t, "ec")
	openssl := strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl"))
	for name, unit := range map[string]string{"wt-in-a-service": "crau-tests-1.service", "wt-in-a-scope": "run-p12-i34.scope"} {
		program := renamed(t, openssl, name)
		port := freePort(t)
		server := start(t, program, "s_server", "-accept", "127.0.0.1:"+port, "-cert", certificate, "-key", key, "-naccept", "1", "-quiet")
		listening(t, port, server)
		for _, arguments := range [][]string{
			{"s_client", "-connect", "127.0.0.1:" + port, "-CAfile", certificate},
			{"dgst", "-sha512", "-sign", key, "-out", "/dev/null", key},
		} {
			command := exec.Command(program, arguments...)
			command.SysProcAttr = machine.InUnit(t, unit)
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", arguments, err, out)
			}
		}
		want := strings.Replace(unit, "run-p12-i34", "run-", 1)
		for _, values := range [][]string{{"tls::role=client", "tls::signature_algorithm=1027"}, {"pk::hash=SHA512"}} {
			o := a.recorded(t, name, values...)
			if o.Events["crau::unit"] != want || o.Events["crau::source"] != "function" {
				t.Errorf("%s with %q has the unit %v and the source %v, want %s and function", name, values, o.Events["crau::unit"], o.Events["crau::source"], want)
			}
		}
	}
}

// tally counts equal lines.
func tally(lines []string) map[string]int {
	counts := map[string]int{}
	for _, line := range lines {
		counts[line]++
	}
	return counts
}

// The program's processes and threads make handshakes at the same time. Its report must equal
// its report while nothing is attached, and the recorded sides. Only sides whose loss the
// agent reports may be missing. "make soak" makes a million sides, 100,000 for each agent.
func TestManyHandshakesOfThreadsAndProcessesAreRecorded(t *testing.T) {
	program := handshakes(t)
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	many := func(t *testing.T, executable string, count int) (lines []string) {
		t.Helper()
		out := output(t, "", renamed(t, program, executable), "-certificate", certificate, "-key", key, "-threads", "-processes", "3", "-count", fmt.Sprint(count))
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	// Four processes with four threads each make both sides.
	const count, sides = 125, 4 * 4 * 125 * 2
	unrecorded := tally(many(t, "wt-alone", 1))
	if len(unrecorded) != 2 {
		t.Fatalf("without the agent the program reports %v", unrecorded)
	}
	agents, rounds := 1, 1
	if *everything {
		agents, rounds = 10, 25
	}
	total := 0
	for n := range agents {
		// Each agent ends before the next starts: every running agent records all programs.
		t.Run(fmt.Sprintf("agent %d", n+1), func(t *testing.T) {
			a := startAgent(t, "usdt", "function")
			for i := range rounds {
				executable := fmt.Sprintf("wt-many%d", i)
				lost := a.lostHits(t)
				lines := many(t, executable, count)
				want := map[string]int{}
				for line, n := range tally(lines) {
					if unrecorded[line] == 0 || n != sides/2 {
						t.Errorf("the program reports %q %d times; without the agent it reports %v", line, n, unrecorded)
					}
					want[reported(t, line, true)] += n
				}
				var got []string
				losses := uint64(0)
				waitFor(t, "the handshakes are recorded", func() bool {
					before := len(got)
					losses = a.lostHits(t) - lost
					got = a.sides(t, executable)
					return len(got) >= sides || losses > 0 && len(got) == before
				}, func() string {
					return fmt.Sprintf("got %v, want %v, and the loss of %d hits is reported\n%s", tally(got), want, losses, a.stderr)
				})
				for side, n := range tally(got) {
					if n > want[side] {
						t.Errorf("recorded %s %d times, the program reports it %d times", side, n, want[side])
					}
				}
				if missing := sides - len(got); missing > 0 {
					t.Logf("%d of %d sides were recorded; the loss of %d hits is reported", len(got), sides, losses)
				}
				total += len(got)
			}
			if log := a.stderr.String(); strings.Contains(log, "not recorded any more") {
				t.Error(log)
			}
		})
	}
	t.Logf("%d sides were recorded", total)
}
