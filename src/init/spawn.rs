//! The child that becomes a service: everything between `clone3(2)` and `execve(2)`.
//!
//! Whatever reads the guest's files, and so may block or be fed nonsense, happens here and not in the init. A
//! failure is a line in the service's own log and exit code 127 (not found) or 126 (anything else), as in a shell.

use core::ffi::CStr;

use crate::config::{List, Service};
use crate::sys::{self, Clone, EACCES, EINVAL, ENOENT, ENOTDIR, Errno, MAX_VECTOR, Result};
use crate::text::{Line, Text};
use crate::users::{self, MAX_GROUPS, MAX_LINE, Named};

/// Where programs without `/` are looked for, and what the service has, unless the recipe says otherwise.
pub const PATH: &CStr = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts `service` with its output going to descriptor `output`. Its pid.
pub fn start(service: &Service<'_>, env: List<'_>, output: i32) -> Result<i32> {
    match sys::clone(0, None)? {
        Clone::Parent(pid) => Ok(pid),
        Clone::Child => {
            let Failure { what, errno, code } = become_service(service, env, output);
            let mut line = Line::new();
            line.push("hostel: ")
                .push(what.bytes())
                .push(": ")
                .errno(errno)
                .push("\n");
            let _ = sys::write(2, line.bytes());
            sys::exit(code)
        }
    }
}

struct Failure {
    what: Text<256>,
    errno: Errno,
    code: i32,
}

fn failure(what: &str, subject: &[u8], errno: Errno) -> Failure {
    let mut text = Text::new();
    text.push(what).push(" `").push(subject).push("`");
    let code = if what == "execute" && (errno == ENOENT || errno == ENOTDIR) {
        127
    } else {
        126
    };
    Failure {
        what: text,
        errno,
        code,
    }
}

/// Returns only when it failed.
fn become_service(service: &Service<'_>, env: List<'_>, output: i32) -> Failure {
    let run = || -> core::result::Result<Failure, Failure> {
        // A session of its own: a signal to its process group or a hang-up stays inside the service.
        sys::setsid().map_err(|e| failure("setsid", b"", e))?;
        for number in [1, 2] {
            sys::dup_to(output, number).map_err(|e| failure("dup", b"output", e))?;
        }
        let user = lookup(service.user.to_bytes())?;
        // So that the service can also open /dev/stdout and /proc/self/fd/1, which are this pipe. Without
        // CAP_CHOWN it cannot, and writes to its descriptors as before.
        let _ = sys::chown(output, user.uid, user.gid);
        // Groups before the user: afterwards there is no right to.
        let groups = &user.groups[..user.count];
        if let Err(err) = sys::setgroups(groups) {
            return Err(failure("setgroups of", service.user.to_bytes(), err));
        }
        sys::setgid(user.gid).map_err(|e| failure("setgid of", service.user.to_bytes(), e))?;
        sys::setuid(user.uid).map_err(|e| failure("setuid of", service.user.to_bytes(), e))?;
        sys::chdir(service.dir).map_err(|e| failure("enter", service.dir.to_bytes(), e))?;

        let mut variables = Environment {
            list: [None; MAX_VECTOR],
            count: 0,
        };
        variables.put(PATH);
        variables.put(user.home.c_str());
        variables.put(user.name[0].c_str());
        variables.put(user.name[1].c_str());
        for variable in env.iter().chain(service.env.iter()) {
            variables.put(variable);
        }
        let mut argv = [None; MAX_VECTOR];
        for (slot, argument) in argv.iter_mut().zip(service.argv.iter()) {
            *slot = Some(argument);
        }
        // Last: until here a stray signal must not run into a half-made process.
        sys::block_signals(false).map_err(|e| failure("unblock", b"signals", e))?;
        let program = argv[0].unwrap_or(c"");
        Err(failure(
            "execute",
            program.to_bytes(),
            execute(program, &argv, &variables),
        ))
    };
    match run() {
        Ok(failure) | Err(failure) => failure,
    }
}

/// The environment of a service: of two variables with one name the later one counts.
struct Environment<'a> {
    list: [Option<&'a CStr>; MAX_VECTOR],
    count: usize,
}

impl<'a> Environment<'a> {
    fn put(&mut self, variable: &'a CStr) {
        let name = name_of(variable);
        let used = &mut self.list[..self.count];
        if let Some(slot) = used
            .iter_mut()
            .find(|slot| slot.is_some_and(|other| name_of(other) == name))
        {
            *slot = Some(variable);
        } else if self.count < MAX_VECTOR {
            self.list[self.count] = Some(variable);
            self.count += 1;
        }
    }

