//! What long work tells while it runs. The library never prints; the command line implements this.

/// Told of the stages of a build, a copy or an unpacking.
pub trait Progress {
    /// A new stage has begun.
    fn stage(&self, what: &str);

    /// So many bytes are done, of so many if that is known.
    fn bytes(&self, done: u64, total: Option<u64>) {
        let _ = (done, total);
    }

    /// Something the user should know although the work goes on.
    fn warning(&self, what: &str) {
        self.stage(what);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _what: &str) {}
}
