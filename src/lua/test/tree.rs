//! What a test file declares while it is loaded, and what its running test has done so far.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use mlua::Function;

use super::Options;

/// `t.describe "name"`: a group, whose functions run around each of its tests.
#[derive(Default)]
pub(super) struct Group {
    pub(super) name: Option<String>,
    pub(super) parent: Option<usize>,
    pub(super) before: Vec<Function>,
    pub(super) after: Vec<Function>,
}

/// How a test was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Only,
    Skip,
}

/// `t.it "name"`.
pub(super) struct Test {
    pub(super) group: usize,
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) body: Option<Function>,
    /// Where it is declared.
    pub(super) at: (String, usize),
}

/// Everything of one file.
pub(super) struct File {
    pub(super) options: Options,
    /// The file itself.
    pub(super) path: PathBuf,
    /// Its folder, to which paths in it are relative.
    pub(super) folder: PathBuf,
    pub(super) groups: Vec<Group>,
    pub(super) tests: Vec<Test>,
    /// The group that is being declared.
    pub(super) open: usize,
    /// Whether tests run already: nothing can be declared any more.
    pub(super) is_running: bool,
    /// How often the running test has looked at something.
    pub(super) looks: u64,
    /// What puts back what the running test replaced.
    pub(super) ends: Vec<Function>,
    /// What was printed since it was last taken.
    pub(super) output: Vec<String>,
    pub(super) blessed: Vec<PathBuf>,
    /// Lines of recipes that ran.
    pub(super) hits: super::coverage::Hits,
}

pub(super) type Shared = Rc<RefCell<File>>;

impl File {
    pub(super) fn new(path: PathBuf, folder: PathBuf, options: Options) -> Self {
        Self {
            options,
            path,
            folder,
            groups: vec![Group::default()],
            tests: Vec::new(),
            open: 0,
            is_running: false,
            looks: 0,
            ends: Vec::new(),
            output: Vec::new(),
            blessed: Vec::new(),
            hits: super::coverage::Hits::default(),
        }
    }

    /// The groups around one, the outermost first.
    pub(super) fn around(&self, group: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut at = Some(group);
        while let Some(index) = at {
            chain.push(index);
            at = self.groups.get(index).and_then(|group| group.parent);
        }
        chain.reverse();
        chain
    }

    /// The whole name of a test.
    pub(super) fn name(&self, test: &Test) -> Vec<String> {
        let groups = self.around(test.group);
        let mut name: Vec<String> = groups
            .iter()
            .filter_map(|index| self.groups[*index].name.clone())
            .collect();
        name.push(test.name.clone());
        name
    }
}
