//! `require "hostel.fs"`: files below a directory that the script names, and nowhere else: a link that leads out ends
//! at that directory (`openat2(2)`, `RESOLVE_IN_ROOT`).

use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use mlua::{IntoLuaMulti as _, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::failure::{check, mistake, or_failure, text};
use super::stage::effect;
use crate::error::{Context as _, Error, Kind, Result};
use crate::storage::Inside;
use crate::sys::open::in_root;

/// What `read` reads at most.
const MOST: u64 = 64 << 20;

/// A directory and what is below it.
pub(in crate::lua) struct Root {
    inside: Inside,
    shown: String,
}

/// The module.
pub(in crate::lua) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.set(
        "root",
        lua.create_function(|lua, path: Value| {
            let shown = text("root", "the directory", &path)?;
            if !shown.starts_with('/') {
                return Err(mistake(
                    "root",
                    format!("`{}` is not an absolute path", shown.escape_debug()),
                ));
            }
            let opened = Inside::open(Path::new(&shown), shown.clone()).map(|inside| Root { inside, shown });
            or_failure(lua, opened.map_err(kind))
        })?,
    )?;
    Ok(module)
}

/// What is not there is `not_found`, also when an errno said so.
fn kind(err: Error) -> Error {
    match err.errno() {
        Some(nix::errno::Errno::ENOENT) => err.with_kind(Kind::NotFound),
        _ => err,
    }
}

/// A path below the root. `..` is a mistake: what it means depends on links.
fn below(word: &str, given: &Value) -> mlua::Result<PathBuf> {
    let path = PathBuf::from(text(word, "the path", given)?);
    if path.as_os_str().is_empty() || path.components().any(|part| part == Component::ParentDir) {
        return Err(mistake(
            word,
            format!("`{}` is not a path below the root", path.display()),
        ));
    }
    Ok(path)
}

impl Root {
    fn stat(&self, path: &Path) -> Result<nix::sys::stat::FileStat> {
        let label = || format!("stat `{}:{}`", self.shown, path.display());
        let file = in_root(self.inside.root(), path, OFlag::O_PATH, Mode::empty()).context(label)?;
        fstat(file.as_fd()).context(label)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        let label = || format!("list `{}:{}`", self.shown, path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let dir = in_root(self.inside.root(), path, flags, Mode::empty()).context(label)?;
        let mut dir = Dir::from_fd(dir).context(label)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.context(label)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(std::ffi::OsStr::from_bytes(name).to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        self.inside.write_file(path, content, mode, uid, gid)
    }
}

fn mode(word: &str, options: Option<&Table>, default: u32) -> mlua::Result<u32> {
    let Some(options) = options else {
        return Ok(default);
    };
    for pair in options.pairs::<String, Value>() {
        let (key, _) = pair?;
        if key != "mode" {
            return Err(mistake(
                word,
                format!("does not know the option `{key}`; it knows `mode`"),
            ));
        }
    }
    match options.get::<Value>("mode")? {
        Value::Nil => Ok(default),
        Value::String(text) => u32::from_str_radix(&text.to_string_lossy(), 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| mistake(word, "`mode` is permission bits such as \"0644\"")),
        Value::Integer(mode) => u32::try_from(mode)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| mistake(word, "`mode` is permission bits such as \"0644\"")),
        _ => Err(mistake(word, "`mode` is permission bits such as \"0644\"")),
    }
}

impl UserData for Root {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("read", |lua, this, path: Value| {
            check(lua)?;
            let path = below("read", &path)?;
            let read = this.inside.read_file(&path, MOST).map_err(kind);
            or_failure(lua, read.map(|bytes| lua.create_string(bytes)))
                .and_then(|(text, failure)| Ok((text.transpose()?, failure)))
        });
        methods.add_method(
            "write",
            |lua, this, (path, content, options): (Value, mlua::LuaString, Option<Table>)| {
                check(lua)?;
                let asked = (path.clone(), content.clone(), options.clone());
                let path = below("write", &path)?;
                let mode = mode("write", options.as_ref(), 0o644)?;
                if let Some(answer) = effect(lua, "files:write", Some(&this.shown), asked)? {
                    return Ok(answer);
                }
                let written = this.write(&path, &content.as_bytes(), mode);
                or_failure(lua, written.map(|()| true).map_err(kind))?.into_lua_multi(lua)
            },
        );
        methods.add_method("copy", |lua, this, (from, to): (Value, Value)| {
            check(lua)?;
            let asked = (from.clone(), to.clone());
            let (from, to) = (below("copy", &from)?, below("copy", &to)?);
            if let Some(answer) = effect(lua, "files:copy", Some(&this.shown), asked)? {
                return Ok(answer);
            }
            let copied = this.stat(&from).and_then(|stat| {
                let content = this.inside.read_file(&from, MOST)?;
                this.write(&to, &content, stat.st_mode & 0o7777).map(|()| true)
            });
            or_failure(lua, copied.map_err(kind))?.into_lua_multi(lua)
        });
        methods.add_method("list", |lua, this, path: Option<Value>| {
            check(lua)?;
            let path = path.map_or(Ok(PathBuf::from("/")), |path| below("list", &path))?;
            or_failure(lua, this.list(&path).map_err(kind))
        });
        methods.add_method("mkdir", |lua, this, (path, options): (Value, Option<Table>)| {
            check(lua)?;
            let asked = (path.clone(), options.clone());
            let path = below("mkdir", &path)?;
            let mode = mode("mkdir", options.as_ref(), 0o755)?;
            if let Some(answer) = effect(lua, "files:mkdir", Some(&this.shown), asked)? {
                return Ok(answer);
            }
            let done = this.inside.make_dir_all(&path, mode);
            or_failure(lua, done.map(|_| true).map_err(kind))?.into_lua_multi(lua)
        });
        methods.add_method("remove", |lua, this, path: Value| {
            check(lua)?;
            let asked = path.clone();
            let path = below("remove", &path)?;
            if let Some(answer) = effect(lua, "files:remove", Some(&this.shown), asked)? {
                return Ok(answer);
            }
            or_failure(lua, this.inside.remove(&path).map_err(kind))?.into_lua_multi(lua)
        });
        methods.add_method("exists", |lua, this, path: Value| {
            let path = below("exists", &path)?;
            or_failure(lua, this.inside.exists(&path).map_err(kind))
        });
        methods.add_method("stat", |lua, this, path: Value| {
            let path = below("stat", &path)?;
            let stat = match this.stat(&path).map_err(kind) {
                Ok(stat) => stat,
                Err(err) => return or_failure(lua, Err(err)),
            };
            let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
                SFlag::S_IFREG => "file",
                SFlag::S_IFDIR => "directory",
                SFlag::S_IFLNK => "link",
                _ => "other",
            };
            let table = lua.create_table()?;
            table.set("kind", kind)?;
            table.set("size", stat.st_size)?;
            table.set("mode", format!("{:04o}", stat.st_mode & 0o7777))?;
            table.set("uid", stat.st_uid)?;
            table.set("gid", stat.st_gid)?;
            table.set("modified", stat.st_mtime)?;
            Ok((Some(table), None))
        });
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("files below {}", this.shown))
        });
    }
}
