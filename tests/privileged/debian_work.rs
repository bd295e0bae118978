//! What people do on a Debian server, under the default profile: a name server, a build, upgrades of packages.

use std::time::Duration;

use crate::debian_services::build;
use crate::support::{Need, World, eventually, tests};

tests! {
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => bind9_answers_for_its_zone,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => a_project_in_c_builds_with_make,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian] within 420 => packages_are_upgraded,
    [Root, Cgroup2, Bpf, Verb("apply"), Debian, Mirror, HostNetwork] within 420 => apt_unpacks_the_base_system_anew,
}

/// One image for all tests here.
const PACKAGES: &str = r#""bind9", "bind9-dnsutils", "gcc", "libc6-dev", "make", "procps""#;

pub(crate) fn packages() -> Vec<String> {
    PACKAGES.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}

/// Runs with these fields, its processes limited as a customer's would be.
fn running(world: &World, more: &str) {
    let shared = Need::LandlockScopes.probe().is_err();
    let (xid, address) = (world.xid(0), world.address(1));
    // On a device: a name server listens on the addresses that it finds there.
    let text = format!(
        "guest \"web\" {{ image = \"debian:bookworm\", packages = {{ {PACKAGES} }}, xid = {xid},\n  net = {{ mode = \"bind\", \
         address = \"{address}/32\", device = \"lo\", shared_abstract_sockets = {shared} }},\n  \
         limits = {{ pids = 400, memory = \"1G\" }},\n  {more} }}\n"
    );
    let recipe = world.file("web.lua", &text);
    build(world, &recipe);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(180).ok();
}

fn sh(world: &World, script: &str) -> String {
    world.hostel(["exec", "web", "--", "sh", "-euc", script]).deadline(180).ok().stdout
}

const ZONE: &str = "$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.1\nwww IN A 192.0.2.80\n";

fn bind9_answers_for_its_zone(world: &World) {
    let config = "zone \\\"hostel.test\\\" { type primary; file \\\"/etc/bind/hostel.test\\\"; };";
    let service = "services = { named = { exec = { \"/usr/sbin/named\", \"-f\", \"-u\", \"bind\" } } },";
    running(world, service);
    let zone = ZONE.replace('\n', "\\n");
    sh(world, &format!("printf '{zone}' >/etc/bind/hostel.test; echo \"{config}\" >>/etc/bind/named.conf.local"));
    // It finds its own configuration by the control channel on its own loopback, once it is there.
    let reload = || world.hostel(["exec", "web", "--", "rndc", "reconfig"]).run().status == 0;
    assert!(eventually(Duration::from_secs(30), reload), "{}", world.hostel(["logs", "web"]).run());
    let address = world.address(1).to_string();
    for server in [address.as_str(), "127.0.0.1"] {
        for transport in ["+notcp", "+tcp"] {
            let ask = ["exec", "web", "--", "dig", "+short", "+time=5", transport, "www.hostel.test", &format!("@{server}")];
            let answered = || world.hostel(ask).run().stdout == "192.0.2.80\n";
            assert!(eventually(Duration::from_secs(30), answered), "{server} {transport}: {}", world.hostel(ask).run());
        }
    }
    // It runs as its own user, with what it gave up given up.
    assert_eq!(sh(world, "ps -o user= -C named | sort -u").trim(), "bind");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}

const MAKEFILE: &str = "objects = $(patsubst %.c,%.o,$(wildcard *.c))\nsum: $(objects)\n\t$(CC) -pthread -o $@ $^\n%.o: %.c\n\t$(CC) -O2 -c -o $@ $<\n";

fn a_project_in_c_builds_with_make(world: &World) {
    running(world, "");
    let make = r#"
        mkdir /root/sum && cd /root/sum
        for n in $(seq 40); do echo "int f$n(int x) { return x + $n; }" >f$n.c; done
        { for n in $(seq 40); do echo "int f$n(int);"; done; cat <<'C'
#include <pthread.h>
#include <stdio.h>
static void *half(void *from) { long sum = 0; switch ((long)from) { case 1: sum += f1(0) + f2(0) + f40(0); } return (void *)sum; }
int main(void) { pthread_t thread; void *sum; pthread_create(&thread, 0, half, (void *)1); pthread_join(thread, &sum); printf("%ld\n", (long)sum); return 0; }
C
        } >main.c
        cat >Makefile; make -s -j 8 && ./sum"#;
    let built = world.hostel(["exec", "web", "--", "sh", "-euc", make]).stdin(MAKEFILE).deadline(180).ok();
    built.stdout("43\n");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}

