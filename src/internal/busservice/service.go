// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/semaphore"
	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/logstore"
)

// Options configure a Service.
type Options struct {
	// Address is the address of the bus.
	Address string
	// Version is the version of the broker.
	Version string
	// Group is the group whose members may read and subscribe, nil for none.
	Group *uint32
	// Notify sends a state to the service manager (sd_notify(3)).
	Notify func(state string)
	// Idle is the time without clients after which the service exits; 0
	// disables it.
	Idle time.Duration
	// Busy, if set, reports whether another part of the process is in use.
	Busy func() bool
	Log  *slog.Logger
}

// Service is the API on a bus.
type Service struct {
	options Options
	version string
	log     *slog.Logger
	tables  *tables
	calls   *access.Calls
	// ready is closed once calls can be served.
	ready chan struct{}

	// conn is the connection that owns the name, on top of socket.
	conn    *dbus.Conn
	socket  *transport.Socket
	busID   string
	broker  *broker.Broker
	access  *access.Access
	callers *access.Callers
	clients *clients
	// attaching is held while a subscription is attached, and at no other time.
	attaching sync.Mutex
	// backlog and watcher keep clients that do not read from blocking others.
	backlog *transport.Backlog
	watcher *transport.Watcher
	// ended is done once the service has ended.
	ended context.Context
	end   context.CancelFunc
	// scans limits concurrent calls of Read.
	scans     *semaphore.PerUser
	announcer *announcer

	// streams are the open pipes: those that follow end when following is done,
	// the others when streaming is done.
	streams     sync.WaitGroup
	following   context.Context
	streaming   context.Context
	stopFollow  context.CancelFunc
	stopStreams context.CancelFunc
	exiting     atomic.Bool
}

// maxScans and userScans are the highest numbers of concurrent calls of Read in
// total and per user.
const (
	maxScans  = 4
	userScans = 2
)

// ErrNoBus indicates that the bus cannot be reached.
var ErrNoBus = errors.New("there is no bus")

// New connects to the bus. Calls are served once Run has a broker; earlier calls
// wait.
func New(o Options) (*Service, error) {
	t, err := newTables()
	if err != nil {
		return nil, err
	}
	s := &Service{
		options: o, version: o.Version, log: o.Log, tables: t, calls: access.NewCalls(), ready: make(chan struct{}),
		clients: newClients(), scans: semaphore.New(maxScans, userScans),
	}
	s.announcer = newAnnouncer(s)
	s.streaming, s.stopStreams = context.WithCancel(context.Background())
	s.following, s.stopFollow = context.WithCancel(s.streaming)
	s.ended, s.end = context.WithCancel(context.Background())
	s.socket, s.conn, err = transport.Connect(o.Address, transport.Options{MaxMessage: maxMessage, Refuse: s.refuse},
		dbus.WithHandler(object.Handler(s.called)), dbus.WithSignalHandler(disconnectWatcher{s}), dbus.WithIncomingInterceptor(s.received))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
	}
	s.access = access.New(s.conn, o.Group, uint32(os.Geteuid()))
	s.callers = access.NewCallers(s.conn.BusObject())
	if err := s.conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Store(&s.busID); err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot ask the bus: %w", err)
	}
	// Signals about names without an owner report disconnected clients.
	err = s.conn.AddMatchSignal(dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(2, ""))
	if err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot ask the bus: %w", err)
	}
	return s, nil
}

const busName = "org.freedesktop.DBus"

// disconnectWatcher watches for clients that disconnect.
type disconnectWatcher struct{ service *Service }

// DeliverSignal implements dbus.SignalHandler.
func (d disconnectWatcher) DeliverSignal(iface, name string, signal *dbus.Signal) {
	if iface != busName || name != "NameOwnerChanged" || signal.Sender != busName || len(signal.Body) != 3 {
		return
	}
	client, _ := signal.Body[0].(string)
	owner, _ := signal.Body[2].(string)
	if owner == "" && strings.HasPrefix(client, ":") {
		// Ending a delivery waits for messages in progress; the goroutine that reads
		// the bus must not.
		go func() {
			select {
			case <-d.service.ready:
				d.service.disconnected(client)
			case <-d.service.ended.Done():
			}
		}()
	}
}

// Appended is broker.Options.Appended.
func (s *Service) Appended(newest logstore.Cursor, entries uint64) {
	s.announcer.appended(newest, entries)
}

