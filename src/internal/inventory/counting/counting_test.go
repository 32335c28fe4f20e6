// SPDX-License-Identifier: Apache-2.0

package counting_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/tracetest"
)

// boot is the boot time of the logs.
const boot = 1_700_000_000 * int64(time.Second)

func registry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func counter(t testing.TB, o counting.Options) *counting.Counter {
	t.Helper()
	o.Registry = registry(t)
	c, err := counting.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sketch returns a row as text: its non-empty fields and its counts.
func sketch(r *row.Row) string {
	var b strings.Builder
	for _, f := range row.Fields() {
		if text := f.Text(&r.Use); text != "" {
			fmt.Fprintf(&b, "%s=%s ", f.Name, text)
		}
	}
	fmt.Fprintf(&b, "×%d", r.Count)
	if r.Failures > 0 {
		fmt.Fprintf(&b, " failures=%d", r.Failures)
	}
	if r.Relays > 0 {
		fmt.Fprintf(&b, " relays=%d", r.Relays)
	}
	return b.String()
}

func sketches(rows []row.Row) string {
	lines := make([]string, len(rows))
	for i := range rows {
		lines[i] = sketch(&rows[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// groups parses an operation from lines of "NAME KEY=VALUE …", indented by two spaces for each enclosing
// context. Numeric values are words. Keys of group attributes begin with a dot.
func groups(text string) []event.Group {
	var list []event.Group
	var path []event.ContextID
	for _, line := range strings.Split(strings.Trim(text, "\n"), "\n") {
		trimmed := strings.TrimLeft(line, "\t")
		depth := (len(trimmed) - len(strings.TrimLeft(trimmed, " "))) / 2
		fields := strings.Fields(trimmed)
		id := event.ContextID{1, byte(len(list)), byte(depth), 7}
		parent := event.ContextID{0xff, byte(len(list))}
		if depth > 0 {
			parent = path[depth-1]
		}
		path = append(path[:depth], id)
		g := event.Group{Context: id, Start: uint64(len(list)), End: uint64(len(list)), Name: []byte(fields[0])}
		g.Events = []event.Event{
			{Kind: event.NewContext, Parent: parent},
			{Key: []byte(event.KeyName), Value: event.Value{Kind: event.String, Bytes: g.Name}},
		}
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			value = strings.ReplaceAll(value, "_", " ")
			switch key {
			case ".executable":
				g.Executable = []byte(value)
			case ".unit":
				g.Unit = []byte(value)
			case ".source":
				g.Source = []byte(value)
			case ".origin":
				g.Origin, g.Events[0].Origin = []byte(value), []byte(value)
			default:
				e := event.Event{Key: []byte(key), Value: event.Value{Kind: event.String, Bytes: []byte(value)}}
				if n, err := strconv.ParseInt(value, 10, 64); err == nil && key != "ssh::kex_group" {
					e.Value = event.Value{Word: n}
				}
				g.Events = append(g.Events, e)
			}
		}
		list = append(list, g)
	}
	return list
}

func TestOperationsBecomeRows(t *testing.T) {
	for name, c := range map[string]struct{ operation, want string }{
		"a handshake at a socket": {`
			tls::handshake .executable=curl .unit=a.service .source=wire tls::role=client tls::protocol_version=772 tls::ciphersuite=4866 tls::resumed=0 tls::result=completed tls::transport=tcp
			  tls::key_exchange tls::group=4588 tls::offered_groups=x25519
			  tls::certificate pk::algorithm=EC/ECDSA pk::curve=SECP256R1 pk::bits=256 pk::hash=SHA256
			  tls::verify tls::signature_algorithm=1027`,
			"executable=curl unit=a.service operation=tls::handshake role=client source=wire version=TLS 1.3 suite=TLS_AES_256_GCM_SHA384 group=X25519MLKEM768 peer_signature=ecdsa_secp256r1_sha256 resumed=no transport=tcp algorithm=EC curve=secp256r1 bits=256 hash=SHA-256 ×1"},
		"numbers without a name": {`
			tls::handshake tls::protocol_version=4660 tls::ciphersuite=2570
			  tls::key_exchange tls::group=2570
			    pk::derive
			  tls::sign tls::signature_algorithm=65278`,
			"operation=tls::handshake source=usdt version=0x1234 suite=0x0a0a group=0x0a0a signature=0xfefe ×1"},
		"a failed handshake of a possible relay": {`
			tls::handshake tls::role=server tls::result=failed tls::relay=suspected`,
			"operation=tls::handshake role=server source=usdt ×1 failures=1 relays=1"},
		"a group without a name": {`
			tls::handshake tls::protocol_version=771 tls::extended_master_secret=1
			  tls::key_exchange pk::bits=1024`,
			"operation=tls::handshake source=usdt version=TLS 1.2 group_bits=1024 extended_secret=yes ×1"},
		"the client's certificate is not the server's": {`
			tls::handshake tls::role=server tls::protocol_version=772
			  tls::verify tls::signature_algorithm=2052
			    tls::certificate pk::algorithm=RSA pk::bits=4096`,
			"operation=tls::handshake role=server source=usdt version=TLS 1.3 peer_signature=rsa_pss_rsae_sha256 ×1"},
		"a role without a handshake": {`
			tls::handshake tls::role=client`, ""},
		"offers are not results": {`
			tls::handshake_client tls::protocol_version=772
			  tls::key_exchange tls::group=23
			    pk::generate pk::algorithm=EC/ECDSA
			  tls::key_exchange tls::group=29
			    pk::derive pk::algorithm=ECDH_(X25519)`,
			"operation=tls::handshake role=client source=usdt version=TLS 1.3 group=x25519 ×1"},
		"operations with keys of a handshake": {`
			tls::handshake .executable=nginx .unit=nginx.service .origin=1 tls::protocol_version=771
			  tls::sign tls::signature_algorithm=513
			    pk::sign pk::algorithm=RSA pk::bits=1024 pk::hash=SHA1 pk::rsa_padding=pkcs1
			  pk::derive pk::algorithm=EC/ECDSA pk::curve=SECP384R1`,
			"executable=nginx unit=nginx.service operation=pk::derive within=tls::handshake source=usdt algorithm=ECDH curve=secp384r1 ×1\n" +
				"executable=nginx unit=nginx.service operation=pk::sign within=tls::handshake source=usdt algorithm=RSA bits=1024 hash=SHA-1 padding=PKCS1 ×1\n" +
				"executable=nginx unit=nginx.service operation=tls::handshake source=usdt library_id=31 version=TLS 1.2 signature=rsa_pkcs1_sha1 ×1"},
		"a handshake of SSH": {`
			ssh::handshake .executable=sshd .source=wire ssh::role=server ssh::result=completed
			  ssh::key_exchange ssh::kex_algorithm=sntrup761x25519-sha512 ssh::kex_group=3072 ssh::key_algorithm=rsa-sha2-512 ssh::c2s_cipher=a ssh::s2c_cipher=b ssh::c2s_mac=c ssh::s2c_mac=d
			  ssh::server_key ssh::key_algorithm=ssh-rsa ssh::signature_algorithm=rsa-sha2-256 ssh::rsa_bits=3072
			  ssh::client_key ssh::key_algorithm=ssh-ed25519`,
			"executable=sshd operation=ssh::handshake role=server source=wire group_bits=3072 kex=sntrup761x25519-sha512 host_key=rsa-sha2-512 client_key=ssh-ed25519 cipher_out=a cipher_in=b mac_out=c mac_in=d bits=3072 ×1"},
		"a standalone operation":       {`pk::sign .source=function pk::algorithm=EdDSA_(Ed25519) pk::curve=Ed25519`, "operation=pk::sign source=function algorithm=Ed25519 ×1"},
		"an EC key":                    {`pk::generate pk::algorithm=EC/ECDSA pk::group=prime256v1`, "operation=pk::generate source=usdt algorithm=EC curve=secp256r1 ×1"},
		"a group states the algorithm": {`pk::derive pk::group=X25519`, "operation=pk::derive source=usdt algorithm=X25519 ×1"},
		"a curve states the algorithm": {`pk::verify pk::curve=P-256 pk::hash=SHA2-256`, "operation=pk::verify source=usdt algorithm=ECDSA curve=secp256r1 hash=SHA-256 ×1"},
		"a group of DH":                {`pk::derive pk::algorithm=DH pk::group=ffdhe2048 pk::bits=2048`, "operation=pk::derive source=usdt group=ffdhe2048 algorithm=DH bits=2048 ×1"},
		"a hybrid":                     {`pk::encapsulate pk::algorithm=X25519MLKEM768`, "operation=pk::encapsulate source=usdt algorithm=X25519MLKEM768 ×1"},
		"a padding in the algorithm":   {`pk::sign pk::algorithm=RSA-PSS pk::bits=3072`, "operation=pk::sign source=usdt algorithm=RSA bits=3072 padding=PSS ×1"},
		"an unknown algorithm":         {`pk::sign pk::algorithm=Frob`, "operation=pk::sign source=usdt algorithm=Frob ×1"},
		"a container":                  {`pk::sign .unit=docker-0123456789abcdef0123456789abcdef.scope pk::algorithm=DSA`, "unit=docker-*.scope operation=pk::sign source=usdt algorithm=DSA ×1"},
		"text of any length":           {`pk::sign pk::algorithm=` + strings.Repeat("ö", 300), "operation=pk::sign source=usdt algorithm=" + strings.Repeat("ö", 128) + "… ×1"},
		"a context without a name in the registry": {`
			ike::exchange
			  pk::derive pk::algorithm=DH`, "operation=pk::derive within=ike::exchange source=usdt algorithm=DH ×1"},
	} {
		t.Run(name, func(t *testing.T) {
			counter := counter(t, counting.Options{})
			for _, g := range groups(c.operation) {
				counter.Add(&g, boot)
			}
			counter.Close()
			counts := counter.Take()
			if got := sketches(counts.Rows); got != c.want {
				t.Errorf("rows are\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestUniqueUnitNamesAreFolded(t *testing.T) {
	for in, want := range map[string]string{
		"nginx.service": "nginx.service", "user@1000.service": "user@1000.service", "getty@tty1.service": "getty@tty1.service",
		"libpod-" + strings.Repeat("ab", 32) + ".scope":         "libpod-*.scope",
		"cri-containerd-" + strings.Repeat("ab", 32) + ".scope": "cri-containerd-*.scope",
		"docker-compose.service":                                "docker-compose.service",
		"run-u123.service":                                      "run-u*.service",
		"run-p4711-i4712.service":                               "run-p*.service",
		"run-r0123456789abcdef0123456789abcdef.scope":           "run-r*.scope",
		"session-12.scope":                                      "session-*.scope",
		"session-c3.scope":                                      "session-*.scope",
		"app-gnome-firefox-4711.scope":                          "app-gnome-firefox-*.scope",
		"app-org.gnome.Terminal@a1b2c3d4e5f6a7b8.service":       "app-org.gnome.Terminal@*.service",
		"vte-spawn-0b1c2d3e-0000-4000-8000-000000000000.scope":  "vte-spawn-*.scope",
		"sshd@3-10.0.0.1:22-10.0.0.2:50000.service":             "sshd@*.service",
	} {
		c := counter(t, counting.Options{})
		g := groups("pk::sign .unit=x")[0]
		g.Unit = []byte(in)
		c.Add(&g, boot)
		c.Close()
		if rows := c.Take().Rows; len(rows) != 1 || rows[0].Unit != want {
			t.Errorf("%s: rows are %+v, want %s", in, rows, want)
		}
	}
}

func TestUnitsBeyondTheLimitCountTogether(t *testing.T) {
	c := counter(t, counting.Options{Units: []string{"old.service"}, MaxUnits: 3})
	for _, unit := range []string{"a", "b", "c", "old", "d", "a"} {
		g := groups("pk::sign .unit=" + unit + ".service")[0]
		c.Add(&g, boot)
	}
	c.Close()
	var got []string
	for _, r := range c.Take().Rows {
		got = append(got, fmt.Sprint(r.Unit, " ", r.Count))
	}
	slices.Sort(got)
	if want := []string{"* 2", "a.service 2", "b.service 1", "old.service 1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("units are %q, want %q", got, want)
	}
}

func TestRowsAreOfTheHourInWhichOperationsBegan(t *testing.T) {
	c := counter(t, counting.Options{})
	for i, at := range []time.Duration{59*time.Minute + 59*time.Second, time.Hour, time.Hour + 5*time.Minute + 7*time.Microsecond + 9} {
		g := groups("pk::sign pk::bits=2048")[0]
		g.Context[5] = byte(i)
		g.Start, g.End = uint64(at), uint64(at+time.Minute)
		c.Add(&g, 1_699_999_200*int64(time.Second)) // 22:00:00 UTC
	}
	c.Close()
	rows := c.Take().Rows
	slices.SortFunc(rows, func(x, y row.Row) int { return x.Start.Compare(y.Start) })
	if len(rows) != 2 || rows[0].Count != 1 || rows[1].Count != 2 || rows[0].Length != time.Hour {
		t.Fatalf("rows are %+v", rows)
	}
	if got := rows[1].Start.Format(time.RFC3339); got != "2023-11-14T23:00:00Z" {
		t.Errorf("the second hour begins %s", got)
	}
	if first, last := rows[1].First, rows[1].Last; !first.Equal(rows[1].Start) || last.Sub(first) != 5*time.Minute+7*time.Microsecond {
		t.Errorf("its first and last operations are %s and %s", first, last)
	}
}

func TestRecordedHandshakesAreCounted(t *testing.T) {
	want := map[string]string{
		"openssl-tls13-x25519": "operation=tls::handshake role=client source=usdt version=TLS 1.3 suite=TLS_AES_256_GCM_SHA384 group=x25519 peer_signature=ecdsa_secp256r1_sha256 ×1\n" +
			"operation=tls::handshake role=server source=usdt version=TLS 1.3 suite=TLS_AES_256_GCM_SHA384 group=x25519 signature=ecdsa_secp256r1_sha256 ×1",
		"gnutls-tls13-p256": "operation=pk::sign source=usdt algorithm=ECDSA curve=secp256r1 hash=SHA-256 ×1\n" +
			"operation=pk::sign within=tls::handshake source=usdt algorithm=ECDSA curve=secp256r1 hash=SHA-256 ×1\n" +
			"operation=pk::verify source=usdt algorithm=ECDSA curve=secp256r1 hash=SHA-256 ×1\n" +
			"operation=pk::verify within=tls::handshake source=usdt algorithm=ECDSA curve=secp256r1 hash=SHA-256 ×1\n" +
			"operation=pk::verify within=tls::handshake source=usdt algorithm=ECDSA curve=secp256r1 ×1\n" +
			"operation=tls::handshake role=client source=usdt version=TLS 1.3 group=secp256r1 peer_signature=ecdsa_secp256r1_sha256 ×1\n" +
			"operation=tls::handshake role=server source=usdt version=TLS 1.3 group=secp256r1 signature=ecdsa_secp256r1_sha256 ×1",
	}
	for name, want := range want {
		hits, err := tracetest.Hits(name)
		if err != nil {
			t.Fatal(err)
		}
		c := counter(t, counting.Options{})
		for i := range hits {
			c.Add(&hits[i], boot)
		}
		c.Close()
		rows := c.Take().Rows
		for i := range rows {
			rows[i].Executable, rows[i].LibraryID = "", ""
		}
		if got := sketches(rows); got != want {
			t.Errorf("%s: rows are\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestNoticesBecomeCoverage(t *testing.T) {
	c := counter(t, counting.Options{})
	var raw []byte
	at := uint64(2 * time.Hour)
	raw = event.AppendLoss(raw, &event.Loss{Events: 5, Reason: "ring-full", Place: "kernel", Start: at, End: at})
	raw = event.AppendLoss(raw, &event.Loss{Events: 7, Reason: "ring-full", Place: "kernel", Start: at, End: at})
	raw = event.AppendRecording(raw, &event.Recording{State: event.Started, Time: at, Since: boot + int64(time.Hour), Reason: event.AgentKilled})
	raw = event.AppendLibraryUnrecorded(raw, event.LibraryReplaced, "libssl.so.3", []byte{1}, at, at+9)
	raw = event.AppendLibrary(raw, &event.Library{Name: "libssl.so.3", BuildID: []byte("1")}, at)
	for len(raw) > 0 {
		var g event.Group
		n, err := event.Decode(raw, &g)
		if err != nil {
			t.Fatal(err)
		}
		c.Add(&g, boot)
		raw = raw[n:]
	}
	g := groups("pk::sign .origin=1")[0]
	c.Add(&g, boot+int64(at))
	c.Missing(3)
	c.Close()
	counts := c.Take()
	if len(counts.Rows) != 1 || counts.Rows[0].Library != "libssl.so.3" || counts.Rows[0].LibraryID != "31" {
		t.Errorf("rows are %+v", counts.Rows)
	}
	hour := time.Unix(0, boot+int64(at)).UTC().Truncate(time.Hour)
	if want := []counting.Lost{{Hour: hour, Reason: "ring-full", Number: 12}}; !reflect.DeepEqual(counts.Lost, want) {
		t.Errorf("losses are %+v, want %+v", counts.Lost, want)
	}
	if want := []counting.Lost{{Hour: hour, Number: 3}}; !reflect.DeepEqual(counts.Missing, want) {
		t.Errorf("missing are %+v, want %+v", counts.Missing, want)
	}
	from := time.Unix(0, boot).UTC()
	if want := []coverage.Span{
		{From: from.Add(time.Hour), To: from.Add(2 * time.Hour), Reason: "agent-killed"},
		{From: from.Add(2 * time.Hour), To: from.Add(2*time.Hour + 9), Reason: "library-replaced", Library: "libssl.so.3"},
	}; !reflect.DeepEqual(counts.Down, want) {
		t.Errorf("times without recording are %+v, want %+v", counts.Down, want)
	}
	o := counts.Observed(time.Time{}, from.Add(90*time.Minute))
	if len(o.Coverage.Down) != 1 || o.Coverage.Lost != nil || !o.Coverage.Empty() {
		t.Errorf("the coverage of the time before the first entry is %+v", o.Coverage)
	}
	o = counts.Observed(from.Add(time.Hour), from.Add(5*time.Hour))
	if len(o.Coverage.Down) != 2 || o.Coverage.Lost["ring-full"] != 12 || o.Coverage.Missing != 3 || !o.Coverage.From.Equal(from.Add(2*time.Hour)) {
		t.Errorf("the coverage of hours around it is %+v", o.Coverage)
	}
}

// hits returns the groups of overlapping handshakes with key operations, in a random order that preserves
// the order in each handshake.
func hits(random *rand.Rand, operations int) []event.Group {
	var open [][]event.Group
	var list []event.Group
	for n := 0; n < operations || len(open) > 0; {
		if n < operations && (len(open) < 5 || random.IntN(3) == 0) {
			var next []event.Group
			next = append(next, groups(fmt.Sprintf(`
				tls::handshake .executable=p%d tls::role=client tls::protocol_version=%d tls::ciphersuite=4866
				  tls::key_exchange tls::group=%d
				    pk::derive pk::algorithm=X25519
				  tls::verify tls::signature_algorithm=1027
				    pk::verify pk::algorithm=RSA pk::bits=2048`, random.IntN(3), 771+random.IntN(2), 23+random.IntN(2)))...)
			for i := range next {
				n := n
				for j := range 3 {
					next[i].Context[8+j] = byte(n)
					if next[i].Events[0].Parent[0] == 1 {
						next[i].Events[0].Parent[8+j] = byte(n)
					}
					n >>= 8
				}
			}
			open = append(open, next)
			n++
			continue
		}
		i := random.IntN(len(open))
		g := open[i][0]
		g.Start = uint64(len(list)) * uint64(20*time.Millisecond)
		g.End = g.Start
		list = append(list, g)
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = slices.Delete(open, i, i+1)
		}
	}
	return list
}

func TestACounterContinuesFromItsSavedState(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	log := hits(random, 6000)
	whole := counter(t, counting.Options{})
	for i := range log {
		whole.Add(&log[i], boot)
	}
	whole.Close()
	want := sum(whole.Take().Rows)

	got := map[string]uint64{}
	c := counter(t, counting.Options{})
	for i := range log {
		if random.IntN(3000) == 0 {
			state, err := c.Save()
			if err != nil {
				t.Fatal(err)
			}
			rows := c.Take().Rows
			for k, n := range sum(rows) {
				got[k] += n
			}
			incomplete := c.Incomplete()
			total := uint64(0)
			for _, n := range got {
				total += n
			}
			for _, r := range incomplete {
				total += r.Count
			}
			if total == 0 && i > 100 {
				t.Errorf("after %d entries nothing was counted", i)
			}
			c = counter(t, counting.Options{})
			if err := c.Load(state); err != nil {
				t.Fatal(err)
			}
		}
		c.Add(&log[i], boot)
	}
	c.Close()
	for k, n := range sum(c.Take().Rows) {
		got[k] += n
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with interruptions: %v\nwithout: %v", got, want)
	}
	handshakes := uint64(0)
	for k, n := range want {
		if strings.Contains(k, "tls::handshake role") {
			handshakes += n
		}
	}
	if handshakes != 6000 {
		t.Errorf("%d handshakes of 6000 were counted", handshakes)
	}
}

// sum returns the counts of rows by use.
func sum(rows []row.Row) map[string]uint64 {
	m := map[string]uint64{}
	for i := range rows {
		r := rows[i]
		n := r.Count
		r.Count = 0
		m[sketch(&r)] += n
	}
	return m
}

func TestADamagedStateIsNotLoaded(t *testing.T) {
	c := counter(t, counting.Options{})
	for _, state := range [][]byte{nil, []byte("x"), {0x28, 0xb5, 0x2f, 0xfd}} {
		if err := c.Load(state); err == nil {
			t.Errorf("%x was loaded", state)
		}
	}
}
