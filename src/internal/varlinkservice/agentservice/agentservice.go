// SPDX-License-Identifier: Apache-2.0

// Package agentservice serves the varlink interface org.cryptoauditing.Agent. However many
// calls there are, the recorder handles one Flush and one Status at a time, and a limited
// number of followers.
package agentservice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varlink/go/varlink"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// LimitError is the error name for varlinkservice.Options.
const LimitError = "org.cryptoauditing.Agent.LimitExceeded"

// Recorder is the served object, an agent.Agent. Its methods are safe for concurrent use.
type Recorder interface {
	// Status returns the status. The error describes the data that could not be
	// determined.
	Status() (status.Agent, error)
	// Flush commits everything captured before the call, makes it durable and returns the
	// cursor after it.
	Flush(context.Context) (logstore.Cursor, error)
	// Rotate flushes and starts a new segment, and returns its file name.
	Rotate(context.Context) (string, error)
	// Remove removes, on behalf of a user, the segments without entries after a cursor.
	Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (logstore.Removal, error)
	// Follow calls f for each committed chunk until ctx is done, f returns an error, or
	// f is too slow (agent.ErrLagging). Follow waits for f; recording does not.
	Follow(ctx context.Context, f func(logstore.Position) error) error
}

// Options configure the service.
type Options struct {
	Recorder Recorder
	// Reload reloads the configuration. An error in the configuration is a
	// *config.Error.
	Reload func(context.Context) error
	Access Access
	// Version is the version of the agent.
	Version string
}

const (
	// callTime is the time limit of a call. Calls take long if disk writes block.
	callTime = 30 * time.Second
	// maxFollowers limits the streams of Follow of all users except root and the broker,
	// userFollowers those of each user, as stated in the interface description.
	maxFollowers  = 32
	userFollowers = 8
	// burst is the number of Flush calls, and of Status calls, executed at once; flushRate
	// and statusRate are the sustained rates per second. A flush costs a chunk and an
	// fdatasync(2); a status examines all segments.
	burst      = 20
	flushRate  = 10
	statusRate = 20
)

// service implements the interface.
type service struct {
	*api.VarlinkInterface
	recorder  Recorder
	reload    func(context.Context) error
	access    Access
	version   string
	flush     *shared[logstore.Cursor]
	status    *shared[status.Agent]
	followers *quota.Quota
}

// New returns a service with the interface org.cryptoauditing.Agent.
func New(o Options) (*varlink.Service, error) {
	version := o.Version
	if version == "" {
		version = "unknown" // the library omits an empty version
	}
	v, err := varlink.NewService("crypto-auditing", "crau-agent", version, "man:crau-agent(8)")
	if err != nil {
		return nil, fmt.Errorf("cannot make a varlink service: %w", err)
	}
	s := &service{
		recorder: o.Recorder, reload: o.Reload, access: o.Access, version: version,
		followers: quota.New("streams of Follow", quota.Limits{User: userFollowers, Others: maxFollowers}),
	}
	flushes, statuses := rate.NewLimiter(flushRate, burst), rate.NewLimiter(statusRate, burst)
	s.flush = newShared(func(ctx context.Context) (logstore.Cursor, error) {
		if err := flushes.Wait(ctx); err != nil {
			return logstore.Cursor{}, err
		}
		return s.recorder.Flush(ctx)
	})
	s.status = newShared(func(ctx context.Context) (status.Agent, error) {
		if err := statuses.Wait(ctx); err != nil {
			return status.Agent{}, err
		}
		now, err := s.recorder.Status()
		describe(&now, err, s.version)
		return now, nil
	})
	if err := v.RegisterInterface(api.VarlinkNew(s)); err != nil {
		return nil, fmt.Errorf("cannot register a varlink interface: %w", err)
	}
	return v, nil
}

