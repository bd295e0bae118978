//! What differs between x86_64 and aarch64: entry, the system call instruction, numbers and a few flags.
//!
//! Only calls that both have are used, so there is no `open`, `fork`, `pipe` or `poll`.

use core::arch::{asm, global_asm};

// The kernel enters with argc at the stack pointer, aligned to 16; a call expects that alignment before it pushes.
// The init does not look at its arguments: everything comes by descriptor 3. The handover gets the stack as it was.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call hostel_start",
    "ud2",
    options(att_syntax)
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl hostel_start",
    "brk #1"
);

/// Makes system call `number`. What the kernel returns, `-errno` on failure.
///
/// # Safety
/// Every argument that the call takes as a pointer must be valid for what the call does with it.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the x86-64 convention: arguments in these registers, rcx and r11 clobbered, the stack untouched.
    // The caller vouches for the pointers.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Makes system call `number`. What the kernel returns, `-errno` on failure.
///
/// # Safety
/// Every argument that the call takes as a pointer must be valid for what the call does with it.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the arm64 convention: arguments in these registers, all others kept, the stack untouched. The caller
    // vouches for the pointers.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a[0] as isize => result, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

macro_rules! numbers {
    ($($name:ident = $x86:literal, $arm:literal;)+) => {$(
        #[cfg(target_arch = "x86_64")]
        pub const $name: usize = $x86;
        #[cfg(target_arch = "aarch64")]
        pub const $name: usize = $arm;
    )+};
}

// asm/unistd_64.h and asm-generic/unistd.h.
numbers! {
    READ = 0, 63;
    WRITE = 1, 64;
    CLOSE = 3, 57;
    MMAP = 9, 222;
    RT_SIGACTION = 13, 134;
    RT_SIGPROCMASK = 14, 135;
    IOCTL = 16, 29;
    EXECVE = 59, 221;
    WAIT4 = 61, 260;
    KILL = 62, 129;
    FCNTL = 72, 25;
    CHDIR = 80, 49;
    FCHOWN = 93, 55;
    SETSID = 112, 157;
    SETGROUPS = 116, 159;
    SETRESUID = 117, 147;
    SETRESGID = 119, 149;
    CAPSET = 126, 91;
    PRCTL = 157, 167;
    MOUNT = 165, 40;
    UMOUNT2 = 166, 39;
    SETHOSTNAME = 170, 161;
    CLOCK_GETTIME = 228, 113;
    EXIT_GROUP = 231, 94;
    OPENAT = 257, 56;
    MKDIRAT = 258, 34;
    UNLINKAT = 263, 35;
    RENAMEAT2 = 316, 276;
    PPOLL = 271, 73;
    UNSHARE = 272, 97;
    SECCOMP = 317, 277;
    GETDENTS64 = 217, 61;
    SIGNALFD4 = 289, 74;
    DUP3 = 292, 24;
    PIPE2 = 293, 59;
    STATX = 332, 291;
    OPEN_TREE = 428, 428;
    MOVE_MOUNT = 429, 429;
    FSOPEN = 430, 430;
    FSCONFIG = 431, 431;
    FSMOUNT = 432, 432;
    CLONE = 56, 220;
    CLONE3 = 435, 435;
    CLOSE_RANGE = 436, 436;
    OPENAT2 = 437, 437;
    MOUNT_SETATTR = 442, 442;
}

// asm/fcntl.h: arm64 swapped these for those of 32-bit arm.
numbers! {
    O_DIRECTORY = 0o200_000, 0o40_000;
    O_NOFOLLOW = 0o400_000, 0o100_000;
}

// The four that the compiler calls on its own. Volatile or by instruction, so that it does not see a copying loop in
// them and replace it by a call to themselves.

/// # Safety
/// As `memcpy(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's: `length` readable and writable bytes. The direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..length {
        // SAFETY: the caller's: `length` readable and writable bytes.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As `memmove(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: forwards is right unless `to` lies inside what is read.
        return unsafe { memcpy(to, from, length) };
    }
    for at in (0..length).rev() {
        // SAFETY: the caller's: `length` readable and writable bytes; backwards reads each before it is written.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// # Safety
/// As `memset(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's: `length` writable bytes. The direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..length {
        // SAFETY: the caller's: `length` writable bytes.
        unsafe { to.add(at).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As `memcmp(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: the caller's: `length` readable bytes.
        let x = unsafe { a.add(at).read_volatile() };
        // SAFETY: the caller's: `length` readable bytes.
        let y = unsafe { b.add(at).read_volatile() };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As `bcmp(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(a, b, length) }
}

/// Ends this process.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: exit_group(2) takes a number and touches no memory.
        unsafe { syscall(EXIT_GROUP, [code, 0, 0, 0, 0, 0]) };
    }
}

/// The precompiled core library names it in its unwind tables; with `panic=abort` nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// `strlen` for `CStr`.
///
/// # Safety
/// As `strlen(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's: a NUL ends it.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
