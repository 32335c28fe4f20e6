# SPDX-License-Identifier: Apache-2.0
min_tls_version = TLS1.3
min_dtls_version = DTLS1.2
cipher@SSH = +AES-128-CTR AES-128-GCM+
sha1_in_dnssec = 0
ssh_etm@openssh = 1
