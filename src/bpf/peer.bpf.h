/* connect(2) and sendmsg(2): whom a guest may call, and the source address that it calls from; recvmsg(2) and
 * getpeername(2), which show loopback as loopback again. */
#pragma once
#include "state.bpf.h"

struct sockaddr4 {
	__u16 family;
	__u16 port;
	__u32 addr;
	__u64 zero;
};

struct sockaddr6 {
	__u16 family;
	__u16 port;
	__u32 flow;
	__u32 addr[4];
	__u32 scope;
};

/* The IPv4 source of an IPv6 socket that is bound to an IPv6 address (LOOPBACK4_IPV6): none at all. */
#define NO_SOURCE4 0x7f000006

/* Datagrams to loopback go to the socket that is bound there and, failing that, to the one that asked for ANY
 * and sits on the primary address: there is no sk_lookup steering without a listen(2). Sockets of the host on
 * ANY are found too; they are not meant. */
static __always_inline __u32 datagram_home4(struct bpf_sock_addr *ctx, const struct guest *g)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int hit = 0;

	t.ipv4.saddr = g->lback4;
	t.ipv4.daddr = g->lback4;
	t.ipv4.dport = (__u16)ctx->user_port;
	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), (__u64)BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		hit = sk->src_ip4 == g->lback4;
		bpf_sk_release(sk);
	}
	if (hit || !g->n4)
		return g->lback4;
	t.ipv4.daddr = g->addr4[0];
	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), (__u64)BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		hit = sk->src_ip4 == g->addr4[0];
		bpf_sk_release(sk);
	}
	return hit ? g->addr4[0] : g->lback4;
}

/* Whether the guest has a datagram socket on its loopback (0), on its primary address only (1), or none (0). */
static __always_inline int datagram_home6(struct bpf_sock_addr *ctx, const struct guest *g)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int hit = 0;

	copy6(t.ipv6.saddr, g->lback6);
	copy6(t.ipv6.daddr, g->lback6);
	t.ipv6.dport = (__u16)ctx->user_port;
	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv6), (__u64)BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		hit = sk->src_ip6[0] == g->lback6[0] && sk->src_ip6[1] == g->lback6[1] &&
		      sk->src_ip6[2] == g->lback6[2] && sk->src_ip6[3] == g->lback6[3];
		bpf_sk_release(sk);
	}
	if (hit || !g->n6)
		return 0;
	copy6(t.ipv6.daddr, g->addr6[0]);
	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv6), (__u64)BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		hit = sk->src_ip6[0] == g->addr6[0][0] && sk->src_ip6[1] == g->addr6[0][1] &&
		      sk->src_ip6[2] == g->addr6[0][2] && sk->src_ip6[3] == g->addr6[0][3];
		bpf_sk_release(sk);
	}
	return hit;
}

#define PEER_OTHER 0 /* anybody */
#define PEER_LOOPBACK 1 /* the guest itself, by loopback */
#define PEER_REFUSED 2 /* another guest's loopback */

static __always_inline int judge4(const struct guest *g, __u32 a)
{
	struct owner *o;

	if (a == 0 || a == g->lback4)
		return PEER_LOOPBACK;
	/* Every context's loopback is in there, but so may be a guest's address. */
	if (!is_loopback4(a))
		return PEER_OTHER;
	o = owner4(a);
	if (!o)
		return PEER_LOOPBACK;
	if (o->kind != OWNER_LOOPBACK)
		return PEER_OTHER;
	return o->xid == g->xid ? PEER_LOOPBACK : PEER_REFUSED;
}

static __always_inline int judge6(const struct guest *g, const __u32 *a)
{
	struct owner *o;

	if (is_any6(a) || is_loopback6(a) || same6(a, g->lback6))
		return PEER_LOOPBACK;
	if (a[0] != bpf_htonl(LOOPBACK6_HEAD))
		return PEER_OTHER;
	o = owner6(a);
	if (!o || o->kind != OWNER_LOOPBACK)
		return PEER_OTHER;
	return PEER_REFUSED;
}

