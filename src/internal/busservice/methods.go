// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/arguments"
	"crypto-auditing/src/internal/busservice/marshal"
	"crypto-auditing/src/internal/busservice/stream"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
)

// dictionary is the type a{sv}.
type dictionary = arguments.Dictionary

// flushTime bounds a flush or a removal by the agent.
const flushTime = 40 * time.Second

func brokerMethods() map[string]method {
	return map[string]method{
		"Read":              {"sa{sv}u", (*call).read},
		"ReadOperations":    {"sa{sv}ua{sv}", (*call).readOperations},
		"Open":              {"sa{sv}a{sv}", (*call).open},
		"Subscribe":         {"sa{sv}a{sv}", (*call).subscribe},
		"GetSubscription":   {"s", (*call).getSubscription},
		"ListSubscriptions": {"", (*call).listSubscriptions},
		"Flush":             {"", (*call).flush},
		"Truncate":          {"a{sv}", (*call).truncate},
		"GetStatus":         {"", (*call).getStatus},
	}
}

func subscriptionMethods() map[string]method {
	return map[string]method{
		"Attach":      {"", (*call).attach},
		"Acknowledge": {"s", (*call).acknowledge},
		"Seek":        {"s", (*call).seek},
		"Close":       {"", (*call).close},
	}
}

// read serves Read.
func (c *call) read() ([]any, error) {
	var after string
	var d dictionary
	var most uint32
	if err := c.arguments(&after, &d, &most); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Read); err != nil {
		return nil, err
	}
	f, err := arguments.Filter(d)
	if err != nil {
		return nil, err
	}
	if most == 0 || most > reading.MaxGroups {
		most = reading.MaxGroups
	}
	// Scans cost CPU time and memory.
	if err := c.service.scans.Acquire(c.ctx, c.caller.User); err != nil {
		return nil, err
	}
	defer c.service.scans.Release(c.caller.User)
	r, err := c.service.broker.Read(c.service.access.Holder(c.caller), after, f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	page, err := r.Next(c.ctx, nil, int(most), c.pageSize(), marshal.AppendGroup)
	if err != nil {
		return nil, err
	}
	reply := &marshal.Page{Groups: page.Groups, Next: r.Cursor().String()}
	if page.Gap != nil {
		reply.Missing = page.Gap.Entries
		if page.Count == 0 && page.Gap.Open() {
			return nil, c.service.broker.Unreadable()
		}
	}
	return []any{reply}, nil
}

// readOperations serves ReadOperations.
func (c *call) readOperations() ([]any, error) {
	var after string
	var filter, options dictionary
	var most uint32
	if err := c.arguments(&after, &filter, &most, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Read); err != nil {
		return nil, err
	}
	f, err := arguments.Filter(filter)
	if err != nil {
		return nil, err
	}
	reverse, err := arguments.Flag(options, "reverse")
	if err != nil {
		return nil, err
	}
	if most == 0 || most > operations.MaxOperations {
		most = operations.MaxOperations
	}
	if err := c.service.scans.Acquire(c.ctx, c.caller.User); err != nil {
		return nil, err
	}
	defer c.service.scans.Release(c.caller.User)
	page, err := c.service.broker.ReadOperations(c.ctx, after, f, operations.Options{
		Encoder: marshal.InReplies, Most: int(most), Size: c.pageSize(), NewestFirst: reverse,
	})
	if err != nil {
		return nil, err
	}
	if len(page.Ends) == 0 && page.Unreadable {
		return nil, c.service.broker.Unreadable()
	}
	return []any{&marshal.Operations{Operations: page.Bytes, Next: page.Next.String(), Missing: page.Missing}}, nil
}

// pageSize returns how many bytes of groups or operations the reply may have.
func (c *call) pageSize() int {
	if c.room > 0 {
		return min(reading.MaxPage, c.room-marshal.Overhead)
	}
	return reading.MaxPage
}

// open serves Open.
func (c *call) open() ([]any, error) {
	var after string
	var filter, options dictionary
	if err := c.arguments(&after, &filter, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Read); err != nil {
		return nil, err
	}
	f, err := arguments.Filter(filter)
	if err != nil {
		return nil, err
	}
	follow, err := arguments.Flag(options, "follow")
	if err != nil {
		return nil, err
	}
	ctx := c.service.streaming
	if follow {
		ctx = c.service.following
		if c.service.exiting.Load() {
			return nil, access.ErrStopping()
		}
	}
	r, err := c.service.broker.Open(c.service.access.Holder(c.caller), after, f)
	if err != nil {
		return nil, err
	}
	readEnd, writeEnd, err := stream.Pipe()
	if err != nil {
		r.Close()
		return nil, err
	}
	c.after = append(c.after, func() {
		readEnd.Close()
		c.service.streams.Go(func() {
			if err := stream.New(r, writeEnd, follow).Run(ctx); err != nil {
				c.service.log.Error("a stream ended early", "error", err)
			}
		})
	})
	return []any{dbus.UnixFD(readEnd.Fd())}, nil
}

// flush serves Flush.
func (c *call) flush() ([]any, error) {
	if err := c.authorise(access.Read); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, flushTime)
	defer cancel()
	cursor, err := c.service.broker.Flush(ctx)
	if err != nil {
		return nil, err
	}
	return []any{cursor.String()}, nil
}

