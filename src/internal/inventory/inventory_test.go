// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/database"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// "make soak" passes more rounds.
var rounds = flag.Int("rounds", 8, "how often a process that counts is killed")

// The environment of a test process that counts a log: the directories of the log and of the
// inventory, and the bus with a broker of the log; empty to read the log itself.
const childLog, childInventory, childBus = "INVENTORY_TEST_LOG", "INVENTORY_TEST_DIRECTORY", "INVENTORY_TEST_BUS"

func TestMain(m *testing.M) {
	if log := os.Getenv(childLog); log != "" {
		if err := child(log, os.Getenv(childInventory), os.Getenv(childBus)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child counts a log repeatedly, with many commits.
func child(log, directory, bus string) error {
	r, err := schema.Builtin()
	if err != nil {
		return err
	}
	ctx := context.Background()
	var source inventory.Source = logDirectory(log)
	if bus != "" {
		c, err := client.Connect(ctx, client.WithAddress(bus))
		if err != nil {
			return err
		}
		source = inventory.Broker(c)
	}
	i, err := inventory.Open(ctx, inventory.Config{Directory: directory, Registry: r, CommitEvery: 150})
	if err != nil {
		return err
	}
	fmt.Println("open")
	for {
		if err := i.CatchUp(ctx, source); err != nil {
			return err
		}
	}
}

// logDirectory is a source that reads the log in a directory.
type logDirectory string

func (d logDirectory) Open(_ context.Context, after string) (inventory.Entries, error) {
	reader, err := logstore.OpenReader(string(d), logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		return nil, err
	}
	e := &logEntries{reader: reader}
	if after == "" {
		return e, nil
	}
	if e.at, err = reader.Resolve(after); errors.Is(err, logstore.ErrForeignCursor) {
		err = inventory.ErrForeignCursor
	}
	if err == nil {
		e.missing, err = reader.Seek(e.at)
	}
	if err != nil {
		reader.Close()
		return nil, err
	}
	return e, nil
}

type logEntries struct {
	mu      sync.Mutex
	closed  bool
	reader  *logstore.Reader
	chunk   *logstore.Chunk
	rest    []byte
	at      logstore.Cursor
	missing uint64
}

func (e *logEntries) Next(g *event.Group) (sequence uint64, boot int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, 0, os.ErrClosed
	}
	if n := e.missing; n > 0 {
		e.missing = 0
		return 0, 0, &counting.MissingError{Entries: n, Err: errors.New("removed")}
	}
	for len(e.rest) == 0 {
		if e.chunk, err = e.reader.Next(context.Background()); err != nil {
			if lack, ok := entry.LackOf(err); ok {
				err = &counting.MissingError{Entries: lack.Missing().Entries, Err: err}
			}
			return 0, 0, err
		}
		e.rest, e.at = e.chunk.Entries, logstore.Cursor{Store: e.chunk.Header.StoreID, Sequence: e.chunk.First - 1}
	}
	n, err := event.Decode(e.rest, g)
	e.rest = e.rest[n:]
	e.at.Sequence++
	return e.at.Sequence, e.chunk.Header.Offset, err
}

func (e *logEntries) Cursor() string {
	if e.at.Store == [16]byte{} {
		return ""
	}
	return e.at.String()
}

func (e *logEntries) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	return e.reader.Close()
}

// generator writes a log of overlapping operations, and counts them.
type generator struct {
	t      testing.TB
	random *rand.Rand
	dir    string
	writer *logstore.Writer
	now    uint64 // since boot
	ids    uint32
	open   [][]event.Group
	// truth counts the operations that have begun, by description.
	truth map[string]uint64
}

const boot = 1_700_000_000 * int64(time.Second)

// Now implements logstore.Clock.
func (g *generator) Now() logstore.Moment { return logstore.Moment{Boot: g.now, Offset: boot} }

func newGenerator(t testing.TB, seed uint64) *generator {
	t.Helper()
	g := &generator{t: t, random: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), now: uint64(time.Hour), truth: map[string]uint64{}}
	g.begin()
	return g
}

