/* One listener on ANY, reached on all addresses of its guest: listen(2) registers it, the lookup of an
 * incoming connection finds it. */
#pragma once
#include "state.bpf.h"

/* The guest that made a socket. No helper tells a callback of TCP, so it is read from the socket as
 * bpf_sk_ancestor_cgroup_id does. */
static __always_inline struct guest *maker(struct bpf_sock *sk)
{
	struct sock *full = sk ? (struct sock *)bpf_skc_to_tcp_sock(sk) : 0;
	struct cgroup *cgroup;
	__u32 level = LEVEL;

	if (!full)
		return 0;
	cgroup = BPF_CORE_READ(full, sk_cgrp_data.cgroup);
	if (!cgroup || BPF_CORE_READ(cgroup, level) < (int)level)
		return 0;
	if (bpf_core_read(&cgroup, sizeof(cgroup), &cgroup->ancestors[level]))
		return 0;
	return guest_of(BPF_CORE_READ(cgroup, kn, id));
}

SEC("sockops")
int listening(struct bpf_sock_ops *ctx)
{
	struct listener key = {};
	struct guest *g;
	struct asked *s;
	int slot, flags;

	/* -1 is "no opinion" for the operations that ask for a value. */
	ctx->reply = -1;
	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	g = maker(ctx->sk);
	if (!g || (g->flags & GUEST_OPEN))
		return 1;
	s = asked_of(ctx->sk, 0);
	flags = s ? s->flags : 0;
	key.xid = g->xid;
	key.port = ctx->local_port;
	key.family = ctx->family == AF_INET6 ? 6 : 4;
	/* listen without bind sits on ANY, too. */
	if (!(flags & ASKED_ANY)) {
		if (ctx->family == AF_INET6) {
			key.addr[0] = ctx->local_ip6[0];
			key.addr[1] = ctx->local_ip6[1];
			key.addr[2] = ctx->local_ip6[2];
			key.addr[3] = ctx->local_ip6[3];
		} else {
			key.addr[3] = ctx->local_ip4;
		}
	}
	/* `::ffff:a.b.c.d` is a listener of IPv4, on ANY as on an address; but not where it stands for `::`. */
	if (key.family == 6 && !(flags & ASKED_ANY6) && ctx->local_ip6[0] == 0 && ctx->local_ip6[1] == 0 &&
	    ctx->local_ip6[2] == bpf_htonl(0xffff)) {
		key.family = 4;
		key.addr[2] = 0;
	}
	for (slot = 0; slot < SLOTS; slot++) {
		key.slot = slot;
		if (bpf_sock_hash_update(ctx, &listeners, &key, BPF_NOEXIST) != -EEXIST)
			break;
	}
	return 1;
}

static __always_inline int is_listening(struct listener *key)
{
	struct bpf_sock *sk;
	int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		key->slot = slot;
		sk = bpf_map_lookup_elem(&listeners, key);
		if (sk) {
			bpf_sk_release(sk);
			return 1;
		}
	}
	return 0;
}

static __always_inline int assign(struct bpf_sk_lookup *ctx, struct listener *key)
{
	struct bpf_sock *sk;
	int slot, err;

	for (slot = 0; slot < SLOTS; slot++) {
		key->slot = slot;
		sk = bpf_map_lookup_elem(&listeners, key);
		if (sk) {
			/* Fails for an IPv6-only listener and an IPv4 packet. */
			err = bpf_sk_assign(ctx, sk, 0);
			bpf_sk_release(sk);
			if (!err)
				return 1;
		}
	}
	return 0;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct listener key = {};
	struct owner *o;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	key.port = ctx->local_port;
	if (ctx->family == AF_INET) {
		o = owner4(ctx->local_ip4);
		if (!o)
			return SK_PASS;
		key.family = 4;
		key.addr[3] = ctx->local_ip4;
	} else {
		__u32 a[4] = { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] };

		o = owner6(a);
		if (!o)
			return SK_PASS;
		key.family = 6;
		copy6(key.addr, a);
	}
	key.xid = o->xid;
	/* A listener on the very address goes before one on ANY; the ordinary lookup finds it. */
	if (is_listening(&key))
		return SK_PASS;
	key.addr[0] = key.addr[1] = key.addr[2] = key.addr[3] = 0;
	if (assign(ctx, &key))
		return SK_PASS;
	if (key.family == 4) {
		key.family = 6;
		assign(ctx, &key);
	}
	return SK_PASS;
}
