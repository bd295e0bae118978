//! Lines of text in a fixed buffer: what does not fit is cut off.

use core::ffi::CStr;

use crate::sys::{Errno, Exit};

/// At most `N` bytes.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// A line of a log.
pub type Line = Text<512>;

impl<const N: usize> Text<N> {
    pub fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn push(&mut self, more: impl AsRef<[u8]>) -> &mut Self {
        // The last byte stays 0, so that `c_str` always finds an end.
        let room = N - 1 - self.length;
        let more = more.as_ref();
        let more = &more[..more.len().min(room)];
        self.bytes[self.length..self.length + more.len()].copy_from_slice(more);
        self.length += more.len();
        self
    }

    pub fn text(&mut self, more: &CStr) -> &mut Self {
        self.push(more.to_bytes())
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.padded(number, 1)
    }

    /// With zeros in front, up to `width` digits.
    pub fn padded(&mut self, mut number: u64, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while number > 0 {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        let from = at.min(digits.len() - width);
        self.push(&digits[from..])
    }

    pub fn exit(&mut self, exit: Exit) -> &mut Self {
        match exit {
            Exit::Code(code) => self.push("exit ").number(code as u64),
            Exit::Signal(signal) => self.push("signal ").number(signal as u64),
        }
    }

    pub fn errno(&mut self, errno: Errno) -> &mut Self {
        let name = match errno.0 {
            1 => "EPERM",
            2 => "ENOENT",
            5 => "EIO",
            7 => "E2BIG",
            8 => "ENOEXEC",
            11 => "EAGAIN",
            12 => "ENOMEM",
            13 => "EACCES",
            16 => "EBUSY",
            17 => "EEXIST",
            19 => "ENODEV",
            20 => "ENOTDIR",
            21 => "EISDIR",
            22 => "EINVAL",
            24 => "EMFILE",
            28 => "ENOSPC",
            30 => "EROFS",
            38 => "ENOSYS",
            40 => "ELOOP",
            _ => return self.push("errno ").number(errno.0 as u64),
        };
        self.push(name)
    }

    /// `2026-11-22T04:26:02Z`.
    pub fn time(&mut self, epoch: u64) -> &mut Self {
        let (days, rest) = (epoch / 86_400, epoch % 86_400);
        // Days since 0000-03-01, in eras of 400 years: the leap day is then the last of its year.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        self.padded(era * 400 + year + next, 4)
            .push("-")
            .padded(month, 2)
            .push("-")
            .padded(day, 2)
            .push("T");
        self.padded(rest / 3600, 2)
            .push(":")
            .padded(rest / 60 % 60, 2)
            .push(":")
            .padded(rest % 60, 2)
            .push("Z")
    }

    /// For system calls.
    pub fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}
