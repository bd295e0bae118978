//! hostel's init: the program, and the configuration that it reads on descriptor 3.
//!
//! The program is made from `src/init` by the build script. Its decoder, `src/init/config.rs`, is compiled in here
//! too: it holds the format and its limits, which are checked on this side so that a mistake is a message with the
//! guest's words in it and not a guest that ends at once.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::error::{Error, Kind, Result};
use crate::guest::caps::nearest;
use crate::guest::{CapSet, Init, Restart, Service, Span};
use crate::sys::memfd;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the init, which uses the rest of it"
)]
#[path = "../init/config.rs"]
mod format;

#[cfg(test)]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the init, which uses the rest of it"
)]
#[path = "../init/users.rs"]
mod users;

/// The most services of a guest.
pub const MAX_SERVICES: usize = format::MAX_SERVICES;

/// Whether `name` can name a service: a file name of at most 63 bytes, and not `init`.
pub fn is_service_name(name: &str) -> bool {
    format::is_service_name(name.as_bytes())
}

/// The init: a static program for this machine, about 40 kB.
pub static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostel-init"));

/// What the init of one guest is told.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a bit of the format"
)]
pub struct InitConfig<'a> {
    /// Whether it is the guest's init or keeps the guest's own.
    pub init: &'a Init,
    /// What it runs; must be empty for a guest with its own init.
    pub services: &'a BTreeMap<String, Service>,
    /// The environment of the services or of the guest's own init.
    pub env: &'a BTreeMap<String, String>,
    /// The capabilities that the guest's own init keeps. With hostel's, life drops the others before.
    pub caps: CapSet,
    /// The guest's hostname.
    pub hostname: &'a str,
    /// How long stopping may take in all before the rest is killed; two seconds more at worst.
    pub stop_timeout: Span,
    /// Paths inside that the guest's own init must not read: an empty read-only directory or /dev/null covers them.
    pub mask: &'a [&'a str],
    /// Paths inside that the guest's own init must not write.
    pub readonly: &'a [&'a str],
    /// Whether descriptor 4 is the cgroup directory into which the guest's own init is put.
    pub has_cgroup: bool,
    /// Whether the descriptor after that is the pipe on which it is told why the guest's own init could not be run.
    pub has_report: bool,
    /// The filter of the system calls of the guest's own init. With hostel's, life installs it before.
    pub filter: &'a [u8],
    /// Whether nothing under the guest's own init may gain a right by being executed.
    pub no_new_privs: bool,
    /// Whether nothing in the guest can make a user namespace.
    pub no_users: bool,
}

/// The program as a sealed memory file, to be executed with `argv` `["init"]`, an empty environment, descriptors 0
/// to 2 on /dev/null and the configuration on 3.
///
/// # Errors
/// `Unsupported` where the host forbids to execute memory files.
pub fn memfd() -> Result<OwnedFd> {
    memfd::sealed_program(c"hostel-init", INIT)
}

/// The configuration as a sealed memory file, for descriptor 3.
pub fn config_memfd(config: &InitConfig<'_>) -> Result<OwnedFd> {
    memfd::sealed(c"hostel-init-config", &encode(config)?)
}

