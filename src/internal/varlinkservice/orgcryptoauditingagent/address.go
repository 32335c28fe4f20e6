// SPDX-License-Identifier: Apache-2.0

package orgcryptoauditingagent

// Socket is the path of the agent's socket.
const Socket = "/run/crypto-auditing/org.cryptoauditing.Agent"
