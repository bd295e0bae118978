//! What `hostel init` writes.

use super::registry;

/// A recipe to start from.
const RECIPE: &str = r#"-- hostel plan web.lua       shows what would be done
-- hostel apply web.lua      does it
requires { hostel = ">=0.1", api = 1 }

local base = template "base" {
  image = "debian:bookworm", -- "busybox" is there at once, and has httpd, nc and sh
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

/// Scripts have more words than recipes.
const SELENE: &str = "std = \"hostel\"\nexclude = [\"scripts/**\", \".hostel/**\"]\n";

/// For stylua: how hostel's own Lua is written.
pub(super) const STYLUA: &str = "column_width = 110\nindent_type = \"Spaces\"\nindent_width = 2\nquote_style = \"AutoPreferDouble\"\ncall_parentheses = \"Input\"\n";

/// The files, each with its path in the new folder.
pub fn starter() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = [
        ("web.lua", RECIPE.to_owned()),
        (".luarc.json", LUARC.to_owned()),
        ("selene.toml", SELENE.to_owned()),
        ("hostel.yml", registry::selene()),
        (".luacheckrc", registry::luacheck()),
        ("stylua.toml", STYLUA.to_owned()),
        (".hostel/meta/recipe.lua", registry::globals_meta()),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into();
    for (name, text) in registry::module_meta() {
        files.push((format!(".hostel/meta/{name}"), text));
    }
    files
}
