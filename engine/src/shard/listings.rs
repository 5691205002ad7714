//! The listings that were asked for lately, as they are sent: a reply is then one copy instead of a look at every child's
//! record.
//!
//! A listing is what the parent's children are *now*, and is kept so as children come and go. It answers for every view
//! since the last of them did; a read as of an older view goes to the records and the undos. Bytes are bounded, and the
//! listing that was asked for longest ago goes first. One that changes much and is not asked for goes as well, so that
//! keeping it up to date never costs much more than making it anew.

use crate::jute::Writer;
use crate::path::PathHash;
use crate::zxid::Zxid;
use std::collections::{BTreeMap, HashMap};

/// Bytes of all listings of a shard.
const ALL_BYTES_MAX: usize = if cfg!(test) { 160 } else { 32 << 20 };
/// Bytes of one listing: what a change of it may have to move, and what one step may copy.
const BYTES_MAX: usize = if cfg!(test) { 120 } else { 1 << 20 };
/// A listing that is full grows by this part of it.
const GROWTH: usize = 8;
/// Names below which a listing is quickly made anew.
const NAMES_MIN: u32 = if cfg!(test) { 1 } else { 16 };
/// Bytes looked at by changes, since the listing was last asked for, after which it goes: this much and as often its size.
const UNREAD_BYTES: usize = if cfg!(test) { 64 } else { 64 << 10 };
const UNREAD_TIMES: usize = 8;

/// The names of a parent's children.
struct Listing {
    /// Jute strings, one behind the other.
    names: Vec<u8>,
    count: u32,
    /// The listing holds from here on.
    since: Zxid,
    /// Its key in the order of use.
    used: u64,
    /// Bytes that changes have looked at since it was last asked for.
    unread: usize,
}

/// The listings of a shard. See the module's documentation.
#[derive(Default)]
pub(super) struct Listings {
    by_parent: HashMap<PathHash, Listing>,
    /// Parents, the longest unused first.
    by_use: BTreeMap<u64, PathHash>,
    uses: u64,
    bytes: usize,
}

impl Listings {
    pub(super) fn is_empty(&self) -> bool {
        self.by_parent.is_empty()
    }

    /// Bytes, roughly.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.by_parent.capacity() * size_of::<(PathHash, Listing)>()
    }

    /// The names of a parent's children as of a view, and how many there are, if the listing is known.
    pub(super) fn get(&mut self, parent: PathHash, view: Zxid) -> Option<(&[u8], u32)> {
        let listing = self.by_parent.get_mut(&parent).filter(|listing| listing.since <= view)?;
        self.uses += 1;
        self.by_use.remove(&listing.used);
        self.by_use.insert(self.uses, parent);
        (listing.used, listing.unread) = (self.uses, 0);
        Some((&listing.names, listing.count))
    }

    /// Whether the listing of a parent is known, as of now.
    pub(super) fn contains(&self, parent: PathHash) -> bool {
        self.by_parent.contains_key(&parent)
    }

    /// How many children a parent has, if its listing is known.
    pub(super) fn count(&self, parent: PathHash) -> Option<u32> {
        self.by_parent.get(&parent).map(|listing| listing.count)
    }

    /// Keeps a listing that has held since a view, if it is worth it. `names` are jute strings.
    pub(super) fn put(&mut self, parent: PathHash, names: &[u8], count: u32, since: Zxid) {
        self.forget(parent);
        if count < NAMES_MIN || names.len() > BYTES_MAX {
            return;
        }
        let mut kept = Vec::with_capacity(names.len() + names.len() / GROWTH);
        kept.extend_from_slice(names);
        self.uses += 1;
        self.bytes += kept.capacity();
        self.by_use.insert(self.uses, parent);
        self.by_parent.insert(parent, Listing { names: kept, count, since, used: self.uses, unread: 0 });
        self.make_room();
    }

    /// A child has come.
    pub(super) fn link(&mut self, parent: PathHash, name: &str, zxid: Zxid) {
        let Some(listing) = self.by_parent.get_mut(&parent) else { return };
        let before = listing.names.capacity();
        let needed = size_of::<i32>() + name.len();
        if listing.names.capacity() - listing.names.len() < needed {
            // In small steps: doubling would waste half of what there is for all.
            listing.names.reserve_exact(needed.max(listing.names.len() / GROWTH));
        }
        Writer::new(&mut listing.names).string(name);
        listing.count += 1;
        listing.since = listing.since.max(zxid);
        listing.unread += name.len();
        self.bytes = self.bytes + listing.names.capacity() - before;
        if listing.names.len() > BYTES_MAX || listing.is_neglected() {
            self.forget(parent);
        }
        self.make_room();
    }

    /// A child has gone.
    pub(super) fn unlink(&mut self, parent: PathHash, name: &str, zxid: Zxid) {
        let Some(listing) = self.by_parent.get_mut(&parent) else { return };
        let found = position(&listing.names, name.as_bytes());
        listing.since = listing.since.max(zxid);
        listing.unread += listing.names.len();
        if let Some((from, to)) = found {
            listing.names.drain(from..to);
            listing.count -= 1;
        }
        if found.is_none() || listing.is_neglected() {
            self.forget(parent);
        }
    }

    /// The listing of this parent is not to be relied on.
    pub(super) fn forget(&mut self, parent: PathHash) {
        if let Some(listing) = self.by_parent.remove(&parent) {
            self.by_use.remove(&listing.used);
            self.bytes -= listing.names.capacity();
        }
    }

    fn make_room(&mut self) {
        while self.bytes > ALL_BYTES_MAX
            && let Some((_, parent)) = self.by_use.first_key_value()
        {
            self.forget(*parent);
        }
    }
}

