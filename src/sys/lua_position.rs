//! Where a Lua program is, told by a signal handler: the last words of an evaluation whose time is over.
//!
//! Lua's own hooks do not run while one of its C functions does, and a pattern that backtracks stays in one for ever.
//! So when the kernel says that the processor time is used up (SIGXCPU), the handler walks the stack of calls itself,
//! writes the lines, and ends the process.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use mlua::ffi::{lua_Debug, lua_State, lua_getinfo, lua_getstack};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Context as _, Result};

/// The exit code of a process whose time was over.
pub const TIME_IS_OVER: i32 = 124;

/// How many levels are looked at, and how many bytes are told.
const LEVELS: i32 = 100;
const ROOM: usize = 4096;

static STATE: AtomicPtr<lua_State> = AtomicPtr::new(std::ptr::null_mut());
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// From now on SIGXCPU ends this process: it writes to `pipe` a byte `kind`, the length of what follows (4 bytes,
/// little-endian), and the calls that are running, the innermost first, as lines `FILE:LINE`.
///
/// Chunks whose name does not start with `@`, and the parts of a state that [`watch`] does not know, are left out.
pub fn tell_at_sigxcpu(pipe: RawFd) -> Result<()> {
    PIPE.store(pipe, Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(tell), SaFlags::SA_RESETHAND, SigSet::empty());
    // SAFETY: the handler makes only system calls and reads (see `tell`), and does not return.
    unsafe { sigaction(Signal::SIGXCPU, &action) }
        .context(|| "handle SIGXCPU")
        .map(drop)
}

/// Names the state whose calls are told. It must live until the process ends, or until another one is named.
pub fn watch(lua: &mlua::Lua) {
    let mut found = std::ptr::null_mut();
    // SAFETY: the closure takes the pointer and does nothing with the state.
    let done = unsafe { lua.exec_raw::<()>((), |state| found = state) };
    if done.is_ok() {
        STATE.store(found, Ordering::Relaxed);
    }
}

/// Room for the lines; a handler may not allocate.
struct Lines {
    bytes: [u8; ROOM],
    length: usize,
}

impl Lines {
    /// Adds all of it or nothing.
    fn add(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.length + length > ROOM {
            return;
        }
        for part in parts {
            self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
            self.length += part.len();
        }
    }
}

extern "C" fn tell(_: libc::c_int) {
    const HEAD: usize = 5;
    let mut lines = Lines {
        bytes: [0; ROOM],
        length: HEAD,
    };
    let state = STATE.load(Ordering::Relaxed);
    if !state.is_null() {
        calls(state, &mut lines);
    }
    let length = u32::try_from(lines.length - HEAD).unwrap_or(0).to_le_bytes();
    lines.bytes[0] = b'x';
    lines.bytes[1..HEAD].copy_from_slice(&length);
    // SAFETY: write(2) reads `length` bytes of a buffer that is longer; a failure leaves nothing to do.
    unsafe {
        libc::write(
            PIPE.load(Ordering::Relaxed),
            lines.bytes.as_ptr().cast(),
            lines.length,
        )
    };
    super::clone::exit_now(TIME_IS_OVER);
}

fn calls(state: *mut lua_State, lines: &mut Lines) {
    for level in 0..LEVELS {
        // SAFETY: all fields are integers, arrays of them and raw pointers, for which zero is a value.
        let mut debug: lua_Debug = unsafe { std::mem::zeroed() };
        // SAFETY: reads the list of calls. The state is this thread's own and stands still meanwhile. The signal may
        // have come while it was changing that list; then this may read what is stale, and the process, which ends
        // here in any case, ends by SIGSEGV without its last words.
        if unsafe { lua_getstack(state, level, &raw mut debug) } == 0 {
            return;
        }
        // SAFETY: as above; `S` and `l` only read the function of the call, which is in use and so not collected.
        if unsafe { lua_getinfo(state, c"Sl".as_ptr(), &raw mut debug) } == 0 || debug.source.is_null() {
            return;
        }
        // SAFETY: Lua's sources end in NUL and live as long as their function.
        let source = unsafe { CStr::from_ptr(debug.source) }.to_bytes();
        if let (Some(file), 1..) = (source.strip_prefix(b"@"), debug.currentline) {
            let mut digits = [0; 10];
            lines.add(&[
                file,
                b":",
                decimal(debug.currentline.unsigned_abs(), &mut digits),
                b"\n",
            ]);
        }
    }
}

/// A number in decimal, without allocating.
fn decimal(mut number: u32, room: &mut [u8; 10]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        // One digit of base ten.
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &room[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [(0, "0"), (7, "7"), (1024, "1024"), (u32::MAX, "4294967295")] {
            assert_eq!(decimal(number, &mut [0; 10]), text.as_bytes());
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_left_out_whole() {
        let mut lines = Lines {
            bytes: [0; ROOM],
            length: ROOM - 3,
        };
        lines.add(&[b"ab", b"cd"]);
        assert_eq!(lines.length, ROOM - 3);
        lines.add(&[b"a", b"bc"]);
        assert_eq!((lines.length, &lines.bytes[ROOM - 3..]), (ROOM, &b"abc"[..]));
    }
}
