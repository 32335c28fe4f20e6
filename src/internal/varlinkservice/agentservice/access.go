// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"

	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// Names of the system's group of those who may call and of the broker's user.
const (
	GroupName  = "crypto-auditing"
	BrokerName = "crypto-auditing-broker"
)

// What PermissionDenied says of who may call.
const (
	allCallers    = "root and members of the group " + GroupName
	rootAndBroker = "root and the user " + BrokerName
	rootOnly      = "root"
	rootAndOwn    = "root and the agent's own user"
)

// Access says who may call besides root; nil: nobody.
type Access struct {
	// Group is the group whose members may call.
	Group *uint32
	// Broker is the user who may remove.
	Broker *uint32
	// Own is the user that the agent runs as, who may reload: the service
	// manager does so by a process of that user.
	Own *uint32
}

// LookUpAccess finds group and user by their names. One that does not exist is
// nobody.
func LookUpAccess() (Access, error) {
	own := uint32(os.Geteuid())
	a := Access{Own: &own}
	group, err := user.LookupGroup(GroupName)
	if err == nil {
		a.Group, err = number(group.Gid)
	}
	var noGroup user.UnknownGroupError
	if err != nil && !errors.As(err, &noGroup) {
		return Access{}, fmt.Errorf("cannot look up group %s: %w", GroupName, err)
	}
	broker, err := user.Lookup(BrokerName)
	if err == nil {
		a.Broker, err = number(broker.Uid)
	}
	var noUser user.UnknownUserError
	if err != nil && !errors.As(err, &noUser) {
		return Access{}, fmt.Errorf("cannot look up user %s: %w", BrokerName, err)
	}
	return a, nil
}

func number(id string) (*uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil, err
	}
	v := uint32(n)
	return &v, nil
}

func (a *Access) mayCall(p varlinkservice.Peer) bool {
	return p.IsRoot() || a.Group != nil && p.In(*a.Group)
}

func (a *Access) mayRemove(p varlinkservice.Peer) bool {
	return p.IsRoot() || a.Broker != nil && p.UID == *a.Broker
}

func (a *Access) mayReload(p varlinkservice.Peer) bool {
	return p.IsRoot() || a.Own != nil && p.UID == *a.Own
}

// Rank tells how much a peer is trusted with. The broker, which follows the log for
// all its clients, is not kept out by members of the group.
func (a *Access) Rank(p varlinkservice.Peer) quota.Rank {
	switch {
	case a.mayRemove(p) || a.mayReload(p):
		return quota.Trusted
	case a.mayCall(p):
		return quota.Member
	}
	return quota.Stranger
}

// callerOf returns who calls.
func callerOf(c *api.VarlinkCall) varlinkservice.Peer {
	return varlinkservice.CallerOf(&c.Call).Peer()
}

// Longest texts of a call of Remove, in bytes, as the interface description
// states them. The policy of the broker has a few dozen.
const (
	maxUserName = 256
	maxPolicy   = 1024
)

// removerOf returns the user on whose behalf a caller removes: the one it
// names, or itself. wrong is the name of a parameter that is not valid. Only
// callers that may remove get here, and they are trusted with the name.
func removerOf(caller varlinkservice.Peer, uid *int64, name, policy *string) (by retention.Remover, wrong string) {
	by.UID = caller.UID
	switch {
	case uid != nil && (*uid < 0 || *uid > math.MaxUint32):
		return by, "uid"
	case uid != nil:
		by.UID = uint32(*uid)
	}
	switch {
	case name != nil && len(*name) > maxUserName:
		return by, "user"
	case name != nil:
		by.User = escape(*name)
	case uid == nil:
		if u, err := user.LookupId(strconv.FormatUint(uint64(by.UID), 10)); err == nil {
			by.User = escape(u.Username)
		}
	}
	if policy != nil {
		if len(*policy) > maxPolicy {
			return by, "policy"
		}
		by.Policy = escape(*policy)
	}
	return by, ""
}
