//! What the program says, a line at a time: what was written before it was killed is there.

use super::{arch, syscall};

/// `= RESULT`.
pub fn result(value: isize) {
    let mut line = [0; 32];
    line[0] = b'=';
    line[1] = b' ';
    let mut at = line.len() - 1;
    line[at] = b'\n';
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        line[at] = b'-';
    }
    let length = line.len() - at;
    line.copy_within(at.., 2);
    text(&line[..2 + length]);
}

/// `: HEX`.
pub fn bytes(bytes: &[u8]) {
    text(b": ");
    for byte in bytes {
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        text(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text(b"\n");
}

/// The text as it is. What cannot be written is lost, and with it the `end` that would prove something.
pub fn text(text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        match syscall(arch::WRITE, [1, rest.as_ptr() as usize, rest.len(), 0, 0, 0]) {
            written if written > 0 => rest = &rest[written as usize..],
            -4 => {}
            _ => return,
        }
    }
}
