// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"crypto-auditing/src/internal/broker"
)

// testLimits returns the limits of the broker.
func testLimits() Limits {
	l := broker.DefaultLimits()
	return Limits{Window: l.Window(), UserWindows: l.UserSubscriptions * l.Window(), Windows: l.Subscriptions * l.Window()}
}

// newBacklog returns a backlog that records which clients are watched.
func newBacklog() (u *Backlog, watched func() map[string]int) {
	u = NewBacklog(testLimits())
	var mu sync.Mutex
	all := map[string]int{}
	u.watch = func(client string) {
		mu.Lock()
		defer mu.Unlock()
		all[client]++
	}
	return u, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// ended returns an ended context, with which waiting fails.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestUnreadMessagesOfOthersLeaveRoomForAWindow(t *testing.T) {
	u, _ := newBacklog()
	l := broker.DefaultLimits()
	all := 0
	for user := range uint32(l.Subscriptions / l.UserSubscriptions) {
		for n := range l.UserSubscriptions {
			client := fmt.Sprintf(":%d.%d", user, n/32)
			got, err := u.Reserve(ended(), Windows, client, user, u.limits.Window, u.limits.Window)
			if err != nil {
				t.Fatalf("subscription %d of user %d: %v", n, user, err)
			}
			u.Sent(Windows, client, user, got, got)
			all += got
		}
		if _, err := u.Reserve(ended(), Windows, ":x", user, 1, 1); !errors.Is(err, context.Canceled) {
			t.Fatalf("user %d has more than Windows of %d subscriptions", user, l.UserSubscriptions)
		}
	}
	if all > broker.BusBytes {
		t.Errorf("%d bytes are unread", all)
	}
}

func TestAClientWithNothingToReadIsAlwaysAnswered(t *testing.T) {
	u, watched := newBacklog()
	// Some users take as much as they can get.
	for user := range uint32(20) {
		for n := range 10 {
			client := fmt.Sprintf(":%d.%d", user, n)
			got, err := u.Reserve(ended(), Replies, client, user, AnyReply, 4<<20)
			if err != nil {
				t.Fatalf("client %d of user %d: %v", n, user, err)
			}
			u.Sent(Replies, client, user, got, got)
			if watched()[client] == 0 {
				t.Fatalf("client %d of user %d is not watched after %d bytes", n, user, got)
			}
			if _, err := u.Reserve(ended(), Replies, client, user, clientReplies, clientReplies); err == nil {
				t.Fatalf("client %d of user %d is sent more than it reads", n, user)
			}
		}
	}
	if most := allReplies + 200*AnyReply; u.all[Replies] > most {
		t.Errorf("%d bytes are unread, want %d at most", u.all[Replies], most)
	}
	// Reading or disconnecting makes room.
	u.read(":0.0", u.sentTo(":0.0"))
	u.Disconnected(":0.1")
	if got, err := u.Reserve(ended(), Replies, ":0.0", 0, AnyReply, 4<<20); err != nil || got < AnyReply {
		t.Errorf("after reading: %d, %v", got, err)
	}
}

func TestIdleAndDisconnectedClientsTakeNoMemory(t *testing.T) {
	u, _ := newBacklog()
	for n := range 100 {
		client := fmt.Sprintf(":1.%d", n)
		got, err := u.Reserve(ended(), Replies, client, 7, AnyReply, AnyReply)
		if err != nil {
			t.Fatal(err)
		}
		switch n % 4 {
		case 0: // it disconnects before the reply is sent
			u.Disconnected(client)
			u.Sent(Replies, client, 7, got, 100)
		case 1:
			u.Sent(Replies, client, 7, got, 100)
			u.Disconnected(client)
		case 2:
			u.Sent(Replies, client, 7, got, 100)
			u.read(client, u.sentTo(client))
		case 3:
			u.Cancel(Replies, client, 7, got)
		}
	}
	if len(u.clients) > 0 || len(u.users) > 0 || u.all != [kinds]int{} {
		t.Errorf("%d clients, %d users, %v bytes are left", len(u.clients), len(u.users), u.all)
	}
}

func TestAWaitingReservationContinuesWhenOthersRead(t *testing.T) {
	u, _ := newBacklog()
	got, err := u.Reserve(ended(), Replies, ":1.1", 5, userReplies, userReplies)
	if err != nil {
		t.Fatal(err)
	}
	u.Sent(Replies, ":1.1", 5, got, got)
	done := make(chan error)
	go func() {
		_, err := u.Reserve(context.Background(), Replies, ":1.2", 5, 1<<20, 1<<20)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("there is room for more than %d bytes of a user: %v", userReplies, err)
	default:
	}
	u.read(":1.1", u.sentTo(":1.1"))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
