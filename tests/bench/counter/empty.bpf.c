//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs that do nothing, where the agent's are attached to see what moves
 * through sockets.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("fexit/tcp_sendmsg")
int function_sent(void *ctx)
{
	return 0;
}

SEC("fexit/tcp_recvmsg")
int function_received(void *ctx)
{
	return 0;
}

SEC("fentry/tcp_close")
int function_closed(void *ctx)
{
	return 0;
}

SEC("tp_btf/sock_send_length")
int socket_sent(void *ctx)
{
	return 0;
}

SEC("tp_btf/sock_recv_length")
int socket_received(void *ctx)
{
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int socket_closed(void *ctx)
{
	return 0;
}