/* Remembers that the peer was called by a loopback address. Storage is only spent on what would show. */
static __always_inline int note_peer(struct bpf_sock_addr *ctx, __u32 asked4, int moved)
{
	int needed = moved || (asked4 && asked4 != bpf_htonl(INADDR_LOOPBACK));
	struct asked *s = asked_of(ctx->sk, needed ? BPF_SK_STORAGE_GET_F_CREATE : 0);

	if (!s)
		return !needed;
	s->peer4 = asked4;
	s->peer_port = ctx->user_port;
	if (moved)
		s->flags |= ASKED_LOOPBACK;
	else
		s->flags &= ~ASKED_LOOPBACK;
	return 1;
}

/* Sets the source of a socket that has none, or whose source was chosen here before. One that the application
 * bound keeps its own: only bind leaves a note, since a note costs a short connection more than all else that is
 * done here. Returns an errno. */
static __always_inline int set_source(struct bpf_sock_addr *ctx, const __u32 *a)
{
	struct bpf_sock *sk = ctx->sk;
	struct asked *s;
	int bound, err;

	if (!sk)
		return EINVAL;
	if (sk->family == AF_INET)
		bound = sk->src_ip4 != 0;
	else
		bound = (sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]) != 0;
	/* Bound to a port but to no address: autobound by an earlier sendto. The kernel would choose a source by
	 * the route, which need not be the guest's, and bpf_bind cannot change a socket that has a port. */
	if (sk->src_port)
		return bound ? 0 : EADDRNOTAVAIL;
	s = asked_of(sk, 0);
	if (bound && s && (s->flags & ASKED_BIND))
		return 0;
	if (sk->family == AF_INET) {
		struct sockaddr4 sa = { .family = AF_INET, .addr = a[3] };

		err = bpf_bind(ctx, (struct sockaddr *)&sa, sizeof(sa));
	} else {
		struct sockaddr6 sa = { .family = AF_INET6 };

		copy6(sa.addr, a);
		err = bpf_bind(ctx, (struct sockaddr *)&sa, sizeof(sa));
	}
	if (err) {
		/* As connect(2) says of IPv4 on a socket that is closed to it: see bind6. */
		if (err == -EINVAL && sk->family == AF_INET6 && is_mapped(a))
			return ENETUNREACH;
		return -err;
	}
	/* Of a bind that was asked for and failed. */
	if (s)
		s->flags &= ~ASKED_BIND;
	return 0;
}

/* Connects to the IPv4 address `*to`; the address to call instead is left there. Returns an errno. */
static __always_inline int call4(struct bpf_sock_addr *ctx, const struct guest *g, __u32 *to)
{
	__u32 asked = *to, source[4] = { 0, 0, bpf_htonl(0xffff), 0 };
	int judged = judge4(g, asked);

	if (judged == PEER_REFUSED)
		return ECONNREFUSED;
	if (judged == PEER_LOOPBACK) {
		*to = ctx->type == SOCK_DGRAM ? datagram_home4(ctx, g) : g->lback4;
		source[3] = g->lback4;
		if (!note_peer(ctx, is_loopback4(asked) ? asked : bpf_htonl(INADDR_LOOPBACK), *to != g->lback4))
			return ENOMEM;
	} else {
		if (!g->n4)
			return ENETUNREACH;
		source[3] = g->addr4[0];
		note_peer(ctx, 0, 0);
	}
	return set_source(ctx, source);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	__u32 to;
	int err;

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	to = ctx->user_ip4;
	err = call4(ctx, g, &to);
	if (err)
		return deny(err);
	ctx->user_ip4 = to;
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct guest *g = caller();
	__u32 a[4], source[4];
	int err, judged, moved;

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	load6(a, ctx);
	if (is_mapped(a)) {
		err = call4(ctx, g, &a[3]);
		if (err)
			return deny(err);
		ctx->user_ip6[3] = a[3];
		return 1;
	}
	judged = judge6(g, a);
	if (judged == PEER_REFUSED)
		return deny(ECONNREFUSED);
	if (judged == PEER_LOOPBACK) {
		moved = ctx->type == SOCK_DGRAM && datagram_home6(ctx, g);
		if (moved)
			copy6(a, g->addr6[0]);
		else
			copy6(a, g->lback6);
		copy6(source, g->lback6);
		if (!note_peer(ctx, 0, moved))
			return deny(ENOMEM);
	} else {
		if (!g->n6)
			return deny(ENETUNREACH);
		copy6(source, g->addr6[0]);
		note_peer(ctx, 0, 0);
	}
	err = set_source(ctx, source);
	if (err)
		return deny(err);
	store6(ctx, a);
	return 1;
}

