//! Extended attributes in headers of tar (`pax(1)`): plain where every reader takes them so, else as libarchive writes
//! them. A value with a line end in it is one of those: many readers look for the end of a record by it.

use std::ffi::{CStr, CString};

const PLAIN: &str = "SCHILY.xattr.";
const CODED: &str = "LIBARCHIVE.xattr.";

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key and value of the record for an attribute.
pub(super) fn of(name: &CStr, value: &[u8]) -> (String, Vec<u8>) {
    let is_plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'=' | b'%');
    let name = name.to_bytes();
    if name.iter().all(is_plain) && !value.contains(&b'\n') {
        return (
            format!("{PLAIN}{}", String::from_utf8_lossy(name)),
            value.to_vec(),
        );
    }
    let mut key = CODED.to_owned();
    for byte in name {
        if is_plain(byte) {
            key.push(char::from(*byte));
        } else {
            key.push('%');
            key.extend([byte >> 4, byte & 15].map(|n| char::from(b"0123456789ABCDEF"[usize::from(n)])));
        }
    }
    (key, encode(value))
}

/// The attribute of a record; `None` when it is no attribute, or none that makes sense.
pub(in crate::storage) fn attribute(key: &[u8], value: &[u8]) -> Option<(CString, Vec<u8>)> {
    if let Some(name) = key.strip_prefix(PLAIN.as_bytes()) {
        return Some((CString::new(name).ok()?, value.to_vec()));
    }
    let coded = key.strip_prefix(CODED.as_bytes())?;
    let mut name = Vec::new();
    let mut rest = coded;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            name.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some((CString::new(name).ok()?, decode(value)?))
}

/// Base64 without padding, as libarchive has it.
fn encode(value: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len().div_ceil(3) * 4);
    for chunk in value.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]);
        }
    }
    text
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|b| *b != b'=').collect();
    let mut value = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.chunks(4) {
        let mut bits = 0_u32;
        for (n, digit) in chunk.iter().enumerate() {
            let digit = DIGITS.iter().position(|known| known == digit)?;
            bits |= u32::try_from(digit).ok()? << (18 - 6 * n);
        }
        value.extend_from_slice(bits.to_be_bytes().get(1..chunk.len())?);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_back() {
        for (name, value, coded) in [
            (c"user.a", &b"x"[..], false),
            (c"user.a", b"x\ny", true),
            (c"user.a=b%c d", b"", true),
            (c"user.\xff", b"\0\xff", true),
            (c"security.capability", b"\x01\0\0\x02\x0a", true),
        ] {
            let (key, written) = of(name, value);
            assert_eq!(key.starts_with(CODED), coded, "{key}");
            assert!(!coded || !written.contains(&b'\n'));
            let back = attribute(key.as_bytes(), &written).unwrap();
            assert_eq!((back.0.as_c_str(), &back.1[..]), (name, value));
        }
        for length in 0..10 {
            let value: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&value)).unwrap(), value);
        }
        assert_eq!(encode(b"any carnal pleas"), b"YW55IGNhcm5hbCBwbGVhcw");
        assert!(attribute(b"LIBARCHIVE.xattr.user.x%4", b"").is_none());
        assert!(attribute(b"LIBARCHIVE.xattr.user.x", b"!").is_none());
        assert!(attribute(b"mtime", b"1").is_none());
    }
}
