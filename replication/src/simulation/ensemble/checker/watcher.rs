//! What one connection must be told by its watches, and when: the events of everything up to a zxid come before any reply
//! that shows it, each of them once.

use super::timeline::{Event, Timeline};
use engine::acl::{Identity, permits, perms};
use engine::event::EventKind;
use engine::watch::{WatchMode, WatchModes};
use engine::zxid::Zxid;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Watches by path. Standard ones are used up by the first event that they hear of.
#[derive(Default)]
pub struct Watches(BTreeMap<String, BTreeSet<u8>>);

fn mode(bit: u8) -> WatchMode {
    match bit {
        1 => WatchMode::Data,
        2 => WatchMode::Child,
        4 => WatchMode::Persistent,
        _ => WatchMode::Recursive,
    }
}

fn is_used_up(watch: WatchMode) -> bool {
    matches!(watch, WatchMode::Data | WatchMode::Child)
}

impl Watches {
    pub fn add(&mut self, path: &str, watch: WatchMode) {
        self.0.entry(path.to_owned()).or_default().insert(watch as u8);
    }

    /// Whether anybody hears of an event. What it uses up is gone.
    pub fn hear(&mut self, (kind, path): &Event) -> bool {
        let mut heard = false;
        let hears = WatchModes::hearing(*kind);
        if let Some(modes) = self.0.get_mut(path) {
            modes.retain(|bit| {
                let hears = hears.meets(mode(*bit).into());
                heard |= hears;
                !(hears && is_used_up(mode(*bit)))
            });
        }
        let above = engine::path::self_and_ancestors(path);
        let is_recursive =
            |above: &str| self.0.get(above).is_some_and(|modes| modes.contains(&(WatchMode::Recursive as u8)));
        heard || (*kind != EventKind::NodeChildrenChanged && above.into_iter().any(is_recursive))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, WatchMode)> {
        self.0.iter().flat_map(|(path, modes)| modes.iter().map(move |bit| (path.as_str(), mode(*bit))))
    }
}

/// The account of one connection.
#[derive(Default)]
pub struct Watcher {
    identity: Arc<Identity>,
    watches: Watches,
    /// Up to here it has been worked out what the connection must be told.
    horizon: Zxid,
    due: VecDeque<(Zxid, Event)>,
}

impl Watcher {
    /// Of a client with this identity.
    pub fn new(identity: Arc<Identity>) -> Watcher {
        Watcher { identity, ..Watcher::default() }
    }

    fn work_out(&mut self, timeline: &Timeline, upto: Zxid) {
        if upto <= self.horizon {
            return;
        }
        for (zxid, event, acl) in timeline.events((Bound::Excluded(self.horizon), Bound::Included(upto))) {
            // What may not be heard of uses the watch up all the same.
            if self.watches.hear(event) && permits(acl, perms::READ, &self.identity) {
                self.due.push_back((zxid, event.clone()));
            }
        }
        self.horizon = upto;
    }

    /// An event arrives: one of the oldest transaction that owes any.
    pub fn event(&mut self, timeline: &Timeline, zxid: Zxid, event: &Event) -> Result<(), String> {
        self.work_out(timeline, zxid);
        let oldest = self.due.front().map(|(zxid, _)| *zxid);
        let of_oldest = self.due.iter().take_while(|(of, _)| Some(*of) == oldest);
        match of_oldest.enumerate().find(|(_, (of, due))| (*of, due) == (zxid, event)).map(|(at, _)| at) {
            Some(at) => {
                self.due.remove(at);
                Ok(())
            }
            None => Err(format!("told of {event:?} at {zxid}, which was not due, but {:?}", self.due.front())),
        }
    }

    /// A reply arrives that shows the state as of a zxid.
    pub fn reply(&mut self, timeline: &Timeline, zxid: Zxid) -> Result<(), String> {
        self.work_out(timeline, zxid);
        match self.due.front() {
            None => Ok(()),
            Some(due) => Err(format!("shown {zxid} without having been told of {due:?}")),
        }
    }

    /// The reply that was last taken has left a watch.
    pub fn watch(&mut self, path: &str, watch: WatchMode) {
        self.watches.add(path, watch);
    }
}
