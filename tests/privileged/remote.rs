//! `hostel.http` with TLS and `hostel.ssh`, against the servers that others wrote.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::{World, tests, tool};

tests! {
    [Root, Tool("openssl")] within 120 => tls_is_checked_against_a_ca_of_ones_own,
    [Root, Tool("sshd"), Tool("ssh"), Tool("ssh-keygen"), Tool("rsync")] within 120 => commands_and_files_go_over_sshd,
}

fn openssl(world: &World, words: &str) {
    world.within(tool("openssl", words.split(' '))).dir(&world.dir).silent().run().code(0);
}

fn script(world: &World, text: &str, args: &[&str]) {
    let file = world.file("script.lua", text);
    let words = ["run".as_ref(), file.as_os_str()].into_iter().chain(args.iter().map(AsRef::as_ref));
    world.hostel(words).deadline(60).ok();
}

fn tls_is_checked_against_a_ca_of_ones_own(world: &World) {
    for ca in ["ca", "other"] {
        openssl(
            world,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={ca} -addext keyUsage=keyCertSign -keyout {ca}.key -out {ca}.pem"
            ),
        );
    }
    openssl(world, "req -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem -out request.pem");
    world.file("names", "subjectAltName=IP:127.0.0.1\n");
    openssl(
        world,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    );
    world.file("page", "over TLS\n");
    let words = "s_server -quiet -accept 8443 -cert cert.pem -key key.pem -WWW";
    let server = world.within(tool("openssl", words.split(' '))).dir(&world.dir).silent().spawn();
    let (ca, other) = (world.dir.join("ca.pem"), world.dir.join("other.pem"));
    script(
        world,
        r#"
        local http, tcp = require "hostel.http", require "hostel.tcp"
        local ca, other = args[1], args[2]
        assert(tcp.wait_open("127.0.0.1", 8443, "20s"))
        local answer = assert(http.get("https://127.0.0.1:8443/page", { ca = ca }))
        assert(answer.ok and answer.body == "over TLS\n", answer.body)
        -- Another CA, the system's, a name that the certificate has not, and no TLS at all.
        for _, case in ipairs {
          { "https://127.0.0.1:8443/page", { ca = other } },
          { "https://127.0.0.1:8443/page" },
          { "https://127.0.0.2:8443/page", { ca = ca } },
        } do
          local answer, err = http.get(case[1], case[2])
          assert(answer == nil and tostring(err):find("certificate", 1, true), tostring(err))
          assert(err.kind == "external" or err.kind == "not_found", err.kind)
        end
        assert(http.get("http://127.0.0.1:8443/page") == nil)
        "#,
        &[ca.to_str().unwrap(), other.to_str().unwrap()],
    );
    server.signal(Signal::SIGKILL);
    server.wait();
}

fn commands_and_files_go_over_sshd(world: &World) {
    for key in ["host", "own", "other"] {
        let path = world.dir.join(key);
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()];
        world.within(tool("ssh-keygen", words)).run().code(0);
    }
    let public = |name: &str| std::fs::read_to_string(world.dir.join(name)).unwrap();
    let key = world.file("authorized", &public("own.pub"));
    let known = world.file("known", &format!("[127.0.0.1]:2222 {}", public("host.pub")));
    let stranger = world.file("stranger", &format!("[127.0.0.1]:2222 {}", public("other.pub")));
    let config = world.file(
        "sshd_config",
        &format!(
            "ListenAddress 127.0.0.1:2222\nHostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin prohibit-password\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n",
            world.dir.join("host").display(),
            key.display(),
        ),
    );
    // Its own, for the time of the test, when Debian's service has not made it.
    let separation = Path::new("/run/sshd");
    let is_made = !separation.exists();
    if is_made {
        std::fs::create_dir(separation).unwrap();
    }
    let words = ["-D", "-e", "-f", config.to_str().unwrap()];
    let server = world.within(tool("/usr/sbin/sshd", words)).silent().spawn();
    script(
        world,
        r#"
        local ssh, tcp, fs = require "hostel.ssh", require "hostel.tcp", require "hostel.fs"
        local dir, known, stranger = args[1], args[2], args[3]
        assert(tcp.wait_open("127.0.0.1", 2222, "20s"))
        local function machine(more)
          local given = { name = "127.0.0.1", port = 2222, user = "root", key = dir .. "/own", known_hosts = known }
          for key, value in pairs(more or {}) do given[key] = value end
          return ssh.host(given)
        end
        local it = machine()
        local r = it:exec { "printf", "%s|", "a b", "it's", "$HOME", "`id`", "", "*", "\n", dir = "/" }
        assert(r.ok and r.stdout == "a b|it's|$HOME|`id`||*|\n|", r.stdout .. r.stderr)
        assert(it:exec({ "sh", "-c", 'echo "$A"; pwd; exit 7', env = { A = "x  y" }, dir = "/usr" }).stdout == "x  y\n/usr\n")
        assert(it:exec({ "sh", "-c", "exit 7" }).code == 7)
        assert(it:exec({ "cat", stdin = ("x"):rep(100000) }).stdout == ("x"):rep(100000))
        assert(it:exec({ "sleep", "1", timeout = "300ms" }).timed_out)
        local files = assert(fs.root(dir))
        assert(files:mkdir "from 1" and files:write("from 1/it's", "content"))
        it:push(dir .. "/from 1/", dir .. "/to $1/")
        assert(files:read "to $1/it's" == "content")
        it:pull(dir .. "/to $1/", dir .. "/back/")
        assert(files:read "back/it's" == "content")
        -- A key that it does not know, and a machine that is not who it was.
        for why, other in pairs { ["Permission denied"] = machine { key = dir .. "/other" }, ["Host key verification failed"] = machine { known_hosts = stranger } } do
          local ok, err = pcall(other.exec, other, { "id" })
          assert(not ok and tostring(err):find(why, 1, true), tostring(err))
          assert(not pcall(other.push, other, dir .. "/known", dir .. "/x") and not files:exists "x")
        end
        "#,
        &[world.dir.to_str().unwrap(), known.to_str().unwrap(), stranger.to_str().unwrap()],
    );
    server.signal(Signal::SIGKILL);
    server.wait();
    if is_made {
        std::fs::remove_dir(separation).unwrap();
    }
}