// Serve serves a broker until ctx is done, the bus is lost, or the service has
// been idle for long enough. The broker runs meanwhile and has ended when Serve
// returns. The error reports a lost bus or state that could not be written.
func (s *Service) Serve(ctx context.Context, b *broker.Broker) error {
	s.broker = b
	l := b.Limits()
	s.backlog = transport.NewBacklog(transport.Limits{
		Window: l.Window(), UserWindows: l.UserSubscriptions * l.Window(), Windows: l.Subscriptions * l.Window(),
	})
	s.watcher = transport.NewWatcher(s.ended, s.backlog, s.conn, s.options.Address, s.log)
	defer s.watcher.Close()
	defer s.end()
	defer s.conn.Close()
	running, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running, s.handedTo) }()
	announcing, stopAnnouncing := context.WithCancel(context.Background())
	var announced sync.WaitGroup
	announced.Go(func() { s.announcer.run(announcing) })
	b.OnAgent(func(bool) { s.announcer.check() })
	go s.sweep()

	restart, err := s.ownName(ctx)
	s.stopStreams()
	s.streams.Wait()
	stopAnnouncing()
	announced.Wait()
	stop()
	err = errors.Join(err, <-ended)
	if restart && err == nil {
		// A client has called during the shutdown.
		s.conn.BusObject().Go(busName+".StartServiceByName", dbus.FlagNoReplyExpected, nil, Name, uint32(0))
	}
	return err
}

// sweepPause is the time between two sweeps for unused resources.
const sweepPause = 30 * time.Second

// sweep releases unused resources periodically until the service ends.
func (s *Service) sweep() {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		select {
		case <-s.ended.Done():
			return
		case <-tick.C:
			s.watcher.Sweep()
			// A bus that is overloaded may not report clients that disconnect.
			s.expire()
		}
	}
}

// ownName owns the name until the service exits, then releases it. Signals are sent
// only while the name is owned: proxies ignore them otherwise. restart reports
// whether work is left for the next broker.
func (s *Service) ownName(ctx context.Context) (restart bool, err error) {
	reply, err := s.conn.RequestName(Name, dbus.NameFlagDoNotQueue)
	if err != nil {
		return false, fmt.Errorf("cannot take the name %s: %w", Name, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return false, fmt.Errorf("cannot take the name %s: another broker has it", Name)
	}
	s.broker.Resume(s.resume)
	s.expire()
	close(s.ready)
	s.options.Notify("READY=1")
	idle := s.awaitIdle(ctx)
	if !s.conn.Connected() {
		return false, errors.New("the connection to the bus was closed")
	}
	// The order matters: the service manager starts another broker for later
	// calls only after it has been notified that this one stops.
	s.options.Notify("STOPPING=1")
	s.exiting.Store(true)
	s.broker.Pause()
	if _, err := s.conn.ReleaseName(Name); err != nil {
		return false, fmt.Errorf("cannot release the name %s: %w", Name, err)
	}
	// Calls that the bus had queued for this connection are being served now.
	draining, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	s.calls.Drain(draining)
	s.stopFollow()
	s.awaitStreams(draining)
	return idle && !s.broker.Idle(), nil
}

const (
	// drainTime bounds the shutdown. It is shorter than the stop timeout of service managers.
	drainTime = 15 * time.Second
	// idleCheck is the longest time between two checks for clients; otherwise
	// it is a tenth of the idle time.
	idleCheck = 10 * time.Second
)

// awaitIdle returns true once the service has been idle for long enough, and false
// when ctx is done or the bus is lost.
func (s *Service) awaitIdle(ctx context.Context) bool {
	every := min(max(s.options.Idle/10, time.Millisecond), idleCheck)
	tick := time.NewTicker(every)
	defer tick.Stop()
	since := time.Now()
	var seen uint64
	status := ""
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.conn.Context().Done():
			return false
		case <-tick.C:
		}
		if now := s.broker.Summary(); now != status {
			status = now
			s.options.Notify("STATUS=" + status)
		}
		calls, now := s.calls.Count()
		if calls != seen || now > 0 || !s.broker.Idle() || s.options.Busy != nil && s.options.Busy() {
			seen, since = calls, time.Now()
			continue
		}
		if s.options.Idle > 0 && time.Since(since) >= s.options.Idle {
			return true
		}
	}
}

// awaitStreams waits for streams that do not follow: they end by themselves, and
// readers take the end of a stream for the end of the log.
func (s *Service) awaitStreams(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.streams.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// handedTo describes the client of a sink for the next broker.
func (s *Service) handedTo(to delivery.Sink) string {
	target, ok := to.(*sink)
	if !ok {
		return ""
	}
	return target.client + "@" + s.busID
}

// resume returns a sink for a client of the previous broker, nil if the client
// has disconnected.
func (s *Service) resume(subscription *delivery.Subscription, client string) delivery.Sink {
	name, bus, _ := strings.Cut(client, "@")
	if bus != s.busID {
		return nil
	}
	caller, err := s.callers.Get(context.Background(), name)
	if err != nil || caller.User != subscription.User() {
		return nil
	}
	to := s.newSink(subscription, name, caller.User)
	s.clients.set(subscription, to)
	return to
}

// expire ends delivery to connections that disconnected before they were watched.
func (s *Service) expire() {
	for _, client := range s.clients.all() {
		var connected bool
		if s.conn.BusObject().Call(busName+".NameHasOwner", 0, client).Store(&connected) == nil && !connected {
			s.disconnected(client)
		}
	}
}

// Alive returns nil if the bus and the broker respond.
func (s *Service) Alive(ctx context.Context) error {
	select {
	case <-s.ready:
		s.broker.Summary()
	default: // it is still starting
	}
	return s.conn.BusObject().CallWithContext(ctx, busName+".GetId", 0).Err
}
