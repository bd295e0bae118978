//! Executes a program of a guest for a process of hostel's that has come in.
//!
//! The kernel opens `/proc/self/exe` as whatever the executing process runs, so a guest whose shell begins with
//! `#!/proc/self/exe` would have hostel's own program of the host in its hands (CVE-2019-5736). What runs when a program
//! of the guest is executed is therefore this: a file in memory that is sealed, holds nothing and does nothing else.
//!
//! | argument | is |
//! |---|---|
//! | 1 | what the program is called in a message |
//! | from 2 | where it may be, tried in this order; an empty one ends them |
//! | the rest | its arguments, from the zeroth |
//!
//! Its environment is the program's. Descriptor 3 is a pipe on which it tells why nothing could be executed: the errno
//! and argument 1. Exit codes: 125 nothing was executed and the pipe says why, 126 its arguments make no sense, 70 a bug.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "the init uses all of it")]
#[path = "../init/arch.rs"]
mod arch;

use core::ffi::{CStr, c_char};
use core::slice;

/// Where it tells why nothing could be executed.
const REPORT: usize = 3;

const ENOENT: isize = -2;
const EACCES: isize = -13;
const ENOTDIR: isize = -20;

/// Called by `_start` with the stack as the kernel made it: the number of arguments, their addresses and a null, those of
/// the environment and a null.
#[unsafe(no_mangle)]
extern "C" fn hostel_start(stack: *const usize) -> ! {
    const PR_SET_DUMPABLE: usize = 4;
    // While this runs nobody in the guest may look at its descriptors. Executing makes it visible again.
    syscall(arch::PRCTL, [PR_SET_DUMPABLE, 0, 0, 0, 0, 0]);
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    if syscall(arch::FCNTL, [REPORT, F_SETFD, FD_CLOEXEC, 0, 0, 0]) < 0 {
        arch::exit(126)
    }
    // SAFETY: the kernel put the number of arguments there.
    let count = unsafe { stack.read() };
    // SAFETY: and that many addresses of terminated texts behind it, which stay for as long as the process.
    let arguments = unsafe { slice::from_raw_parts(stack.add(1).cast::<*const c_char>(), count) };
    // SAFETY: as above; a null address stands between them and the environment.
    let environment = unsafe { stack.add(1 + count + 1) };
    // SAFETY: each of the addresses is one of those.
    let text = |at: *const c_char| unsafe { CStr::from_ptr(at) };
    let Some((what, rest)) = arguments.get(1..).and_then(<[_]>::split_first) else { arch::exit(126) };
    let Some(end) = rest.iter().position(|path| text(*path).is_empty()) else { arch::exit(126) };
    let (places, program) = rest.split_at(end);
    // Up to the null behind the last argument.
    let program = program[1..].as_ptr();
    let mut worst = ENOENT;
    for place in places {
        let arguments = [*place as usize, program as usize, environment as usize, 0, 0, 0];
        match syscall(arch::EXECVE, arguments) {
            ENOENT | ENOTDIR => {}
            // Found but not allowed: said, unless a later place has one that runs (`execvp(3)`).
            EACCES => worst = EACCES,
            other => report(other, text(*what)),
        }
    }
    report(worst, text(*what))
}

fn report(errno: isize, what: &CStr) -> ! {
    let number = (-errno as i32).to_ne_bytes();
    for bytes in [&number[..], what.to_bytes()] {
        syscall(arch::WRITE, [REPORT, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]);
    }
    arch::exit(125)
}

fn syscall(number: usize, words: [usize; 6]) -> isize {
    // SAFETY: called for the calls above alone, with numbers, with slices and their lengths, and with the addresses that
    // the kernel put on the stack itself.
    unsafe { arch::syscall(number, words) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    arch::exit(70)
}
