//! Texts and numbers with a meaning of their own.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::{Form, Given, Scalar};
use crate::guest::mounts::guest_path;
use crate::guest::{
    Bytes, Cap, Cpus, GuestName, Hostname, Image, Invalid, Rlimit, RlimitKind, Source, Span, VolumeName,
    limits,
};

/// What a `parse` gets that its [`Form`] does not take; the reader checks the form first.
fn unexpected(given: Given<'_>) -> Invalid {
    Invalid::new(format!("`{given:?}` is of another type"), "see `hostel doc`")
}

fn text(given: Given<'_>) -> Result<&str, Invalid> {
    match given {
        Given::Text(text) => Ok(text),
        other => Err(unexpected(other)),
    }
}

/// Through a type that reads and writes text.
fn as_text<T>(given: Given<'_>) -> Result<Value, Invalid>
where
    T: std::str::FromStr<Err = Invalid> + std::fmt::Display,
{
    Ok(Value::String(text(given)?.parse::<T>()?.to_string()))
}

/// A text for which `is_valid` holds.
fn plain(
    given: Given<'_>,
    what: &str,
    hint: &str,
    is_valid: impl Fn(&str) -> bool,
) -> Result<Value, Invalid> {
    let text = text(given)?;
    if is_valid(text) && !text.contains('\0') {
        Ok(Value::String(text.to_owned()))
    } else {
        Err(Invalid::new(
            format!("`{}` is not {what}", text.escape_debug()),
            hint,
        ))
    }
}

fn whole(given: Given<'_>, min: i64, max: i64) -> Result<Value, Invalid> {
    match given {
        Given::Integer(n) if (min..=max).contains(&n) => Ok(json!(n)),
        Given::Integer(n) => Err(Invalid::new(
            format!("`{n}` is out of range"),
            format!("{min} to {max}"),
        )),
        other => Err(unexpected(other)),
    }
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $id:ident: $name:literal, $form:ident, $example:literal, $parse:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) static $id: Scalar =
            Scalar { name: $name, form: Form::$form, example: $example, parse: $parse };
    )+};
}

