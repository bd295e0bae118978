//! Builds the guest's init (`src/init`) into `OUT_DIR/hostel-init`, what executes a guest's programs (`src/handover`) into
//! `OUT_DIR/hostel-handover` and the attacker of `hostel selftest` (`src/attack`) into `OUT_DIR/hostel-attack`, which the
//! library embeds.
//!
//! Each is a program of its own: no standard library, no C library, no dependency, the same target as hostel. They are
//! compiled with `rustc` itself and not as a Cargo package, because Cargo has no way to embed one binary of a
//! package into another.
//!
//! hostel's own Lua is parsed here too: see src/lua/precompile.rs.
//!
//! A release of hostel itself is linked statically: see [`link_statically`] and docs/decisions/.

#[path = "../lua/precompile.rs"]
mod precompile;

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| fail(&format!("{name} is not set")));
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

    if variable("PROFILE") == "release" {
        link_statically(&target, Path::new(&variable("OUT_DIR")));
    }

    same_everywhere();
    if let Err(message) = precompile::precompile(Path::new(&variable("OUT_DIR"))) {
        fail(&message);
    }

    freestanding("init", &target, page);
    freestanding("handover", &target, page);
    freestanding("attack", &target, page);
}

/// Compiles `src/NAME/main.rs` into `OUT_DIR/hostel-NAME`.
fn freestanding(name: &str, target: &str, page: &str) {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| fail(&format!("{name} is not set")));
    let directory = Path::new("src").join(name);
    // The directory too, so that a new file is noticed.
    println!("cargo::rerun-if-changed={}", directory.display());
    let output = PathBuf::from(variable("OUT_DIR")).join(format!("hostel-{name}"));
    let mut command = Command::new(variable("RUSTC"));
    command
        .arg(directory.join("main.rs"))
        .args([
            "--crate-name",
            &format!("hostel_{name}"),
            "--crate-type",
            "bin",
            "--edition",
            "2024",
        ])
        .args(["--target", target])
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
        Ok(status) => fail(&format!("compiling src/{name}: {status}")),
        Err(err) => fail(&format!("run {command:?}: {err}")),
    }
}

/// Links the `hostel` binary with the static C library, where the build machine has one: a third of the time of a
/// start would else go into loading and relocating three shared libraries.
///
/// `-C target-feature=+crt-static` would do it, but a package cannot set it: it comes from `RUSTFLAGS` or a
/// configuration outside. So the libraries that rustc names on the linker's command line are found here first, as
/// linker scripts that name the archives. `-static-pie` keeps the random load address.
fn link_statically(target: &str, out: &Path) {
    // Of another machine than this one, only its owner knows where the archives are.
    let is_native = std::env::var("HOST").is_ok_and(|host| host == target);
    if !is_native || !target.ends_with("-gnu") {
        return;
    }
    let archive = |name: &str| -> Option<String> {
        let linker = std::env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
        let found = Command::new(linker)
            .arg(format!("-print-file-name={name}"))
            .output()
            .ok()?;
        let path = String::from_utf8(found.stdout).ok()?.trim().to_owned();
        // One that is not there is printed back as it was asked for.
        Path::new(&path).is_absolute().then_some(path)
    };
    // The C library and the unwinder need each other: a group is searched until nothing more is found.
    let scripts: [(&str, &[&str]); 7] = [
        ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
        ("c", &["libc.a"]),
        ("m", &["libm.a"]),
        ("util", &["libutil.a"]),
        ("rt", &["librt.a"]),
        ("pthread", &["libpthread.a"]),
        ("dl", &["libdl.a"]),
    ];
    let directory = out.join("static");
    if let Err(err) = std::fs::create_dir_all(&directory) {
        fail(&format!("make `{}`: {err}", directory.display()));
    }
    for (name, archives) in scripts {
        let paths: Option<Vec<String>> = archives.iter().copied().map(archive).collect();
        let Some(paths) = paths else {
            println!(
                "cargo::warning=hostel is linked dynamically, and starts slower: no static C library (lib{name}) here"
            );
            return;
        };
        let file = directory.join(format!("lib{name}.so"));
        if let Err(err) = std::fs::write(&file, format!("GROUP({})\n", paths.join(" "))) {
            fail(&format!("write `{}`: {err}", file.display()));
        }
    }
    println!("cargo::rustc-link-arg-bins=-L{}", directory.display());
    println!("cargo::rustc-link-arg-bins=-static-pie");
    if glibc_version().is_some_and(|version| version >= (2, 36)) {
        // 7,500 relocations in 12 kB instead of 180: all of them are read at every start. Older ones of glibc do not
        // know the format, and would not say so.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Puts functions of hostel's own in the place of some that Lua calls: see `src/sys/lua_exact.rs`, which defines each
/// as `__wrap_NAME`. Without one of these words a recipe would see of which machine it is, and the tests notice.
fn same_everywhere() {
    for name in WRAPPED.split_whitespace() {
        println!("cargo::rustc-link-arg=-Wl,--wrap={name}");
    }
}

/// The functions, for the fuzz targets' build too.
const WRAPPED: &str = include_str!("../sys/lua_exact.symbols");

/// Of the build machine's glibc, whose start-up code is linked in.
fn glibc_version() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// Ends the build with a message that Cargo shows.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
