//! The table. A call that Linux gains goes into the group whose reason fits it, or into a new one.

use super::super::Allow;
use super::Access::{Always, Never, With};
use super::{Group, NAMESPACES};

/// Every call, by reason.
#[rustfmt::skip] // One call a line would hide the table.
pub static GROUPS: &[Group] = &[
    Group {
        name: "files",
        reason: "files by descriptor and path: held by the mount namespace, the id map and the owner's rights",
        access: Always,
        calls: &[
            "access", "cachestat", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup",
            "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat",
            "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "file_getattr", "file_setattr", "flock", "fstat",
            "fstatat", "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "lchown",
            "link", "linkat", "lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64",
            "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat",
            "readv", "rename", "renameat", "renameat2", "rmdir", "sendfile", "splice", "stat", "statfs", "statx",
            "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink",
            "unlinkat", "ustat", "utime", "utimensat", "utimes", "vmsplice", "write", "writev", "utimensat_time64",
        ],
    },
    Group {
        name: "special files",
        reason: "pipes and sockets in the file system; device files need CAP_MKNOD, which no user namespace gives",
        access: Always,
        calls: &["mknod", "mknodat"],
    },
    Group {
        name: "file handles, made",
        reason: "systemd compares directories by them; what opens them is refused",
        access: Always,
        calls: &["name_to_handle_at"],
    },
    Group {
        name: "extended attributes",
        reason: "held by the owner's rights; package managers set file capabilities of the guest's own id range",
        access: Always,
        calls: &[
            "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr",
            "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr",
            "setxattrat",
        ],
    },
    Group {
        name: "terminals and devices",
        reason: "control of descriptors; typing into a terminal (TIOCSTI), TIOCLINUX and line disciplines are refused",
        access: Always,
        calls: &["ioctl"],
    },
    Group {
        name: "memory",
        reason: "a process's own memory, counted against the guest's limit",
        access: Always,
        calls: &[
            "brk", "get_mempolicy", "madvise", "map_shadow_stack", "mbind", "membarrier", "memfd_create",
            "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync",
            "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise",
            "process_mrelease", "remap_file_pages", "set_mempolicy", "set_mempolicy_home_node",
        ],
    },
    Group {
        name: "processes",
        reason: "making, ending and waiting for processes of the guest's own; new namespaces are refused",
        access: Always,
        calls: &[
            "arch_prctl", "clone", "clone3", "execve", "execveat", "exit", "exit_group", "fork", "getpgid", "getpgrp",
            "getpid", "getppid", "getrusage", "getsid", "gettid", "pidfd_open", "prctl", "restart_syscall", "rseq",
            "set_tid_address", "setpgid", "setsid", "vfork", "wait4", "waitid",
        ],
    },
    Group {
        name: "personality",
        reason: "what uname(2) answers; protections of memory cannot be taken off",
        access: Always,
        calls: &["personality"],
    },
    Group {
        name: "signals",
        reason: "the pid namespace holds none but the guest's processes",
        access: Always,
        calls: &[
            "kill", "pause", "pidfd_send_signal", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
            "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo",
            "sigaltstack", "signalfd", "signalfd4", "tgkill", "tkill",
        ],
    },
    Group {
        name: "threads",
        reason: "locks between threads",
        access: Always,
        calls: &[
            "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list",
            "get_thread_area", "set_robust_list", "set_thread_area",
        ],
    },
    Group {
        name: "scheduling",
        reason: "held by the guest's cgroup; raising a priority needs a capability of the host",
        access: Always,
        calls: &[
            "getcpu", "getpriority", "ioprio_get", "ioprio_set", "sched_get_priority_max", "sched_get_priority_min",
            "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
            "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
            "sched_setscheduler", "sched_yield", "setpriority",
        ],
    },
    Group {
        name: "users",
        reason: "ids of the guest's own range, and its own capabilities",
        access: Always,
        calls: &[
            "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid", "getuid",
            "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid",
        ],
    },
    Group {
        name: "limits",
        reason: "a process's own limits; a hard limit can only be lowered",
        access: Always,
        calls: &["getrlimit", "prlimit64", "setrlimit"],
    },
    Group {
        name: "time",
        reason: "reading clocks, waiting",
        access: Always,
        calls: &[
            "alarm", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
            "clock_nanosleep_time64", "getitimer", "gettimeofday", "nanosleep", "setitimer", "time", "timer_create",
            "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
            "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
            "timerfd_settime64", "times",
        ],
    },
    Group {
        name: "events",
        reason: "waiting for descriptors",
        access: Always,
        calls: &[
            "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
            "eventfd2", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "pipe", "pipe2",
            "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select",
        ],
    },
    Group {
        name: "asynchronous files",
        reason: "databases and web servers read by them; small beside io_uring",
        access: Always,
        calls: &[
            "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
        ],
    },
    Group {
        name: "sockets",
        reason: "unix, IPv4, IPv6 and the harmless netlink families; addresses are held by BPF",
        access: Always,
        calls: &[
            "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
            "recvmmsg", "recvmmsg_time64", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
            "socket", "socketpair",
        ],
    },
    Group {
        name: "System V and POSIX IPC",
        reason: "the IPC namespace is the guest's own",
        access: Always,
        calls: &[
            "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
            "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop",
            "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
        ],
    },
    Group {
        name: "confining oneself",
        reason: "what a program gives up for itself cannot hurt others",
        access: Always,
        calls: &[
            "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lsm_get_self_attr",
            "lsm_list_modules", "seccomp",
        ],
    },
    Group {
        name: "chroot",
        reason: "sshd, postfix and others divide themselves by it; the guest's root is a mount, so it leads nowhere",
        access: With(&["sys_chroot"], &[Allow::Nested]),
        calls: &["chroot"],
    },
    Group {
        name: "the machine, asked",
        reason: "name, load and random numbers",
        access: Always,
        calls: &["getrandom", "sysinfo", "uname"],
    },
    Group {
        name: "the guest's own end",
        reason: "in a pid namespace of its own, reboot(2) ends the guest and nothing else; it needs CAP_SYS_BOOT",
        access: Always,
        calls: &["reboot"],
    },
    Group {
        name: "mounts, asked",
        reason: "tell of the guest's own mounts only",
        access: Always,
        calls: &["listmount", "statmount"],
    },
    Group {
        name: "return of a probe",
        reason: "made by the kernel itself in a process that the host traces; from elsewhere they do nothing",
        access: Always,
        calls: &["uprobe", "uretprobe"],
    },
    Group {
        name: "namespaces and mounts",
        reason: "reach much of the kernel that an unprivileged process does not",
        access: NAMESPACES,
        calls: &["pivot_root", "setdomainname", "sethostname", "setns", "unshare"],
    },
    Group {
        name: "mounts",
        reason: "file systems read data that a guest wrote",
        access: NAMESPACES,
        calls: &[
            "fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
        ],
    },
    Group {
        name: "mounts, as fusermount makes them",
        reason: "as above; where it is allowed for file systems in user space alone, mount(2) makes new ones and changes none",
        access: With(&["sys_admin"], &[Allow::Nested, Allow::Fuse]),
        calls: &["mount", "umount2"],
    },
    Group {
        name: "tracing",
        reason: "one process drives another; a large interface",
        access: With(&["sys_ptrace"], &[Allow::Ptrace]),
        calls: &["kcmp", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace"],
    },
    Group {
        name: "keyrings",
        reason: "keys belong to user ids and not to a namespace of the guest's",
        access: With(&[], &[Allow::Keyring]),
        calls: &["add_key", "keyctl", "request_key"],
    },
    Group {
        name: "io_uring",
        reason: "its operations pass this list by, and it has had many bugs",
        access: With(&[], &[Allow::IoUring]),
        calls: &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    },
    Group {
        name: "page faults in user space",
        reason: "stops the kernel where an attacker wants it stopped",
        access: With(&[], &[Allow::Userfaultfd]),
        calls: &["userfaultfd"],
    },
    Group {
        name: "performance counters",
        reason: "tell of the host and of other guests; a large interface",
        access: With(&["perfmon"], &[Allow::Perf]),
        calls: &["perf_event_open"],
    },
    Group {
        name: "setting clocks",
        reason: "the host's clock is every guest's",
        access: With(&["sys_time"], &[]),
        calls: &["adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday"],
    },
    Group {
        name: "administration",
        reason: "of the machine: nothing in a guest has a use for it",
        access: With(&["sys_admin"], &[]),
        calls: &["fanotify_init", "fanotify_mark", "quotactl", "quotactl_fd", "vhangup", "lsm_set_self_attr"],
    },
    Group {
        name: "the kernel's log",
        reason: "shows addresses and events of the host, also to those without a capability where the host lets them",
        access: With(&["syslog"], &[]),
        calls: &["syslog"],
    },
    Group {
        name: "memory of other nodes",
        reason: "moves other processes' pages, which tells where they lie",
        access: With(&["sys_nice"], &[]),
        calls: &["migrate_pages", "move_pages"],
    },
    Group {
        name: "file handles, opened",
        reason: "open files that no directory of the guest's leads to (\"Shocker\")",
        access: Never,
        calls: &["open_by_handle_at"],
    },
    Group {
        name: "the kernel's code",
        reason: "runs code in the kernel or replaces it",
        access: Never,
        calls: &[
            "bpf", "create_module", "delete_module", "finit_module", "get_kernel_syms", "init_module",
            "kexec_file_load", "kexec_load", "query_module",
        ],
    },
    Group {
        name: "hardware",
        reason: "ports, segments and swap of the machine",
        access: Never,
        calls: &["acct", "ioperm", "iopl", "modify_ldt", "swapoff", "swapon"],
    },
    Group {
        name: "gone",
        reason: "Linux has the number but no longer the call, or never had it",
        access: Never,
        calls: &[
            "_sysctl", "afs_syscall", "epoll_ctl_old", "epoll_wait_old", "getpmsg", "lookup_dcookie", "nfsservctl",
            "putpmsg", "security", "sysfs", "tuxcall", "uselib", "vserver",
        ],
    },
];