// begin opens the log for writing.
func (g *generator) begin() {
	g.t.Helper()
	w, err := logstore.Open(context.Background(), g.dir, logstore.Options{
		EntryLen: event.Len, SegmentSize: 64 << 10, SyncInterval: -1, Clock: g, Terms: entry.Terms(),
		Metadata: func(now logstore.Moment) []byte {
			return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.writer = w
	g.t.Cleanup(func() { w.Close() })
}

// group returns a group that opens a context with one element.
func (g *generator) group(parent event.ContextID, name, executable, key string, value int64) event.Group {
	g.ids++
	id := event.ContextID{1, byte(g.ids), byte(g.ids >> 8), byte(g.ids >> 16), byte(g.ids >> 24)}
	return event.Group{Context: id, Name: []byte(name), Executable: []byte(executable), Events: []event.Event{
		{Kind: event.NewContext, Parent: parent},
		{Key: []byte(event.KeyName), Value: event.Value{Kind: event.String, Bytes: []byte(name)}},
		{Key: []byte(key), Value: event.Value{Word: value}},
	}}
}

// operation returns the groups of a random operation.
func (g *generator) operation() []event.Group {
	none := event.ContextID{0xff}
	executable := fmt.Sprint("program", g.random.IntN(4))
	if g.random.IntN(5) == 0 {
		bits := int64(1024 * (1 + g.random.IntN(3)))
		g.truth[fmt.Sprintf("%s pk::sign %d", executable, bits)]++
		return []event.Group{g.group(none, "pk::sign", executable, "pk::bits", bits)}
	}
	version, group := int64(771+g.random.IntN(2)), int64(23+g.random.IntN(2))
	root := g.group(none, "tls::handshake_client", executable, "tls::protocol_version", version)
	exchange := g.group(root.Context, "tls::key_exchange", executable, "tls::group", group)
	verify := g.group(root.Context, "tls::verify", executable, "tls::signature_algorithm", 1027)
	g.truth[fmt.Sprintf("%s tls::handshake %s %s", executable, map[int64]string{771: "TLS 1.2", 772: "TLS 1.3"}[version], map[int64]string{23: "secp256r1", 24: "secp384r1"}[group])]++
	g.truth[executable+" pk::verify 3072"]++
	return []event.Group{
		root, exchange, g.group(exchange.Context, "pk::derive", executable, "pk::bits", 256), verify,
		g.group(verify.Context, "pk::verify", executable, "pk::bits", 3072),
	}
}

// write appends chunks with operations. Some of them end in a later call.
func (g *generator) write(operations int) {
	g.t.Helper()
	for begun := 0; begun < operations; {
		b := logstore.Batch{First: g.now, Last: g.now}
		for range 1 + g.random.IntN(60) {
			// Operations that pause for many entries would count as complete.
			if len(g.open) < 3 || len(g.open) < 40 && g.random.IntN(4) == 0 {
				g.open = append(g.open, g.operation())
				begun++
			}
			i := g.random.IntN(len(g.open))
			next := g.open[i][0]
			g.now += uint64(g.random.IntN(int(300 * time.Millisecond)))
			next.Start, next.End, b.Last = g.now, g.now, g.now
			b.Entries = event.Append(b.Entries, &next)
			b.End()
			b.Events += uint32(len(next.Events))
			if g.open[i] = g.open[i][1:]; len(g.open[i]) == 0 {
				g.open = slices.Delete(g.open, i, i+1)
			}
		}
		if _, err := g.writer.Append(b); err != nil {
			g.t.Fatal(err)
		}
	}
	if _, err := g.writer.Flush(); err != nil {
		g.t.Fatal(err)
	}
}

// handshakes returns the number of handshakes of counts.
func handshakes(counts map[string]uint64) (n uint64) {
	for key, count := range counts {
		if strings.Contains(key, row.TLSHandshake) {
			n += count
		}
	}
	return n
}

// begun returns the number of handshakes with at least one entry.
func (g *generator) begun() uint64 {
	n := handshakes(g.truth)
	for _, rest := range g.open {
		if string(rest[0].Name) == "tls::handshake_client" {
			n--
		}
	}
	return n
}

// end completes all operations.
func (g *generator) end() {
	g.t.Helper()
	for len(g.open) > 0 {
		b := logstore.Batch{First: g.now, Last: g.now}
		for _, next := range g.open[0] {
			next.Start, next.End = g.now, g.now
			b.Entries = event.Append(b.Entries, &next)
			b.End()
			b.Events += uint32(len(next.Events))
		}
		g.open = g.open[1:]
		if _, err := g.writer.Append(b); err != nil {
			g.t.Fatal(err)
		}
	}
	if _, err := g.writer.Flush(); err != nil {
		g.t.Fatal(err)
	}
}

// config returns the configuration of an inventory.
func config(t testing.TB, directory string) inventory.Config {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return inventory.Config{Directory: directory, Registry: r}
}

func open(t testing.TB, c inventory.Config) *inventory.Inventory {
	t.Helper()
	i, err := inventory.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func catchUp(t testing.TB, i *inventory.Inventory, s inventory.Source) {
	t.Helper()
	if err := i.CatchUp(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// counted returns the counts of all rows in the form of generator.truth.
func counted(t testing.TB, i *inventory.Inventory) map[string]uint64 {
	t.Helper()
	m := map[string]uint64{}
	for after := ""; ; {
		rows, next, err := i.List(context.Background(), inventory.Filter{}, after, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			key := fmt.Sprintf("%s %s %d", r.Executable, r.Operation, r.Bits)
			if r.Operation == row.TLSHandshake {
				key = fmt.Sprintf("%s %s %s %s", r.Executable, r.Operation, r.Version, r.Group)
			}
			m[key] += r.Count
		}
		if next == "" {
			return m
		}
		after = next
	}
}

// checkIndependently compares the inventory with the counts of a script that shares no code with it.
func checkIndependently(t testing.TB, log, directory string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("python3 is not installed: install it")
		}
		t.Skip("python3 is not installed")
	}
	if _, err := exec.LookPath("zstd"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("zstd is not installed: install it")
		}
		t.Skip("zstd is not installed")
	}
	out, err := exec.Command(python, "../../../tests/inventory/count.py", log, filepath.Join(directory, database.FileName)).CombinedOutput()
	if err != nil {
		t.Errorf("the independent counts differ: %v\n%s", err, out)
	}
}

func TestCountsAreExactWheneverTheProcessIsKilled(t *testing.T) {
	killWhileCounting(t, newGenerator(t, 1), "")
}

func TestCountsOfTheBrokersLogAreExactWheneverTheProcessIsKilled(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	g := newGenerator(t, 9)
	g.write(10)
	program, config := filepath.Join(t.TempDir(), "crau-broker"), filepath.Join(t.TempDir(), "broker.conf")
	if out, err := exec.Command("go", "build", "-o", program, "crypto-auditing/src/cmd/crau-broker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command(program, "--config", config, "--log-dir", g.dir, "--state-dir", t.TempDir(),
		"--agent-socket", filepath.Join(bus.Dir, "no-agent"), "--bus", bus.Address, "--idle-timeout", "0")
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = broker.Process.Kill()
		_ = broker.Wait()
	})
	c, err := client.Connect(t.Context(), client.WithAddress(bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := c.Newest(t.Context()); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the broker did not start: %v", err)
		}
	}
	killWhileCounting(t, g, bus.Address)
}

// killWhileCounting kills processes that count a growing log, and compares the counts.
func killWhileCounting(t *testing.T, g *generator, bus string) {
	t.Helper()
	directory := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for range *rounds {
		g.write(150)
		command := exec.Command(self)
		command.Env = append(os.Environ(), childLog+"="+g.dir, childInventory+"="+directory, childBus+"="+bus)
		var stderr bytes.Buffer
		command.Stderr = &stderr
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if g.random.IntN(4) > 0 { // otherwise, possibly before it has opened the inventory
			if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
				_ = command.Wait()
				t.Fatalf("the process exited: %v: %s", err, stderr.String())
			}
		}
		time.Sleep(time.Duration(g.random.IntN(int(40 * time.Millisecond))))
		if err := command.Process.Kill(); err == nil {
			killed++
		}
		_ = command.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("the process failed: %s", stderr.String())
		}
	}
	g.end()
	i := open(t, config(t, directory))
	catchUp(t, i, logDirectory(g.dir))
	if got := counted(t, i); !reflect.DeepEqual(got, g.truth) {
		t.Errorf("after %d kills, counts are %v\nwant %v", killed, got, g.truth)
	}
	checkIndependently(t, g.dir, directory)
}

