//! A page of the documentation as the tests read it: blocks of code, links, anchors.
//!
//! The first word behind the fence is the language, the others say how the block is run (`docs/development.md`, "The
//! book"). `not-run=` takes the rest of the line: the reason.

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    info: String,
    /// What is between the fences.
    pub(crate) text: String,
    /// The line of its fence.
    pub(crate) line: usize,
}

impl Block {
    /// `lua`, `sh`, `console`, ...; empty without one.
    pub(crate) fn language(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let until_reason = self.info.split("not-run").next().unwrap_or_default();
        until_reason.split([',', ' ']).filter(|word| !word.is_empty())
    }

    /// Whether `word` is among those behind the language.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.words().skip(1).any(|w| w == word)
    }

    /// The value of `key=value`.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.words()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// Why it is not run. Empty when somebody left the reason out.
    pub(crate) fn not_run(&self) -> Option<&str> {
        let (_, reason) = self.info.split_once("not-run")?;
        Some(reason.trim_start_matches('=').trim())
    }
}

/// The page's lines outside of its blocks of code, and the blocks.
fn split(page: &str) -> (Vec<(usize, &str)>, Vec<Block>) {
    let (mut prose, mut blocks) = (vec![], vec![]);
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(info)) => {
                open = Some(Block {
                    info: info.trim().to_owned(),
                    text: String::new(),
                    line: at + 1,
                });
            }
            (None, None) => prose.push((at + 1, line)),
        }
    }
    assert!(open.is_none(), "a block of code that is not closed: {open:?}");
    (prose, blocks)
}

/// The blocks of code, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    split(page).1
}

/// The targets of the page's links, each with its line. What stands in `code` is no link.
pub(crate) fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    for (line, text) in split(page).0 {
        let outside_code: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in outside_code.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push((line, target.to_owned()));
        }
    }
    found
}

/// What `#anchor` can name: the headings, as mdBook and GitHub write them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for (_, text) in split(page).0 {
        let Some(heading) = text
            .strip_prefix('#')
            .map(|rest| rest.trim_start_matches('#').trim())
        else {
            continue;
        };
        let id: String = heading
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                c if c.is_whitespace() => Some('-'),
                _ => None,
            })
            .collect();
        let again = found
            .iter()
            .filter(|other| **other == id || is_numbered(other, &id))
            .count();
        found.push(if again == 0 { id } else { format!("{id}-{again}") });
    }
    found
}

/// Whether `other` is `id` with the number of a heading that comes twice.
fn is_numbered(other: &str, id: &str) -> bool {
    let number = other.strip_prefix(id).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}
