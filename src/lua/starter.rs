//! What `hostel init` writes.

use std::sync::OnceLock;

/// A recipe to start from.
const RECIPE: &str = r#"-- hostel plan web.lua       shows what would be done
-- hostel apply web.lua      does it
requires { hostel = ">=0.1", api = 1 }

local base = template "base" {
  image = "debian:bookworm",
  limits = { memory = "256M", cpus = 0.5, pids = 256 },
}

guest "web" {
  from = base,
  packages = { "nginx-light" },
  -- An address of your network, and the device that carries it; 127.x.y.z needs no device.
  net = { mode = "bind", address = "127.80.0.1", ports = { 80 } },
  files = { ["/var/www/html/index.html"] = "hello from a guest\n" },
  services = { nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" } },
  health = { tcp = 80 },
}
"#;

/// For the Lua language server: the words of a recipe and the meta file that describes them.
const LUARC: &str = r#"{
  "runtime.version": "Lua 5.4",
  "workspace.library": [".hostel/meta"],
  "diagnostics.globals": ["guest", "template", "append", "unset", "requires", "secret", "input"],
  "runtime.builtin": {
    "io": "disable", "os": "disable", "debug": "disable", "coroutine": "disable", "package": "disable"
  }
}
"#;

const STYLUA: &str = "column_width = 110\nindent_type = \"Spaces\"\nindent_width = 2\nquote_style = \"AutoPreferDouble\"\ncall_parentheses = \"Input\"\n";

/// The files, each with its path in the new folder.
pub fn starter() -> &'static [(&'static str, &'static str)] {
    static META: OnceLock<String> = OnceLock::new();
    static MODULE: OnceLock<String> = OnceLock::new();
    static FILES: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    FILES.get_or_init(|| {
        vec![
            ("web.lua", RECIPE),
            (".luarc.json", LUARC),
            ("selene.toml", "std = \"hostel\"\n"),
            ("hostel.yml", crate::guest::schema::selene()),
            ("stylua.toml", STYLUA),
            (
                ".hostel/meta/recipe.lua",
                META.get_or_init(crate::guest::schema::meta).as_str(),
            ),
            (
                ".hostel/meta/hostel.lua",
                MODULE.get_or_init(crate::guest::schema::module_meta).as_str(),
            ),
        ]
    })
}
