//! Users of a guest: its own `/etc/passwd` and `/etc/group`, read inside the guest as hostile text.

use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::guest::Invalid;
use crate::storage::inside::Inside;

/// More than any real file has; a larger one is not read (`passwd(5)`).
const LIMIT: u64 = 4 << 20;

/// A user as it was typed: `NAME`, `UID`, `NAME:GROUP` or `UID:GID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpec {
    user: String,
    group: Option<String>,
}

impl UserSpec {
    /// The guest's root.
    pub fn root() -> Self {
        Self {
            user: "0".to_owned(),
            group: None,
        }
    }
}

impl FromStr for UserSpec {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_name = |t: &str| {
            !t.is_empty()
                && t.len() <= 256
                && !t.starts_with('-')
                && t.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b'/')
        };
        if !is_name(user) || !group.is_none_or(is_name) {
            return Err(Invalid {
                message: format!("`{}` is not a user", text.escape_debug()),
                hint: Some("`NAME`, `UID`, `NAME:GROUP` or `UID:GID`".into()),
            });
        }
        for number in [Some(user), group]
            .into_iter()
            .flatten()
            .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
        {
            // 65,536 ids are the guest's; a larger number must not wrap around into one of them.
            if !number.parse::<u32>().is_ok_and(|n| n < crate::guest::Xid::IDS) {
                return Err(Invalid {
                    message: format!("`{number}` is not an id of a guest"),
                    hint: Some("0 to 65535".into()),
                });
            }
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

/// A user as the guest knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; the number where it has none.
    pub name: String,
    /// Its id inside.
    pub uid: u32,
    /// Its group inside.
    pub gid: u32,
    /// Its other groups inside.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: String,
    /// Its login shell.
    pub shell: String,
}

/// Looks a user up in the tree whose root `guest` is.
pub fn look_up(guest: &Inside, wanted: &UserSpec) -> Result<User> {
    let passwd = read(guest, "/etc/passwd");
    let group = read(guest, "/etc/group");
    resolve(&passwd, &group, wanted)
}

fn read(guest: &Inside, path: &str) -> String {
    // A guest without the file has no names; numbers work all the same.
    guest
        .read_file(Path::new(path), LIMIT)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}

fn resolve(passwd: &str, group: &str, wanted: &UserSpec) -> Result<User> {
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u32>().ok())
            .flatten()
            .filter(|n| *n < crate::guest::Xid::IDS)
    };
    let by_number = number(&wanted.user);
    let line = passwd
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|f| {
            f.len() >= 7 && (f[0] == wanted.user || (by_number.is_some() && number(f[2]) == by_number))
        });
    let mut user = match (line, by_number) {
        (Some(f), _) => User {
            name: f[0].to_owned(),
            uid: number(f[2]).ok_or_else(|| unknown("user", &wanted.user))?,
            gid: number(f[3]).ok_or_else(|| unknown("user", &wanted.user))?,
            groups: Vec::new(),
            home: if f[5].is_empty() {
                "/".to_owned()
            } else {
                f[5].to_owned()
            },
            shell: if f[6].is_empty() {
                "/bin/sh".to_owned()
            } else {
                f[6].to_owned()
            },
        },
        (None, Some(uid)) => User {
            name: uid.to_string(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        },
        (None, None) => return Err(unknown("user", &wanted.user)),
    };
    let groups: Vec<Vec<&str>> = group
        .lines()
        .map(|l| l.split(':').collect())
        .filter(|f: &Vec<_>| f.len() >= 4)
        .collect();
    user.groups = groups
        .iter()
        .filter(|f| f[3].split(',').any(|member| member == user.name))
        .filter_map(|f| number(f[2]))
        // NGROUPS_MAX of limits.h.
        .take(65_536)
        .collect();
    if let Some(wanted) = &wanted.group {
        user.gid = match number(wanted) {
            Some(gid) => gid,
            None => groups
                .iter()
                .find(|f| f[0] == wanted)
                .and_then(|f| number(f[2]))
                .ok_or_else(|| unknown("group", wanted))?,
        };
    }
    Ok(user)
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(Kind::NotFound, format!("the guest has no {what} `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nbad:x:4294967296:0::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nadm:x:4:www-data,root\n";

    fn find(text: &str) -> Result<User> {
        resolve(PASSWD, GROUP, &text.parse::<UserSpec>()?)
    }

    #[test]
    fn names_and_numbers() {
        let user = find("www-data").unwrap();
        assert_eq!(
            (user.uid, user.gid, user.groups.as_slice(), user.home.as_str()),
            (33, 33, &[4][..], "/var/www")
        );
        assert_eq!(find("1").unwrap().uid, 1);
        assert_eq!(find("33").unwrap().name, "www-data");
        assert_eq!(find("root:adm").unwrap().gid, 4);
        assert_eq!(find("7:8").unwrap().gid, 8);
    }

    #[test]
    fn numbers_are_strict() {
        for bad in [
            "4294967296",
            "65536",
            "-1",
            "",
            "a:",
            ":0",
            "a/b",
            "1:65536",
            "a b",
        ] {
            assert!(bad.parse::<UserSpec>().is_err(), "{bad}");
        }
        assert!(find("nobody").is_err());
        assert!(
            find("bad").is_err(),
            "an id that is out of range in the guest's own file"
        );
        assert!(find("root:nogroup").is_err());
    }
}