/// The configuration as bytes, services in the order in which they start.
///
/// # Errors
/// `Invalid` for a circle in `after`, an unknown name, or more than the init's fixed limits allow.
pub fn encode(config: &InitConfig<'_>) -> Result<Vec<u8>> {
    let mut out = Writer(Vec::with_capacity(1024));
    out.0.extend(format::MAGIC);
    out.u32(format::VERSION);
    let length_at = out.0.len();
    out.u32(0);
    out.u32(u32::from(!config.init.is_hostel()));
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    out.u32(
        flag(config.has_cgroup, format::FLAG_CGROUP)
            | flag(config.has_report, format::FLAG_REPORT)
            | flag(config.no_new_privs, format::FLAG_NO_NEW_PRIVS)
            | flag(config.no_users, format::FLAG_NO_USERS),
    );
    out.u32(u32::try_from(config.stop_timeout.millis()).unwrap_or(u32::MAX));
    out.0.extend(config.caps.bits().to_le_bytes());
    out.text("the hostname", config.hostname.as_bytes())?;
    out.variables("the guest's environment", config.env)?;
    match config.init {
        Init::Hostel => {
            let order = order(config.services)?;
            out.count("services", order.len(), format::MAX_SERVICES)?;
            for (name, service) in order {
                out.service(name, service)?;
            }
        }
        Init::Own(path) => {
            if let Some(name) = config.services.keys().next() {
                return Err(invalid(format!("the service `{name}` has nobody to run it"))
                    .with_hint("a guest has services or an init of its own, not both"));
            }
            out.path("the guest's init", path)?;
            out.list("masked paths", config.mask.iter().map(|path| path.as_bytes()))?;
            out.list(
                "read-only paths",
                config.readonly.iter().map(|path| path.as_bytes()),
            )?;
            out.count("bytes of a filter", config.filter.len(), format::MAX_FILTER)?;
            out.0.extend(config.filter);
        }
    }
    let length = u32::try_from(out.0.len()).unwrap_or(u32::MAX);
    out.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    if out.0.len() > format::MAX_BYTES {
        return Err(
            invalid("the guest's services and environment are too long").with_hint(format!(
                "{} bytes at most; put long values into files",
                format::MAX_BYTES
            )),
        );
    }
    // Whatever the checks above missed is found here and not in the guest.
    match format::decode(&out.0) {
        Ok(_) => Ok(out.0),
        Err(bad) => Err(invalid(format!(
            "the configuration of the guest's init: {}",
            bad.text()
        ))),
    }
}

/// The services in the order in which they start: each after those that it names, otherwise by name.
pub fn order(services: &BTreeMap<String, Service>) -> Result<Vec<(&str, &Service)>> {
    for (name, service) in services {
        for before in &service.after {
            if !services.contains_key(before) {
                let err = invalid(format!(
                    "the service `{name}` starts after `{before}`, which there is not"
                ));
                return Err(match nearest(before, services.keys().map(String::as_str)) {
                    Some(near) => err.with_hint(format!("did you mean `{near}`?")),
                    None => err,
                });
            }
        }
    }
    let mut ordered: Vec<(&str, &Service)> = Vec::with_capacity(services.len());
    let is_in = |ordered: &[(&str, &Service)], name: &str| ordered.iter().any(|(other, _)| *other == name);
    while ordered.len() < services.len() {
        let next = services.iter().find(|(name, service)| {
            !is_in(&ordered, name) && service.after.iter().all(|before| is_in(&ordered, before))
        });
        let Some((name, service)) = next else {
            return Err(invalid(format!(
                "services start after each other: {}",
                circle(services, &ordered)
            ))
            .with_hint("take one `after` out of the circle"));
        };
        ordered.push((name, service));
    }
    Ok(ordered)
}

/// A circle among the services that are not in `ordered`, as `a -> b -> a`.
fn circle(services: &BTreeMap<String, Service>, ordered: &[(&str, &Service)]) -> String {
    let is_left = |name: &str| !ordered.iter().any(|(other, _)| *other == name);
    let mut path: Vec<&str> = services
        .keys()
        .map(String::as_str)
        .find(|name| is_left(name))
        .into_iter()
        .collect();
    // Each that is left waits for another that is left, so this walk must meet itself.
    while let Some(next) = path
        .last()
        .and_then(|name| services.get(*name))
        .and_then(|service| service.after.iter().find(|before| is_left(before)))
    {
        if let Some(start) = path.iter().position(|name| name == next) {
            path.push(next);
            return path[start..]
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(" -> ");
        }
        path.push(next);
    }
    path.join(" -> ")
}

