// SPDX-License-Identifier: Apache-2.0

// Package agentservice serves the varlink interface org.cryptoauditing.Agent.
// Whatever its callers do, the recorder sees one Flush and one Status at a
// time, and few followers.
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

// LimitError is the name of the error for varlinkservice.Options.
const LimitError = "org.cryptoauditing.Agent.LimitExceeded"

// Recorder is what is served: an agent.Agent. Its methods may be called from
// any goroutine.
type Recorder interface {
	// Status returns how things are. The error says what could not be found
	// out.
	Status() (status.Agent, error)
	// Flush commits what was probed before the call, makes it durable and
	// returns the cursor behind it.
	Flush(context.Context) (logstore.Cursor, error)
	// Rotate flushes and begins a new segment, whose file name it returns.
	Rotate(context.Context) (string, error)
	// Remove removes the segments that hold nothing after a cursor, on behalf
	// of a user.
	Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (logstore.Removal, error)
	// Follow calls f for each chunk committed, until ctx is done, f returns an
	// error, or f has taken too long (agent.ErrLagging). It waits for f, and
	// nothing else does.
	Follow(ctx context.Context, f func(logstore.Position) error) error
}

// Options configure the service.
type Options struct {
	Recorder Recorder
	// Reload reads the configuration again; a *config.Error says what is
	// wrong with it.
	Reload func(context.Context) error
	Access Access
	// Version is that of the agent.
	Version string
}

const (
	// callTime bounds a call. A disk that takes nothing is what takes long.
	callTime = 30 * time.Second
	// maxFollowers is how many streams of Follow all may have but root and the
	// broker, userFollowers how many each user, as the interface description
	// states them.
	maxFollowers  = 32
	userFollowers = 8
	// burst is how many times Flush, and Status, are carried out at once; flushRate
	// and statusRate how many times a second in the long run: a flush costs a chunk
	// and an fdatasync(2), a status a look at all segments.
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
		version = "unknown" // the library leaves out what is empty
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
	// However long it takes: the reply says that it is in effect.
	err := s.reload(ctx)
	var bad *config.Error
	if errors.As(err, &bad) {
		return c.ReplyBadConfiguration(ctx, bad.File, int64(bad.Line), bad.Problem)
	} else if err != nil {
		return s.fail(ctx, &c, err)
	}
	return c.ReplyReload(ctx)
}

// fail replies with an error that is not of one method.
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

// tooLong says why something may have taken too long.
func (s *service) tooLong() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	reason := fmt.Sprintf("not done within %v", callTime)
	if now, err := s.status.call(ctx); err == nil && now.Full != "" {
		reason += ": " + now.Full
	}
	return reason
}

// clip keeps a reply short whatever the call was.
func clip(text string) string {
	const longest = 128
	if len(text) > longest {
		return escape(text[:longest]) + "…"
	}
	return escape(text)
}

// errGone ends a connection whose peer has left while it followed.
var errGone = errors.New("the peer is gone")

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

	// The peer may leave while nothing is committed.
	following, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-caller.Gone():
			cancel(errGone)
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
	case context.Cause(following) == errGone:
		return errGone
	case errors.Is(err, agent.ErrLagging):
		return c.ReplyLagging(ctx, last)
	}
	return s.fail(ctx, &c, err)
}
