//! Makes the system calls that it reads on standard input, and says what each gave: the attacker of `hostel selftest`.
//!
//! It decides nothing and knows no attack: what is called is data of `src/selftest`, and what an answer means is judged
//! there. So one program makes every attack, inside a guest and outside of it, and what it says of a call is what the
//! kernel said. It is a program like the guest's init: no library, no heap, nothing that a guest has to have.
//!
//! One call a line, words separated by one space:
//!
//! | line | does | says |
//! |---|---|---|
//! | `NUMBER WORD...` | the system call of that number | `= RESULT`, `-errno` on failure |
//! | `FROM..TO NUMBER WORD...` | the same for each number, which is `$` in the words | `= COUNT` of those that did not fail |
//! | `! OFFSET HEX` | writes bytes into its memory | |
//! | `? OFFSET LENGTH` | | `: HEX` of its memory |
//!
//! | word | is |
//! |---|---|
//! | `12`, `-1` | the number |
//! | `x6162` | the address of these bytes and a NUL |
//! | `m16` | the address of its memory at that offset |
//! | `r3` | the result of the fourth `=` |
//! | `i16` | the 32-bit number in its memory at that offset |
//! | `$` | the number of this round |
//!
//! The last line says `end`: without it the program was killed, and nothing is proved. Exit codes: 0 it came to the
//! end, 2 a line makes no sense, 70 a bug.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "the init uses all of it")]
#[path = "../init/arch.rs"]
mod arch;
mod line;
mod say;

use core::ptr::addr_of_mut;

use line::{Line, Memory};

/// The longest program, and the memory that it has.
const PROGRAM: usize = 128 << 10;
const MEMORY: usize = 64 << 10;
/// How many results can be named.
const RESULTS: usize = 1024;

static mut TEXT: [u8; PROGRAM + 1] = [0; PROGRAM + 1];
static mut SPACE: [u8; MEMORY] = [0; MEMORY];

/// Called by `_start` with the stack aligned.
#[unsafe(no_mangle)]
extern "C" fn hostel_start() -> ! {
    // SAFETY: this program has one thread, and these are the only references that are ever made.
    let (text, space) = unsafe { (&mut *addr_of_mut!(TEXT), &mut *addr_of_mut!(SPACE)) };
    let Some(length) = read_all(text) else { arch::exit(2) };
    let mut memory = Memory::new(space);
    let mut results = [0isize; RESULTS];
    let mut count = 0;
    for line in text[..length].split_mut(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let Some(line) = line::parse(line, &results[..count]) else { arch::exit(2) };
        let result = match line {
            Line::Write(offset, bytes) => {
                if memory.write(offset, bytes).is_none() {
                    arch::exit(2)
                }
                continue;
            }
            Line::Read(offset, length) => {
                let Some(bytes) = memory.read(offset, length) else { arch::exit(2) };
                say::bytes(bytes);
                continue;
            }
            Line::Call(call) => match memory.resolve(&call, 0) {
                Some(words) => syscall(call.number, words),
                None => arch::exit(2),
            },
            Line::Each(from, to, call) => {
                let mut done = 0;
                for round in from..=to {
                    match memory.resolve(&call, round) {
                        Some(words) => done += isize::from(syscall(call.number, words) >= 0),
                        None => arch::exit(2),
                    }
                }
                done
            }
        };
        say::result(result);
        if count < RESULTS {
            results[count] = result;
            count += 1;
        }
    }
    say::text(b"end\n");
    arch::exit(0)
}

/// Reads standard input to its end; `None` when it is too long.
fn read_all(text: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        if length == text.len() {
            return None;
        }
        let rest = &mut text[length..];
        match syscall(arch::READ, [0, rest.as_mut_ptr() as usize, rest.len(), 0, 0, 0]) {
            0 => return Some(length),
            read if read > 0 => length += read as usize,
            // EINTR.
            -4 => {}
            _ => return None,
        }
    }
}

/// Whatever it is asked for. A pointer that leads nowhere is the kernel's to refuse; one that leads into this program
/// may only hit its memory and its own text, which is what the words can name.
fn syscall(number: usize, words: [usize; 6]) -> isize {
    // SAFETY: not checked, and that is the point: this program exists to make calls that others would not. It holds
    // nothing but what it was given, and ends when it is broken.
    unsafe { arch::syscall(number, words) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    arch::exit(70)
}