/// The number of a signal as a recipe names it: `SIGQUIT`, `quit`, `3`, `RTMIN+4`.
pub fn signal_number(text: &str) -> Result<i32> {
    // `SIGRTMIN` of the C libraries.
    const RTMIN: i32 = 34;
    const LAST: i32 = 64;
    let unknown = || {
        invalid(format!("`{}` is not a signal", text.escape_debug()))
            .with_hint("a name such as `SIGTERM`, or `SIGRTMIN+3`, or a number from 1 to 64; see signal(7)")
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse()
            .ok()
            .filter(|number| (1..=LAST).contains(number))
            .ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = match offset.strip_prefix('+') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse::<i32>().ok().ok_or_else(unknown)
            }
            None if offset.is_empty() => Ok(0),
            _ => Err(unknown()),
        }?;
        return Some(offset)
            .filter(|offset| *offset <= LAST - RTMIN)
            .map(|o| RTMIN + o)
            .ok_or_else(unknown);
    }
    Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .or(Err(unknown()))
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn count(&mut self, what: &str, count: usize, most: usize) -> Result<()> {
        match u32::try_from(count) {
            Ok(number) if count <= most => {
                self.u32(number);
                Ok(())
            }
            _ => Err(invalid(format!("{count} {what} are too many")).with_hint(format!("{most} at most"))),
        }
    }

    fn text(&mut self, what: &str, text: &[u8]) -> Result<()> {
        if text.contains(&0) {
            return Err(invalid(format!("{what} contains a NUL byte")));
        }
        match u32::try_from(text.len()) {
            Ok(length) if text.len() <= format::MAX_TEXT => self.u32(length),
            _ => {
                return Err(invalid(format!(
                    "{what} is longer than {} bytes",
                    format::MAX_TEXT
                )));
            }
        }
        self.0.extend(text);
        self.0.push(0);
        Ok(())
    }

    fn path(&mut self, what: &str, path: &Path) -> Result<()> {
        if !path.is_absolute() {
            let shown = path.display();
            return Err(invalid(format!("{what}, `{shown}`, is not an absolute path")));
        }
        self.text(what, path.as_os_str().as_encoded_bytes())
    }

    fn list<'b>(&mut self, what: &str, texts: impl ExactSizeIterator<Item = &'b [u8]>) -> Result<()> {
        self.count(what, texts.len(), format::MAX_LIST)?;
        for text in texts {
            self.text(what, text)?;
        }
        Ok(())
    }

    fn variables(&mut self, what: &str, variables: &BTreeMap<String, String>) -> Result<()> {
        if let Some(name) = variables
            .keys()
            .find(|name| name.is_empty() || name.contains('='))
        {
            return Err(invalid(format!(
                "`{}` in {what} is not a variable's name",
                name.escape_debug()
            ))
            .with_hint("a name is not empty and has no `=`"));
        }
        // The values may be secret: no message shows one.
        let joined: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.list(what, joined.iter().map(String::as_bytes))
    }

    fn service(&mut self, name: &str, service: &Service) -> Result<()> {
        if !is_service_name(name) {
            return Err(invalid(format!("`{}` is not a service's name", name.escape_debug())).with_hint(
                "1 to 63 of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.` and `@`, the first a letter or digit, and not `init`",
            ));
        }
        if service.exec.first().is_none_or(String::is_empty) {
            return Err(invalid(format!("the service `{name}` has no program in `exec`")));
        }
        self.text("the name", name.as_bytes())?;
        self.u32(match service.restart {
            Restart::Always => 0,
            Restart::OnFailure => 1,
            Restart::Never => 2,
        });
        let signal = service
            .stop_signal
            .as_deref()
            .map_or(Ok(Signal::SIGTERM as i32), signal_number)?;
        self.u32(signal.unsigned_abs());
        self.text("the user", service.user.as_deref().unwrap_or_default().as_bytes())?;
        self.path(
            &format!("the directory of the service `{name}`"),
            Path::new(service.dir.as_deref().unwrap_or("/")),
        )?;
        self.list(
            &format!("arguments of `{name}`"),
            service.exec.iter().map(String::as_bytes),
        )?;
        self.variables(&format!("the environment of the service `{name}`"), &service.env)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

#[cfg(test)]
#[path = "init_config_tests.rs"]
mod tests;
