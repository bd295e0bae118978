//! Ranges of user and group ids that belong to somebody else, and which guests' ranges lie in them.
//!
//! A guest has the ids `xid << 16` and the 65,535 after it. Nobody else may have one of them: who has, could signal
//! the guest's processes and read its files, and the guest theirs.

use super::Xid;

/// The owner whose lines in `/etc/subuid` and `/etc/subgid` are hostel's own: a line `hostel:65536000:3000000000` keeps
/// `useradd(8)` from giving guests' ids to anybody.
pub const OWN: &str = "hostel";

/// Ids that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first of them.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// Who has them.
    pub owner: String,
    /// Where that is written.
    pub place: &'static str,
}

impl Range {
    fn last(&self) -> u64 {
        self.first + (self.count - 1)
    }

    fn meets(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last()
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let owner = self.owner.escape_debug();
        if self.count == 1 {
            write!(f, "{} of `{owner}` in `{}`", self.first, self.place)
        } else {
            write!(
                f,
                "{} to {} of `{owner}` in `{}`",
                self.first,
                self.last(),
                self.place
            )
        }
    }
}

/// All that is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken(Vec<Range>);

impl Taken {
    /// Adds the lines of a file such as `/etc/subuid` (`subuid(5)`): `owner:first:count`. A line of another form gives
    /// nobody anything, as `newuidmap(1)` has it.
    pub fn subordinate(&mut self, place: &'static str, text: &str) {
        for line in text.lines() {
            let mut parts = line.split(':');
            let (Some(owner), Some(first), Some(count), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if let (Ok(first), Ok(count)) = (first.trim().parse::<u32>(), count.trim().parse::<u32>())
                && count > 0
                && owner != OWN
            {
                self.add(place, owner, first.into(), count.into());
            }
        }
    }

    /// Adds the users or groups of a file such as `/etc/passwd`, whose third part is the id.
    pub fn accounts(&mut self, place: &'static str, text: &str) {
        for line in text.lines() {
            let mut parts = line.split(':');
            if let (Some(owner), Some(Ok(id))) = (parts.next(), parts.nth(1).map(str::parse::<u32>)) {
                self.add(place, owner, id.into(), 1);
            }
        }
    }

    /// Adds one range.
    pub fn add(&mut self, place: &'static str, owner: &str, first: u64, count: u64) {
        // What lies below every guest's range is of no interest, and there are many such.
        if first + (count - 1) >= u64::from(Xid::MIN.id_base()) {
            self.0.push(Range {
                first,
                count,
                owner: owner.to_owned(),
                place,
            });
        }
    }

    /// Whose ids a guest with this number would have too.
    pub fn conflict(&self, xid: Xid) -> Option<&Range> {
        let first = u64::from(xid.id_base());
        let last = first + u64::from(Xid::IDS - 1);
        self.0.iter().find(|range| range.meets(first, last))
    }

    /// Every range that meets those that guests can have.
    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        self.0.iter().filter(|range| {
            let last = u64::from(Xid::MAX.id_base()) + u64::from(Xid::IDS - 1);
            range.meets(u64::from(Xid::MIN.id_base()), last)
        })
    }

    /// The error for a number whose ids somebody else has; `Ok` when nobody has.
    pub fn require_free(&self, xid: Xid) -> Result<(), super::Invalid> {
        let Some(range) = self.conflict(xid) else {
            return Ok(());
        };
        let (first, last) = (xid.id_base(), xid.id_base() + (Xid::IDS - 1));
        Err(super::Invalid::new(
            format!("the ids of the context {xid}, {first} to {last}, meet the ids {range}"),
            "give the guest another `xid`, or leave it out of its recipe; `hostel doctor` lists ids that others have",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xid(number: u32) -> Xid {
        Xid::new(number).unwrap()
    }

    #[test]
    fn a_range_is_met_at_either_end_and_not_beside_it() {
        let mut taken = Taken::default();
        taken.subordinate("/etc/subuid", "alice:131072:65536\nbob:327680:1\n");
        assert!(taken.conflict(xid(2)).is_some());
        assert!(taken.conflict(xid(3)).is_none());
        assert!(taken.conflict(xid(4)).is_none());
        assert!(taken.conflict(xid(5)).is_some());
        assert!(taken.conflict(xid(6)).is_none());
        let err = taken.require_free(xid(2)).unwrap_err();
        assert_eq!(
            err.message,
            "the ids of the context 2, 131072 to 196607, meet the ids 131072 to 196607 of `alice` in `/etc/subuid`"
        );
    }

    #[test]
    fn what_is_hostels_own_and_what_is_no_range_takes_nothing() {
        let mut taken = Taken::default();
        taken.subordinate(
            "/etc/subuid",
            "hostel:131072:3000000000\n# x\nalice:131072\nbob:x:9\ncarol:131072:0\ndan:131072:9:9\n\n",
        );
        taken.subordinate("/etc/subuid", "eve:4294967295:4294967295\n");
        assert_eq!(taken.iter().count(), 0);
        assert!(taken.conflict(Xid::MAX).is_none());
    }

    #[test]
    fn a_user_with_a_large_number_takes_it() {
        let mut taken = Taken::default();
        taken.accounts(
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nad:x:65536001:100::/home/ad:/bin/sh\n+::::::\n",
        );
        assert_eq!(taken.iter().count(), 1);
        assert_eq!(
            taken.conflict(xid(1000)).map(ToString::to_string).as_deref(),
            Some("65536001 of `ad` in `/etc/passwd`")
        );
    }
}
