// SPDX-License-Identifier: Apache-2.0

// Package brokerservice serves the varlink interface org.cryptoauditing.Broker, with which
// clients read the log even without a bus.
package brokerservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// Socket is the path of the broker's socket.
const Socket = "/run/crypto-auditing/org.cryptoauditing.Broker"

// LimitError is the error name for varlinkservice.Options.
const LimitError = "org.cryptoauditing.Broker.LimitExceeded"

// groupName is the group whose members may call.
const groupName = "crypto-auditing"

// allCallers describes the permitted callers in PermissionDenied.
const allCallers = "root and members of the group " + groupName

// Limits returns the limits stated in the interface description.
func Limits() varlinkservice.Limits {
	l := varlinkservice.DefaultLimits()
	l.CallSize = 64 << 10
	return l
}

// Options configure the service.
type Options struct {
	Broker *broker.Broker
	// Group is the group whose members may call in addition to root; nil: none.
	Group *uint32
	// Version is the version of the broker.
	Version string
}

// Rank returns the function that ranks peers, given the group.
func Rank(group *uint32) func(varlinkservice.Peer) quota.Rank {
	return func(p varlinkservice.Peer) quota.Rank {
		switch {
		case p.IsRoot():
			return quota.Trusted
		case group != nil && p.In(*group):
			return quota.Member
		}
		return quota.Outsider
	}
}

// service implements the interface.
type service struct {
	*api.VarlinkInterface
	broker  *broker.Broker
	group   *uint32
	version string
}

// New returns a service with the interface org.cryptoauditing.Broker.
func New(o Options) (*varlink.Service, error) {
	version := o.Version
	if version == "" {
		version = "unknown" // the library omits an empty version
	}
	v, err := varlink.NewService("crypto-auditing", "crau-broker", version, "man:crau-broker(8)")
	if err != nil {
		return nil, fmt.Errorf("cannot make a varlink service: %w", err)
	}
	s := &service{broker: o.Broker, group: o.Group, version: version}
	if err := v.RegisterInterface(api.VarlinkNew(s)); err != nil {
		return nil, fmt.Errorf("cannot register a varlink interface: %w", err)
	}
	return v, nil
}

// mayCall reports whether a peer may call.
func (s *service) mayCall(p varlinkservice.Peer) bool {
	return Rank(s.group)(p) != quota.Outsider
}

// GetStatus implements the interface.
func (s *service) GetStatus(ctx context.Context, c api.VarlinkCall) error {
	if !s.mayCall(varlinkservice.CallerOf(&c.Call).Peer()) {
		return c.ReplyPermissionDenied(ctx, "GetStatus", allCallers)
	}
	now := s.broker.Status(ctx)
	now.Version = s.version
	text, err := status.Varlink(&now)
	if err != nil {
		return err
	}
	return c.Reply(ctx, struct {
		Status json.RawMessage `json:"status"`
	}{text})
}

// page is a reply to Read whose groups are JSON already.
type page struct {
	Groups  []json.RawMessage   `json:"groups"`
	Next    string              `json:"next"`
	Missing uint64              `json:"missing"`
	Reason  event.MissingReason `json:"missingReason,omitempty"`
}

// Read implements the interface.
func (s *service) Read(ctx context.Context, c api.VarlinkCall, after string, filter *api.Filter, most *int64, follow *bool) error {
	caller := varlinkservice.CallerOf(&c.Call)
	follows := follow != nil && *follow
	switch {
	case !s.mayCall(caller.Peer()):
		return c.ReplyPermissionDenied(ctx, "Read", allCallers)
	case c.IsOneway():
		return c.ReplyInvalidParameter(ctx, "oneway")
	case follows && !c.WantsMore():
		return c.ReplyInvalidParameter(ctx, "more")
	case most != nil && *most < 0:
		return c.ReplyInvalidParameter(ctx, "max")
	}
	f, err := filterOf(filter)
	if err != nil {
		return s.fail(ctx, &c, after, err)
	}
	read := s.broker.Read
	if c.WantsMore() {
		read = s.broker.Open
	}
	r, err := read(caller.Holder(), after, f)
	if err != nil {
		return s.fail(ctx, &c, after, err)
	}
	defer r.Close()
	limit := reading.MaxGroups
	if most != nil && *most > 0 && *most < reading.MaxGroups {
		limit = int(*most)
	}

	until, cancel := connected(ctx, caller)
	defer cancel()
	for {
		p, end, err := next(until, r, limit)
		if err != nil {
			return s.interrupted(ctx, until, &c, after, err)
		}
		if !c.WantsMore() && len(p.Groups) == 0 && p.Missing == 0 && p.Reason == event.Unreadable {
			return s.fail(ctx, &c, after, s.broker.Unreadable())
		}
		over := !c.WantsMore() || end && !follows
		if over || len(p.Groups) > 0 || p.Reason != "" {
			c.Continues = !over
			if err := c.Reply(ctx, p); err != nil || over {
				return err
			}
		}
		if end {
			if err := r.Wait(until); err != nil {
				return s.interrupted(ctx, until, &c, after, err)
			}
		}
	}
}

