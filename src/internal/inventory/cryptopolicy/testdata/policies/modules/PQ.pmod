# SPDX-License-Identifier: Apache-2.0
group = +P384-MLKEM1024 +P256-MLKEM768 +X25519-MLKEM768
key_exchange = +KEM-ECDH
sign = +MLDSA*
