//! From segments of call numbers to the kernel's program: a binary search.
//!
//! When a filter is installed, the kernel runs it once for every call number to learn which calls it may answer
//! without running it again (`seccomp_cache_prepare`, Linux 5.11). A chain of comparisons, one a call, as filter
//! libraries make it, takes 0.4 ms of every start for that, a search 0.04 ms (docs/decisions/0013).

use super::{Action, Segment};
use crate::error::{Error, Kind, Result};
use crate::guest::syscalls::Test;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const NATIVE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const NATIVE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: Option<u32> = None;

/// The codes of `linux/bpf_common.h`, each a sum of its class, width and source.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

type Code = Vec<libc::sock_filter>;

/// The program for segments in ascending order, of which the first begins at 0.
pub(super) fn compile(segments: &[(u32, Segment)]) -> Result<Code> {
    let arch =
        NATIVE.ok_or_else(|| Error::new(Kind::Unsupported, "filter system calls of this architecture"))?;
    let mut code = vec![
        statement(LOAD, ARCH),
        jump(JUMP_EQUAL, arch, 1, 0),
        statement(RETURN, Action::KillProcess.code()),
        statement(LOAD, NUMBER),
    ];
    code.extend(search(segments)?);
    Ok(code)
}

fn search(segments: &[(u32, Segment)]) -> Result<Code> {
    match segments {
        [] => Err(internal("a filter without answers")),
        [(_, segment)] => leaf(segment),
        _ => {
            let (low, high) = segments.split_at(segments.len() / 2);
            let from = high.first().map_or(0, |(start, _)| *start);
            let low = search(low)?;
            // A conditional jump reaches 255 instructions, an unconditional one any.
            let mut code = match u8::try_from(low.len()) {
                Ok(over) => vec![jump(JUMP_AT_LEAST, from, over, 0)],
                Err(_) => vec![
                    jump(JUMP_AT_LEAST, from, 0, 1),
                    statement(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX)),
                ],
            };
            code.extend(low);
            code.extend(search(high)?);
            Ok(code)
        }
    }
}

fn leaf(segment: &Segment) -> Result<Code> {
    match segment {
        Segment::Always(action) => Ok(vec![statement(RETURN, action.code())]),
        Segment::When(alternatives, then, otherwise) => {
            let mut code = Code::new();
            for tests in alternatives {
                code.extend(alternative(tests, *then)?);
            }
            code.push(statement(RETURN, otherwise.code()));
            Ok(code)
        }
    }
}

/// Returns when all tests hold, goes on behind itself when one does not.
fn alternative(tests: &[Test], then: Action) -> Result<Code> {
    let mut code = vec![statement(RETURN, then.code())];
    // From the last to the first: how far a failed test must jump is how much follows it.
    for test in tests.iter().rev() {
        let over = u8::try_from(code.len())
            .ok()
            .ok_or_else(|| internal("too many tests of one system call"))?;
        let compare = if test.not {
            jump(JUMP_EQUAL, test.value, over, 0)
        } else {
            jump(JUMP_EQUAL, test.value, 0, over)
        };
        let mut check = vec![statement(LOAD, argument(test.argument)?)];
        if test.mask != u32::MAX {
            check.push(statement(AND, test.mask));
        }
        check.push(compare);
        check.extend(code);
        code = check;
    }
    Ok(code)
}

