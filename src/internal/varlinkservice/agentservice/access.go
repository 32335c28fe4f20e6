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

// Names of the group whose members may call, and of the broker's user.
const (
	GroupName  = "crypto-auditing"
	BrokerName = "crypto-auditing-broker"
)

// Descriptions of the permitted callers in PermissionDenied.
const (
	allCallers    = "root and members of the group " + GroupName
	rootAndBroker = "root and the user " + BrokerName
	rootOnly      = "root"
	rootAndOwn    = "root and the agent's own user"
)

// Access identifies the permitted callers other than root; nil: none.
type Access struct {
	// Group is the group whose members may call.
	Group *uint32
	// Broker is the user who may remove.
	Broker *uint32
	// Own is the user of the agent, who may reload: the service manager reloads with
	// a process of that user.
	Own *uint32
}

// LookUpAccess looks up the group and the user by their names. A missing one stays nil.
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

// Rank returns the rank of a peer. The broker is trusted, so that members of the group
// cannot lock it out: it follows the log for all its clients.
func (a *Access) Rank(p varlinkservice.Peer) quota.Rank {
	switch {
	case a.mayRemove(p) || a.mayReload(p):
		return quota.Trusted
	case a.mayCall(p):
		return quota.Member
	}
	return quota.Outsider
}

// callerOf returns the caller of a call.
func callerOf(c *api.VarlinkCall) varlinkservice.Peer {
	return varlinkservice.CallerOf(&c.Call).Peer()
}

// Maximum lengths of texts in a call of Remove, in bytes, as stated in the interface
// description. The policy of the broker has a few dozen bytes.
const (
	maxUserName = 256
	maxPolicy   = 1024
)

// removerOf returns the user on whose behalf a caller removes: the named user or the caller.
// wrong is the name of an invalid parameter. Only callers that may remove reach this
// function; the name they give is trusted.
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
