// SPDX-License-Identifier: Apache-2.0

package retention

// Remover is the user that has a part of a store removed, and the reason.
type Remover struct {
	// UID and User identify the user; User is empty if the name is unknown.
	UID  uint32
	User string
	// Policy describes the policy that is applied, such as "max-age=30d";
	// empty if the caller gave none.
	Policy string
	// Force allows removing the whole log at once: every closed segment, of two
	// or more.
	Force bool
}
