//! Images that other tools wrote: layouts and archives of skopeo, layers that take away and swap, digests that lie.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Output, World, tests, tool};

tests! {
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("skopeo"), Tool("gzip"), Tool("zstd")] within 180 => layers_of_every_form_make_one_guest,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] => the_platform_and_the_tag_choose,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3"), Tool("gzip")] within 120 => what_is_not_what_its_digest_says_is_refused,
    [Root, Cgroup2, Bpf, Busybox, Tool("python3")] within 120 => hostile_layers_touch_nothing,
}

/// Writes a layout into a directory. What the words mean is told beside them.
const MAKE: &str = r#"
import sys,io,os,json,tarfile,hashlib,gzip,subprocess
out,what,canary=sys.argv[1:4]
R,D,S,L,C=tarfile.REGTYPE,tarfile.DIRTYPE,tarfile.SYMTYPE,tarfile.LNKTYPE,tarfile.CHRTYPE
def e(name,data=b'',kind=R,link='',mode=0o644,uid=0,xattr=None):
    i=tarfile.TarInfo(name); i.type=kind; i.size=len(data); i.linkname=link; i.mode=mode; i.uid=i.gid=uid; i.mtime=1_000_000_000
    if xattr: i.pax_headers={'SCHILY.xattr.'+k:v for k,v in xattr.items()}
    return i,data
def d(name,mode=0o755,**k): return e(name,kind=D,mode=mode,**k)
def tar(entries):
    b=io.BytesIO(); t=tarfile.open(fileobj=b,mode='w',format=tarfile.PAX_FORMAT)
    for i,data in entries: t.addfile(i,io.BytesIO(data))
    t.close(); return b.getvalue()
h=lambda b:hashlib.sha256(b).hexdigest()
os.makedirs(out+'/blobs/sha256',exist_ok=True)
def blob(b,name=None):
    open(out+'/blobs/sha256/'+(name or h(b)),'wb').write(b); return h(b)
T='application/vnd.oci.image.'
def descriptor(kind,b,**more): return dict(mediaType=T+kind,digest='sha256:'+blob(b),size=len(b),**more)
def image(layers,arch,config={},lie=None):
    tars=[tar(l) for l in layers]
    packed=[]
    for n,t in enumerate(tars):
        if n%3==1: packed.append(('layer.v1.tar+gzip',gzip.compress(t,1,mtime=0)))
        elif n%3==2 and what!='docker': packed.append(('layer.v1.tar+zstd',subprocess.run(['zstd','-qc'],input=t,stdout=subprocess.PIPE,check=True).stdout))
        else: packed.append(('layer.v1.tar',t))
    ids=['sha256:'+h(t) for t in tars]
    if lie=='diff': ids[-1]='sha256:'+'0'*64
    if lie=='count': ids.pop()
    cfg=json.dumps({'architecture':arch,'os':'linux','config':config,'rootfs':{'type':'layers','diff_ids':ids}}).encode()
    man={'schemaVersion':2,'mediaType':T+'manifest.v1+json','config':descriptor('config.v1+json',cfg),'layers':[descriptor(k,b) for k,b in packed]}
    if lie=='kind': man['layers'][0]['mediaType']=T+'layer.v1.tar+gzip+encrypted'
    if lie=='layer': blob(b'other',man['layers'][-1]['digest'][7:])
    if lie=='missing': os.remove(out+'/blobs/sha256/'+man['layers'][-1]['digest'][7:])
    if lie=='config': blob(b'{}',man['config']['digest'][7:])
    m=json.dumps(man).encode()
    if lie=='manifest':
        x=descriptor('manifest.v1+json',m); blob(m+b' ',x['digest'][7:]); return x
    if lie=='algorithm':
        x=descriptor('manifest.v1+json',m); x['digest']='md5:'+'0'*32; return x
    return descriptor('manifest.v1+json',m)
def index(*ms):
    open(out+'/index.json','w').write(json.dumps({'schemaVersion':2,'manifests':list(ms)}))
    open(out+'/oci-layout','w').write('{"imageLayoutVersion":"1.0.0"}')
def tagged(m,tag): m['annotations']={'org.opencontainers.image.ref.name':tag}; return m
arch={'x86_64':'amd64','aarch64':'arm64'}[os.uname().machine]
other='arm64' if arch=='amd64' else 'amd64'
bb=open('/bin/busybox','rb').read()
base=[d('bin'),d('etc'),d('srv'),d('dev'),d('proc'),d('sys'),d('tmp',0o1777),d('root'),d('run'),d('var'),d('var/log'),
  e('bin/busybox',bb,mode=0o755),e('bin/sh',kind=L,link='bin/busybox'),e('etc/passwd',b'root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n'),e('etc/group',b'root:x:0:\nwww:x:33:\n')]
