// SPDX-License-Identifier: Apache-2.0

package orgcryptoauditingagent

// Socket is where the agent listens.
const Socket = "/run/crypto-auditing/org.cryptoauditing.Agent"
