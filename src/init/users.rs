//! Who a service runs as, from the guest's `/etc/passwd` and `/etc/group` alone.
//!
//! There is no name service switch here: it would load the guest's libraries into the init. The files are the
//! guest's and may hold anything, so lines are read as bytes with fixed limits. The library compiles this file too,
//! for its tests.

/// The most supplementary groups. The kernel's limit is 65,536; nobody in `/etc/group` has so many.
pub const MAX_GROUPS: usize = 64;

/// Lines longer than this are skipped whole: a user's entry is never cut.
pub const MAX_LINE: usize = 4096;

/// A user or group as a recipe names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// By number: digits only.
    Number(u32),
    /// By name.
    Name(&'a [u8]),
}

/// `text` as a name or a number; `None` for a number that is no id.
///
/// 4294967295 is `-1`, "unchanged", for `setresuid(2)`: taken as an id it would leave the service root.
pub fn named(text: &[u8]) -> Option<Named<'_>> {
    if text.is_empty() {
        return None;
    }
    if text.iter().all(u8::is_ascii_digit) {
        return number(text).map(Named::Number);
    }
    Some(Named::Name(text))
}

/// A decimal id below 4294967295.
pub fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
    }
    (value != u32::MAX).then_some(value)
}

/// An entry of `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passwd<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home directory.
    pub home: &'a [u8],
}

/// `line` of `/etc/passwd`, if it is the entry of `wanted`.
pub fn passwd<'a>(line: &'a [u8], wanted: Named<'_>) -> Option<Passwd<'a>> {
    let mut fields = line.split(|b| *b == b':');
    let name = fields.next()?;
    let uid = number(fields.nth(1)?)?;
    let gid = number(fields.next()?)?;
    let home = fields.nth(1)?;
    let is_it = match wanted {
        Named::Number(number) => number == uid,
        Named::Name(text) => text == name,
    };
    (is_it && !name.is_empty()).then_some(Passwd { name, uid, gid, home })
}

/// The id of `line` of `/etc/group`, if it is the entry of the group `name`.
pub fn group_named(line: &[u8], name: &[u8]) -> Option<u32> {
    let mut fields = line.split(|b| *b == b':');
    (fields.next()? == name).then(|| number(fields.nth(1)?)).flatten()
}

/// The id of `line` of `/etc/group`, if `user` is one of its members.
pub fn group_of(line: &[u8], user: &[u8]) -> Option<u32> {
    let mut fields = line.split(|b| *b == b':');
    let gid = number(fields.nth(2)?)?;
    fields
        .next()?
        .split(|b| *b == b',')
        .any(|member| member == user)
        .then_some(gid)
}

/// Splits `USER:GROUP`; the group is empty without the colon.
pub fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|b| *b == b':') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}
