//! Which lines of a Lua source have code: read from the compiled form (`string.dump`, format of Lua 5.4), because only
//! it knows, functions that never ran included.

use std::collections::BTreeSet;

/// What Lua 5.4 writes first: signature, version, format, data to detect damage, and the sizes of its numbers.
const HEADER: &[u8] = b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n\x04\x08\x08";

/// The delta in a line table that stands for "see the absolute ones".
const ABSOLUTE: i8 = -0x80;

/// The lines that have code; `None` when the bytes are not what this reads.
pub(super) fn of(dumped: &[u8]) -> Option<BTreeSet<usize>> {
    let mut reader = Reader(dumped.strip_prefix(HEADER)?);
    // An integer and a float, to detect another byte order.
    reader.skip(16)?;
    reader.byte()?;
    let mut lines = BTreeSet::new();
    reader.function(&mut lines, 0)?;
    Some(lines)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Seven bits a byte, the highest first; the last one is marked.
    fn number(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        loop {
            let byte = self.byte()?;
            value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
            if byte & 0x80 != 0 {
                return Some(value);
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        match self.number()? {
            0 => Some(()),
            size => self.skip(size - 1),
        }
    }

    fn function(&mut self, lines: &mut BTreeSet<usize>, depth: usize) -> Option<()> {
        // Lua itself allows 200 levels.
        if depth > 250 {
            return None;
        }
        self.string()?;
        let defined = self.number()?;
        self.number()?;
        self.byte()?;
        let is_vararg = self.byte()? != 0;
        self.byte()?;
        let code = self.number()?;
        self.skip(code.checked_mul(4)?)?;
        for _ in 0..self.number()? {
            match self.byte()? {
                // nil, false, true
                0x00 | 0x01 | 0x11 => {}
                // an integer, a float
                0x03 | 0x13 => self.skip(8)?,
                // a short string, a long one
                0x04 | 0x14 => self.string()?,
                _ => return None,
            }
        }
        let upvalues = self.number()?;
        self.skip(upvalues.checked_mul(3)?)?;
        for _ in 0..self.number()? {
            self.function(lines, depth + 1)?;
        }
        self.debug(lines, defined, is_vararg)
    }

    fn debug(&mut self, lines: &mut BTreeSet<usize>, defined: usize, is_vararg: bool) -> Option<()> {
        let count = self.number()?;
        let deltas = self.0.get(..count)?;
        self.skip(count)?;
        let mut absolute = Vec::new();
        for _ in 0..self.number()? {
            absolute.push((self.number()?, self.number()?));
        }
        let mut line = defined;
        for (pc, delta) in deltas.iter().enumerate() {
            let delta = delta.cast_signed();
            line = if delta == ABSOLUTE {
                absolute.iter().find(|(at, _)| *at == pc)?.1
            } else {
                line.checked_add_signed(isize::from(delta))?
            };
            // The first instruction of a function with `...` only takes the arguments.
            if pc > 0 || !is_vararg {
                lines.insert(line);
            }
        }
        for _ in 0..self.number()? {
            self.string()?;
            self.number()?;
            self.number()?;
        }
        for _ in 0..self.number()? {
            self.string()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let lua = mlua::Lua::new();
        let function = lua.load(text).into_function().unwrap();
        of(&function.dump(false)).unwrap().into_iter().collect()
    }

    #[test]
    fn lines_with_code_and_no_others() {
        let text = "-- a comment\nlocal a = 1\n\nlocal function f(...)\n  -- nothing\n  return ...\nend\nif a == 2 then\n  f(\n    a\n  )\nend\n";
        // A closure is made where its function ends; an argument counts where the parser has read past it.
        assert_eq!(lines(text), [2, 6, 7, 8, 9, 11, 12]);
    }

    #[test]
    fn far_lines_and_every_constant() {
        let far = format!(
            "local a = {{ 1.5, 7, 'x', '{}', true, nil }}{}return a",
            "y".repeat(50),
            "\n".repeat(5000)
        );
        assert_eq!(lines(&far).last(), Some(&5001));
        let many = "_ENV.x = 1\ndo end\n".repeat(3000);
        // And the return at the end of the file.
        assert_eq!(lines(&many).len(), 3001);
    }

    #[test]
    fn damage_is_no_panic() {
        let lua = mlua::Lua::new();
        let dumped = lua
            .load("return function() return 1 end")
            .into_function()
            .unwrap()
            .dump(false);
        for end in 0..dumped.len() {
            let _ = of(&dumped[..end]);
        }
        for at in 0..dumped.len() {
            let mut broken = dumped.clone();
            broken[at] ^= 0xff;
            let _ = of(&broken);
        }
    }
}
