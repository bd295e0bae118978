/*
 * The floor: what the kernel itself takes to start, run and remove a confined guest. It makes the kernel calls that
 * hostel makes, in the same order, and does nothing else: no arguments to parse, no state to look up, no error
 * to explain, nothing written down. What hostel takes beyond it is hostel's own.
 *
 *   floor ROOT CGROUP XID COMMAND [ARG...]      every call of a fully confined start
 *   floor -b ROOT COMMAND [ARG...]              bare: pid, mount, uts, ipc namespaces, pivot and /proc
 *
 * CGROUP is a directory of cgroup2 below which xXID is made and removed. The filter of system calls is not hostel's, but
 * one of the same length and shape: a binary search. Left out: the calls that open hostel's BPF maps, update and empty
 * them (28).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <sys/mount.h> cannot be included beside <linux/mount.h> with this glibc. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define MNT_DETACH 2
#define MS_PRIVATE_REC (0x40000 | 0x4000)

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static int ok(long result, const char *what)
{
	if (result < 0)
		die(what);
	return (int)result;
}

static int open_tree_at(int dir, const char *path, unsigned flags)
{
	return ok(syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), path);
}

static void set_attr(int fd, uint64_t set, int userns, unsigned flags)
{
	struct mount_attr attr = { .attr_set = set, .userns_fd = userns < 0 ? 0 : (uint64_t)userns };
	ok(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof attr), "mount_setattr");
}

static void attach(int from, int to)
{
	ok(syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH), "move_mount");
}

static int new_fs(const char *kind, const char *const options[][2], unsigned attr)
{
	int context = ok(syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC), kind);
	for (; options && (*options)[0]; options++)
		ok(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, (*options)[0], (*options)[1], 0), (*options)[0]);
	ok(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), kind);
	int fd = ok(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attr), kind);
	close(context);
	return fd;
}

static int open_dir(int parent, const char *name)
{
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		die(name);
	return ok(openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), name);
}

static void mount_in(int parent, const char *name, int fd)
{
	int at = open_dir(parent, name);
	attach(fd, at);
	close(at);
	close(fd);
}

#define DATA (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* What is to be covered, or -1: not in this kernel's configuration. */
static int target(int proc, const char *name)
{
	int fd = openat(proc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		die(name);
	return fd;
}

static void cover(int at, int fd)
{
	attach(fd, at);
	close(fd);
	close(at);
}

/* What it returns holds the empty file and directory that cover others. */
static int mask(int proc)
{
	static const char *const options[][2] = { { "mode", "0555" }, { 0, 0 } };
	static const char *const files[] = { "kcore", "keys", "kallsyms", "latency_stats", "timer_list", "timer_stats",
					     "sched_debug", "interrupts", "kmsg" };
	static const char *const dirs[] = { "acpi", "asound", "scsi" };
	static const char *const readonly[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };
	int empty = new_fs("tmpfs", options, DATA), at;
	close(ok(openat(empty, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0), "file"));
	ok(mkdirat(empty, "dir", 0555), "dir");
	set_attr(empty, MOUNT_ATTR_RDONLY, -1, 0);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if ((at = target(proc, files[i])) >= 0)
			cover(at, open_tree_at(empty, "file", 0));
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if ((at = target(proc, dirs[i])) >= 0)
			cover(at, open_tree_at(empty, "dir", 0));
	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++)
		if ((at = target(proc, readonly[i])) >= 0) {
			int same = open_tree_at(at, "", 0);
			set_attr(same, DATA | MOUNT_ATTR_RDONLY, -1, 0);
			cover(at, same);
		}
	return empty;
}

static const char *const devices[] = { "null", "zero", "full", "random", "urandom", "tty" };
#define DEVICES (sizeof devices / sizeof *devices)

