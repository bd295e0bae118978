//! Quantities as people write them: `512M`, `1.5`, `50%`, `5s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Invalid, serde_as_text};

/// An amount of memory or disk in bytes. `K`, `M`, `G`, `T` are powers of 1024, with or without `i` and `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const SIZES: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl FromStr for Bytes {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                format!("`{}` is not an amount of bytes", text.escape_debug()),
                "a number with K, M, G or T (powers of 1024), such as `512M`",
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let suffix = suffix.trim_start().to_ascii_uppercase();
        let shift = match suffix.as_str() {
            "" | "B" => 0,
            other => {
                let mut rest = other.chars();
                let letter = rest.next().ok_or_else(invalid)?;
                if !matches!(rest.as_str(), "" | "B" | "IB" | "I") {
                    return Err(invalid());
                }
                SIZES.iter().find(|(l, _)| *l == letter).ok_or_else(invalid)?.1
            }
        };
        decimal(number, 1 << shift).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Bytes {
    /// The shortest exact form: `512M`, `1536K`, `4097`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in SIZES {
            if self.0 != 0 && self.0 & ((1 << shift) - 1) == 0 {
                return f.pad(&format!("{}{letter}", self.0 >> shift));
            }
        }
        f.pad(&self.0.to_string())
    }
}

/// Processors, in thousandths of one: `0.5`, `2`, `150%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus(u32);

impl Cpus {
    /// The least that CFS bandwidth control can express: 1 ms in a period of 100 ms (`sched-bwc`).
    pub const MIN_MILLI: u32 = 10;

    /// So many thousandths of a processor.
    pub fn from_milli(milli: u32) -> Result<Self, Invalid> {
        if (Self::MIN_MILLI..=4_096_000).contains(&milli) {
            Ok(Self(milli))
        } else {
            Err(Invalid::new(
                format!("`{}` is not a number of processors", f64::from(milli) / 1000.0),
                "0.01 to 4096",
            ))
        }
    }

    /// Thousandths of a processor.
    pub fn milli(self) -> u32 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number, 10),
            None => (text, 1000),
        };
        let milli = decimal(number, scale)
            .and_then(|m| u32::try_from(m).ok())
            .ok_or_else(|| {
                Invalid::new(
                    format!("`{}` is not a number of processors", text.escape_debug()),
                    "such as `0.5`, `2` or `150%`",
                )
            })?;
        Self::from_milli(milli)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&(f64::from(self.0) / 1000.0).to_string())
    }
}

/// A span of time in milliseconds: `500ms`, `5s`, `2m`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

const SPANS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Span {
    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                format!("`{}` is not a span of time", text.escape_debug()),
                "a number with ms, s, m, h or d, such as `5s`",
            )
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let (number, suffix) = text.split_at(digits);
        let scale = SPANS.iter().find(|(s, _)| *s == suffix).ok_or_else(invalid)?.1;
        decimal(number, scale).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, scale) in SPANS {
            if self.0 != 0 && self.0.is_multiple_of(scale) {
                return f.pad(&format!("{}{suffix}", self.0 / scale));
            }
        }
        f.pad(&format!("{}ms", self.0))
    }
}

/// `number` × `scale`, exactly where it can be, else rounded to the nearest whole; `None` for what is no number.
fn decimal(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let power = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = (fraction.parse::<u128>().ok()? * u128::from(scale) + power / 2) / power;
    whole.checked_add(u64::try_from(part).ok()?)
}

serde_as_text!(Bytes, Cpus, Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512M", 512 << 20),
            ("1.5G", 3 << 29),
            ("4KiB", 4096),
            ("2tb", 2 << 40),
            ("10 k", 10240),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "M", "1X", "-1", "1.", ".5", "1e3", "1MM", "99999999999T", "١"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["512M", "1536K", "4097", "2T", "0"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["0.5", "2", "1.25"] {
            assert_eq!(text.parse::<Cpus>().unwrap().to_string(), text);
        }
        for text in ["500ms", "5s", "90s", "2m", "7d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("150%".parse::<Cpus>().unwrap().milli(), 1500);
    }

    #[test]
    fn a_bare_number_is_no_span() {
        assert!("5".parse::<Span>().is_err());
        assert_eq!("1.5s".parse(), Ok(Span::from_millis(1500)));
    }
}
