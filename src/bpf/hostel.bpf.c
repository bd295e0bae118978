/* chbind: the guests' sockets on the host's one network stack, each confined to its guest's addresses.
 * Attached once, at hostel's root cgroup; a guest is an entry of a map. See src/bpf/mod.rs. */
#include "state.bpf.h"
#include "open.bpf.h"
#include "local.bpf.h"
#include "peer.bpf.h"
#include "steer.bpf.h"
#include "packet.bpf.h"

/* The helpers that are needed are for programs under the GPL; the rest of hostel is not linked to this. */
char _license[] SEC("license") = "GPL";
