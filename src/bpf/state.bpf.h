/* What the programs know: which cgroup is which guest, who owns an address, and what a socket asked for.
 * The structures are shared with src/bpf/state.rs; a change of their shape needs a new LAYOUT there. */
#pragma once
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
/* The index of `lo` in every network namespace (LOOPBACK_IFINDEX). */
#define LOOPBACK_IFINDEX 1
#define MAX_ADDRESSES 16
/* The first 32 bits of every context's IPv6 loopback (Xid::loopback6); that of IPv4 is in 127.0.0.0/8. */
#define LOOPBACK6_HEAD 0xfd686f73

/* struct guest.flags */
#define GUEST_OPEN 1 /* the network is not judged: own namespace, or trusted as the host is */
#define GUEST_RAW 2 /* may make raw sockets */
#define GUEST_DEVICES 4 /* may use every device node that it can see */
#define GUEST_FUSE 8 /* may use the device of FUSE */

struct guest {
	__u32 xid;
	__u32 flags;
	__u32 n4;
	__u32 n6;
	__u32 lback4; /* addresses are in network order throughout */
	__u32 addr4[MAX_ADDRESSES];
	__u32 lback6[4];
	__u32 addr6[MAX_ADDRESSES][4];
};

#define OWNER_ADDRESS 0
#define OWNER_LOOPBACK 1
struct owner {
	__u32 xid;
	__u32 kind;
};

struct in6 {
	__u32 w[4];
};

/* A listener of a guest. `addr` is zero for ANY. Listeners that share address and port by SO_REUSEPORT take
 * a slot each, so that the guest stays reachable when one of them closes. */
#define SLOTS 4
struct listener {
	__u32 xid;
	__u16 port; /* host order */
	__u8 family; /* 4 or 6 */
	__u8 slot;
	__u32 addr[4];
};

/* struct asked.flags */
#define ASKED_ANY 1 /* bind was asked for ANY and got one address */
#define ASKED_BIND 2 /* the address was chosen by bind, not here when the socket was connected */
#define ASKED_ANY6 8 /* with ASKED_ANY: it was `::` and not `::ffff:0.0.0.0` */
#define ASKED_LOOPBACK 4 /* the peer was asked for as loopback but answers from the primary address */

/* What the application asked for, where it got something else; and what the packets of the socket are known by. */
struct asked {
	__u64 epoch; /* at which `home` was judged; 0 is never */
	__u32 family; /* of `home`: 4 or 6; 0 while there is none */
	__u32 home[4]; /* a local address that the socket's packets may have; of IPv4 the first word */
	__u32 flags;
	__u32 local4; /* the 127.0.0.0/8 address that bind was asked for */
	__u32 peer4; /* the 127.0.0.0/8 address that connect or sendto was asked for */
	__u32 peer_port; /* network order */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct guest);
} guests SEC(".maps");

/* Written and read by hostel alone: the one cgroup of a context, so that forgetting it needs no search. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} contexts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct owner);
} owners4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct in6);
	__type(value, struct owner);
} owners6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16384);
	__type(key, struct listener);
	__type(value, __u64);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct asked);
} sockets SEC(".maps");

/* When the maps above last changed, in nanoseconds of the monotonic clock. hostel writes it after the change, so
 * what was judged by the old entries has an older number, whoever judges at that moment. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} epoch SEC(".maps");

/* The fields of the kernel's own that are looked at. Their places come from the kernel's type information. */
struct sock_common {
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

/* 64 bits, in two words before Linux 6.3; the low one has the bit that is asked for either way. */
typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kernel_cap_t cap_effective;
} __attribute__((preserve_access_index));

struct task_struct {
	const struct cred *cred;
} __attribute__((preserve_access_index));

struct kernfs_node {
	__u64 id;
} __attribute__((preserve_access_index));

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[];
} __attribute__((preserve_access_index));

struct sock_cgroup_data {
	struct cgroup *cgroup;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_cgroup_data sk_cgrp_data;
} __attribute__((preserve_access_index));

#define CAP_NET_BIND_SERVICE 10

/* The depth of a guest's cgroup; the hierarchy's root is 0. Set when the programs are loaded. */
const volatile __u32 LEVEL = 2;

static __always_inline struct guest *guest_of(__u64 cgroup)
{
	return bpf_map_lookup_elem(&guests, &cgroup);
}

