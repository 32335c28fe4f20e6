// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/semaphore"
	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/rounds"
	"crypto-auditing/src/internal/schema"
)

// Inventory is the inventory that the service serves. Methods may be called concurrently.
type Inventory interface {
	// CatchUp counts further entries, up to the end of the log.
	CatchUp(ctx context.Context) error
	// UpToDate returns the cursor up to which the log was counted, empty at first.
	UpToDate() string
	// List, Summarize and Observed: see inventory.Inventory.
	List(ctx context.Context, f inventory.Filter, after string, limit int) (rows []row.Row, next string, err error)
	Summarize(ctx context.Context, by []string, f inventory.Filter) ([]row.Row, error)
	Observed(ctx context.Context, f inventory.Filter) (*observed.Observed, error)
}

// Options configure a Service.
type Options struct {
	// Address is the address of the bus.
	Address string
	// Version is the version of the service.
	Version string
	// Group is the group whose members may read, nil for none.
	Group *uint32
	// Registry has the numbers of names.
	Registry *schema.Registry
	// Answers makes the answers that are derived from observations.
	Answers Answers
	// Notify sends a state to the service manager (sd_notify(3)).
	Notify func(state string)
	// Idle is the time without calls after which the service exits; 0 disables it.
	Idle time.Duration
	// Wait bounds the time that a call waits for the inventory to catch up with the log; the default is
	// DefaultWait.
	Wait time.Duration
	Log  *slog.Logger
}

// DefaultWait is shorter than the time that clients wait for a reply (25 s in most libraries).
const DefaultWait = 10 * time.Second

// Service is the API on a bus.
type Service struct {
	options Options
	log     *slog.Logger
	tables  *tables
	calls   *access.Calls
	numbers []number
	// ready is closed once calls can be served.
	ready chan struct{}

	conn      *dbus.Conn
	socket    *transport.Socket
	inventory Inventory
	access    *access.Access
	callers   *access.Callers
	backlog   *transport.Backlog
	watcher   *transport.Watcher
	// ended is done once the service has ended.
	ended context.Context
	end   context.CancelFunc
	// updates are the rounds in which the inventory catches up with the log, each in working.
	updates rounds.Rounds
	working context.Context
	changes *changes
	// questions limits concurrent queries of the database.
	questions *semaphore.PerUser
	// documents tracks documents that are being passed to readers, held counts them by user.
	documents sync.WaitGroup
	held      *quota.Quota
}

// maxQuestions and userQuestions are the highest numbers of concurrent queries of the database in
// total and per user.
const (
	maxQuestions  = 4
	userQuestions = 2
)

// Names on the bus.
const (
	Name          = "org.crypto_auditing.Inventory"
	objectPath    = "/org/crypto_auditing/Inventory"
	interfaceName = "org.crypto_auditing.Inventory"
	busName       = "org.freedesktop.DBus"
)

// New connects to the bus. Calls are served once Serve has an inventory; earlier calls wait.
func New(o Options) (*Service, error) {
	t, err := newTables()
	if err != nil {
		return nil, err
	}
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	s := &Service{
		options: o, log: o.Log, tables: t, calls: access.NewCalls(), numbers: numbersOf(o.Registry),
		ready: make(chan struct{}), questions: semaphore.New(maxQuestions, userQuestions),
		held: quota.New("documents", quota.Limits{User: userDocuments, Others: allDocuments}),
	}
	s.ended, s.end = context.WithCancel(context.Background())
	s.changes = newChanges(s)
	s.socket, s.conn, err = transport.Connect(o.Address, transport.Options{MaxMessage: maxMessage, Refuse: s.refuse},
		dbus.WithHandler(object.Handler(s.called)), dbus.WithSignalHandler(disconnectWatcher{s}), dbus.WithIncomingInterceptor(s.received))
	if err != nil {
		return nil, err
	}
	bus := s.conn.BusObject()
	s.access, s.callers = access.New(s.conn, o.Group, uint32(os.Geteuid())), access.NewCallers(bus)
	err = s.conn.AddMatchSignal(dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(2, ""))
	if err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot ask the bus: %w", err)
	}
	// This service has no subscriptions, and thus no windows.
	s.backlog = transport.NewBacklog(transport.Limits{})
	s.watcher = transport.NewWatcher(s.ended, s.backlog, s.conn, o.Address, s.log)
	return s, nil
}

// disconnectWatcher watches for clients that disconnect.
type disconnectWatcher struct{ service *Service }