// GetStatus implements the interface.
func (s *service) GetStatus(ctx context.Context, c api.VarlinkCall) error {
	if !s.access.mayCall(callerOf(&c)) {
		return c.ReplyPermissionDenied(ctx, "GetStatus", allCallers)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	now, err := s.status.call(ctx)
	if err != nil {
		return s.fail(ctx, &c, err)
	}
	text, err := status.Varlink(now)
	if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.Reply(ctx, statusReply{text})
}

// Flush implements the interface.
func (s *service) Flush(ctx context.Context, c api.VarlinkCall) error {
	if !s.access.mayCall(callerOf(&c)) {
		return c.ReplyPermissionDenied(ctx, "Flush", allCallers)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	cursor, err := s.flush.call(ctx)
	if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.ReplyFlush(ctx, cursor.String())
}

// Rotate implements the interface.
func (s *service) Rotate(ctx context.Context, c api.VarlinkCall) error {
	if !callerOf(&c).IsRoot() {
		return c.ReplyPermissionDenied(ctx, "Rotate", rootOnly)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	segment, err := s.recorder.Rotate(ctx)
	if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.ReplyRotate(ctx, segment)
}

// Remove implements the interface.
func (s *service) Remove(ctx context.Context, c api.VarlinkCall, before string, uid *int64, name, policy *string, force *bool) error {
	if !s.access.mayRemove(callerOf(&c)) {
		return c.ReplyPermissionDenied(ctx, "Remove", rootAndBroker)
	}
	cursor, err := logstore.ParseCursor(before)
	if err != nil {
		return c.ReplyInvalidCursor(ctx, clip(before), err.Error())
	}
	by, wrong := removerOf(callerOf(&c), uid, name, policy)
	if wrong != "" {
		return c.ReplyInvalidParameter(ctx, wrong)
	}
	by.Force = force != nil && *force
	removed, err := s.recorder.Remove(ctx, cursor, by)
	if errors.Is(err, agent.ErrRemovesAll) {
		return c.ReplyRemovesAll(ctx)
	}
	if errors.Is(err, logstore.ErrForeignCursor) {
		return c.ReplyForeignCursor(ctx, before)
	} else if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.ReplyRemove(ctx, removed.Bytes, int64(len(removed.Segments)))
}

// Reload implements the interface.
func (s *service) Reload(ctx context.Context, c api.VarlinkCall) error {
	if !s.access.mayReload(callerOf(&c)) {
		return c.ReplyPermissionDenied(ctx, "Reload", rootAndOwn)
	}
	// There is no time limit: the reply confirms that the configuration is in effect.
	err := s.reload(ctx)
	var bad *config.Error
	if errors.As(err, &bad) {
		return c.ReplyBadConfiguration(ctx, bad.File, int64(bad.Line), bad.Problem)
	} else if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.ReplyReload(ctx)
}

// fail replies with an error that is common to all methods.
func (s *service) fail(ctx context.Context, c *api.VarlinkCall, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return c.ReplyUnavailable(ctx, s.tooLong())
	case errors.Is(err, context.Canceled), errors.Is(err, logstore.ErrClosed):
		return c.ReplyUnavailable(ctx, "the agent is ending")
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return c.ReplyUnavailable(ctx, sentence(err.Error()))
	}
	return c.ReplyFailed(ctx, sentence(err.Error()))
}

// tooLong returns the likely reason for a timeout.
func (s *service) tooLong() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	reason := fmt.Sprintf("not done within %v", callTime)
	if now, err := s.status.call(ctx); err == nil && now.Full != "" {
		reason += ": " + now.Full
	}
	return reason
}

// clip limits the length of a text of the caller in a reply.
func clip(text string) string {
	const longest = 128
	if len(text) > longest {
		return escape(text[:longest]) + "…"
	}
	return escape(text)
}

// errDisconnected ends a connection whose peer disconnected during Follow.
var errDisconnected = errors.New("the peer has closed the connection")

// Follow implements the interface.
func (s *service) Follow(ctx context.Context, c api.VarlinkCall) error {
	switch {
	case !s.access.mayCall(callerOf(&c)):
		return c.ReplyPermissionDenied(ctx, "Follow", allCallers)
	case !c.WantsMore() || c.IsOneway():
		return c.ReplyInvalidParameter(ctx, "more")
	}
	caller := varlinkservice.CallerOf(&c.Call)
	if full := s.followers.Take(caller.Holder()); full != nil {
		return c.ReplyLimitExceeded(ctx, full.Limit, int64(full.Max))
	}
	defer s.followers.Release(caller.Holder())

	// The peer may disconnect while nothing is committed.
	following, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-caller.Disconnected():
			cancel(errDisconnected)
		case <-following.Done():
		}
	}()
	last := ""
	var unsent error
	c.Continues = true
	err := s.recorder.Follow(following, func(p logstore.Position) error {
		if unsent = c.ReplyFollow(ctx, p.Cursor.String(), p.Segment, p.Offset); unsent == nil {
			last = p.Cursor.String()
		}
		return unsent
	})
	switch {
	case unsent != nil:
		return unsent
	case context.Cause(following) == errDisconnected:
		return errDisconnected
	case errors.Is(err, agent.ErrLagging):
		return c.ReplyLagging(ctx, last)
	}
	return s.fail(ctx, &c, err)
}
