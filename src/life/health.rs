//! Whether a guest serves: its health check, tried from the host.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::exec::{self, ExecRequest};
use super::host::Host;
use super::observe;
use crate::error::{Error, Kind, Result};
use crate::guest::{Check, GuestName, Health, Span};
use crate::storage::state::Applied;
use crate::sys::{interrupt, pidfd};

/// The longest pause between two tries of a guest that is just starting: a service is ready a moment after its
/// first failed try more often than an interval later.
const WARM_UP: Duration = Duration::from_millis(100);

/// Tries the check once.
pub fn check(host: &Host, applied: &Applied, health: &Health) -> Result<()> {
    let timeout = health.timeout.duration();
    match &health.check {
        Check::Tcp(port) => connect(applied, *port, timeout).map(drop),
        Check::Http(probe) => {
            let stream = connect(applied, probe.port, timeout)?;
            let status = get(stream, &probe.path, timeout).map_err(|source| {
                Error::io(format!("GET `{}` from port {}", probe.path, probe.port), source)
            })?;
            if status < 400 {
                Ok(())
            } else {
                Err(Error::new(
                    Kind::External,
                    format!("GET `{}` was answered with status {status}", probe.path),
                ))
            }
        }
        Check::Exec(argv) => {
            let request = ExecRequest {
                argv: argv.iter().map(Into::into).collect(),
                ..ExecRequest::default()
            };
            let joined = exec::exec_quietly(host, applied, &request)?;
            let pidfd = &joined.child.pidfd;
            if !pidfd::wait_until(std::os::fd::AsFd::as_fd(pidfd), Some(Instant::now() + timeout))? {
                let _ = pidfd::signal(pidfd, libc::SIGKILL);
                pidfd::wait(pidfd)?;
                return Err(Error::new(
                    Kind::Timeout,
                    format!("`{}` took longer than {}", argv.join(" "), health.timeout),
                ));
            }
            match pidfd::wait(pidfd)?.shell_code() {
                0 => Ok(()),
                code => Err(Error::new(
                    Kind::External,
                    format!("`{}` ended with {code}", argv.join(" ")),
                )),
            }
        }
    }
}

/// Waits until a guest is healthy; one without a check is so as soon as it runs.
pub fn wait_healthy(host: &Host, name: &GuestName, timeout: Option<Span>) -> Result<()> {
    let applied = observe::applied(host, name)?;
    let Some(health) = &applied.spec.health else {
        return Ok(());
    };
    let deadline = Instant::now() + timeout.unwrap_or(health.start).duration();
    loop {
        interrupt::check()?;
        // A guest that has ended will not become healthy.
        observe::running_group(host, name, applied.xid)?;
        let Err(err) = check(host, &applied, health) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let span = timeout.unwrap_or(health.start);
            return Err(err
                .context(format!("guest `{name}` did not become healthy in {span}"))
                .with_kind(Kind::Timeout));
        }
        std::thread::sleep(health.interval.duration().min(WARM_UP));
    }
}

fn connect(applied: &Applied, port: u16, timeout: Duration) -> Result<TcpStream> {
    let name = &applied.spec.name;
    let address = applied
        .spec
        .net
        .addrs()
        .next()
        .unwrap_or(IpAddr::V4(applied.xid.loopback4()));
    let address = SocketAddr::new(address, port);
    TcpStream::connect_timeout(&address, timeout)
        .map_err(|source| Error::io(format!("connect to `{name}` at {address}"), source))
}

/// The status of an HTTP/1.0 answer: its first line is all that is read.
fn get(mut stream: TcpStream, path: &str, timeout: Duration) -> std::io::Result<u16> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let host = stream.peer_addr()?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    // `HTTP/1.1 200 ` is 13 bytes; a server that sends none of them is not healthy.
    stream.take(64).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.get(..3))
        .and_then(|s| s.parse().ok());
    status
        .filter(|_| text.starts_with("HTTP/"))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP"))
}
