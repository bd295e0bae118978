//! A line of the program, and the memory that its words name.

/// What a line asks for.
pub enum Line<'a> {
    /// One call.
    Call(Call),
    /// The call for each number from the first to the last.
    Each(isize, isize, Call),
    /// Bytes into memory.
    Write(usize, &'a [u8]),
    /// Bytes out of memory.
    Read(usize, usize),
}

/// A system call whose words are read.
pub struct Call {
    pub number: usize,
    words: [Word; 6],
}

/// What an argument is.
#[derive(Clone, Copy)]
enum Word {
    /// This number, or an address of the program's text.
    Value(usize),
    /// The address of memory.
    Address(usize),
    /// The number in memory.
    Int(usize),
    /// The number of the round.
    Round,
}

/// The program's memory.
pub struct Memory<'a>(&'a mut [u8]);

impl<'a> Memory<'a> {
    pub fn new(space: &'a mut [u8]) -> Self {
        Self(space)
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.0.get_mut(offset..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    pub fn read(&self, offset: usize, length: usize) -> Option<&[u8]> {
        self.0.get(offset..)?.get(..length)
    }

    /// The arguments of a call in this round.
    pub fn resolve(&mut self, call: &Call, round: isize) -> Option<[usize; 6]> {
        let mut words = [0; 6];
        for (to, word) in words.iter_mut().zip(call.words) {
            *to = match word {
                Word::Value(value) => value,
                Word::Address(offset) => self.0.get_mut(offset..)?.as_mut_ptr() as usize,
                Word::Int(offset) => {
                    let bytes = self.read(offset, 4)?;
                    let number = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    number as isize as usize
                }
                Word::Round => round as usize,
            };
        }
        Some(words)
    }
}

/// Reads a line. Hexadecimal bytes are decoded where they stand, which they outlive: a text has half their length, so
/// its NUL has room too.
pub fn parse<'a>(line: &'a mut [u8], results: &[isize]) -> Option<Line<'a>> {
    let (first, rest) = split(line);
    match &*first {
        b"!" => {
            let (offset, hex) = split(rest);
            let offset = number(offset)? as usize;
            let length = decode(hex)?;
            Some(Line::Write(offset, &hex[..length]))
        }
        b"?" => {
            let (offset, length) = split(rest);
            Some(Line::Read(number(offset)? as usize, number(length)? as usize))
        }
        _ => match range(first) {
            Some((from, to)) => Some(Line::Each(from, to, call(rest, results)?)),
            None => {
                let called = number(first)? as usize;
                Some(Line::Call(Call { number: called, words: words(rest, results)? }))
            }
        },
    }
}

fn call(text: &mut [u8], results: &[isize]) -> Option<Call> {
    let (first, rest) = split(text);
    Some(Call { number: number(first)? as usize, words: words(rest, results)? })
}

fn words(mut text: &mut [u8], results: &[isize]) -> Option<[Word; 6]> {
    let mut words = [Word::Value(0); 6];
    let mut at = 0;
    while !text.is_empty() {
        let (word, rest) = split(text);
        *words.get_mut(at)? = self::word(word, results)?;
        at += 1;
        text = rest;
    }
    Some(words)
}

fn word(text: &mut [u8], results: &[isize]) -> Option<Word> {
    match text.split_first_mut()? {
        (b'$', []) => Some(Word::Round),
        (b'm', offset) => Some(Word::Address(number(offset)? as usize)),
        (b'i', offset) => Some(Word::Int(number(offset)? as usize)),
        (b'r', index) => results.get(number(index)? as usize).map(|result| Word::Value(*result as usize)),
        (b'x', _) => {
            let hex = &mut text[1..];
            let length = decode(hex)?;
            text[1 + length..].fill(0);
            // Where the text stood begins with the `x`; without a digit that place is the NUL.
            if length == 0 {
                text[0] = 0;
                return Some(Word::Value(text.as_ptr() as usize));
            }
            Some(Word::Value(text[1..].as_ptr() as usize))
        }
        _ => number(text).map(|value| Word::Value(value as usize)),
    }
}

/// The first word and what follows it.
fn split(text: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => {
            let (first, rest) = text.split_at_mut(at);
            (first, &mut rest[1..])
        }
        None => (text, &mut []),
    }
}

fn range(text: &[u8]) -> Option<(isize, isize)> {
    let at = text.windows(2).position(|two| two == b"..")?;
    Some((number(&text[..at])?, number(&text[at + 2..])?))
}

fn number(text: &[u8]) -> Option<isize> {
    let (is_negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    let mut value: isize = 0;
    if digits.is_empty() {
        return None;
    }
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(isize::from(*digit as i8 - b'0' as i8))?;
    }
    Some(if is_negative { -value } else { value })
}

/// Decodes in place; how many bytes there are.
fn decode(hex: &mut [u8]) -> Option<usize> {
    if hex.len() % 2 != 0 {
        return None;
    }
    let length = hex.len() / 2;
    for at in 0..length {
        hex[at] = digit(hex[2 * at])? << 4 | digit(hex[2 * at + 1])?;
    }
    Some(length)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
