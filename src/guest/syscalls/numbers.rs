//! The numbers of the calls on each architecture, worked out by the compiler: a start looks nothing up by name.

use super::{Answer, GROUPS, Profile};

/// The highest number that the table knows (`file_setattr`, Linux 6.17). What came later is not there.
pub const LAST: usize = 469;

/// A processor architecture whose calls are in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64`; neither its 32-bit calls nor `x32`.
    X86_64,
    /// `aarch64`.
    Aarch64,
}

impl Architecture {
    /// That of this program; `None` where there is no list for it.
    pub const NATIVE: Option<Architecture> = if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else {
        None
    };

    /// The name of a call, `None` where the number has none.
    pub fn name(self, number: usize) -> Option<&'static str> {
        match self {
            Architecture::X86_64 => syscalls::x86_64::Sysno::new(number).map(|call| call.name()),
            Architecture::Aarch64 => syscalls::aarch64::Sysno::new(number).map(|call| call.name()),
        }
    }

    /// Index of the group of each number, [`NONE`] for a number without a call.
    fn groups(self) -> &'static [u8; LAST + 1] {
        match self {
            Architecture::X86_64 => &X86_64,
            Architecture::Aarch64 => &AARCH64,
        }
    }
}

impl Profile {
    /// What is answered to each number from 0 to [`LAST`]; to every higher one, and to a number without a call, it
    /// is that there is no such call.
    pub fn answers(&self, arch: Architecture) -> impl Iterator<Item = Answer> {
        let opened: Vec<bool> = GROUPS.iter().map(|group| self.has(group.access)).collect();
        (0..).zip(arch.groups()).map(move |(number, index)| {
            if *index == NONE {
                return Answer::Refuse(libc::ENOSYS);
            }
            self.answer_where(opened[usize::from(*index)], arch.name(number).unwrap_or_default())
        })
    }
}

const NONE: u8 = u8::MAX;

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "there are fewer than 255 groups, which is asserted"
)]
const fn group_of(name: &str) -> u8 {
    assert!(GROUPS.len() < NONE as usize, "too many groups");
    let mut group = 0;
    while group < GROUPS.len() {
        let calls = GROUPS[group].calls;
        let mut call = 0;
        while call < calls.len() {
            if equal(calls[call], name) {
                return group as u8;
            }
            call += 1;
        }
        group += 1;
    }
    // A call in no group does not compile: it can be neither allowed nor refused by oversight.
    panic!("a call is in no group")
}

macro_rules! table {
    ($arch:ident) => {{
        let mut table = [NONE; LAST + 1];
        let mut number = 0;
        while number <= LAST {
            if let Some(call) = syscalls::$arch::Sysno::new(number) {
                table[number] = group_of(call.name());
            }
            number += 1;
        }
        table
    }};
}

#[allow(
    long_running_const_eval,
    reason = "half a million comparisons, once per build"
)]
static X86_64: [u8; LAST + 1] = table!(x86_64);
#[allow(
    long_running_const_eval,
    reason = "half a million comparisons, once per build"
)]
static AARCH64: [u8; LAST + 1] = table!(aarch64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::CapSet;

    #[test]
    fn numbers_and_names_agree() {
        let profile = Profile {
            caps: CapSet::guest_default(),
            allow: Vec::new(),
            shares_ids: false,
        };
        for arch in [Architecture::X86_64, Architecture::Aarch64] {
            let answers: Vec<_> = profile.answers(arch).collect();
            assert_eq!(answers.len(), LAST + 1);
            for (number, answer) in answers.iter().enumerate() {
                let by_name = arch.name(number).and_then(|name| profile.answer(name));
                let expected = by_name.unwrap_or(Answer::Refuse(libc::ENOSYS));
                assert_eq!(*answer, expected, "{arch:?} {number}");
            }
            assert_eq!(arch.name(LAST), Some("file_setattr"));
            assert_eq!(
                arch.name(LAST + 1),
                None,
                "the crate knows newer calls: raise LAST, place them"
            );
        }
        assert_eq!(Architecture::X86_64.name(0), Some("read"));
        assert_eq!(Architecture::Aarch64.name(63), Some("read"));
    }
}
