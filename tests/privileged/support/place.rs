//! hostel with its state on a file system of the test's, and what is asked of guests' files there.

use std::fs;
use std::path::PathBuf;

use super::command::{Output, tool};
use super::world::{Volume, World};

/// Everything of a tree but the inode numbers, as text.
pub(crate) const DUMP: &str = r"
import os,sys,hashlib
top=sys.argv[1]
seen={}
for d,ds,fs in os.walk(top):
    ds.sort()
    for n in sorted(ds+fs)+(['.'] if d==top else []):
        p=os.path.join(d,n); s=os.lstat(p); r=os.path.relpath(p,top)
        if r.startswith(('run','var/log/hostel','var/log')): continue
        x=[(a,os.getxattr(p,a,follow_symlinks=False).hex()) for a in sorted(os.listxattr(p,follow_symlinks=False)) if not a.startswith('trusted.')]
        kind=oct(s.st_mode)
        more=''
        if os.path.islink(p): more=ascii(os.readlink(p))
        elif os.path.isfile(p):
            more=hashlib.sha256(open(p,'rb').read()).hexdigest()+' sparse=%s'%(s.st_blocks*512<s.st_size//2)
            more+=' first='+ascii(seen.setdefault(s.st_ino,r))
        print(ascii(r),kind,s.st_uid,s.st_gid,s.st_mtime_ns if not os.path.isdir(p) else '',x,more)
";

/// What a tree can have.
pub(crate) const FILL: &str = r"
import os,sys
os.chdir(sys.argv[1]+'/srv')
open('data','w').write('data'); os.chown('data',1000,1001); os.chmod('data',0o4751)
os.link('data','twin'); os.symlink('x'*180,'long-link'); os.symlink('../etc/passwd','link'); os.mkfifo('pipe')
os.setxattr('data','user.note',bytes(range(1,60)))
open('capable','w').write('x'); os.setxattr('capable','security.capability',bytes.fromhex('0100000200040000000000000000000000000000'))
open('acl','w').write('x'); os.setxattr('acl','system.posix_acl_access',bytes.fromhex('0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff'))
f=open('holes','wb'); f.seek(50_000_000); f.write(b'end'); f.seek(20_000_000); f.write(b'mid'*9000); f.close()
os.makedirs('d/'+'n'*150+'/'+'m'*150); open('d/'+'n'*150+'/'+'m'*150+'/deep','w').write('deep')
open(b'odd \xff\n name','w').write('odd')
os.mkdir('sticky'); os.chmod('sticky',0o1777); os.setxattr('sticky','user.dir',b'yes')
open('old','w'); os.utime('old',ns=(1_000_000_000_123_456_789,1_000_000_000_123_456_789))
";

/// hostel with its state on a file system of the test's.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) world: &'a World,
    pub(crate) root: PathBuf,
    _volume: Option<Volume>,
}

impl<'a> Place<'a> {
    pub(crate) fn on(world: &'a World, kind: &str) -> Self {
        // The least that mkfs.xfs makes.
        Self::at(world, world.volume(kind, 320))
    }

    /// On a file system that was made before.
    pub(crate) fn at(world: &'a World, volume: Volume) -> Self {
        let root = volume.at.join("root");
        Self {
            world,
            root,
            _volume: Some(volume),
        }
    }

    pub(crate) fn here(world: &'a World) -> Self {
        Self {
            world,
            root: world.root.clone(),
            _volume: None,
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.world
            .hostel(args)
            .env("HOSTEL_ROOT", &self.root)
            .deadline(60)
            .run()
    }

    pub(crate) fn ok(&self, args: &[&str]) -> Output {
        self.run(args).code(0)
    }

    pub(crate) fn sh(&self, guest: &str, script: &str) -> String {
        self.ok(&["exec", guest, "-T", "--", "sh", "-ec", script]).stdout
    }

    /// Applies a guest without a network.
    pub(crate) fn apply(&self, name: &str, number: u32, more: &str) {
        let text = format!(
            "guest \"{name}\" {{ image = \"busybox\", xid = {}, {more} }}\n",
            self.world.xid(number)
        );
        let file = self.world.file(&format!("{name}.lua"), &text);
        self.ok(&["apply", file.to_str().unwrap()]);
    }

    /// Content, mode, owner, links and time of all that a guest sees of its own files.
    pub(crate) fn fingerprint(&self, guest: &str) -> String {
        self.sh(
            guest,
            "cd /; find . -xdev \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./var/log/hostel -o -path ./run -o -path ./tmp \\) -prune \
             -o -print | sort >/tmp/list; xargs stat -c '%n %F %a %u:%g' </tmp/list; \
             while read -r f; do if [ -L \"$f\" ]; then readlink \"$f\"; elif [ -f \"$f\" ]; then \
             stat -c '%n %s %h %Y' \"$f\"; sha256sum \"$f\"; fi; done </tmp/list; rm /tmp/list",
        )
    }

    pub(crate) fn layers(&self) -> usize {
        fs::read_dir(self.root.join("layers")).map_or(0, |dir| dir.flatten().count())
    }

    /// A stopped guest with a tree of all kinds, and what is in it.
    pub(crate) fn full(&self, name: &str, more: &str) -> String {
        let text = format!(
            "guest \"{name}\" {{ image = \"busybox\", xid = {}, {more} }}\n",
            self.world.xid(0)
        );
        let file = self.world.file(&format!("{name}.lua"), &text);
        self.ok(&["build", file.to_str().unwrap()]);
        tool("python3", ["-c", FILL, self.rootfs(name).to_str().unwrap()]).ok();
        self.dump(name)
    }

    pub(crate) fn rootfs(&self, name: &str) -> PathBuf {
        self.root.join("guests").join(name).join("rootfs")
    }

    pub(crate) fn dump(&self, name: &str) -> String {
        tool("python3", ["-c", DUMP, self.rootfs(name).to_str().unwrap()])
            .deadline(60)
            .ok()
            .stdout
    }

    pub(crate) fn is_empty(&self) {
        self.ok(&["ls", "--quiet"]).stdout("");
        for dir in ["guests", "tmp", "xid"] {
            let left: Vec<_> = fs::read_dir(self.root.join(dir)).unwrap().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    pub(crate) fn destroy(&self, guests: &[&str]) {
        let mut args = vec!["destroy", "--force"];
        args.extend(guests);
        self.ok(&args);
        self.ok(&["gc"]);
        assert_eq!(self.layers(), 0, "layers are left");
        let left: Vec<_> = fs::read_dir(self.root.join("tmp")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Shows what differs alone.
pub(crate) fn same(found: &str, expected: &str, why: &str) {
    let lines = |text: &str| {
        text.lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (found, expected) = (lines(found), lines(expected));
    let differ: Vec<_> = found.symmetric_difference(&expected).collect();
    assert!(differ.is_empty(), "{why}: {differ:#?}");
}
