/* bind(2), and getsockname(2), which shows again what bind was asked for. */
#pragma once
#include "state.bpf.h"

/* 1 allows, 2 lets ports below 1024 pass without CAP_NET_BIND_SERVICE over the host's network namespace, which
 * no guest with a user namespace of its own has. The capability that counts is the one over its own. Without it
 * the kernel judges as it would without this program. */
#define ALLOW 1
#define ALLOW_ANY_PORT 3

static __always_inline int allow(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 caps = 0;

	BPF_CORE_READ_INTO(&caps, task, cred, cap_effective);
	return caps & (1ULL << CAP_NET_BIND_SERVICE) ? ALLOW_ANY_PORT : ALLOW;
}

/* Remembers what bind was asked for, and that it was asked at all. Returns 0 when that cannot be remembered. The
 * packets of the socket are known by the same storage (see packet.bpf.h). */
static __always_inline int note_bind(struct bpf_sock *sk, int flags, __u32 asked4)
{
	struct asked *s = asked_of(sk, BPF_SK_STORAGE_GET_F_CREATE);

	if (!s)
		return 0;
	s->flags = flags | ASKED_BIND;
	s->local4 = asked4;
	return 1;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	__u32 asked, given;

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	asked = ctx->user_ip4;
	given = local4(g, asked);
	if (!given)
		return deny(EADDRNOTAVAIL);
	if (!note_bind(ctx->sk, asked ? 0 : ASKED_ANY, given == g->lback4 ? asked : 0))
		return deny(ENOMEM);
	if (given != asked)
		ctx->user_ip4 = given;
	return allow();
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	__u32 a[4], given;
	int any;

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	load6(a, ctx);
	if (is_mapped(a)) {
		given = local4(g, a[3]);
		if (!given)
			return deny(EADDRNOTAVAIL);
		if (!note_bind(ctx->sk, a[3] ? 0 : ASKED_ANY, given == g->lback4 ? a[3] : 0))
			return deny(ENOMEM);
		if (given != a[3])
			ctx->user_ip6[3] = given;
		return allow();
	}
	any = is_any6(a);
	/* A client that binds `::` port 0 and then sends over both families: any one address would cut off the
	 * other family. The kernel picks a port that nobody holds, so staying ANY clashes with no other guest;
	 * sendmsg chooses the source and the packet hooks judge what arrives. */
	if (any && ctx->type == SOCK_DGRAM && ctx->user_port == 0)
		return allow();
	/* Bound to one IPv6 address, a socket is closed to IPv4 for good (__inet6_bind sets sk_ipv6only). So a
	 * dual-stack one gets an IPv4 address, and what comes over IPv6 is steered to it. Datagrams cannot be
	 * steered: those of a guest with IPv6 come over IPv6 alone, the others over IPv4. */
	if (any && (ctx->type == SOCK_STREAM || !g->n6) && !is_v6only(ctx->sk)) {
		a[2] = bpf_htonl(0xffff);
		a[3] = home4(g);
	} else if (!local6(g, a)) {
		return deny(EADDRNOTAVAIL);
	}
	if (!note_bind(ctx->sk, any ? ASKED_ANY | ASKED_ANY6 : 0, 0))
		return deny(ENOMEM);
	store6(ctx, a);
	return allow();
}

/* ANY is what an unconnected socket shows; a connected one shows its address, as everywhere. */
static __always_inline int shows_any(struct bpf_sock *sk, const struct asked *s)
{
	return s && (s->flags & ASKED_ANY) && sk && sk->dst_port == 0;
}

static __always_inline __u32 shown_local4(const struct guest *g, const struct asked *s, __u32 a)
{
	if (a != g->lback4)
		return a;
	return s && s->local4 ? s->local4 : bpf_htonl(INADDR_LOOPBACK);
}

SEC("cgroup/getsockname4")
int getsockname4(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	__u32 a = ctx->user_ip4;
	struct asked *s;

	if (!g || (g->flags & GUEST_OPEN))
		return 1;
	s = asked_of(ctx->sk, 0);
	a = shows_any(ctx->sk, s) ? 0 : shown_local4(g, s, a);
	ctx->user_ip4 = a;
	return 1;
}

SEC("cgroup/getsockname6")
int getsockname6(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	struct asked *s;
	__u32 a[4];

	if (!g || (g->flags & GUEST_OPEN))
		return 1;
	load6(a, ctx);
	s = asked_of(ctx->sk, 0);
	if (shows_any(ctx->sk, s) && (!is_mapped(a) || (s->flags & ASKED_ANY6)))
		a[0] = a[1] = a[2] = a[3] = 0;
	else if (is_mapped(a))
		a[3] = shows_any(ctx->sk, s) ? 0 : shown_local4(g, s, a[3]);
	else if (same6(a, g->lback6))
		set_loopback6(a);
	store6(ctx, a);
	return 1;
}
