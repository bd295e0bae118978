//! Any text as a value with a meaning: refused, or understood as it is written again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::guest::{
    Allow, Bytes, Cap, Cpus, GuestName, Hostname, Image, LimitChange, Rlimit, RlimitKind, Span, Xid,
};

/// Each line as each of the values.
pub fn values(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.split('\n') {
        again::<GuestName>(line);
        again::<Hostname>(line);
        again::<Xid>(line);
        again::<Image>(line);
        again::<Bytes>(line);
        again::<Cpus>(line);
        again::<Span>(line);
        again::<Rlimit>(line);
        again::<RlimitKind>(line);
        again::<Cap>(line);
        again::<Allow>(line);
        again::<LimitChange>(line);
        if let Ok(name) = line.parse::<GuestName>() {
            // It becomes a file's name and an argument.
            let name = name.to_string();
            assert!(
                !name.contains(['/', '\0', '\n']) && !name.starts_with(['-', '.']),
                "{name:?}"
            );
        }
    }
}

fn again<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug,
{
    let Ok(value) = text.parse::<T>() else { return };
    let shown = value.to_string();
    match shown.parse::<T>() {
        Ok(second) => assert_eq!(value, second, "{text:?} is shown as {shown:?}"),
        Err(err) => panic!("{text:?} is shown as {shown:?}, which is refused: {err:?}"),
    }
}
