//! Link arguments of a library's build script are not its users': those of hostel's (see `same_everywhere` in
//! src/init/build.rs) once more, for the targets.

fn main() {
    for name in include_str!("../src/sys/lua_exact.symbols").split_whitespace() {
        println!("cargo::rustc-link-arg=-Wl,--wrap={name}");
    }
}
