//! hostel's init: process 1 of a guest, without the standard library, a C library or a heap.
//!
//! It is embedded into hostel and executed from a sealed memory file by a child that has entered the guest in every
//! respect. It carries nothing of the host: no environment, no arguments, descriptors 0 to 2, its configuration on
//! 3 and, if that says so, a cgroup directory and a pipe after it. Everything it needs is in fixed arrays, so that it stays small;
//! the limits are in `config`.
//!
//! | part | owns |
//! |---|---|
//! | `services` | the guest without an init of its own: start, restart, reap, stop |
//! | `keeper`, `inner`, `console`, `cgroup` | the guest with its own init, one PID namespace further in |
//! | `spawn`, `users` | the child that becomes a service |
//! | `log`, `status`, `text` | what is written into the guest |
//! | `order` | what signals mean, and back-off |
//! | `config` | the configuration: format, limits, decoder |
//! | `sys`, `mount`, `arch` | system calls, all `unsafe` |
//!
//! Exit codes: 0 halted; 1 the guest's own init ended without asking for it; 2 configuration refused; 3 the
//! guest's own init could not be started; 70 a bug.

#![no_std]
#![no_main]

mod arch;
mod cgroup;
mod config;
mod console;
mod inner;
mod keeper;
mod log;
mod mount;
mod order;
mod services;
mod spawn;
mod status;
mod sys;
mod text;
#[allow(dead_code, reason = "the library's tests use all of it")]
mod users;

use config::{Config, MAX_BYTES, Mode};
use sys::Fd;

/// Where the configuration comes in.
const CONFIG_FD: usize = 3;
/// Where the cgroup of the guest's own init comes in, if there is one; then the pipe for what kept it from running.
const NEXT_FD: usize = 4;

/// Called by `_start` with the stack aligned.
#[unsafe(no_mangle)]
extern "C" fn hostel_start() -> ! {
    // First, so that no signal is lost and none ends a half-started init.
    let _ = sys::block_signals(true);
    sys::default_signals();
    let bytes = configuration();
    let config = match config::decode(bytes) {
        Ok(config) => config,
        Err(bad) => refuse(bad.text()),
    };
    // Nothing else should be open; what is would be inherited by every service.
    let given = usize::from(config.has_cgroup) + usize::from(config.has_report);
    sys::close_from((NEXT_FD + given) as u32);
    let Ok(signals) = sys::signalfd() else {
        refuse("no signalfd")
    };
    sys::exit(run(&config, &signals))
}

fn run(config: &Config<'_>, signals: &Fd) -> i32 {
    match config.mode {
        Mode::Hostel(services) => {
            services::run(config, services, signals);
            0
        }
        Mode::Own(own) => {
            let cgroup = config.has_cgroup.then(|| Fd::own(NEXT_FD));
            let report = config.has_report.then(|| Fd::own(NEXT_FD + usize::from(config.has_cgroup)));
            for fd in cgroup.iter().chain(&report) {
                if sys::close_on_exec(fd.raw()).is_err() {
                    refuse("descriptor 4 or 5 is not open");
                }
            }
            keeper::run(config, &own, signals, cgroup.as_ref(), report)
        }
    }
}

/// Reads descriptor 3 to its end and closes it.
fn configuration() -> &'static [u8] {
    let fd = Fd::own(CONFIG_FD);
    // One byte more than may be, so that too long is noticed.
    let Ok(buffer) = sys::reserve(MAX_BYTES + 1) else {
        refuse("no memory")
    };
    let mut length = 0;
    loop {
        match sys::read(fd.raw(), &mut buffer[length..]) {
            Ok(0) => return &buffer[..length],
            Ok(read) => length += read,
            Err(sys::EINTR) => {}
            Err(_) => refuse("descriptor 3 cannot be read"),
        }
    }
}

fn refuse(why: &str) -> ! {
    log::event(|line| {
        line.push("configuration refused: ").push(why);
    });
    sys::exit(2)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    let _ = sys::write(2, b"hostel-init: bug\n");
    sys::exit(70)
}