/// Where the lower half of an argument lies; both architectures are little-endian.
fn argument(index: u8) -> Result<u32> {
    if index > 5 {
        return Err(internal("a system call has six arguments"));
    }
    Ok(ARGUMENTS + 8 * u32::from(index))
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn internal(message: &str) -> Error {
    Error::new(Kind::Internal, message)
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the kernel looks at halves of registers"
)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Filter;
    use super::*;
    use crate::guest::syscalls::{Answer, Architecture, LAST, Profile};
    use crate::guest::{Allow, CapSet};

    /// What the kernel would answer: an interpreter of the few instructions that there are.
    fn run(code: &[libc::sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut a, mut at) = (0_u32, 0_usize);
        loop {
            let step = code[at];
            at += 1;
            match step.code {
                LOAD => {
                    a = match step.k {
                        NUMBER => number,
                        ARCH => arch,
                        k => {
                            (arguments[((k - ARGUMENTS) / 8) as usize] >> (8 * ((k - ARGUMENTS) % 8))) as u32
                        }
                    }
                }
                AND => a &= step.k,
                JUMP => at += step.k as usize,
                JUMP_EQUAL => at += usize::from(if a == step.k { step.jt } else { step.jf }),
                JUMP_AT_LEAST => at += usize::from(if a >= step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                code => panic!("an instruction {code:#x}"),
            }
        }
    }

    fn expected(answers: &[Answer], number: u32, arguments: [u64; 6]) -> u32 {
        let refused = |errno: i32| Action::Errno(errno.unsigned_abs()).code();
        match answers.get(number as usize) {
            None => refused(libc::ENOSYS),
            Some(Answer::Allow) => Action::Allow.code(),
            Some(Answer::Refuse(errno)) => refused(*errno),
            Some(Answer::When(alternatives, errno)) => {
                let holds = |test: &Test| {
                    let value = arguments[usize::from(test.argument)] as u32;
                    (value & test.mask == test.value) != test.not
                };
                if alternatives
                    .iter()
                    .copied()
                    .flatten()
                    .any(|tests| tests.iter().all(holds))
                {
                    Action::Allow.code()
                } else {
                    refused(*errno)
                }
            }
        }
    }

    #[test]
    fn the_program_answers_as_the_table_for_every_number() {
        let profiles = [
            Profile {
                caps: CapSet::guest_default(),
                allow: Vec::new(),
                shares_ids: false,
            },
            Profile {
                caps: CapSet::guest_default(),
                allow: vec![Allow::Nested, Allow::Ptrace],
                shares_ids: false,
            },
            Profile {
                caps: CapSet::guest_default(),
                allow: vec![Allow::Ping],
                shares_ids: true,
            },
            Profile::default(),
        ];
        // First arguments that matter to one call or another, with an upper half that must not.
        let firsts = [
            0,
            1,
            2,
            8,
            10,
            16,
            17,
            38,
            40,
            0x80,
            0x2_0000,
            0x1000_0000,
            0x5412,
            u64::from(u32::MAX),
        ];
        for profile in profiles {
            let answers = profile.answers(Architecture::NATIVE.unwrap()).collect::<Vec<_>>();
            let Filter(code) = Filter::of_answers(answers.iter().copied()).unwrap();
            for number in (0..LAST as u32 + 200).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                for first in firsts {
                    for second in [0, 0x5412, 0x5413] {
                        for high in [0, 0xdead_beef << 32] {
                            let arguments = [first | high, second | high, 4, 0, 0, 0];
                            assert_eq!(
                                run(&code, NATIVE.unwrap(), number, arguments),
                                expected(&answers, number, arguments),
                                "{number} {arguments:x?}"
                            );
                        }
                    }
                }
            }
            assert!(code.len() < 400, "{} instructions", code.len());
        }
    }

    #[test]
    fn another_architecture_ends_the_process() {
        let answers = Profile::default()
            .answers(Architecture::NATIVE.unwrap())
            .collect::<Vec<_>>();
        let Filter(code) = Filter::of_answers(answers.iter().copied()).unwrap();
        // i386, whose call 3 is read.
        assert_eq!(run(&code, 0x4000_0003, 3, [0; 6]), Action::KillProcess.code());
    }

    #[test]
    fn a_branch_of_more_than_255_instructions_is_jumped_over() {
        let answers: Vec<_> = (0..2000)
            .map(|n| {
                if n % 2 == 0 {
                    Answer::Allow
                } else {
                    Answer::Refuse(n)
                }
            })
            .collect();
        let Filter(code) = Filter::of_answers(answers.iter().copied()).unwrap();
        for number in 0..2100 {
            assert_eq!(
                run(&code, NATIVE.unwrap(), number, [0; 6]),
                expected(&answers, number, [0; 6]),
                "{number}"
            );
        }
    }

    #[test]
    fn one_more_than_the_kernel_takes_is_refused() {
        let segments: BTreeMap<u32, Segment> = (0..4096)
            .map(|n| (n, Segment::Always(Action::Errno(n % 2))))
            .collect();
        assert_eq!(Filter::of_segments(segments).unwrap_err().kind(), Kind::Internal);
    }
}
