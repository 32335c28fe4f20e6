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
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/logstore"
)

// Options configure a Service.
type Options struct {
	// Address is that of the bus.
	Address string
	// Version is the version of the broker.
	Version string
	// Group is the group whose members may read and subscribe; nil: none.
	Group *uint32
	// Notify tells the service manager (sd_notify(3)).
	Notify func(state string)
	// Idle is how long nobody must need the service before it leaves; 0: it
	// stays.
	Idle time.Duration
	// Busy, if set, reports whether somebody else needs the process.
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
	// ready is closed when calls can be served.
	ready chan struct{}

	// conn is the connection that owns the name; socket is below it.
	conn    *dbus.Conn
	socket  *transport.Socket
	busID   string
	broker  *broker.Broker
	access  *access.Access
	callers *access.Callers
	clients *clients
	// attaching is held while a subscription is attached, and nothing else.
	attaching sync.Mutex
	// backlog and watcher keep clients that do not read from holding up others.
	backlog *transport.Backlog
	watcher *transport.Watcher
	// ended is done when the service has ended.
	ended context.Context
	end   context.CancelFunc
	// scans are the turns of Read.
	scans     *semaphore.PerUser
	announcer *announcer

	// streams are the pipes that are written to: those that follow until
	// following is done, others until streaming is.
	streams     sync.WaitGroup
	following   context.Context
	streaming   context.Context
	stopFollow  context.CancelFunc
	stopStreams context.CancelFunc
	leavingSoon atomic.Bool
}

// maxScans is how many calls of Read are served at the same time, userScans
// those of one user.
const (
	maxScans  = 4
	userScans = 2
)

// ErrNoBus says that the bus cannot be reached.
var ErrNoBus = errors.New("there is no bus")

// New connects to the bus. Calls are served once Run has a broker; what comes
// before waits.
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
		dbus.WithHandler(s), dbus.WithSignalHandler(departures{s}), dbus.WithIncomingInterceptor(s.received))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBus, err)
	}
	s.access = access.New(s.conn, o.Group, uint32(os.Geteuid()))
	s.callers = access.NewCallers(s.conn.BusObject())
	if err := s.conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Store(&s.busID); err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot ask the bus: %w", err)
	}
	// Of the names that nobody has any more, those of connections tell who has
	// left.
	err = s.conn.AddMatchSignal(dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(2, ""))
	if err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("cannot ask the bus: %w", err)
	}
	return s, nil
}

const busName = "org.freedesktop.DBus"

// departures listens for connections that leave.
type departures struct{ service *Service }

// DeliverSignal implements dbus.SignalHandler.
func (d departures) DeliverSignal(iface, name string, signal *dbus.Signal) {
	if iface != busName || name != "NameOwnerChanged" || signal.Sender != busName || len(signal.Body) != 3 {
		return
	}
	client, _ := signal.Body[0].(string)
	owner, _ := signal.Body[2].(string)
	if owner == "" && strings.HasPrefix(client, ":") {
		// Ending a delivery waits for what is under way, and the bus is to be
		// read on.
		go func() {
			select {
			case <-d.service.ready:
				d.service.gone(client)
			case <-d.service.ended.Done():
			}
		}()
	}
}

// Appended is broker.Options.Appended.
func (s *Service) Appended(newest logstore.Cursor, entries uint64) {
	s.announcer.appended(newest, entries)
}

// Serve serves a broker until ctx is done, the bus is gone, or nobody has
// needed it for long enough. The broker runs meanwhile, and has ended when
// Serve returns. The error says that the bus is gone, or the state not
// written.
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
	b.OnAgent(func(bool) { s.announcer.look() })
	go s.sweep()

	restart, err := s.stay(ctx)
	s.stopStreams()
	s.streams.Wait()
	stopAnnouncing()
	announced.Wait()
	stop()
	err = errors.Join(err, <-ended)
	if restart && err == nil {
		// Somebody has come while we were leaving.
		s.conn.BusObject().Go(busName+".StartServiceByName", dbus.FlagNoReplyExpected, nil, Name, uint32(0))
	}
	return err
}

// sweepPause is how long there is between two looks for what is not used any
// more.
const sweepPause = 30 * time.Second

// sweep looks for what is not used any more, until the service ends.
func (s *Service) sweep() {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		select {
		case <-s.ended.Done():
			return
		case <-tick.C:
			s.watcher.Sweep()
			// A bus that has too much for us does not tell who leaves.
			s.expire()
		}
	}
}

// stay owns the name until it is time to leave, and then lets go of it. Signals
// are sent meanwhile only: proxies take them from the owner of the name. restart
// says that there is something left to do for the next broker.
func (s *Service) stay(ctx context.Context) (restart bool, err error) {
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
		return false, errors.New("the connection to the bus is gone")
	}
	// The order matters: only once the service manager knows that we are
	// leaving does it start another broker for those who come from now on.
	s.options.Notify("STOPPING=1")
	s.leavingSoon.Store(true)
	s.broker.Pause()
	if _, err := s.conn.ReleaseName(Name); err != nil {
		return false, fmt.Errorf("cannot release the name %s: %w", Name, err)
	}
	// What the bus had for us is being served by now.
	draining, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	s.calls.Drain(draining)
	s.stopFollow()
	s.awaitStreams(draining)
	return idle && !s.broker.Idle(), nil
}

const (
	// drainTime bounds how long leaving takes: less than service managers wait.
	drainTime = 15 * time.Second
	// idleCheck is how often it is looked whether anybody is there, at most: a
	// tenth of the time after which to leave.
	idleCheck = 10 * time.Second
)

// awaitIdle returns true when nobody has needed the service for long enough,
// and false when ctx is done or the bus is gone.
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

// awaitStreams waits for pipes that do not follow: they end by themselves, and
// whoever reads takes their end for that of the log.
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

// handedTo names the client of a sink for the next broker.
func (s *Service) handedTo(to delivery.Sink) string {
	one, ok := to.(*sink)
	if !ok {
		return ""
	}
	return one.client + "@" + s.busID
}

// resume returns a sink for what the broker before has sent to a client, nil if
// that has left.
func (s *Service) resume(one *delivery.Subscription, client string) delivery.Sink {
	name, bus, _ := strings.Cut(client, "@")
	if bus != s.busID {
		return nil
	}
	who, err := s.callers.Of(context.Background(), name)
	if err != nil || who.User != one.User() {
		return nil
	}
	to := s.newSink(one, name, who.User)
	s.clients.set(one, to)
	return to
}

// expire ends what is sent to connections that left before it was.
func (s *Service) expire() {
	for _, client := range s.clients.all() {
		var there bool
		if s.conn.BusObject().Call(busName+".NameHasOwner", 0, client).Store(&there) == nil && !there {
			s.gone(client)
		}
	}
}

// Alive returns nil if the bus answers, and the broker, too.
func (s *Service) Alive(ctx context.Context) error {
	select {
	case <-s.ready:
		s.broker.Summary()
	default: // it is starting
	}
	return s.conn.BusObject().CallWithContext(ctx, busName+".GetId", 0).Err
}