/* Whether a datagram needs no look into the maps: it comes from the address that the socket is known by, and
 * neither end is a loopback. Another guest that was given the socket sends from the address of its maker then, as
 * it could by write(2) on a connected one; the packet is judged by the maker's cgroup. */
static __always_inline int is_plain4(struct bpf_sock_addr *ctx, __u32 source, __u32 to)
{
	struct asked *s;

	if (!source || !to || is_loopback4(source) || is_loopback4(to))
		return 0;
	s = asked_of(ctx->sk, 0);
	return s && is_known(s, 4) && s->home[0] == source;
}

static __always_inline int is_plain6(struct bpf_sock_addr *ctx, const __u32 *source, const __u32 *to)
{
	struct asked *s;

	if (is_any6(source) || is_any6(to) || is_loopback6(to) || to[0] == bpf_htonl(LOOPBACK6_HEAD) ||
	    source[0] == bpf_htonl(LOOPBACK6_HEAD))
		return 0;
	s = asked_of(ctx->sk, 0);
	return s && is_known(s, 6) && same6(s->home, source);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct guest *g;
	__u32 asked, to, source;
	int judged;

	if (is_plain4(ctx, ctx->msg_src_ip4, ctx->user_ip4))
		return 1;
	g = caller();
	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	asked = ctx->user_ip4;
	/* A connected socket that sends with ancillary data has no address here; its peer was judged before. */
	if (!asked && ctx->user_family == AF_UNSPEC && ctx->sk && ctx->sk->dst_port)
		asked = ctx->sk->dst_ip4;
	judged = judge4(g, asked);
	if (judged == PEER_REFUSED)
		return deny(ECONNREFUSED);
	if (judged == PEER_LOOPBACK) {
		to = datagram_home4(ctx, g);
		if (!note_peer(ctx, is_loopback4(asked) ? asked : bpf_htonl(INADDR_LOOPBACK), to != g->lback4))
			return deny(ENOMEM);
		ctx->user_ip4 = to;
	}
	/* Bound, or asked for by IP_PKTINFO. */
	source = ctx->msg_src_ip4;
	if (source && source != bpf_htonl(NO_SOURCE4)) {
		to = local4(g, source);
		if (!to)
			return deny(EADDRNOTAVAIL);
		if (to != source)
			ctx->msg_src_ip4 = to;
	} else if (judged == PEER_LOOPBACK) {
		ctx->msg_src_ip4 = g->lback4;
	} else if (g->n4) {
		ctx->msg_src_ip4 = g->addr4[0];
	} else {
		return deny(ENETUNREACH);
	}
	return 1;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct guest *g;
	__u32 a[4], source[4];
	int judged, moved, connected;

	load6(a, ctx);
	source[0] = ctx->msg_src_ip6[0];
	source[1] = ctx->msg_src_ip6[1];
	source[2] = ctx->msg_src_ip6[2];
	source[3] = ctx->msg_src_ip6[3];
	if (is_plain6(ctx, source, a))
		return 1;
	g = caller();
	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	connected = is_any6(a) && ctx->user_family == AF_UNSPEC && ctx->sk && ctx->sk->dst_port;
	if (connected) {
		a[0] = ctx->sk->dst_ip6[0];
		a[1] = ctx->sk->dst_ip6[1];
		a[2] = ctx->sk->dst_ip6[2];
		a[3] = ctx->sk->dst_ip6[3];
	}
	judged = judge6(g, a);
	if (judged == PEER_REFUSED)
		return deny(ECONNREFUSED);
	if (judged == PEER_LOOPBACK && !connected) {
		moved = datagram_home6(ctx, g);
		if (moved)
			copy6(a, g->addr6[0]);
		else
			copy6(a, g->lback6);
		if (!note_peer(ctx, 0, moved))
			return deny(ENOMEM);
		store6(ctx, a);
	}
	if (!is_any6(source)) {
		if (!local6(g, source))
			return deny(EADDRNOTAVAIL);
	} else if (judged == PEER_LOOPBACK) {
		copy6(source, g->lback6);
	} else if (g->n6) {
		copy6(source, g->addr6[0]);
	} else {
		return deny(ENETUNREACH);
	}
	ctx->msg_src_ip6[0] = source[0];
	ctx->msg_src_ip6[1] = source[1];
	ctx->msg_src_ip6[2] = source[2];
	ctx->msg_src_ip6[3] = source[3];
	return 1;
}

