//! `require "hostel.http"`: an HTTP client with TLS. Certificates are checked against those of the system.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use mlua::{IntoLuaMulti as _, Lua, MultiValue, Table, Value};
use ureq::http::{Request, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::deadline::within;
use super::failure::{check, mistake, or_failure, text};
use super::json;
use super::stage::effect;
use super::take::options;
use crate::error::{Error, Kind, Result};
use crate::guest::schema::{Record, Type, field, scalars as s};

/// What a request takes.
pub(in crate::lua) static OPTIONS: Record = Record {
    name: "http_options",
    doc: "A request. `json`, a value that is sent as JSON, stands beside these fields.",
    one_of: &[],
    fields: &[
        field(
            "headers",
            Type::Map(&s::TEXT, &Type::Scalar(&s::TEXT)),
            "Sent with the request.",
            "{ [\"X-Token\"] = \"abc\" }",
        ),
        field("body", Type::Scalar(&s::TEXT), "What is sent.", "\"a=1\""),
        field(
            "timeout",
            Type::Scalar(&s::SPAN),
            "For all of it, from the name to the last byte.",
            "\"5s\"",
        )
        .default("\"30s\""),
        field(
            "ca",
            Type::Scalar(&s::HOST_PATH),
            "A PEM file of the certificates that are trusted instead of the system's.",
            "\"/etc/ssl/own-ca.pem\"",
        ),
        field(
            "redirects",
            Type::Scalar(&s::TIMES),
            "How many redirections are followed.",
            "0",
        )
        .default("5"),
    ],
};

const PATIENCE: f64 = 30.0;

/// What is read of an answer.
const MOST: u64 = 64 << 20;

/// Where distributions keep the certificates that they trust.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

#[derive(serde::Deserialize, Default)]
struct Options {
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Option<String>,
    timeout: Option<crate::guest::Span>,
    ca: Option<std::path::PathBuf>,
    redirects: Option<u32>,
}

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    for (name, method) in [
        ("get", "GET"),
        ("head", "HEAD"),
        ("post", "POST"),
        ("put", "PUT"),
        ("patch", "PATCH"),
        ("delete", "DELETE"),
    ] {
        let call = lua.create_function(move |lua, (url, table): (Value, Option<Table>)| {
            request(lua, name, method, &url, table)
        })?;
        module.set(name, call)?;
    }
    Ok(module)
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn request(
    lua: &Lua,
    word: &str,
    method: &str,
    url: &Value,
    table: Option<Table>,
) -> mlua::Result<MultiValue> {
    let url = text(word, "the address", url)?;
    let mut body = None;
    let mut given = Options::default();
    let asked = table.clone();
    if let Some(table) = table {
        let rest = lua.create_table()?;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if key == Value::String(lua.create_string("json")?) {
                let value = json::encode(lua, &value).map_err(|why| mistake(word, why))?;
                body = Some(value.to_string());
            } else {
                rest.raw_set(key, value)?;
            }
        }
        given = options(word, &rest, &OPTIONS)?;
    }
    if body.is_some() {
        if given.body.is_some() {
            return Err(mistake(word, "`json` and `body` cannot be given together"));
        }
        given
            .headers
            .entry("Content-Type".to_owned())
            .or_insert_with(|| "application/json".to_owned());
        given.body = body;
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(mistake(
            word,
            format!(
                "`{}` is not an address: it begins with http:// or https://",
                url.escape_debug()
            ),
        ));
    }
    check(lua)?;
    if let Some(answer) = effect(lua, &format!("http.{word}"), None, (url.as_str(), asked))? {
        return Ok(answer);
    }
    let patience = match &given.timeout {
        Some(span) => span.duration(),
        None => Duration::from_secs_f64(PATIENCE),
    };
    let answer = ask(method, &url, given, within(lua, patience));
    // A deadline that was the reason says so itself.
    check(lua)?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(err) => return or_failure::<Table>(lua, Err(err))?.into_lua_multi(lua),
    };
    let result = lua.create_table()?;
    result.set("status", answer.status)?;
    result.set("ok", (200..300).contains(&answer.status))?;
    let headers = lua.create_table()?;
    for (name, value) in answer.headers {
        headers.set(name, value)?;
    }
    result.set("headers", headers)?;
    result.set("body", lua.create_string(answer.body)?)?;
    result.into_lua_multi(lua)
}

fn ask(method: &str, url: &str, options: Options, patience: Duration) -> Result<Answer> {
    let what = || format!("{method} `{}`", url.escape_debug());
    let mut tls = TlsConfig::builder();
    if url.starts_with("https://") {
        tls = tls.root_certs(roots(options.ca.as_deref())?);
    }
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .max_redirects(options.redirects.unwrap_or(5))
        .max_redirects_will_error(false)
        .user_agent(concat!("hostel/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build())
        .build();
    let agent = ureq::Agent::with_parts(config, DefaultConnector::new(), SameThread);
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in &options.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(options.body.unwrap_or_default())
        .map_err(|err| Error::new(Kind::Usage, format!("{}: {err}", what())))?;
    let mut response = agent.run(request).map_err(|err| failed(&what(), &err))?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(MOST)
        .read_to_vec()
        .map_err(|err| failed(&what(), &err))?;
    Ok(Answer {
        status,
        headers,
        body,
    })
}

fn failed(what: &str, err: &ureq::Error) -> Error {
    let kind = match err {
        ureq::Error::Timeout(_) => Kind::Timeout,
        ureq::Error::HostNotFound => Kind::NotFound,
        _ => Kind::External,
    };
    Error::new(kind, format!("{what}: {err}"))
}

fn roots(own: Option<&std::path::Path>) -> Result<RootCerts> {
    let path = match own {
        Some(path) => path,
        None => SYSTEM
            .into_iter()
            .map(std::path::Path::new)
            .find(|path| path.exists())
            .ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    "there are no certificates to trust on this system",
                )
                .with_hint("install the package ca-certificates, or give `ca`")
            })?,
    };
    let pem = std::fs::read(path).map_err(|source| {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::External,
        };
        Error::io(format!("read `{}`", path.display()), source).with_kind(kind)
    })?;
    let certs: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(cert)) => Some(cert),
            _ => None,
        })
        .collect();
    if certs.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{}` holds no certificates", path.display()),
        ));
    }
    Ok(RootCerts::from(certs))
}

/// Looks names up in this thread: ureq's own makes one for its timeout, and a process that forks has one thread.
#[derive(Debug)]
struct SameThread;

impl Resolver for SameThread {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let mut found = ResolvedSocketAddrs::from_fn(|_| nowhere);
        let all = (bare, port)
            .to_socket_addrs()
            .map_err(|_unknown| ureq::Error::HostNotFound)?;
        for address in all.take(16) {
            found.push(address);
        }
        if found.is_empty() {
            Err(ureq::Error::HostNotFound)
        } else {
            Ok(found)
        }
    }
}
