//! `hostel ls`

use crate::support::hostel;

#[test]
fn no_guests() {
    assert_eq!(
        hostel(&["ls"]).prints(),
        "NAME  XID  STATE  PROC  MEM  CPU  DISK  ADDRESS  UPTIME\n"
    );
    assert_eq!(hostel(&["ls", "--json"]).prints(), "[]\n");
    assert_eq!(hostel(&["ls", "-rq"]).prints(), "");
}
