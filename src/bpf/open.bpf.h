/* socket(2) and open(2) of device nodes: what a guest may have at all. */
#pragma once
#include "state.bpf.h"

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	struct guest *g = caller();

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	switch (ctx->type) {
	case SOCK_STREAM:
		/* MPTCP's further subflows are bound by the kernel, past the hooks; programs fall back to TCP. */
		return ctx->protocol == IPPROTO_TCP ? 1 : deny(EPROTONOSUPPORT);
	case SOCK_DGRAM:
		/* ICMP here is the unprivileged echo socket; the packet hooks judge its addresses. */
		if (ctx->protocol == IPPROTO_UDP || ctx->protocol == IPPROTO_ICMP ||
		    ctx->protocol == IPPROTO_ICMPV6)
			return 1;
		return deny(EPROTONOSUPPORT);
	case SOCK_RAW:
		return g->flags & GUEST_RAW ? 1 : 0;
	default:
		return deny(EPROTONOSUPPORT);
	}
}

SEC("cgroup/dev")
int device(struct bpf_cgroup_dev_ctx *ctx)
{
	struct guest *g = caller();

	if (!g)
		return 0;
	if (g->flags & GUEST_DEVICES)
		return 1;
	if ((ctx->access_type & 0xffff) != BPF_DEVCG_DEV_CHAR)
		return 0;
	switch (ctx->major) {
	case 1: /* null, zero, full, random, urandom */
		return ctx->minor == 3 || ctx->minor == 5 || ctx->minor == 7 || ctx->minor == 8 || ctx->minor == 9;
	case 5: /* tty, console, ptmx */
		return ctx->minor <= 2;
	case 10: /* fuse */
		return ctx->minor == 229 && g->flags & GUEST_FUSE;
	case 136: /* the first 2048 unix98 pseudoterminals */
	case 137:
	case 138:
	case 139:
	case 140:
	case 141:
	case 142:
	case 143:
		return 1;
	default:
		return 0;
	}
}