scalars! {
    NAME: "a guest's name", Text, "web", as_text::<GuestName>;
    /// In a recipe a guest that was declared before stands for its name.
    GUEST: "a guest's name", Text, "web", as_text::<GuestName>;
    XID: "a context id", Integer, "101", |given| match given {
        Given::Integer(n) => {
            let number = u32::try_from(n).unwrap_or(0);
            crate::guest::Xid::new(number)
                .map(|xid| json!(xid.get()))
                .map_err(|invalid| Invalid { message: format!("`{n}` is not a guest's context id"), ..invalid })
        }
        other => Err(unexpected(other)),
    };
    CONTEXT_XID: "a context id", Integer, "900", |given| match given {
        Given::Integer(1) => Ok(json!(1)),
        other => (XID.parse)(other),
    };
    NAMESPACE: "a namespace", Text, "pid", |given| {
        let name = text(given)?;
        crate::guest::Isolate::default().add(name).map(|()| json!(name))
    };
    WHOM: "a guest's name or a context id", TextOrInteger, "web", |given| match given {
        Given::Text(_) => (NAME.parse)(given),
        other => (XID.parse)(other),
    };
    IMAGE: "an image", Text, "debian:bookworm", as_text::<Image>;
    HOSTNAME: "a hostname", Text, "web.example.net", as_text::<Hostname>;
    PACKAGE: "a Debian package", Text, "nginx-light", |given| {
        plain(given, "a Debian package", "such as `nginx-light`, with `=VERSION` or `/SUITE` where it matters", |t| {
            let name = t.split(['=', '/', ':']).next().unwrap_or("");
            name.len() >= 2
                && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
                && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.=/:~_".contains(&b))
        })
    };
    ADDRESS: "an address", Text, "10.0.0.10/24", address;
    IP: "an IP address", Text, "10.0.0.1", |given| {
        plain(given, "an IP address", "such as `10.0.0.1` or `fd00::1`, without a prefix length", |t| {
            t.parse::<IpAddr>().is_ok()
        })
    };
    DEVICE: "a network device", Text, "eth0", |given| {
        // IFNAMSIZ is 16 with the NUL (netdevice(7)); the kernel refuses `/`, blanks, `.` and `..`.
        plain(given, "a network device", "at most 15 bytes, without `/` and blanks", |t| {
            (1..=15).contains(&t.len())
                && !t.starts_with('.')
                && t.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
        })
    };
    PORT: "a port", Integer, "80", |given| whole(given, 1, 65535);
    SIZE: "a size", TextOrInteger, "512M", |given| match given {
        Given::Integer(n) => u64::try_from(n)
            .map(|n| json!(Bytes(n).to_string()))
            .map_err(|source| Invalid::new(format!("`{n}` is not a size: {source}"), "bytes, or `512M`")),
        other => as_text::<Bytes>(other),
    };
    MEMORY: "a size", TextOrInteger, "512M", |given| {
        let json = (SIZE.parse)(given)?;
        let bytes = json.as_str().unwrap_or_default().parse::<Bytes>()?;
        match limits::enough_memory(bytes) {
            Ok(_) => Ok(json),
            Err(invalid) => Err(Invalid { hint: Some(format!("a size has a unit: `\"{}M\"`", bytes.0.max(1))), ..invalid }),
        }
    };
    CPUS: "a number of processors", TextOrNumber, "0.5", |given| match given {
        Given::Integer(n) => n.to_string().parse::<Cpus>().map(|c| json!(c.to_string())),
        Given::Number(n) => n.to_string().parse::<Cpus>().map(|c| json!(c.to_string())),
        text @ Given::Text(_) => as_text::<Cpus>(text),
    };
    WEIGHT: "a weight", Integer, "100", |given| whole(given, 1, 10_000);
    CPU_LIST: "a list of processors", Text, "0-3", as_text::<limits::CpuList>;
    COUNT: "a number", Integer, "256", |given| whole(given, 1, i64::from(u32::MAX));
    TIMES: "a number of times", Integer, "3", |given| whole(given, 0, i64::from(u32::MAX));
    NICE: "a priority", Integer, "5", |given| whole(given, -20, 19);
    RLIMIT_KIND: "a resource of setrlimit(2)", Text, "nofile", as_text::<RlimitKind>;
    RLIMIT: "a resource limit", TextOrInteger, "1024:4096", |given| match given {
        Given::Integer(n) if n >= 0 => Ok(json!(n.to_string())),
        Given::Integer(n) => n.to_string().parse::<Rlimit>().map(|l| json!(l.to_string())),
        other => as_text::<Rlimit>(other),
    };
    CAP: "a capability", Text, "net_bind_service", as_text::<Cap>;
    HOST_PATH: "a path of the host", Text, "/srv/web", |given| {
        plain(given, "a path of the host", "an absolute path: start it with `/`", |t| t.starts_with('/'))
    };
    VOLUME: "a volume's name", Text, "data", as_text::<VolumeName>;
    SOURCE: "a path of the host or a volume", Text, "volume:data", as_text::<Source>;
    BLOCK_DEVICE: "a block device", Text, "/dev/vda", |given| {
        plain(given, "a block device", "its path, such as `/dev/vda`", |t| t.starts_with("/dev/"))
    };
    GUEST_PATH: "a path inside the guest", Text, "/etc/motd", |given| {
        let text = text(given)?;
        guest_path(Path::new(text))?;
        Ok(json!(text))
    };
    ENV_NAME: "a variable's name", Text, "LANG", |given| {
        plain(given, "a variable's name", "letters, digits and `_`, the first no digit", |t| {
            t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    TEXT: "a text", Text, "hello", |given| plain(given, "a text without NUL", "leave `\\0` out", |_| true);
    ARGUMENT: "an argument", Text, "-g", |given| plain(given, "an argument", "leave `\\0` out", |_| true);
    SPAN: "a span of time", Text, "5s", as_text::<Span>;
    MODE: "permission bits", TextOrInteger, "0644", mode;
    ID: "a user or group id", Integer, "33", |given| whole(given, 0, 65535);
    HOST_ID: "a user or group id of the host", Integer, "1000", |given| whole(given, 0, 4_294_967_294);
    SIGNAL: "a signal", Text, "SIGTERM", |given| {
        let hint = "a name of signal(7), such as `SIGTERM`";
        let name = text(given)?;
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        match full.parse::<nix::sys::signal::Signal>() {
            Ok(signal) => Ok(json!(signal.as_str())),
            // Real-time signals have no name in nix; systemd is asked to stop by SIGRTMIN+3.
            Err(_) if full.strip_prefix("SIGRTMIN+").is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 30)) => {
                Ok(json!(full))
            }
            Err(_) => Err(Invalid::new(format!("`{}` is not a signal", name.escape_debug()), hint)),
        }
    };
    SERVICE: "a service's name", Text, "nginx", |given| {
        plain(given, "a service's name", "letters, digits, `-`, `_` and `.`, the first a letter or digit", |t| {
            t.parse::<GuestName>().is_ok()
        })
    };
    USER: "a user of the guest", Text, "www-data", |given| {
        plain(given, "a user of the guest", "a name of its /etc/passwd, or a number", |t| {
            !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b'/')
        })
    };
    INIT: "`hostel` or a path inside the guest", Text, "/sbin/init", |given| match text(given)? {
        "hostel" => Ok(json!("hostel")),
        path => {
            guest_path(Path::new(path)).map_err(|invalid| Invalid {
                hint: Some("`hostel`, or the path of the guest's own, such as `/sbin/init`".to_owned()),
                ..invalid
            })?;
            Ok(json!({ "own": path }))
        }
    };
    URL_PATH: "the path of a URL", Text, "/healthz", |given| {
        plain(given, "the path of a URL", "start it with `/`", |t| {
            t.starts_with('/') && t.bytes().all(|b| b.is_ascii_graphic())
        })
    };
}

