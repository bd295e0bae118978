/* The backstop. Whatever a socket is bound to: what arrives was sent to an address of the guest, what leaves
 * comes from one. Neighbour discovery, ICMP errors and resets are sent by sockets of the kernel and are not
 * seen here; link-local and multicast traffic of a guest is dropped. */
#pragma once
#include <linux/ip.h>
#include <linux/ipv6.h>
#include "state.bpf.h"

/* Whether an address may speak with the guest's loopback: itself and the host, no other guest. */
static __always_inline int may_loop4(const struct guest *g, __u32 a)
{
	struct owner *o;

	if (a == g->lback4 || a == g->addr4[0])
		return 1;
	o = owner4(a);
	return !o || o->xid == g->xid;
}

static __always_inline int may_loop6(const struct guest *g, const __u32 *a)
{
	struct owner *o;

	if (same6(a, g->lback6))
		return 1;
	o = owner6(a);
	return !o || o->xid == g->xid;
}

static __always_inline int owns4(const struct guest *g, __u32 a)
{
	struct owner *o = owner4(a);

	return o && o->xid == g->xid;
}

static __always_inline int owns6(const struct guest *g, const __u32 *a)
{
	struct owner *o = owner6(a);

	return o && o->xid == g->xid;
}

/* Replies to the host's own loopback addresses are fine; nothing can be started there, because connect and
 * sendmsg rewrite them. Only a raw socket passes those hooks by. */
static __always_inline int is_raw(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	return sk && sk->type == SOCK_RAW;
}

/* Most packets of a socket have the same local address, and whether that is the guest's needs no look into the
 * maps each time: the verdict is a function of the socket's cgroup, which it keeps for life, of the maps, which
 * are the same as long as the epoch is, and of the packet's addresses, which are compared with those that were
 * judged. Nothing is concluded from what the socket is bound or connected to, or from its state; so neither a
 * socket that listens without bind, is disconnected, bound transparently, repaired or passed to another guest,
 * nor one from before the programs were attached has anything to gain.
 *
 * Besides the local address the verdict depends on
 * - the peer and the device, where the local address is a loopback one: only packets of the address to itself
 *   on `lo` are let pass by memory;
 * - raw sockets: they are never remembered.
 */
static __always_inline struct asked *asked_by(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_storage_get(&sockets, sk, 0, 0) : 0;
}

/* In segments that have come in. */
#define LASTING 16

/* Remembers an address that was found to be the guest's while the epoch was `at`. Only one, and for the life of
 * the socket: two processors that judge packets of one socket at once could otherwise bring together the address
 * of one and the epoch of the other. Whoever sets `family` writes the address, and only then an epoch. */
static __always_inline void remember(struct __sk_buff *skb, struct asked *s, __u32 family, const __u32 *home,
				     __u64 at, int is_tcp)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp;

	/* What has no storage is an accepted connection, or a datagram socket that was never bound and may be gone
	 * after one question. Storage costs as much as some twenty packets gain by it, so a connection gets it when
	 * it has lasted. */
	if (!sk || (!s && !is_tcp))
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk || (sk->type != SOCK_STREAM && sk->type != SOCK_DGRAM))
		return;
	if (!s && sk->type == SOCK_STREAM && sk->state == BPF_TCP_ESTABLISHED) {
		tcp = bpf_tcp_sock(sk);
		if (tcp && tcp->segs_in >= LASTING)
			s = asked_of(sk, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (!s)
		return;
	if (!s->family) {
		if (__sync_val_compare_and_swap(&s->family, 0, family))
			return;
		s->home[0] = home[0];
		if (family == 6) {
			s->home[1] = home[1];
			s->home[2] = home[2];
			s->home[3] = home[3];
		}
		/* Ordered after the address on every machine. */
		__sync_lock_test_and_set(&s->epoch, at);
		return;
	}
	/* Its address may be half written still: then it differs, or another processor found out the same. */
	if (!s->epoch || s->family != family || s->home[0] != home[0])
		return;
	if (family == 6 && !same6(s->home, home))
		return;
	s->epoch = at;
}

/* The judge of IPv4: `local` is the guest's side of the packet. The loopback goes first: of a guest without an
 * address it is the first address as well. */
static __always_inline int judge_packet4(const struct guest *g, __u32 local, __u32 peer, int on_lo)
{
	if (g->flags & GUEST_OPEN)
		return 1;
	if (local == g->lback4)
		return on_lo && may_loop4(g, peer);
	return local == g->addr4[0] || owns4(g, local);
}

static __always_inline int judge_packet6(const struct guest *g, const __u32 *local, const __u32 *peer, int on_lo)
{
	if (g->flags & GUEST_OPEN)
		return 1;
	if (same6(local, g->lback6))
		return on_lo && may_loop6(g, peer);
	return same6(local, g->addr6[0]) || owns6(g, local);
}

static __always_inline int packet4(struct __sk_buff *skb, int out)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;
	struct asked *s;
	struct guest *g;
	__u32 local, peer;
	int on_lo;
	__u64 at;

	if ((void *)(ip + 1) > end)
		return 0;
	local = out ? ip->saddr : ip->daddr;
	peer = out ? ip->daddr : ip->saddr;
	on_lo = skb->ifindex == LOOPBACK_IFINDEX;
	s = asked_by(skb);
	if (s && is_known(s, 4) && s->home[0] == local &&
	    (!is_loopback4(local) || (peer == local && on_lo)))
		return 1;
	/* Read before the maps: what changes from here on makes the verdict old. */
	at = now();
	g = guest_of(bpf_skb_ancestor_cgroup_id(skb, LEVEL));
	if (!g)
		return 0;
	if (out && !(g->flags & GUEST_OPEN) && is_loopback4(peer) && peer != g->lback4 && !owner4(peer) && is_raw(skb))
		return 0;
	if (!judge_packet4(g, local, peer, on_lo))
		return 0;
	remember(skb, s, 4, &local, at, ip->protocol == IPPROTO_TCP);
	return 1;
}

static __always_inline int packet6(struct __sk_buff *skb, int out)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data;
	__u32 *local, *peer;
	struct asked *s;
	struct guest *g;
	int on_lo;
	__u64 at;

	if ((void *)(ip + 1) > end)
		return 0;
	local = out ? ip->saddr.in6_u.u6_addr32 : ip->daddr.in6_u.u6_addr32;
	peer = out ? ip->daddr.in6_u.u6_addr32 : ip->saddr.in6_u.u6_addr32;
	on_lo = skb->ifindex == LOOPBACK_IFINDEX;
	s = asked_by(skb);
	if (s && is_known(s, 6) && same6(s->home, local) &&
	    (local[0] != bpf_htonl(LOOPBACK6_HEAD) || (same6(peer, local) && on_lo)))
		return 1;
	at = now();
	g = guest_of(bpf_skb_ancestor_cgroup_id(skb, LEVEL));
	if (!g)
		return 0;
	if (out && !(g->flags & GUEST_OPEN) && is_loopback6(peer) && is_raw(skb))
		return 0;
	if (!judge_packet6(g, local, peer, on_lo))
		return 0;
	remember(skb, s, 6, local, at, ip->nexthdr == IPPROTO_TCP);
	return 1;
}

static __always_inline int packet(struct __sk_buff *skb, int out)
{
	struct guest *g;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		return packet4(skb, out);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return packet6(skb, out);
	g = guest_of(bpf_skb_ancestor_cgroup_id(skb, LEVEL));
	return g && (g->flags & GUEST_OPEN);
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return packet(skb, 0);
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return packet(skb, 1);
}