static void make_dev(int root, const int *sources)
{
	static const char *const dev_options[][2] = {
		{ "mode", "0755" }, { "size", "64k" }, { "nr_inodes", "256" }, { 0, 0 }
	};
	static const char *const pts_options[][2] = {
		{ "ptmxmode", "0666" }, { "mode", "0620" }, { "gid", "5" }, { 0, 0 }
	};
	static const char *const shm_options[][2] = { { "mode", "1777" }, { 0, 0 } };
	static const char *const links[][2] = {
		{ "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" },
		{ "stderr", "/proc/self/fd/2" }, { "ptmx", "pts/ptmx" }, { "core", "/proc/kcore" },
	};
	int at = open_dir(root, "dev");
	int dev = new_fs("tmpfs", dev_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	attach(dev, at);
	close(at);
	for (size_t i = 0; i < DEVICES; i++) {
		int file = ok(openat(dev, devices[i], O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), devices[i]);
		attach(sources[i], file);
		close(file);
	}
	close(ok(openat(dev, "console", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), "console"));
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		ok(symlinkat(links[i][1], dev, links[i][0]), links[i][0]);
	mount_in(dev, "pts", new_fs("devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
	mount_in(dev, "shm", new_fs("tmpfs", shm_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
	mount_in(dev, "mqueue", new_fs("mqueue", NULL, DATA));
	close(dev);
}

static void pivot(int root)
{
	ok(fchdir(root), "fchdir");
	ok(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	ok(umount2(".", MNT_DETACH), "umount2");
	ok(chdir("/"), "chdir");
}

/* CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT AUDIT_WRITE SETFCAP */
#define KEPT (1ULL << 0 | 1ULL << 1 | 0xfULL << 3 | 3ULL << 7 | 1ULL << 10 | 1ULL << 18 | 1ULL << 29 | 1ULL << 31)

static void drop_capabilities(void)
{
	ok(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT");
	for (int cap = 0; cap <= 40; cap++)
		if (!(KEPT >> cap & 1))
			ok(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "PR_CAPBSET_DROP");
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)KEPT, (uint32_t)KEPT, 0 }, { (uint32_t)(KEPT >> 32), (uint32_t)(KEPT >> 32), 0 }
	};
	ok(syscall(SYS_capset, &header, data), "capset");
}

/* hostel's default filter has 254 instructions: 4 at its head, and a search that ends in one return for each segment. */
#define SEGMENTS 125
static struct sock_filter code[4 + 2 * SEGMENTS];
static unsigned short length;

static void put(unsigned short what, unsigned char yes, unsigned char no, unsigned int k)
{
	code[length++] = (struct sock_filter){ what, yes, no, k };
}

static void search(unsigned low, unsigned high)
{
	if (high - low == 1) {
		put(BPF_RET | BPF_K, 0, 0, low % 2 ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW);
		return;
	}
	unsigned middle = (low + high) / 2, at = length;
	/* Of ten numbers the one that ends in 5 is refused: the rest of this, and /bin/true, use none of those. */
	put(BPF_JMP | BPF_JGE | BPF_K, 0, 0, middle % 2 ? middle / 2 * 10 + 5 : middle / 2 * 10 - 4);
	search(low, middle);
	code[at].jt = (unsigned char)(length - at - 1);
	search(middle, high);
}

static void filter_calls(void)
{
	put(BPF_LD | BPF_W | BPF_ABS, 0, 0, 4);
	put(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0xc000003e);
	put(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
	put(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0);
	search(0, SEGMENTS);
	struct sock_fprog program = { length, code };
	ok(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

/* The guest's own ::1, as hostel puts it on lo: fd68:6f73:7465:6c::XID. */
static void loopback6(int socket, int type, int flags, unsigned xid)
{
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg message;
		struct rtattr local_head;
		unsigned char local[16];
		struct rtattr address_head;
		unsigned char address[16];
		struct rtattr flags_head;
		unsigned int flags;
	} request = {
		{ sizeof request, (unsigned short)type, (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags), 1, 0 },
		{ AF_INET6, 128, IFA_F_NODAD, 0, 1 },
		{ sizeof(struct rtattr) + 16, IFA_LOCAL },
		{ 0xfd, 0x68, 0x6f, 0x73, 0x74, 0x65, 0, 0x6c, 0, 0, 0, 0, 0, 0, (unsigned char)(xid >> 8), (unsigned char)xid },
		{ sizeof(struct rtattr) + 16, IFA_ADDRESS },
		{ 0 },
		{ sizeof(struct rtattr) + 4, IFA_FLAGS },
		IFA_F_NODAD,
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[256];
	} answer;
	memcpy(request.address, request.local, 16);
	ok(send(socket, &request, sizeof request, 0), "send to netlink");
	ok(recv(socket, &answer, sizeof answer, 0), "receive from netlink");
	errno = -answer.error.error;
	ok(errno ? -1 : 0, "the address of ::1");
}

static void scope_abstract_sockets(void)
{
	struct { uint64_t fs, net, scoped; } attr = { 0, 0, 1 };
	int ruleset = (int)syscall(444, &attr, sizeof attr, 0);
	if (ruleset < 0)
		return; /* before Linux 6.12: nothing to measure */
	ok(syscall(446, ruleset, 0), "landlock_restrict_self");
	close(ruleset);
}

static void put_text(int dir, const char *file, const char *text)
{
	int fd = ok(openat(dir, file, O_WRONLY | O_CLOEXEC), file);
	ok(write(fd, text, strlen(text)), file);
	close(fd);
}

/* A user namespace belongs to who made it: the guest's own first id, and not the host's root. */
static void as_owner(unsigned long base)
{
	struct __user_cap_data_struct all[2];
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	ok(setresuid((uid_t)-1, (uid_t)base, (uid_t)-1), "setresuid");
	ok(syscall(SYS_capget, &header, all), "capget");
	all[0].effective = all[0].permitted;
	all[1].effective = all[1].permitted;
	ok(syscall(SYS_capset, &header, all), "capset");
}

static void as_root(void)
{
	ok(setresuid((uid_t)-1, 0, (uid_t)-1), "setresuid");
	ok(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "PR_SET_DUMPABLE");
}

static void map_ids(int pid, const char *file, unsigned long base)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	int length = snprintf(text, sizeof text, "0 %lu 65536\n", base);
	int fd = ok(open(path, O_WRONLY | O_CLOEXEC), path);
	ok(write(fd, text, (size_t)length), path);
	close(fd);
}

static int ended(int pidfd)
{
	siginfo_t info;
	ok(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), "waitid");
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int bare(char **argv)
{
	struct clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_PIDFD,
				   .exit_signal = SIGCHLD };
	int pidfd = -1;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	int pid = ok(syscall(SYS_clone3, &args, sizeof args), "clone3");
	if (pid == 0) {
		ok(mount(NULL, "/", NULL, MS_PRIVATE_REC, NULL), "private");
		int root = open_tree_at(AT_FDCWD, argv[0], 0);
		attach(root, ok(open("/", O_PATH | O_CLOEXEC), "/"));
		pivot(root);
		ok(mount("proc", "/proc", "proc", 0, NULL), "proc");
		execv(argv[1], argv + 1);
		die(argv[1]);
	}
	return ended(pidfd);
}

static int full(char **argv)
{
	unsigned long base = strtoul(argv[2], NULL, 10) << 16;
	char group[4096];
	snprintf(group, sizeof group, "%s/x%s", argv[1], argv[2]);
	ok(mkdir(group, 0755), group);
	int cgroup = ok(open(group, O_DIRECTORY | O_CLOEXEC), group);
	put_text(cgroup, "cgroup.max.depth", "32");
	put_text(cgroup, "cgroup.max.descendants", "4096");

	int root = open_tree_at(AT_FDCWD, argv[0], 0);
	set_attr(root, MOUNT_ATTR_NODEV, -1, 0);
	int sys = open_tree_at(AT_FDCWD, "/sys", 0);
	set_attr(sys, DATA | MOUNT_ATTR_RDONLY, -1, 0);
	int dev = ok(open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC), "/dev");
	int sources[DEVICES];
	for (size_t i = 0; i < DEVICES; i++)
		sources[i] = open_tree_at(dev, devices[i], 0);

	int go[2], pidfd = -1;
	ok(pipe2(go, O_CLOEXEC), "pipe2");
	struct clone_args args = { .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
					    CLONE_PIDFD | CLONE_INTO_CGROUP,
				   .exit_signal = SIGCHLD,
				   .cgroup = (uint64_t)cgroup };
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	as_owner(base);
	int pid = ok(syscall(SYS_clone3, &args, sizeof args), "clone3");
	if (pid == 0) {
		char byte;
		close(go[1]);
		if (read(go[0], &byte, 1) != 1)
			_exit(125);
		ok(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "keyctl");
		ok(setgroups(0, NULL), "setgroups");
		ok(setresgid(0, 0, 0), "setresgid");
		ok(setresuid(0, 0, 0), "setresuid");
		ok(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE");
		/* One byte is kept as the limit that nothing is dumped under, also where cores go to a program. */
		struct rlimit core = { 1, 1 };
		ok(setrlimit(RLIMIT_CORE, &core), "RLIMIT_CORE");
		put_text(AT_FDCWD, "/proc/sys/user/max_user_namespaces", "0");
		ok(unshare(CLONE_NEWCGROUP), "unshare");
		ok(mount(NULL, "/", NULL, MS_PRIVATE_REC, NULL), "private");
		attach(root, ok(open("/", O_PATH | O_CLOEXEC), "/"));
		int proc = new_fs("proc", NULL, DATA);
		int at = open_dir(root, "proc");
		attach(proc, at);
		close(at);
		int empty = mask(proc);
		close(proc);
		at = open_dir(root, "sys");
		attach(sys, at);
		close(at);
		if ((at = target(sys, "firmware")) >= 0)
			cover(at, open_tree_at(empty, "dir", 0));
		close(sys);
		close(empty);
		make_dev(root, sources);
		pivot(root);
		ok(sethostname("bench", 5), "sethostname");
		scope_abstract_sockets();
		filter_calls();
		drop_capabilities();
		/* hostel's second word: its addresses are there. */
		if (read(go[0], &byte, 1) != 1)
			_exit(125);
		ok(syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */), "close_range");
		execv(argv[3], argv + 3);
		die(argv[3]);
	}
	as_root();
	map_ids(pid, "uid_map", base);
	map_ids(pid, "gid_map", base);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	int userns = ok(open(path, O_RDONLY | O_CLOEXEC), path);
	set_attr(root, MOUNT_ATTR_IDMAP, userns, 0);
	close(userns);
	ok(write(go[1], "g", 1), "go");
	int netlink = ok(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE), "netlink");
	unsigned xid = (unsigned)strtoul(argv[2], NULL, 10);
	loopback6(netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, xid);
	ok(write(go[1], "x", 1), "go");
	int status = ended(pidfd);
	loopback6(netlink, RTM_DELADDR, 0, xid);
	/* The kernel reports the end of a process a little before the process has left its cgroup. */
	while (rmdir(group) < 0) {
		if (errno != EBUSY)
			die(group);
		sched_yield();
	}
	return status;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "-b") == 0)
		return bare(argv + 2);
	if (argc >= 5)
		return full(argv + 1);
	fprintf(stderr, "usage: floor ROOT CGROUP XID COMMAND [ARG...] | floor -b ROOT COMMAND [ARG...]\n");
	return 2;
}
