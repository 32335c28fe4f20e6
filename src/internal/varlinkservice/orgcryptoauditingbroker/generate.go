// SPDX-License-Identifier: Apache-2.0

package orgcryptoauditingbroker

//go:generate go run github.com/varlink/go/cmd/varlink-go-interface-generator org.cryptoauditing.Broker.varlink
//go:generate sed -i "1i // SPDX-License-Identifier: Apache-2.0\\n" orgcryptoauditingbroker.go