impl Listing {
    fn is_neglected(&self) -> bool {
        self.unread > UNREAD_BYTES + UNREAD_TIMES * self.names.len()
    }
}

/// Where a jute string lies among others.
fn position(names: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(length) = names.get(at..).and_then(|rest| rest.first_chunk()) {
        let start = at + length.len();
        let end = start + u32::from_be_bytes(*length) as usize;
        if names.get(start..end)? == name {
            return Some((at, end));
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::jute::Reader;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Step {
        Ask(u8, u64),
        Link(u8, u8),
        Unlink(u8, u8),
        Forget(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4u8, 0..4u64).prop_map(|(parent, back)| Step::Ask(parent, back)),
            4 => (0..4u8, any::<u8>()).prop_map(|(parent, name)| Step::Link(parent, name)),
            4 => (0..4u8, any::<u8>()).prop_map(|(parent, name)| Step::Unlink(parent, name)),
            1 => (0..4u8).prop_map(Step::Forget),
        ]
    }

    /// Of different lengths, some the end or the beginning of others.
    fn name(number: u8) -> String {
        "ab".repeat(usize::from(number % 3)) + &(number % 16).to_string()
    }

    fn encoded(names: &BTreeSet<String>) -> Vec<u8> {
        let mut bytes = Vec::new();
        names.iter().for_each(|name| Writer::new(&mut bytes).string(name));
        bytes
    }

    proptest! {
        /// What is known agrees with the model at every view that it is given out for, and stays within its bounds.
        #[test]
        fn a_known_listing_is_what_the_children_are(steps in proptest::collection::vec(step(), 0..300)) {
            let mut listings = Listings::default();
            let mut now: [BTreeSet<String>; 4] = Default::default();
            let mut past = vec![now.clone()];
            for step in steps {
                let zxid = Zxid(past.len() as u64);
                match step {
                    Step::Ask(parent, back) => {
                        let view = (past.len() as u64 - 1).saturating_sub(back);
                        let hash = PathHash(u128::from(parent));
                        if let Some((names, count)) = listings.get(hash, Zxid(view)) {
                            let mut bytes = count.to_be_bytes().to_vec();
                            bytes.extend_from_slice(names);
                            let shown = Reader::new(&bytes).vector(|r| Ok(r.string()?.unwrap().into_owned()));
                            let shown = shown.unwrap().unwrap();
                            prop_assert_eq!(shown.len(), past[view as usize][usize::from(parent)].len());
                            let shown: BTreeSet<String> = shown.into_iter().collect();
                            prop_assert_eq!(&shown, &past[view as usize][usize::from(parent)]);
                        } else if !listings.contains(hash) {
                            let names = &now[usize::from(parent)];
                            listings.put(hash, &encoded(names), names.len() as u32, Zxid(past.len() as u64 - 1));
                        }
                    }
                    Step::Link(parent, number) => {
                        if now[usize::from(parent)].insert(name(number)) {
                            listings.link(PathHash(u128::from(parent)), &name(number), zxid);
                        }
                        past.push(now.clone());
                    }
                    Step::Unlink(parent, number) => {
                        if now[usize::from(parent)].remove(&name(number)) {
                            listings.unlink(PathHash(u128::from(parent)), &name(number), zxid);
                        }
                        past.push(now.clone());
                    }
                    Step::Forget(parent) => listings.forget(PathHash(u128::from(parent))),
                }
                let bytes: usize = listings.by_parent.values().map(|listing| listing.names.capacity()).sum();
                prop_assert_eq!(listings.bytes, bytes);
                prop_assert!(bytes <= ALL_BYTES_MAX);
                prop_assert_eq!(listings.by_use.len(), listings.by_parent.len());
            }
        }
    }

    fn filled(listings: &mut Listings, parent: u128, count: u32) {
        let names = encoded(&(0..count).map(|name| name.to_string()).collect());
        listings.put(PathHash(parent), &names, count, Zxid(1));
    }

    #[test]
    fn the_longest_unused_goes_first_when_room_is_short() {
        let mut listings = Listings::default();
        filled(&mut listings, 1, 10);
        filled(&mut listings, 2, 10);
        assert!(listings.get(PathHash(1), Zxid(1)).is_some());
        filled(&mut listings, 3, 10);
        assert!(listings.contains(PathHash(1)) && !listings.contains(PathHash(2)) && listings.contains(PathHash(3)));
    }

    #[test]
    fn one_that_changes_and_is_not_asked_for_goes() {
        let mut listings = Listings::default();
        filled(&mut listings, 1, 4);
        for zxid in 2..100 {
            listings.link(PathHash(1), "x", Zxid(zxid));
            listings.unlink(PathHash(1), "x", Zxid(zxid));
            if zxid < 40 {
                assert!(listings.get(PathHash(1), Zxid(zxid)).is_some());
            }
        }
        assert!(listings.is_empty());
    }

    #[test]
    fn the_older_view_gets_nothing() {
        let mut listings = Listings::default();
        filled(&mut listings, 1, 4);
        listings.link(PathHash(1), "x", Zxid(7));
        assert!(listings.get(PathHash(1), Zxid(6)).is_none() && listings.get(PathHash(1), Zxid(7)).is_some());
    }
}
