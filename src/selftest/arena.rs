//! The guests of a self-test, and what is run in them and beside them.
//!
//! Everything is done by `hostel` itself, as a user does it: recipe, `apply`, `exec`, `enter`, `destroy`. What is proved
//! is what a user has.

use std::cell::{Cell, OnceCell};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::canary::Canary;
use super::command::{Output, Run};
use super::place::Place;
use super::rows::GUESTS;
use super::script::{Answers, Script};
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{Image, Storage};
use crate::storage::{Files, Layout, Silent, driver, files, image, tree};
use crate::sys::{interrupt, landlock};

/// The guests that stand through all rows which do them no harm.
const STANDING: [&str; 2] = ["a", "b"];

/// Which init a guest has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Init {
    /// hostel's, which runs services.
    Hostels,
    /// busybox's, under the keeper.
    Own,
}

/// Where the attacker is in every guest.
pub(super) const PROGRAM: &str = "/attack";

/// Where a self-test plays.
pub(super) struct Arena<'a> {
    place: &'a Place,
    image: OnceCell<PathBuf>,
    standing: Cell<bool>,
    /// Whether the guests' files are layers.
    is_laid: Cell<bool>,
    unique: Cell<u32>,
    /// How often a guest is started by rows that race.
    pub(super) starts: u32,
}

impl<'a> Arena<'a> {
    pub(super) fn new(place: &'a Place, starts: u32) -> Self {
        Self {
            place,
            image: OnceCell::new(),
            standing: Cell::new(false),
            is_laid: Cell::new(false),
            unique: Cell::new(0),
            starts,
        }
    }

