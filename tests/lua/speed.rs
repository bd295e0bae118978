//! How long a thousand guests take. Prints figures, asserts none: `cargo test --release --test lua speed -- --nocapture`.

use std::time::Instant;

use hostel::lua::EvalOptions;

use crate::support::{eval_with, plain};

const FLEET: &str = r#"
local pool = require("hostel.net").pool("10.20.0.0/16", { reserve = 10 })
local base = template "base" {
  image = "debian:bookworm", packages = { "nginx-light" },
  limits = { memory = "256M", cpus = 0.5, pids = 256, nofile = 1024 },
  caps = { keep = { "net_raw" } }, env = { LANG = "C.UTF-8" },
  services = { nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" } },
  health = { tcp = 80, interval = "5s" },
}
local shop = template "shop" { from = base, net = { mode = "bind", device = "eth0", ports = { 80 } } }
for i = 1, 1000 do
  guest(("shop%04d"):format(i)) {
    from = shop, net = { address = pool:host(i) }, limits = { memory = "512M" },
    files = { ["/etc/motd"] = "shop " .. i .. "\n" },
  }
end
"#;

#[test]
fn a_thousand_guests() {
    for (name, options) in [
        ("in this process", plain()),
        ("in a child", EvalOptions::default()),
    ] {
        let mut times: Vec<_> = (0..3)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(eval_with(FLEET, &options).unwrap().specs.len(), 1000);
                start.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "1000 guests {name}: median {:?}, best {:?}",
            times[times.len() / 2],
            times[0]
        );
    }
}