func TestCountsAreExactWhenTheLogIsReadRepeatedly(t *testing.T) {
	g := newGenerator(t, 2)
	directory := t.TempDir()
	c := config(t, directory)
	c.CommitEvery = 9000
	for range 3 {
		g.write(1500)
		i := open(t, c)
		for range 2 {
			catchUp(t, i, logDirectory(g.dir))
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
	}
	i := open(t, c)
	if got, want := handshakes(counted(t, i)), g.begun(); got != want {
		t.Errorf("before operations are complete, %d handshakes are counted, want %d", got, want)
	}
	g.end()
	catchUp(t, i, logDirectory(g.dir))
	if got := counted(t, i); !reflect.DeepEqual(got, g.truth) {
		t.Errorf("counts are %v\nwant %v", got, g.truth)
	}
	if at := i.UpToDate(); len(at) != logCursor {
		t.Errorf("the inventory is up to date to %q", at)
	}
	checkIndependently(t, g.dir, directory)
	o, err := i.Observed(context.Background(), inventory.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	direct, err := counting.Directory(context.Background(), g.dir, c.Registry, counting.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.Weeks, direct.Weeks) {
		t.Errorf("weeks of the database are %+v\nof the directory %+v", o.Weeks, direct.Weeks)
	}
	if !reflect.DeepEqual(o.Coverage.Programs, direct.Coverage.Programs) || len(o.Uses) != len(direct.Uses) {
		t.Errorf("programs of the database are %+v\nof the directory %+v", o.Coverage.Programs, direct.Coverage.Programs)
	}
	for n := range o.Uses {
		if x, y := o.Uses[n], direct.Uses[n]; x.Use != y.Use || x.Count != y.Count || !x.First.Equal(y.First) || !x.Last.Equal(y.Last) {
			t.Errorf("the database has %+v\nthe directory %+v", x, y)
		}
	}
}

const logCursor = 32 + 1 + 16

func TestEntriesThatWereRemovedCountAsMissing(t *testing.T) {
	g := newGenerator(t, 3)
	directory := t.TempDir()
	i := open(t, config(t, directory))
	g.write(50)
	catchUp(t, i, logDirectory(g.dir))
	before := counted(t, i)
	g.write(6000)
	files, err := filepath.Glob(filepath.Join(g.dir, "audit-*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("the log has %d segments", len(files))
	}
	slices.Sort(files)
	for _, f := range files[:2] {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	catchUp(t, i, logDirectory(g.dir))
	o, err := i.Observed(context.Background(), inventory.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if o.Coverage.Missing < 100 {
		t.Errorf("%d entries are missing", o.Coverage.Missing)
	}
	after := counted(t, i)
	for key, n := range before {
		if after[key] < n {
			t.Errorf("%s was counted %d times, then %d", key, n, after[key])
		}
	}
	catchUp(t, i, logDirectory(g.dir))
	if second, err := i.Observed(context.Background(), inventory.Filter{}); err != nil || second.Coverage.Missing != o.Coverage.Missing {
		t.Errorf("then %d entries are missing, %v", second.Coverage.Missing, err)
	}
}

func TestAnotherLogIsCountedFromItsBeginning(t *testing.T) {
	first, second := newGenerator(t, 4), newGenerator(t, 5)
	i := open(t, config(t, t.TempDir()))
	first.write(100)
	first.end()
	catchUp(t, i, logDirectory(first.dir))
	second.write(100)
	second.end()
	catchUp(t, i, logDirectory(second.dir))
	want := maps.Clone(first.truth)
	for key, n := range second.truth {
		want[key] += n
	}
	if got := counted(t, i); !reflect.DeepEqual(got, want) {
		t.Errorf("counts are %v\nwant %v", got, want)
	}
}

func TestADamagedInventoryIsSetAsideAndRebuilt(t *testing.T) {
	g := newGenerator(t, 6)
	g.write(600)
	g.end()
	for name, c := range map[string]struct {
		at     int64
		reopen bool
	}{
		"before it is opened":          {0, true},
		"while it is open":             {0, false},
		"in its pages, before opening": {3 * 4096, true},
		"in its pages, while open":     {3 * 4096, false},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			config := config(t, directory)
			day := time.Unix(1_700_010_000, 0)
			config.Now = func() time.Time { return day }
			var asides []string
			config.Damaged = func(err error, path string) {
				if !database.IsDamage(err) {
					t.Errorf("the inventory is set aside for %v", err)
				}
				asides = append(asides, path)
			}
			i := open(t, config)
			catchUp(t, i, logDirectory(g.dir))
			if c.reopen {
				i.Close()
			}
			file, err := os.OpenFile(filepath.Join(directory, database.FileName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			info, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(bytes.Repeat([]byte("damage! "), int(info.Size()-c.at)/8), c.at); err != nil {
				t.Fatal(err)
			}
			file.Close()
			day = day.Add(25 * time.Hour) // the file is checked once a day
			if c.reopen {
				i = open(t, config)
			}
			catchUp(t, i, logDirectory(g.dir))
			if len(asides) != 1 {
				t.Fatalf("the files set aside are %q", asides)
			}
			if _, err := os.Stat(asides[0]); err != nil {
				t.Error(err)
			}
			if got := counted(t, i); !reflect.DeepEqual(got, g.truth) {
				t.Errorf("the rebuilt inventory has %v\nwant %v", got, g.truth)
			}
		})
	}
}

// ending is a source whose entries end with an error.
type ending struct {
	inventory.Source
	after int
	err   error
	then  func()
}

func (e *ending) Open(ctx context.Context, after string) (inventory.Entries, error) {
	entries, err := e.Source.Open(ctx, after)
	return &endingEntries{Entries: entries, ending: e}, err
}

type endingEntries struct {
	inventory.Entries
	ending *ending
	n      int
}

func (e *endingEntries) Next(g *event.Group) (uint64, int64, error) {
	if e.n++; e.n > e.ending.after {
		e.ending.then()
		return 0, 0, e.ending.err
	}
	return e.Entries.Next(g)
}

func TestRowsCountedBeforeAnErrorAreKept(t *testing.T) {
	g := newGenerator(t, 7)
	g.write(500)
	g.end()
	i := open(t, config(t, t.TempDir()))
	bad := errors.New("the broker has exited")
	if err := i.CatchUp(context.Background(), &ending{logDirectory(g.dir), 100, bad, func() {}}); !errors.Is(err, bad) {
		t.Errorf("the error is %v", err)
	}
	first := i.UpToDate()
	ctx, cancel := context.WithCancel(context.Background())
	if err := i.CatchUp(ctx, &ending{logDirectory(g.dir), 100, errors.New("closed"), cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context, the error is %v", err)
	}
	if second := i.UpToDate(); len(first) != logCursor || second <= first {
		t.Errorf("the inventory is up to date to %q, then %q", first, second)
	}
	catchUp(t, i, logDirectory(g.dir))
	if got := counted(t, i); !reflect.DeepEqual(got, g.truth) {
		t.Errorf("counts are %v\nwant %v", got, g.truth)
	}
}

func TestTheStateOfAnotherVersionIsCountedAsComplete(t *testing.T) {
	g := newGenerator(t, 8)
	g.write(300)
	g.end()
	directory := t.TempDir()
	i := open(t, config(t, directory))
	catchUp(t, i, logDirectory(g.dir))
	i.Close()
	ctx := context.Background()
	d, err := database.Open(ctx, directory)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rows, _, err := d.List(ctx, database.Filter{}, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	s.Counter = []byte("of another version")
	if err := d.Store(ctx, &counting.Counts{}, rows, s); err != nil {
		t.Fatal(err)
	}
	d.Close()
	i = open(t, config(t, directory))
	catchUp(t, i, logDirectory(g.dir))
	if got := counted(t, i); !reflect.DeepEqual(got, g.truth) {
		t.Errorf("counts are %v\nwant %v", got, g.truth)
	}
}

func TestDamageFoundWhileReadingIsRepairedByCatchingUp(t *testing.T) {
	g := newGenerator(t, 10)
	g.write(600)
	g.end()
	directory := t.TempDir()
	config := config(t, directory)
	damaged := 0
	config.Damaged = func(error, string) { damaged++ }
	i := open(t, config)
	catchUp(t, i, logDirectory(g.dir))
	i.Close()
	i = open(t, config)
	file, err := os.OpenFile(filepath.Join(directory, database.FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// All pages except the first two, which contain the schema and the state.
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte("damage! "), int(info.Size()-3*4096)/8), 3*4096); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Observed(t.Context(), inventory.Filter{}); !database.IsDamage(err) {
		t.Fatalf("the error of reading is %v", err)
	}
	catchUp(t, i, logDirectory(g.dir))
	if got := counted(t, i); damaged != 1 || !reflect.DeepEqual(got, g.truth) {
		t.Errorf("set aside %d times, the inventory has %v\nwant %v", damaged, got, g.truth)
	}
}

// The log contains real hits, with the same id for an operation and its parts.
func TestALogOfAnOlderVersionIsCounted(t *testing.T) {
	const log = "../../../tests/data/log-0.1.0/log"
	directory := t.TempDir()
	i := open(t, config(t, directory))
	catchUp(t, i, logDirectory(log))
	if got := counted(t, i); len(got) < 2 {
		t.Errorf("counts are %v", got)
	}
	checkIndependently(t, log, directory)
}

func TestAnEmptyLogIsCounted(t *testing.T) {
	i := open(t, config(t, t.TempDir()))
	for range 2 {
		catchUp(t, i, logDirectory(t.TempDir()))
	}
	o, err := i.Observed(context.Background(), inventory.Filter{})
	if err != nil || !o.Coverage.Empty() || i.UpToDate() != "" {
		t.Errorf("observed is %+v, %v, up to date to %q", o, err, i.UpToDate())
	}
}

func TestAClosedInventoryIsNotUsed(t *testing.T) {
	i := open(t, config(t, t.TempDir()))
	for range 2 {
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	_, errObserved := i.Observed(ctx, inventory.Filter{})
	_, _, errList := i.List(ctx, inventory.Filter{}, "", 1)
	_, errSum := i.Summarize(ctx, nil, inventory.Filter{})
	for _, err := range []error{i.CatchUp(ctx, logDirectory(t.TempDir())), errObserved, errList, errSum} {
		if err == nil {
			t.Error("a closed inventory is used")
		}
	}
}
