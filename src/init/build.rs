//! Builds the guest's init (`src/init/main.rs`) into `OUT_DIR/hostel-init`, which the library embeds.
//!
//! It is a program of its own: no standard library, no C library, no dependency, the same target as hostel. It is
//! compiled with `rustc` itself and not as a Cargo package, because Cargo has no way to embed one binary of a
//! package into another.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| fail(&format!("{name} is not set")));
    let directory = Path::new("src/init");
    // The directory too, so that a new file is noticed.
    println!("cargo::rerun-if-changed={}", directory.display());
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");

    let target = variable("TARGET");
    let target = target.to_string_lossy();
    let page = match target.split('-').next() {
        Some("x86_64") => "4096",
        // arm64 kernels have pages of 4, 16 or 64 KiB; a program must be aligned to the largest.
        Some("aarch64") => "65536",
        _ => fail(&format!(
            "hostel's init has no system calls for `{target}`; x86_64 and aarch64 Linux only"
        )),
    };
    if !target.contains("linux") {
        fail(&format!("`{target}` is not Linux"));
    }

    let output = PathBuf::from(variable("OUT_DIR")).join("hostel-init");
    let mut command = Command::new(variable("RUSTC"));
    command
        .arg(directory.join("main.rs"))
        .args([
            "--crate-name",
            "hostel_init",
            "--crate-type",
            "bin",
            "--edition",
            "2024",
        ])
        .args(["--target", &target])
        .arg("-o")
        .arg(&output)
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "codegen-units=1",
            "-C",
            "lto=fat",
        ])
        // Not position-independent: nothing to relocate at start means no page written at start.
        .args([
            "-C",
            "relocation-model=static",
            "-C",
            "target-feature=+crt-static",
        ])
        .args([
            "-C",
            "strip=symbols",
            "-C",
            "debuginfo=0",
            "-C",
            "overflow-checks=off",
        ])
        // A lint of a newer compiler must not break a release.
        .args(if variable("PROFILE") == "release" {
            ["-A", "warnings"]
        } else {
            ["-D", "warnings"]
        });
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        // Code and constants share pages, and nothing is re-protected at start: fewer resident pages.
        "-Wl,-z,noseparate-code",
        "-Wl,-z,norelro",
        "-Wl,--build-id=none",
        "-Wl,--gc-sections",
        "-Wl,--no-eh-frame-hdr",
    ] {
        command.args(["-C", &format!("link-arg={argument}")]);
    }
    command.args(["-C", &format!("link-arg=-Wl,-z,max-page-size={page}")]);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        command
            .arg("-C")
            .arg(format!("linker={}", linker.to_string_lossy()));
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("compiling the guest's init: {status}")),
        Err(err) => fail(&format!("run {command:?}: {err}")),
    }
}

/// Ends the build with a message that Cargo shows.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
