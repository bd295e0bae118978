//! The `hostel` program: arguments in, exit code out. Everything else is in the library.
//!
//! With glibc it is entered from C and not through the standard library's own start: that reads `/proc/self/maps` and
//! makes a stack for signals, to say "stack overflow" before a death by SIGSEGV. Starting a context would pay for it.

#![cfg_attr(target_env = "gnu", no_main)]

#[cfg(target_env = "gnu")]
// SAFETY: this crate has no other `main`, and the library defines no symbol of that name.
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    // glibc hands the arguments to the standard library before this; other C libraries do not.
    std::ffi::c_int::from(hostel::cli::main())
}

#[cfg(not(target_env = "gnu"))]
fn main() -> std::process::ExitCode {
    hostel::cli::main().into()
}
