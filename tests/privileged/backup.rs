//! Backups: made, thinned out, verified by a start, and restored. That they can be killed is shown in `crash`.

use std::fs;

use crate::support::{Place, World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Tool("zstd")] within 180 => backups_are_made_verified_and_restored,
    [Root, Cgroup2, Bpf, Busybox, Tool("zstd")] within 120 => a_backup_that_does_not_start_is_no_backup,
}

struct Backups<'a> {
    place: Place<'a>,
    to: String,
}

impl<'a> Backups<'a> {
    /// A guest that serves a page, and an empty directory.
    fn new(world: &'a World, more: &str) -> Self {
        let to = world.dir.join("backups");
        fs::create_dir(&to).unwrap();
        let text = format!(
            "guest \"web\" {{ image = \"busybox\", xid = {}, storage = \"dir\",\n  net = {{ mode = \"bind\", address = {{ \"{}/8\" }}, shared_abstract_sockets = {} }},\n  \
             services = {{ httpd = {{ exec = {{ \"httpd\", \"-f\", \"-h\", \"/srv\" }} }} }}, health = {{ tcp = 80, interval = \"200ms\", start = \"20s\" }}, {more} }}\n",
            world.xid(0),
            world.address(1),
            crate::support::Need::LandlockScopes.probe().is_err(),
        );
        let file = world.file("web.lua", &text);
        let place = Place::here(world);
        place.ok(&["apply", file.to_str().unwrap()]);
        Self { place, to: to.to_str().unwrap().to_owned() }
    }

    fn run(&self, what: &str, more: &[&str]) -> crate::support::Output {
        let mut args = vec!["backup", what, "web", "--to", &self.to];
        args.extend(more);
        self.place.run(&args)
    }

    fn names(&self) -> Vec<String> {
        let dir = fs::read_dir(format!("{}/web", self.to)).unwrap().flatten();
        let mut names: Vec<_> = dir.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn snapshots(&self) -> usize {
        self.place.ok(&["snapshots", "web", "--json"]).stdout.matches("\"label\"").count()
    }

    fn write(&self, text: &str) {
        self.place.ok(&["exec", "web", "-T", "--", "sh", "-c", &format!("echo {text} >/srv/index.html")]);
    }

    fn end(self) {
        self.place.ok(&["destroy", "--force", "web"]);
        self.place.is_empty();
    }
}

fn backups_are_made_verified_and_restored(world: &World) {
    let backups = Backups::new(world, "");
    for text in ["one", "two", "three"] {
        backups.write(text);
        backups.run("create", &["--keep-last", "2"]).code(0);
    }
    let names = backups.names();
    // The two newest, and the whole one that they are made against.
    assert!(names.len() == 3 && names[0].ends_with(".full.tar.zst") && names[1..].iter().all(|name| name.contains(".since-")), "{names:?}");
    assert_eq!(backups.snapshots(), 1);
    let listed = backups.run("ls", &[]).code(0);
    assert_eq!(listed.stdout.lines().count(), 4, "{listed}");
    // The production guest runs on, with its address; the scratch guest has one of its own.
    let verified = backups.run("verify", &[]).code(0);
    assert!(verified.stderr.contains("start: done") || verified.stdout.contains("start: done"), "{verified}");
    backups.place.ok(&["ls", "--quiet"]).stdout("web\n");
    for (id, text) in names.iter().map(|name| name.split('.').next().unwrap()).zip(["one", "two", "three"]) {
        backups.run("restore", &["again", "--id", id]).code(0);
        backups.place.ok(&["convert", "again", "--to", "dir"]);
        assert_eq!(fs::read_to_string(backups.place.rootfs("again").join("srv/index.html")).unwrap(), format!("{text}\n"));
        backups.place.ok(&["destroy", "again"]);
    }
    backups.run("restore", &["web"]).code(1).stderr_has("there is a guest `web` already");
    // Two at once: each has its own.
    let (one, two) = (
        world.hostel(["backup", "create", "web", "--to", &backups.to]).deadline(60).spawn(),
        world.hostel(["backup", "create", "web", "--to", &backups.to]).deadline(60).spawn(),
    );
    let (one, two) = (one.wait(), two.wait());
    assert!(one.status == 0 && two.status == 0, "{one}\n{two}");
    assert_eq!(backups.names().len(), 5);
    backups.run("verify", &[]).code(0);
    backups.end();
}

fn a_backup_that_does_not_start_is_no_backup(world: &World) {
    let backups = Backups::new(world, "");
    // What serves is there only while the guest runs, so that a restored one never becomes healthy.
    backups.place.ok(&["exec", "web", "-T", "--", "sh", "-c", "rm /bin/httpd /usr/sbin/httpd 2>/dev/null; true"]);
    backups.run("create", &[]).code(0);
    let refused = backups.run("verify", &["--patience", "3s"]).code(1);
    assert!(refused.stderr.contains("start"), "{refused}");
    backups.place.ok(&["ls", "--quiet"]).stdout("web\n");
    // One whose archive is damaged is found before it is started.
    let file = format!("{}/web/{}", backups.to, backups.names()[0]);
    tool("truncate", ["-s", "-100", &file]).ok();
    backups.run("verify", &[]).code(1);
    backups.place.ok(&["ls", "--quiet"]).stdout("web\n");
    backups.end();
}