F=lambda n,data=b'x',**k: e(n,data,**k)
if what in ('full','docker'):
    one=base+[d('srv/gone'),F('srv/gone/a'),d('srv/opaque'),F('srv/opaque/old'),d('srv/opaque/sub'),F('srv/opaque/sub/old'),F('srv/file'),d('srv/wasdir'),F('srv/wasdir/x'),F('srv/wasfile'),
      F('srv/one'),F('srv/two'),F('srv/attr',xattr={'user.a':'1'}),d('srv/dirattr',xattr={'user.d':'1'})]
    two=[e('srv/.wh.gone'),F('srv/opaque/sub/new'),e('srv/opaque/.wh..wh..opq'),e('srv/file',b'second',mode=0o600,uid=33),F('srv/wasdir',b'file'),d('srv/wasfile'),F('srv/wasfile/y'),
      e('srv/hard',kind=L,link='srv/one'),d('srv/dirattr'),e('srv/.wh.three'),e('.wh..wh.plnk'),e('srv/attr',b'n')]
    three=[e('srv/.wh.two'),F('srv/again',b'made'),e('srv/.wh.again')]
    index(image([one,two,three],arch,{'Env':['PATH=/bin','GREETING=hello world','HOME=/srv'],'Entrypoint':['/bin/busybox','sh','-c'],
      'Cmd':['echo "$GREETING" "$(busybox id -u)" "$(pwd)" "$FROM"; exec busybox sleep 1000'],'User':'www','WorkingDir':'/srv','StopSignal':'SIGTERM','ExposedPorts':{'80/tcp':{}}}))
elif what=='many':
    a=tagged(image([base+[F('srv/a')]],arch),'one'); b=tagged(image([base+[F('srv/b')]],arch),'two')
    c=image([base+[F('srv/c')]],arch); x=image([base+[F('srv/x')]],other)
    c['platform']={'os':'linux','architecture':arch}; x['platform']={'os':'linux','architecture':other}
    att=image([[F('attestation')]],arch); att['platform']={'os':'unknown','architecture':'unknown'}
    sub=json.dumps({'schemaVersion':2,'manifests':[x,c,att]}).encode()
    only=tagged(image([base],other),'other')
    index(a,b,tagged(descriptor('index.v1+json',sub),'three'),only)
elif what.startswith('lie-'): index(image([base,[F('srv/a')]],arch,lie=what[4:]))
elif what=='json': index(); open(out+'/index.json','w').write('[1')
elif what=='large': index(); open(out+'/index.json','w').write(' '*(5<<20))
else:
    up='../'*12+canary.lstrip('/')
    bad={
     'swap':[[d('a'),F('a/file')],[e('a',kind=S,link=canary)],[F('a/file',b'bad'),F('a/new')]],
     'swap-up':[[d('a')],[e('a',kind=S,link=up)],[F('a/file',b'bad')],[e('a/.wh.file')],[e('a/.wh..wh..opq')]],
     'opaque':[[e('a',kind=S,link=canary)],[e('a/.wh..wh..opq')]],
     'whiteout':[[e('a',kind=S,link=canary)],[e('a/.wh.file')]],
     'hard':[[e('a',kind=L,link=canary+'/file')]],
     'hard-up':[[e('a',kind=L,link=up+'/file')]],
     'hard-through':[[e('a',kind=S,link=canary)],[e('b',kind=L,link='a/file')],[F('b',b'bad')]],
     'hard-to-link':[[e('a',kind=S,link=canary+'/file')],[e('b',kind=L,link='a')],[F('b',b'bad')]],
     'climb':[[F(up+'/new')]],
     'absolute':[[F(canary+'/new')]],
     'dots':[[e('a/.wh...')]],
     'dot':[[e('a/.wh..')]],
     'nothing':[[e('.wh.')]],
     'whiteout-up':[[e('../'*12+canary.lstrip('/')+'/.wh.file')]],
     'device':[[F('disk')],[e('disk',kind=tarfile.BLKTYPE)]],
     'root':[[e('./',kind=S,link=canary)],[F('file',b'bad')]],
     'id':[[F('a',uid=70000)]],
    }[what]
    index(image([base]+bad,arch))
"#;

struct Made<'a> {
    world: &'a World,
    canary: PathBuf,
}

