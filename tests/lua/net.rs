//! `require "hostel.net"`.

use crate::support::{eval, printed};

fn addresses(expressions: &str) -> Vec<String> {
    let text = format!(
        "local net = require 'hostel.net'\nguest 'a' {{ image = 'busybox', net = {{ mode = 'bind', address = {{ {expressions} }} }} }}"
    );
    let evaluated = eval(&text).unwrap_or_else(|d| panic!("{d}"));
    evaluated.specs[0]
        .net
        .address
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn hosts_of_a_pool() {
    assert_eq!(
        addresses(
            "net.pool('10.20.0.0/16', { reserve = 10 }):host(1), net.pool('10.20.0.0/16'):host(65534), net.pool('10.0.0.0/8'):host(65536)"
        ),
        ["10.20.0.11/16", "10.20.255.254/16", "10.1.0.0/8"]
    );
    assert_eq!(
        addresses(
            "net.pool('fd00:1::/64'):host(1), net.pool('fd00::/16'):host(65536), net.pool('2001:db8:0:1:1::/80'):host(70000)"
        ),
        ["fd00:1::1/64", "fd00::1:0/16", "2001:db8:0:1:1:0:1:1170/80"]
    );
}

#[test]
fn a_full_pool_says_so_at_the_callers_line() {
    insta::assert_snapshot!(printed(
        "local pool = require('hostel.net').pool('10.0.0.0/30')\n\nguest 'a' { image = 'busybox', net = { mode = 'bind', address = pool:host(3) } }\n"
    ));
}

#[test]
fn what_is_no_network() {
    for bad in [
        "10.0.0.1/16",
        "10.0.0.0/33",
        "10.0.0.0",
        "fd00::1/64",
        "x/8",
        "256.0.0.0/8",
        "1:2:3/48",
    ] {
        let err = eval(&format!("require('hostel.net').pool('{bad}')")).unwrap_err();
        assert_eq!(err.len(), 1, "{bad}");
    }
}