static __always_inline __u32 shown_peer4(struct bpf_sock_addr *ctx, const struct guest *g, __u32 a)
{
	struct asked *s;

	if (a == g->lback4) {
		s = asked_of(ctx->sk, 0);
		return s && s->peer4 && s->peer_port == ctx->user_port ? s->peer4 : bpf_htonl(INADDR_LOOPBACK);
	}
	if (g->n4 && a == g->addr4[0]) {
		s = asked_of(ctx->sk, 0);
		if (s && (s->flags & ASKED_LOOPBACK) && s->peer4 && s->peer_port == ctx->user_port)
			return s->peer4;
	}
	return a;
}

/* Whether a peer is shown as it is whoever asks: it is no loopback address, and none stands behind it. Spares
 * the look for the guest at most datagrams. */
static __always_inline int shown_as_is(struct bpf_sock_addr *ctx)
{
	struct asked *s = asked_of(ctx->sk, 0);

	return !s || !(s->flags & ASKED_LOOPBACK);
}

static __always_inline int show_peer4(struct bpf_sock_addr *ctx)
{
	struct guest *g;

	if (!is_loopback4(ctx->user_ip4) && shown_as_is(ctx))
		return 1;
	g = caller();
	if (!g || (g->flags & GUEST_OPEN))
		return 1;
	ctx->user_ip4 = shown_peer4(ctx, g, ctx->user_ip4);
	return 1;
}

static __always_inline int show_peer6(struct bpf_sock_addr *ctx)
{
	struct guest *g;
	struct asked *s;
	__u32 a[4];
	int loopback;

	load6(a, ctx);
	if (!(is_mapped(a) ? is_loopback4(a[3]) : a[0] == bpf_htonl(LOOPBACK6_HEAD)) && shown_as_is(ctx))
		return 1;
	g = caller();
	if (!g || (g->flags & GUEST_OPEN))
		return 1;
	if (is_mapped(a)) {
		ctx->user_ip6[3] = shown_peer4(ctx, g, a[3]);
		return 1;
	}
	loopback = same6(a, g->lback6);
	if (!loopback && g->n6 && same6(a, g->addr6[0])) {
		s = asked_of(ctx->sk, 0);
		loopback = s && (s->flags & ASKED_LOOPBACK) && !s->peer4 && s->peer_port == ctx->user_port;
	}
	if (loopback) {
		set_loopback6(a);
		store6(ctx, a);
	}
	return 1;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return show_peer4(ctx);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return show_peer6(ctx);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return show_peer4(ctx);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return show_peer6(ctx);
}