    fn path(&self) -> &'a [u8] {
        let path = self
            .list
            .iter()
            .flatten()
            .find(|variable| name_of(variable) == b"PATH");
        path.and_then(|variable| variable.to_bytes().get(5..))
            .unwrap_or(b"")
    }
}

/// `NAME` of `NAME=VALUE`.
fn name_of(variable: &CStr) -> &[u8] {
    variable.to_bytes().split(|b| *b == b'=').next().unwrap_or(b"")
}

/// Tries the places where `program` may be. The errno of the failure that says most.
fn execute(program: &CStr, argv: &[Option<&CStr>], env: &Environment<'_>) -> Errno {
    if program.to_bytes().contains(&b'/') {
        return sys::exec(program, argv, &env.list);
    }
    let mut worst = ENOENT;
    for directory in env.path().split(|b| *b == b':') {
        let mut path = Text::<1024>::new();
        // A relative or empty entry would be the working directory, which the service's user may own.
        if directory.first() != Some(&b'/') || directory.len() + program.to_bytes().len() + 2 > 1024 {
            continue;
        }
        path.push(directory).push("/").text(program);
        match sys::exec(path.c_str(), argv, &env.list) {
            ENOENT | ENOTDIR => {}
            EACCES => worst = EACCES,
            other => return other,
        }
    }
    worst
}

struct User {
    uid: u32,
    gid: u32,
    groups: [u32; MAX_GROUPS],
    count: usize,
    home: Text<512>,
    name: [Text<128>; 2],
}

fn lookup(text: &[u8]) -> core::result::Result<User, Failure> {
    let unknown = |what| failure(what, text, EINVAL);
    let mut user = User {
        uid: 0,
        gid: 0,
        groups: [0; MAX_GROUPS],
        count: 0,
        home: Text::new(),
        name: [Text::new(), Text::new()],
    };
    let mut login = Text::<96>::new();
    let mut home = Text::<480>::new();
    if text.is_empty() {
        // Root needs no file: a guest may have none.
        login.push("root");
        home.push("/root");
    } else {
        let (name, group) = users::split(text);
        let wanted = users::named(name).ok_or_else(|| unknown("no such user"))?;
        let mut found = false;
        lines(c"/etc/passwd", |line| {
            let Some(entry) = users::passwd(line, wanted) else {
                return false;
            };
            if entry.name.len() >= 96 || entry.home.len() >= 480 {
                return false;
            }
            (user.uid, user.gid) = (entry.uid, entry.gid);
            login.push(entry.name);
            home.push(entry.home);
            found = true;
            true
        });
        match (wanted, found, group) {
            (_, true, _) => {}
            // A number without an entry has no group: it must be given one, for the default would be root's.
            (Named::Number(uid), false, Some(_)) => {
                user.uid = uid;
                home.push("/");
            }
            _ => return Err(unknown("no such user")),
        }
        if let Some(group) = group {
            user.gid = match users::named(group) {
                Some(Named::Number(gid)) => gid,
                Some(Named::Name(name)) => {
                    let mut gid = None;
                    lines(c"/etc/group", |line| {
                        gid = users::group_named(line, name);
                        gid.is_some()
                    });
                    gid.ok_or_else(|| unknown("no such group"))?
                }
                None => return Err(unknown("no such group")),
            };
        }
        if !login.bytes().is_empty() {
            lines(c"/etc/group", |line| {
                if let Some(gid) = users::group_of(line, login.bytes())
                    && user.count < MAX_GROUPS
                {
                    user.groups[user.count] = gid;
                    user.count += 1;
                }
                false
            });
        }
    }
    user.home.push("HOME=").push(home.bytes());
    user.name[0].push("USER=").push(login.bytes());
    user.name[1].push("LOGNAME=").push(login.bytes());
    Ok(user)
}

/// Calls `take` with each line of a file until it returns true. A file that cannot be read has no lines.
fn lines(path: &CStr, mut take: impl FnMut(&[u8]) -> bool) {
    let Ok(file) = sys::open_followed(path) else {
        return;
    };
    let mut line = [0u8; MAX_LINE];
    let mut length = 0;
    let mut is_too_long = false;
    let mut chunk = [0u8; 1024];
    loop {
        let read = sys::read(file.raw(), &mut chunk).unwrap_or(0);
        // The last line may lack its end.
        let (bytes, is_end) = if read == 0 {
            (&b"\n"[..], true)
        } else {
            (&chunk[..read], false)
        };
        for byte in bytes {
            match byte {
                b'\n' => {
                    if !is_too_long && length > 0 && take(&line[..length]) {
                        return;
                    }
                    (length, is_too_long) = (0, false);
                }
                _ if length == MAX_LINE => is_too_long = true,
                byte => {
                    line[length] = *byte;
                    length += 1;
                }
            }
        }
        if is_end {
            return;
        }
    }
}
