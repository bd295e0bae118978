//! What hostel's init says of its services: `/run/hostel/services` of a running guest.
//!
//! The file is the guest's. Its root may have written anything there, so what does not parse is left out, nothing
//! is believed that matters to the host, and a pid in it is only ever shown.

use std::fmt;

use serde::Serialize;

use crate::guest::GuestPid;

/// Where the file is, inside.
pub const PATH: &str = "/run/hostel/services";

/// The most bytes that are worth reading: more than 64 lines of the longest name.
pub const MAX_BYTES: u64 = 16 << 10;

/// One service, as its guest tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: ServiceState,
    /// Its process, if it runs.
    pub pid: Option<i32>,
    /// How often it was started again since the guest started.
    pub restarts: u32,
    /// How it ended last, if it ever did.
    pub last: Option<End>,
    /// When its state changed, in seconds since 1970 of the guest's clock.
    pub since: u64,
}

impl ServiceStatus {
    /// Its process as a number of the guest's.
    pub fn guest_pid(&self) -> Option<GuestPid> {
        self.pid.map(GuestPid)
    }
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It is due to start, for the first time or again.
    Waiting,
    /// It runs.
    Running,
    /// It ended well and is not started again.
    Ended,
    /// It ended badly and is not started again.
    Failed,
    /// It was stopped together with the guest.
    Stopped,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// How a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// With this status. 126 and 127 also stand for a program that could not be executed or found.
    Exit(u8),
    /// By this signal.
    Signal(u8),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => f.pad(&format!("exit {code}")),
            Self::Signal(signal) => f.pad(&format!("signal {signal}")),
        }
    }
}

/// The services in a status file; lines that make no sense are left out.
pub fn parse(content: &[u8]) -> Vec<ServiceStatus> {
    let lines = content
        .split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    lines
        .filter_map(service)
        .take(super::init_config::MAX_SERVICES)
        .collect()
}

fn service(line: &str) -> Option<ServiceStatus> {
    let mut fields = line.split('\t');
    let name = fields
        .next()
        .filter(|name| super::init_config::is_service_name(name))?;
    let state = match fields.next()? {
        "waiting" => ServiceState::Waiting,
        "running" => ServiceState::Running,
        "ended" => ServiceState::Ended,
        "failed" => ServiceState::Failed,
        "stopped" => ServiceState::Stopped,
        _ => return None,
    };
    let pid = fields.next()?.parse().ok().filter(|pid| *pid >= 0)?;
    let restarts = fields.next()?.parse().ok()?;
    let last = match fields.next()?.split_once(' ') {
        None => None,
        Some(("exit", code)) => Some(End::Exit(code.parse().ok()?)),
        Some(("signal", signal)) => Some(End::Signal(signal.parse().ok()?)),
        Some(_) => return None,
    };
    let since = fields.next()?.parse().ok()?;
    Some(ServiceStatus {
        name: name.to_owned(),
        state,
        pid: (pid > 0).then_some(pid),
        restarts,
        last,
        since,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_init_writes() {
        let text = b"web\trunning\t12\t3\texit 1\t1795321562\nonce\tended\t0\t0\texit 0\t5\nnew\twaiting\t0\t0\t-\t5\n";
        let all = parse(text);
        assert_eq!(all.len(), 3);
        let (web, new) = (&all[0], &all[2]);
        assert_eq!(
            (web.name.as_str(), web.state, web.pid),
            ("web", ServiceState::Running, Some(12))
        );
        assert_eq!(
            (web.restarts, web.last, web.since),
            (3, Some(End::Exit(1)), 1_795_321_562)
        );
        assert_eq!((new.pid, new.last), (None, None));
        assert_eq!(End::Signal(9).to_string(), "signal 9");
    }

    #[test]
    fn nonsense_of_a_hostile_guest_is_left_out() {
        for line in [
            "",
            "web",
            "../web\trunning\t1\t0\t-\t5",
            "\x1b[2Jweb\trunning\t1\t0\t-\t5",
            "web\tdancing\t1\t0\t-\t5",
            "web\trunning\t-1\t0\t-\t5",
            "web\trunning\t99999999999\t0\t-\t5",
            "web\trunning\t1\t0\texit 300\t5",
            "web\trunning\t1\t0\tkaboom 1\t5",
            "web\trunning\t1\t0\t-",
        ] {
            assert_eq!(parse(line.as_bytes()), [], "{line:?}");
        }
        assert_eq!(parse(b"\xff\tx\ta\tb\n").len(), 0);
        assert_eq!(parse(&b"web\trunning\t1\t0\t-\t5\n".repeat(1000)).len(), 64);
    }
}
