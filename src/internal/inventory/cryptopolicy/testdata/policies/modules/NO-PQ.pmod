# SPDX-License-Identifier: Apache-2.0
group = -*MLKEM*
sign = -*MLDSA*
key_exchange = -KEM-ECDH
