# SPDX-License-Identifier: Apache-2.0
hash = SHA1+
sign = ECDSA-SHA1+ RSA-PSS-SHA1+ RSA-SHA1+
sha1_in_certs = 1
__openssl_block_sha1_signatures = 0
min_tls_version = 0