impl<'a> Made<'a> {
    fn new(world: &'a World) -> Self {
        let canary = world.dir.join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("file"), "host\n").unwrap();
        Self { world, canary }
    }

    /// A layout, in a directory of its own.
    fn layout(&self, what: &str) -> PathBuf {
        let out = self.world.dir.join(what);
        tool("python3", ["-c", MAKE, out.to_str().unwrap(), what, self.canary.to_str().unwrap()]).deadline(60).ok();
        out
    }

    fn recipe(&self, image: &str, more: &str) -> String {
        let text = format!("guest \"web\" {{ image = \"{image}\", xid = {}, storage = \"dir\", {more} }}\n", self.world.xid(0));
        self.world.file("web.lua", &text).to_str().unwrap().to_owned()
    }

    fn build(&self, image: &str) -> Output {
        self.world.hostel(["build", &self.recipe(image, "")]).deadline(60).run()
    }

    fn in_guest(&self, path: &str) -> PathBuf {
        self.world.root.join("guests/web/rootfs").join(path)
    }

    fn destroy(&self) {
        self.world.hostel(["destroy", "--force", "web"]).ok();
    }

    fn is_empty(&self) {
        self.world.hostel(["ls", "--quiet"]).ok().stdout("");
        for dir in ["guests", "tmp", "images/.tmp"] {
            let left: Vec<_> = fs::read_dir(self.world.root.join(dir)).into_iter().flatten().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

fn layers_of_every_form_make_one_guest(world: &World) {
    let made = Made::new(world);
    let dir = made.layout("full");
    let dir = dir.to_str().unwrap();
    let docker = made.layout("docker");
    let file = |name: &str| world.dir.join(name).to_str().unwrap().to_owned();
    let skopeo = |from: &str, to: &str| drop(tool("skopeo", ["--insecure-policy", "copy", "-q", &format!("oci:{from}"), to]).deadline(60).ok());
    skopeo(dir, &format!("oci-archive:{}:v1", file("oci.tar")));
    // Docker's format has no layers by zstd.
    skopeo(docker.to_str().unwrap(), &format!("docker-archive:{}:example.net/web:v2", file("docker.tar")));
    tool("gzip", ["-k", &file("docker.tar")]).ok();
    for image in [
        format!("oci:{dir}"),
        format!("oci-archive:{}", file("oci.tar")),
        format!("oci-archive:{}:v1", file("oci.tar")),
        format!("docker-archive:{}", file("docker.tar")),
        format!("docker-archive:{}:example.net/web:v2", file("docker.tar.gz")),
    ] {
        let built = made.build(&image).code(0);
        assert!(built.stderr.contains("names what is not taken over: the ports 80/tcp"), "{image}: {built}");
        let read = |path: &str| fs::read_to_string(made.in_guest(path)).ok();
        for gone in ["srv/gone", "srv/opaque/old", "srv/opaque/sub/old", "srv/two", "srv/.wh.two", "srv/opaque/.wh..wh..opq", ".wh..wh.plnk"] {
            assert!(fs::symlink_metadata(made.in_guest(gone)).is_err(), "{image}: {gone}");
        }
        assert_eq!(read("srv/opaque/sub/new").as_deref(), Some("x"), "{image}");
        assert_eq!(read("srv/file").as_deref(), Some("second"));
        assert_eq!(read("srv/wasdir").as_deref(), Some("file"));
        assert_eq!(read("srv/wasfile/y").as_deref(), Some("x"));
        // What a layer brings is not hidden by what the same layer takes away.
        assert_eq!(read("srv/again").as_deref(), Some("made"));
        let stat = |path: &str| tool("stat", ["-c", "%a %u %h %Y", made.in_guest(path).to_str().unwrap()]).ok().stdout;
        assert_eq!(stat("srv/file"), "600 33 1 1000000000\n");
        assert_eq!(stat("srv/one"), "644 0 2 1000000000\n");
        assert_eq!(stat("srv/opaque"), "755 0 3 1000000000\n");
        let attributes = |path: &str| tool("python3", ["-c", "import os,sys; print(os.listxattr(sys.argv[1]))", made.in_guest(path).to_str().unwrap()]).ok().stdout;
        assert_eq!(attributes("srv/attr"), "[]\n");
        assert_eq!(attributes("srv/dirattr"), "[]\n");
        made.destroy();
    }
    // One and the same image by all of its forms: what it is was unpacked once for the layout, and once for Docker's.
    let images = world.hostel(["images"]).ok().stdout;
    assert!(images.matches("oci-").count() <= 2, "{images}");
    // Its command runs as its user, in its directory, with its environment and the recipe's over it.
    let recipe = made.recipe(&format!("oci:{dir}"), "env = { FROM = \"recipe\" }");
    world.hostel(["apply", &recipe]).ok();
    world.hostel(["apply", &recipe]).ok().stdout("no changes: the host is as the recipe says\n");
    let said = || world.hostel(["logs", "web", "main"]).run();
    assert!(crate::support::eventually(std::time::Duration::from_secs(20), || said().stdout.contains("hello world 33 /srv recipe")), "{}", said());
    world.hostel(["exec", "web", "-T", "--", "sh", "-c", "echo $GREETING"]).ok().stdout("hello world\n");
    // A clone of it runs the same.
    world.hostel(["clone", "web", "copy", "--start"]).ok();
    world.hostel(["exec", "copy", "-T", "--", "sh", "-c", "echo $GREETING"]).ok().stdout("hello world\n");
    world.hostel(["destroy", "--force", "copy"]).ok();
    made.destroy();
    made.is_empty();
}

fn the_platform_and_the_tag_choose(world: &World) {
    let made = Made::new(world);
    let dir = made.layout("many");
    let dir = dir.to_str().unwrap();
    for (tag, file) in [("one", "srv/a"), ("two", "srv/b"), ("three", "srv/c")] {
        made.build(&format!("oci:{dir}:{tag}")).code(0);
        assert!(made.in_guest(file).exists(), "{tag}");
        made.destroy();
    }
    let tags = "its tags: one, other, three, two";
    made.build(&format!("oci:{dir}")).code(1).stderr_has("images for linux/").stderr_has(tags);
    made.build(&format!("oci:{dir}:four")).code(1).stderr_has("has no image `four` for linux/").stderr_has(tags);
    made.build(&format!("oci:{dir}:other")).code(1).stderr_has("and the guest is linux/");
    made.build(&format!("oci-archive:{dir}")).code(1).stderr_has("is not a file");
    made.build(&format!("oci:{}/canary", world.dir.display())).code(1).stderr_has("is no image layout: it has no `index.json`");
    made.is_empty();
}

fn what_is_not_what_its_digest_says_is_refused(world: &World) {
    let made = Made::new(world);
    for (what, why) in [
        ("lie-diff", "it is damaged: it is not `sha256:0000"),
        ("lie-count", "has 2 layers, and its configuration names 1"),
        ("lie-kind", "has a layer of the kind `application/vnd.oci.image.layer.v1.tar+gzip+encrypted`"),
        ("lie-layer", "it is damaged: it is not `sha256:"),
        ("lie-missing", "there is no `blobs/sha256/"),
        ("lie-config", "is something else"),
        ("lie-manifest", "is something else"),
        ("lie-algorithm", "which hostel does not know"),
        ("json", "has index.json that makes no sense"),
        ("large", "has a `index.json` of more than 4M"),
    ] {
        let dir = made.layout(what);
        let built = made.build(&format!("oci:{}", dir.display()));
        assert!(built.status == 1 && built.stderr.contains(why), "{what}: {built}");
        made.is_empty();
        fs::remove_dir_all(dir).unwrap();
    }
}

fn hostile_layers_touch_nothing(world: &World) {
    let made = Made::new(world);
    let state = |dir: &Path| tool("sh", ["-c", "cd \"$0\" && stat -c '%n %i %h %a %u %Y %Z %s' . * && cat *", dir.to_str().unwrap()]).ok().stdout;
    let before = state(&made.canary);
    for (what, refused) in [
        ("swap", None),
        ("swap-up", None),
        ("opaque", None),
        ("whiteout", None),
        ("hard", Some("is an absolute name")),
        ("hard-up", Some("has `..` in it")),
        ("hard-through", Some("which is not there")),
        ("hard-to-link", None),
        ("climb", Some("has `..` in it")),
        ("absolute", Some("is an absolute name")),
        ("dots", Some("takes away what has no name")),
        ("dot", Some("takes away what has no name")),
        ("nothing", Some("takes away what has no name")),
        ("whiteout-up", Some("has `..` in it")),
        ("device", None),
        ("root", None),
        ("id", Some("belongs to the id 70000")),
    ] {
        let dir = made.layout(what);
        let built = made.build(&format!("oci:{}", dir.display()));
        match refused {
            Some(why) => assert!(built.status == 1 && built.stderr.contains(why), "{what}: {built}"),
            // Refused or contained: then there is a guest.
            None => assert!(built.status <= 1, "{what}: {built}"),
        }
        if built.status == 0 {
            if what == "device" {
                assert!(fs::symlink_metadata(made.in_guest("disk")).is_err(), "the file that a device replaces");
            }
            made.destroy();
        }
        assert_eq!(state(&made.canary), before, "{what}");
        made.is_empty();
        fs::remove_dir_all(dir).unwrap();
    }
}
