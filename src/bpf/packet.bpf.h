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

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct guest *g = guest_of(bpf_skb_ancestor_cgroup_id(skb, LEVEL));

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end)
			return 0;
		if (ip->daddr == g->addr4[0])
			return 1;
		if (ip->daddr == g->lback4)
			return skb->ifindex == LOOPBACK_IFINDEX && may_loop4(g, ip->saddr);
		return owns4(g, ip->daddr);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;
		__u32 *to, *from;

		if ((void *)(ip + 1) > end)
			return 0;
		to = ip->daddr.in6_u.u6_addr32;
		from = ip->saddr.in6_u.u6_addr32;
		if (same6(to, g->addr6[0]))
			return 1;
		if (same6(to, g->lback6))
			return skb->ifindex == LOOPBACK_IFINDEX && may_loop6(g, from);
		return owns6(g, to);
	}
	return 0;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct guest *g = guest_of(bpf_skb_ancestor_cgroup_id(skb, LEVEL));

	if (!g)
		return 0;
	if (g->flags & GUEST_OPEN)
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;
		__u32 from, to;

		if ((void *)(ip + 1) > end)
			return 0;
		from = ip->saddr;
		to = ip->daddr;
		if (is_loopback4(to) && to != g->lback4 && !owner4(to) && is_raw(skb))
			return 0;
		if (from == g->lback4)
			return may_loop4(g, to);
		return from == g->addr4[0] || owns4(g, from);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;
		__u32 *to, *from;

		if ((void *)(ip + 1) > end)
			return 0;
		to = ip->daddr.in6_u.u6_addr32;
		from = ip->saddr.in6_u.u6_addr32;
		if (is_loopback6(to) && is_raw(skb))
			return 0;
		if (same6(from, g->lback6))
			return may_loop6(g, to);
		return same6(from, g->addr6[0]) || owns6(g, from);
	}
	return 0;
}