// errDisconnected ends a connection whose peer disconnected during a call.
var errDisconnected = errors.New("the peer has closed the connection")

// connected returns a context that ends with errDisconnected when the peer disconnects: it may do so while
// nothing is sent to it.
func connected(ctx context.Context, caller *varlinkservice.Conn) (until context.Context, cancel func()) {
	until, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-caller.Disconnected():
			end(errDisconnected)
		case <-until.Done():
		}
	}()
	return until, func() { end(nil) }
}

// interrupted replies to a call that ended early.
func (s *service) interrupted(ctx, reading context.Context, c *api.VarlinkCall, after string, err error) error {
	if context.Cause(reading) == errDisconnected {
		return errDisconnected
	}
	c.Continues = false
	return s.fail(ctx, c, after, err)
}

// next reads a page; end reports that there are no more entries now.
func next(ctx context.Context, r *reading.Pages, limit int) (p *page, end bool, err error) {
	var ends []int
	got, err := r.Next(ctx, nil, limit, reading.MaxPage, func(dst []byte, e *event.Entry) []byte {
		dst = appendGroup(dst, e)
		ends = append(ends, len(dst))
		return dst
	})
	if err != nil {
		return nil, false, err
	}
	p = &page{Groups: []json.RawMessage{}, Next: r.Cursor().String()}
	if got.Gap != nil {
		p.Missing, p.Reason = got.Gap.Entries, got.Gap.Reason
	}
	begin := 0
	// The last element of ends may belong to a group that did not fit.
	for _, end := range ends[:got.Count] {
		p.Groups = append(p.Groups, got.Groups[begin:end])
		begin = end
	}
	return p, got.End, nil
}

// fail replies with an error.
func (s *service) fail(ctx context.Context, c *api.VarlinkCall, after string, err error) error {
	var filter *fault.FilterError
	var limit *fault.LimitError
	switch {
	case errors.As(err, &filter):
		return c.ReplyInvalidFilter(ctx, filter.Key, filter.Problem)
	case errors.As(err, &limit):
		return c.ReplyLimitExceeded(ctx, limit.Resource, int64(limit.Max))
	case errors.Is(err, logstore.ErrInvalidCursor):
		return c.ReplyInvalidCursor(ctx, clip(after), err.Error())
	case errors.Is(err, logstore.ErrForeignCursor):
		return c.ReplyForeignCursor(ctx, after)
	case ctx.Err() != nil:
		return c.ReplyUnavailable(ctx, "the broker is ending")
	}
	return c.ReplyStoreCorrupt(ctx, err.Error())
}

// clip limits the length of a text of the caller in a reply.
func clip(text string) string {
	const longest = 128
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}

func filterOf(from *api.Filter) (filter.Spec, error) {
	var to filter.Spec
	if from == nil {
		return to, nil
	}
	for _, list := range []struct {
		from *[]string
		to   *[]string
	}{
		{from.Scopes, &to.Scopes}, {from.Contexts, &to.Contexts}, {from.Keys, &to.Keys},
		{from.Executables, &to.Executables}, {from.Origins, &to.Origins}, {from.Matches, &to.Matches},
		{from.Units, &to.Units}, {from.Sources, &to.Sources},
	} {
		if list.from != nil {
			*list.to = *list.from
		}
	}
	for _, bound := range []struct {
		name string
		from *int64
		to   *uint64
	}{{"sinceUSec", from.SinceUSec, &to.Since}, {"untilUSec", from.UntilUSec, &to.Until}} {
		if bound.from == nil {
			continue
		}
		if *bound.from < 0 {
			return to, &fault.FilterError{Key: bound.name, Problem: fmt.Sprintf("%d is before 1970", *bound.from)}
		}
		*bound.to = uint64(*bound.from)
	}
	return to, nil
}