/// An address with its prefix length; without one it stands alone (`/32`, `/128`).
fn address(given: Given<'_>) -> Result<Value, Invalid> {
    let written = text(given)?;
    let hint = "such as `10.0.0.10/24` or `fd00::10/64`";
    let net = match written.parse::<ipnet::IpNet>() {
        Ok(net) => net,
        Err(source) => match written.parse::<IpAddr>() {
            Ok(addr) => addr.into(),
            Err(_) => {
                return Err(Invalid::new(
                    format!("`{}` is not an address: {source}", written.escape_debug()),
                    hint,
                ));
            }
        },
    };
    let addr = net.addr();
    if addr.is_unspecified() || addr.is_multicast() || matches!(addr, IpAddr::V4(v4) if v4.is_broadcast()) {
        return Err(Invalid::new(
            format!("`{written}` cannot be a guest's address"),
            "an address of one host, neither 0.0.0.0 nor multicast",
        ));
    }
    if net.prefix_len() < net.max_prefix_len() - 1 && addr == net.network() && addr.is_ipv4() {
        return Err(Invalid::new(
            format!("`{written}` is a network, not an address in it"),
            hint,
        ));
    }
    Ok(json!(net.to_string()))
}

/// Octal, as `chmod(1)` has it. Lua has no octal numbers, and `644` would silently mean 01204.
fn mode(given: Given<'_>) -> Result<Value, Invalid> {
    let hint = "octal digits in a text, such as `\"0644\"`";
    match given {
        Given::Text(text) => match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o7777 && !text.starts_with('+') => Ok(json!(bits)),
            _ => Err(Invalid::new(
                format!("`{}` is not a mode", text.escape_debug()),
                hint,
            )),
        },
        Given::Integer(n) => Err(Invalid::new(
            format!("`{n}` is a decimal number, and Lua has no octal ones"),
            format!("write \"{n:04}\""),
        )),
        other @ Given::Number(_) => Err(unexpected(other)),
    }
}

/// `http://:80/path`, `:80/path`: the address is always the guest's own.
pub(super) fn probe(text: &str) -> Result<Value, Invalid> {
    let hint = "the guest's address stands before it: `http://:80/healthz`";
    let invalid = || {
        Invalid::new(
            format!("`{}` is not the URL of a health check", text.escape_debug()),
            hint,
        )
    };
    if text.starts_with("https:") {
        return Err(Invalid::new(
            "a health check speaks plain http".to_owned(),
            "use `tcp`, or `exec` with a client inside the guest",
        ));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    if let Some(path) = rest.strip_prefix('/') {
        return Ok(json!({ "port": 80, "path": format!("/{path}") }));
    }
    let rest = rest.strip_prefix(':').ok_or_else(invalid)?;
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(invalid)?;
    let path = if path.is_empty() { "/" } else { path };
    Ok(json!({ "port": port, "path": path }))
}