// truncate serves Truncate.
func (c *call) truncate() ([]any, error) {
	var d dictionary
	if err := c.arguments(&d); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Truncate); err != nil {
		return nil, err
	}
	policy, err := arguments.Policy(d, c.service.broker.Policy())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, flushTime)
	defer cancel()
	t, err := c.service.broker.Truncate(ctx, policy, retention.Remover{UID: c.caller.User, User: access.UserName(c.caller.User)})
	if err != nil {
		return nil, err
	}
	c.service.announcer.check()
	return []any{uint64(t.Bytes), uint32(t.Segments), t.Oldest.String()}, nil
}

// getStatus serves GetStatus.
func (c *call) getStatus() ([]any, error) {
	if err := c.authorise(access.Read); err != nil {
		return nil, err
	}
	now := c.service.broker.Status(c.ctx)
	now.Version = c.service.version
	return []any{status.Dictionary(&now, dbus.MakeVariant)}, nil
}

// subscribe serves Subscribe.
func (c *call) subscribe() ([]any, error) {
	var name string
	var filter, options dictionary
	if err := c.arguments(&name, &filter, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Subscribe); err != nil {
		return nil, err
	}
	f, err := arguments.Filter(filter)
	if err != nil {
		return nil, err
	}
	o, err := arguments.SubscribeOptions(options)
	if err != nil {
		return nil, err
	}
	subscription, err := c.service.broker.Subscribe(c.service.access.Holder(c.caller), name, f, o)
	if err != nil {
		return nil, err
	}
	if err := c.deliver(subscription); err != nil {
		if name == "" {
			// It has delivered nothing yet, and no client knows its name.
			_ = subscription.Close()
		}
		return nil, err
	}
	return []any{pathOf(subscription)}, nil
}

// deliver attaches a subscription to the caller once the reply has been sent.
func (c *call) deliver(subscription *delivery.Subscription) error {
	to := c.service.newSink(subscription, c.sender, c.caller.User)
	if before := c.service.clients.set(subscription, to); before != nil {
		// After the reply, nothing may be sent to the previous connection.
		subscription.Detach(before)
		before.close()
	}
	if err := subscription.Assign(c.service.handedTo(to)); err != nil {
		c.service.clients.drop(subscription, to)
		return err
	}
	c.after = append(c.after, func() { c.service.attach(subscription, to) })
	return nil
}

// getSubscription serves GetSubscription.
func (c *call) getSubscription() ([]any, error) {
	var name string
	if err := c.arguments(&name); err != nil {
		return nil, err
	}
	if err := c.authorise(access.Subscribe); err != nil {
		return nil, err
	}
	subscription, err := c.service.broker.Named(c.caller.User, name)
	if err != nil {
		return nil, err
	}
	return []any{pathOf(subscription)}, nil
}

// listed is the form of a subscription in a list.
type listed struct {
	Name               string
	Path               dbus.ObjectPath
	Delivered, Pending uint64
	Attributes         dictionary
}

// listSubscriptions serves ListSubscriptions.
func (c *call) listSubscriptions() ([]any, error) {
	if err := c.authorise(access.Subscribe); err != nil {
		return nil, err
	}
	list := []listed{}
	for _, subscription := range c.service.broker.Subscriptions() {
		if c.caller.User != 0 && c.caller.User != subscription.User() {
			continue
		}
		status := subscription.Status()
		list = append(list, listed{subscription.Name(), pathOf(subscription), status.Delivered, status.Pending, dictionary{
			"user":     dbus.MakeVariant(subscription.User()),
			"attached": dbus.MakeVariant(status.Attached),
			"position": dbus.MakeVariant(status.Position.String()),
			"flow":     dbus.MakeVariant(string(subscription.Flow())),
			"form":     dbus.MakeVariant(string(subscription.Form())),
			"filter":   dbus.MakeVariant(arguments.FilterValue(subscription.Filter())),
			"skipped":  dbus.MakeVariant(status.Skipped),
			"created":  dbus.MakeVariant(uint64(status.Created.UnixMicro())),
		}})
	}
	return []any{list}, nil
}

// attach serves Attach.
func (c *call) attach() ([]any, error) {
	if err := c.authorise(access.Subscribe); err != nil {
		return nil, err
	}
	subscription := c.subscription
	if subscription.Name() == "" {
		return nil, arguments.Invalid("the subscription is ephemeral: it belongs to the connection that made it")
	}
	return nil, c.deliver(subscription)
}

// acknowledge serves Acknowledge.
func (c *call) acknowledge() ([]any, error) {
	var cursor string
	if err := c.arguments(&cursor); err != nil {
		return nil, err
	}
	return nil, c.subscription.Acknowledge(cursor)
}

// seek serves Seek.
func (c *call) seek() ([]any, error) {
	var cursor string
	if err := c.arguments(&cursor); err != nil {
		return nil, err
	}
	return nil, c.subscription.Seek(cursor)
}

// close serves Close.
func (c *call) close() ([]any, error) {
	subscription := c.subscription
	if err := subscription.Close(); err != nil {
		return nil, err
	}
	c.service.clients.remove(subscription)
	return nil, nil
}
