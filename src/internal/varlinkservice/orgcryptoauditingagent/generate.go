// SPDX-License-Identifier: Apache-2.0

package orgcryptoauditingagent

//go:generate go run github.com/varlink/go/cmd/varlink-go-interface-generator org.cryptoauditing.Agent.varlink
//go:generate sed -i "1i // SPDX-License-Identifier: Apache-2.0\\n" orgcryptoauditingagent.go