// DeliverSignal implements dbus.SignalHandler.
func (d disconnectWatcher) DeliverSignal(iface, name string, signal *dbus.Signal) {
	var client, before, owner string
	if iface != busName || name != "NameOwnerChanged" || signal.Sender != busName || dbus.Store(signal.Body, &client, &before, &owner) != nil {
		return
	}
	if owner == "" && strings.HasPrefix(client, ":") {
		// The service is not completely initialised until it is ready.
		go func() {
			select {
			case <-d.service.ready:
				d.service.callers.Forget(client)
				d.service.backlog.Disconnected(client)
			case <-d.service.ended.Done():
			}
		}()
	}
}

// Serve serves an inventory until ctx is done, the bus is lost, or the service has been idle for long
// enough. The inventory is no longer in use when it returns.
func (s *Service) Serve(ctx context.Context, i Inventory) error {
	s.inventory = i
	defer s.watcher.Close()
	defer s.end()
	defer s.conn.Close()
	working, stop := context.WithCancel(context.Background())
	defer stop()
	s.working = working
	s.updates.Run = s.update
	var running sync.WaitGroup
	running.Go(func() { s.changes.run(s.ended) })
	running.Go(s.maintain)
	err := s.ownName(ctx)
	// The next service counts entries again whose counts were not stored.
	stop()
	for s.updates.Busy() {
		_ = s.updates.Join().Wait(context.Background()) // it ends at once
	}
	s.documents.Wait()
	s.end()
	running.Wait()
	return err
}

const (
	// sweepPause is the time between two sweeps for unused resources.
	sweepPause = 30 * time.Second
	// updatePause is the time between two rounds of catching up without a call.
	updatePause = time.Hour
)

// maintain releases unused resources, and catches up with the log, periodically.
func (s *Service) maintain() {
	sweep, update := time.NewTicker(sweepPause), time.NewTicker(updatePause)
	defer sweep.Stop()
	defer update.Stop()
	for {
		select {
		case <-s.ended.Done():
			return
		case <-sweep.C:
			s.watcher.Sweep()
		case <-update.C:
			s.updates.Join()
		}
	}
}

// update is a round of catching up.
func (s *Service) update() error {
	if err := s.working.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go s.changes.watch(done)
	err := s.inventory.CatchUp(s.working)
	if err != nil && s.working.Err() == nil {
		s.log.Error("cannot catch up with the log", "error", err)
	}
	s.changes.check()
	return err
}

// ownName owns the name until the service exits, then releases it.
func (s *Service) ownName(ctx context.Context) error {
	reply, err := s.conn.RequestName(Name, dbus.NameFlagDoNotQueue)
	if err != nil {
		return fmt.Errorf("cannot take the name %s: %w", Name, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("cannot take the name %s: another service has it", Name)
	}
	s.updates.Join()
	close(s.ready)
	s.options.Notify("READY=1")
	s.awaitIdle(ctx)
	if !s.conn.Connected() {
		return errors.New("the connection to the bus was closed")
	}
	// The order matters: the service manager starts another service for later calls only after it has
	// been notified that this one stops.
	s.options.Notify("STOPPING=1")
	if _, err := s.conn.ReleaseName(Name); err != nil {
		return fmt.Errorf("cannot release the name %s: %w", Name, err)
	}
	// Calls that the bus had queued for this connection are being served now.
	draining, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	s.calls.Drain(draining)
	return nil
}

const (
	// drainTime bounds the shutdown. It is shorter than the stop timeout of service managers.
	drainTime = 15 * time.Second
	// idleCheck is the longest time between two checks for calls; otherwise it is a tenth of the idle
	// time.
	idleCheck = 10 * time.Second
)

// awaitIdle returns once the service has been idle for long enough, when ctx is done or the bus is lost.
func (s *Service) awaitIdle(ctx context.Context) {
	tick := time.NewTicker(min(max(s.options.Idle/10, time.Millisecond), idleCheck))
	defer tick.Stop()
	since := time.Now()
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.conn.Context().Done():
			return
		case <-tick.C:
		}
		calls, now := s.calls.Count()
		if calls != seen || now > 0 || s.updates.Busy() {
			seen, since = calls, time.Now()
			continue
		}
		if s.options.Idle > 0 && time.Since(since) >= s.options.Idle {
			return
		}
	}
}

// Alive returns nil if the bus responds.
func (s *Service) Alive(ctx context.Context) error {
	return s.conn.BusObject().CallWithContext(ctx, busName+".GetId", 0).Err
}