/// A package in two versions, which has of everything that an upgrade can do to a system.
const UPGRADE: &str = r#"
    make() {
      rm -rf /tmp/p && mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin /tmp/p/etc /tmp/p/var/lib/thing && cd /tmp/p
      printf 'Package: thing\nVersion: %s\nArchitecture: all\nMaintainer: nobody\nDescription: thing\n' "$1" >DEBIAN/control
      echo /etc/thing.conf >DEBIAN/conffiles
      echo "version $1" >etc/thing.conf
      printf '#!/bin/sh\necho %s\n' "$1" >usr/bin/thing
      cp /usr/bin/id usr/bin/thing-id
      ln usr/bin/thing usr/bin/thing-hard
      ln -s thing usr/bin/thing-soft
      chmod 755 usr/bin/thing; chmod 4755 usr/bin/thing-id
      printf '#!/bin/sh\nset -e\nid thing >/dev/null 2>&1 || useradd --system thing\nchown thing:thing /var/lib/thing\nsetcap cap_net_bind_service+ep /usr/bin/thing-id 2>/dev/null || true\n' >DEBIAN/postinst
      chmod 755 DEBIAN/postinst
      dpkg-deb --root-owner-group --build /tmp/p "/tmp/thing_$1.deb" >/dev/null
    }
    make 1; make 2
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq /tmp/thing_1.deb >/dev/null 2>&1
    thing; thing-soft
    sleep 1000 & old=$!
    apt-get install -y -qq /tmp/thing_2.deb >/dev/null 2>&1
    thing; thing-hard; cat /etc/thing.conf
    stat -c '%a %U' /usr/bin/thing-id /var/lib/thing
    kill $old
    dpkg --audit; dpkg --verify thing; dpkg-query -W -f '${Status} ${Version}\n' thing
    apt-get purge -y -qq thing >/dev/null 2>&1; ls /usr/bin/thing* /etc/thing.conf 2>/dev/null | wc -l"#;

fn packages_are_upgraded(world: &World) {
    running(world, "");
    let told = sh(world, UPGRADE);
    assert_eq!(told, "1\n1\n2\n2\nversion 2\n4755 root\n755 thing\ninstall ok installed 2\n0\n");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}

/// What an upgrade to the next point release does to the base system, from the mirror: libraries and programs that are in
/// use, users, set-user-ID programs, triggers.
fn apt_unpacks_the_base_system_anew(world: &World) {
    // The host's network: only there is a mirror.
    let shared = Need::LandlockScopes.probe().is_err();
    let text = format!(
        "guest \"web\" {{ image = \"debian:bookworm\", packages = {{ {PACKAGES} }}, xid = {}, net = {{ mode = \"host\", \
         shared_abstract_sockets = {shared} }} }}\n",
        world.xid(0)
    );
    let recipe = world.file("web.lua", &text);
    build(world, &recipe);
    world.hostel(["apply".as_ref(), recipe.as_os_str()]).deadline(180).ok();
    let script = "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq >/dev/null; apt-get -y -qq dist-upgrade >/dev/null; \
        apt-get install -y -qq --reinstall libc6 libc-bin login passwd dpkg bash coreutils util-linux bind9 >/tmp/log 2>&1 || \
        { cat /tmp/log; exit 1; }; dpkg --audit; stat -c %a /usr/bin/passwd; su -s /bin/sh -c 'id -un' bind";
    // As the host reaches its mirrors.
    let proxies = ["http_proxy", "https_proxy", "no_proxy"].map(|name| ["--env", name]);
    let proxies = proxies.into_iter().filter(|[_, name]| std::env::var_os(name).is_some());
    let argv = [&["exec"], proxies.collect::<Vec<_>>().as_flattened(), &["web", "--", "sh", "-euc", script]].concat();
    world.hostel(argv).deadline(300).ok().stdout("4755\nbind\n");
    world.hostel(["destroy", "--force", "web"]).deadline(120).ok();
}