    /// `hostel ARGS` in this place.
    pub(super) fn hostel<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        Run::new("/proc/self/exe", args).with(|command| {
            command
                .env("HOSTEL_ROOT", self.place.dir.join("state"))
                .env("HOSTEL_RUN", self.place.dir.join("run"))
                .env("HOSTEL_CGROUP", &self.place.cgroup)
                .env("HOME", &self.place.dir)
                .current_dir(&self.place.dir);
        })
    }

    /// A new path in the place.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let number = self.unique.get();
        self.unique.set(number + 1);
        self.place.dir.join(format!("{number}-{name}"))
    }

    /// A new directory of the host's that may not change.
    pub(super) fn canary(&self) -> Result<Canary> {
        Canary::make(self.path("canary"))
    }

    /// A new directory of the host's.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path).context(|| format!("make `{}`", path.display()))?;
        Ok(path)
    }

    /// What a guest has written: its root, or the topmost layer of that.
    pub(super) fn rootfs(&self, guest: &str) -> PathBuf {
        let home = self.place.dir.join("state/guests").join(guest);
        match files::read_in(&home) {
            Ok(Files::Overlay(stack)) => stack.top.dir(&self.layout()).join("root"),
            _ => home.join("rootfs"),
        }
    }

    fn layout(&self) -> Layout {
        Layout::at(self.place.dir.join("state"))
    }

    /// Gives the guests that are made from now on files that are layers. Whether this file system can have them.
    pub(super) fn lay(&self) -> Result<bool> {
        match driver::of(Storage::Overlay).check(&self.layout()) {
            Ok(()) => {}
            Err(err) if err.kind() == Kind::Unsupported => return Ok(false),
            Err(err) => return Err(err),
        }
        self.stand_down()?;
        self.is_laid.set(true);
        Ok(true)
    }

    /// Takes that back.
    pub(super) fn lie_flat(&self) -> Result<()> {
        self.stand_down()?;
        self.is_laid.set(false);
        Ok(())
    }

    /// Takes the guests away that a row has made for itself.
    pub(super) fn clear(&self) -> Result<()> {
        GUESTS.iter().try_for_each(|guest| self.destroy(guest))
    }

    /// An address of the self-test's own network (of RFC 2544, which nobody routes).
    pub(super) fn address(number: u8) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::new(198, 18, 254, number)
    }

    /// Gives such an address to the host, as far as the self-test's network goes.
    pub(super) fn own(&self, number: u8) -> Result<std::net::Ipv4Addr> {
        let address = Self::address(number);
        let busybox = self.image()?.join("bin/busybox");
        let net = format!("{address}/32");
        // It may have it from another row.
        Run::new(busybox, ["ip", "address", "replace", &net, "dev", "lo"]).run()?;
        Ok(address)
    }

    /// The tree that guests are made from: busybox and the attacker.
    pub(super) fn image(&self) -> Result<&Path> {
        if self.image.get().is_none() {
            let layout = self.layout();
            layout.ensure()?;
            let busybox = image::prepare(&layout, image::Wanted::image(&Image::Busybox), &Silent)?;
            let path = self.copy(&busybox.path)?;
            let program = path.join(PROGRAM.trim_start_matches('/'));
            fs::write(&program, super::ATTACKER).context(|| "write the attacker")?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                .context(|| "write the attacker")?;
            let _ = self.image.set(path);
        }
        self.image
            .get()
            .map(PathBuf::as_path)
            .ok_or_else(|| Error::new(Kind::Internal, "an image that was just made is gone"))
    }

    /// A copy of the image into which `spoil` puts what a hostile one has.
    pub(super) fn hostile(&self, spoil: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<PathBuf> {
        let path = self.copy(self.image()?)?;
        spoil(&path).context(|| "make a hostile image")?;
        Ok(path)
    }

    fn copy(&self, from: &Path) -> Result<PathBuf> {
        let to = self.directory("image")?;
        let open = |path: &Path| File::open(path).context(|| format!("open `{}`", path.display()));
        tree::copy(open(from)?, open(&to)?, &tree::Options::default(), &Silent)?;
        Ok(to)
    }

    /// A recipe for a guest from `image`, on the shared network stack. `number` is below 8 and nobody else's at the
    /// time; `more` are further fields.
    pub(super) fn recipe(&self, name: &str, number: u8, image: &str, more: &str) -> Result<PathBuf> {
        // Where abstract sockets cannot be scoped, row 21 shows what is refused; the others need a guest.
        let shared = landlock::require_scoping().is_err();
        let net = format!(
            "net = {{ mode = \"bind\", address = \"{}/32\", device = \"lo\", \
             shared_abstract_sockets = {shared} }},",
            Self::address(number + 1)
        );
        let net = if more.contains("net =") { "" } else { &net };
        let storage = if self.is_laid.get() {
            "storage = \"overlay\","
        } else {
            "storage = \"dir\","
        };
        let xid = self.place.first + u32::from(number);
        let text = format!(
            "guest \"{name}\" {{\n  image = \"{image}\",\n  xid = {xid},\n  {net}\n  {storage} {more}\n}}\n"
        );
        let path = self.path("recipe.lua");
        fs::write(&path, text).context(|| format!("write `{}`", path.display()))?;
        Ok(path)
    }

    /// Applies a recipe for a guest from that tree; it may be refused.
    pub(super) fn apply(&self, name: &str, number: u8, tree: &Path, more: &str) -> Result<Output> {
        let recipe = self.recipe(name, number, &format!("dir:{}", tree.display()), more)?;
        self.hostel(["apply".as_ref(), recipe.as_os_str()]).run()
    }

    /// A guest that runs, from the plain image.
    pub(super) fn guest(&self, name: &str, number: u8, more: &str) -> Result<()> {
        let image = self.image()?.to_owned();
        self.apply(name, number, &image, more)?.ok().map(drop)
    }

    /// Two plain guests that run, `a` and `b`, for rows that do them no harm. Each has a service called `nap`.
    pub(super) fn standing(&self) -> Result<()> {
        if !self.standing.get() {
            let nap = "services = { nap = { exec = { \"sleep\", \"100000\" }, restart = \"never\" } },";
            for (guest, number) in STANDING.iter().zip(0..) {
                self.guest(guest, number, nap)?;
            }
            self.standing.set(true);
        }
        Ok(())
    }

    /// Takes the standing guests away; who wants them makes them anew.
    fn stand_down(&self) -> Result<()> {
        self.standing.set(false);
        STANDING.iter().try_for_each(|guest| self.destroy(guest))
    }

    /// Takes a guest away, running or not, there or not.
    pub(super) fn destroy(&self, name: &str) -> Result<()> {
        if self.place.dir.join("state/guests").join(name).exists() {
            self.hostel(["destroy", "--force", name]).run()?.ok()?;
        }
        Ok(())
    }

    /// The host's number of the guest's process 1.
    pub(super) fn init_of(&self, guest: &str) -> Result<i64> {
        self.status(guest, "pid")
    }

    /// How many processes the guest has.
    pub(super) fn processes(&self, guest: &str) -> Result<i64> {
        self.status(guest, "processes")
    }

    fn status(&self, guest: &str, field: &str) -> Result<i64> {
        let text = self.hostel(["status", "--json", guest]).run()?.ok()?.stdout;
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        status[field]
            .as_i64()
            .ok_or_else(|| Error::new(Kind::External, format!("the guest `{guest}` does not run")))
    }

    /// A command in a guest.
    pub(super) fn exec(&self, guest: &str, argv: &[&str]) -> Result<Output> {
        self.hostel(["exec", guest, "--"].iter().chain(argv)).run()
    }

    /// A line of shell in a guest.
    pub(super) fn sh(&self, guest: &str, script: &str) -> Result<Output> {
        self.exec(guest, &["sh", "-c", script])
    }

    /// An attack in a guest, as its root.
    pub(super) fn attack(&self, guest: &str, script: &Script) -> Result<Answers> {
        let run = self
            .hostel(["exec", guest, "--", PROGRAM])
            .stdin(script.text().as_bytes())?;
        let output = run.run()?;
        script
            .answers(&output.stdout)
            .map_err(|err| explain(err, &output))
    }

    /// The same attack by a process that the start of a new guest `c` begins, under hostel's init or its own.
    pub(super) fn attack_at_start(&self, init: Init, script: &Script) -> Result<Answers> {
        let line = format!("{PROGRAM} </script >/answers; exec sleep 100000");
        let how = match init {
            Init::Hostels => {
                format!("services = {{ tries = {{ exec = {{ \"sh\", \"-c\", \"{line}\" }} }} }},")
            }
            Init::Own => "init = \"/sbin/init\",".to_owned(),
        };
        let files = format!(
            "files = {{ [\"/script\"] = [==[\n{}]==], [\"/etc/inittab\"] = \"::once:/bin/sh -c '{line}'\\n\" }},",
            script.text()
        );
        self.guest("c", 2, &format!("{how} {files}"))?;
        let mut said = String::new();
        // The last line says that it came to its end.
        eventually(|| {
            said = self.exec("c", &["cat", "/answers"])?.stdout;
            Ok(said.ends_with("end\n"))
        })?;
        script.answers(&said)
    }

    /// The same attack by root of the host: where nothing is in its way it must work, or it proves nothing.
    pub(super) fn outside(&self, script: &Script) -> Result<Answers> {
        let program = self.image()?.join(PROGRAM.trim_start_matches('/'));
        let run = Run::new(program, [""; 0]).stdin(script.text().as_bytes())?;
        let output = run.run()?;
        script
            .answers(&output.stdout)
            .map_err(|err| explain(err, &output))
    }
}

fn explain(err: Error, output: &Output) -> Error {
    match output.stderr.trim() {
        "" => err,
        said => err.with_hint(said.to_owned()),
    }
}

/// Waits until something is so, at most a minute: a slow machine is no defence. Whether it came.
pub(super) fn eventually(mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if is_so()? {
            return Ok(true);
        }
        interrupt::check()?;
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