/* The guest that makes the system call. None: a cgroup without an entry, which is denied everything. */
static __always_inline struct guest *caller(void)
{
	return guest_of(bpf_get_current_ancestor_cgroup_id(LEVEL));
}

static __always_inline int deny(int error)
{
	bpf_set_retval(-error);
	return 0;
}

static __always_inline int is_loopback4(__u32 a)
{
	return (a & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline int is_any6(const __u32 *a)
{
	return !(a[0] | a[1] | a[2] | a[3]);
}

static __always_inline int is_loopback6(const __u32 *a)
{
	return !(a[0] | a[1] | a[2]) && a[3] == bpf_htonl(1);
}

static __always_inline int is_mapped(const __u32 *a)
{
	return !(a[0] | a[1]) && a[2] == bpf_htonl(0xffff);
}

static __always_inline int same6(const __u32 *a, const __u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline void copy6(__u32 *to, const __u32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline struct owner *owner4(__u32 a)
{
	return bpf_map_lookup_elem(&owners4, &a);
}

static __always_inline struct owner *owner6(const __u32 *a)
{
	struct in6 key = { .w = { a[0], a[1], a[2], a[3] } };

	return bpf_map_lookup_elem(&owners6, &key);
}

/* The address that ANY becomes. A guest without an address of the family has its loopback. */
static __always_inline __u32 home4(const struct guest *g)
{
	return g->n4 ? g->addr4[0] : g->lback4;
}

static __always_inline void home6(const struct guest *g, __u32 *a)
{
	if (g->n6)
		copy6(a, g->addr6[0]);
	else
		copy6(a, g->lback6);
}

/* What a local address that was asked for is on the shared stack; 0 if it is not the guest's. */
static __always_inline __u32 local4(const struct guest *g, __u32 a)
{
	struct owner *o;

	if (a == 0)
		return home4(g);
	if (a == g->lback4 || a == g->addr4[0])
		return a;
	o = owner4(a);
	if (o)
		return o->xid == g->xid ? a : 0;
	return is_loopback4(a) ? g->lback4 : 0;
}

/* The same for IPv6, in place. Returns 0 if it is not the guest's. */
static __always_inline int local6(const struct guest *g, __u32 *a)
{
	struct owner *o;

	if (is_any6(a)) {
		home6(g, a);
		return 1;
	}
	if (is_loopback6(a)) {
		copy6(a, g->lback6);
		return 1;
	}
	o = owner6(a);
	return o && o->xid == g->xid;
}

/* Whether an IPv6 socket refuses IPv4, by IPV6_V6ONLY or because it was bound to one IPv6 address. */
static __always_inline int is_v6only(struct bpf_sock *sk)
{
	void *full;

	if (!sk)
		return 1;
	full = bpf_skc_to_tcp6_sock(sk);
	if (!full)
		full = bpf_skc_to_udp6_sock(sk);
	return !full || BPF_CORE_READ_BITFIELD((struct sock_common *)full, skc_ipv6only);
}

static __always_inline struct asked *asked_of(struct bpf_sock *sk, __u64 flags)
{
	return sk ? bpf_sk_storage_get(&sockets, sk, 0, flags) : 0;
}

static __always_inline __u64 now(void)
{
	__u32 zero = 0;
	__u64 *at = bpf_map_lookup_elem(&epoch, &zero);

	return at ? *at : 0;
}

/* Whether `home` was judged by the entries of this very moment. */
static __always_inline int is_known(const struct asked *s, __u32 family)
{
	return s->family == family && s->epoch && s->epoch == now();
}

/* The context is read and written as whole fields in one place: the verifier takes no pointer into it, and the
 * compiler makes one where several branches touch the same field. */
static __always_inline void load6(__u32 *a, struct bpf_sock_addr *ctx)
{
	a[0] = ctx->user_ip6[0];
	a[1] = ctx->user_ip6[1];
	a[2] = ctx->user_ip6[2];
	a[3] = ctx->user_ip6[3];
}

static __always_inline void store6(struct bpf_sock_addr *ctx, const __u32 *a)
{
	ctx->user_ip6[0] = a[0];
	ctx->user_ip6[1] = a[1];
	ctx->user_ip6[2] = a[2];
	ctx->user_ip6[3] = a[3];
}

static __always_inline void set_loopback6(__u32 *a)
{
	a[0] = a[1] = a[2] = 0;
	a[3] = bpf_htonl(1);
}
