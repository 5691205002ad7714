//! One history per connection, whatever the shards' delays.

#![allow(clippy::unwrap_used)]

mod disk;
mod model;
mod single;
mod world;

use crate::acl::AclId;
use crate::read::{RestoredKind, WatchSelector};
use model::Change;
use proptest::prelude::*;
use world::{Ask, CLOSED, World};

const PATHS: [&str; 16] = [
    "/", "/a", "/b", "/ab", "/a/x", "/a/y", "/a/z", "/a/v", "/a/w", "/a/u", "/a/x/1", "/a/x/2", "/b/x", "/b/x/1",
    "/b/y", "/b/z",
];
const CONNECTIONS: usize = 6;

#[derive(Clone, Debug)]
enum Act {
    Commit(Vec<Change>),
    Apply(usize),
    StepView(usize),
    Forget,
    Ask(usize, &'static str, Ask),
    Deliver(usize),
    Work(usize),
    Fetch(usize),
    Checkpoint(usize, bool),
    Pin(usize),
    CheckPins,
    Unwatch(usize, &'static str, WatchSelector),
    Reconnect(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let path = || proptest::sample::select(&PATHS[1..]);
    let data = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9));
    let acl = || prop_oneof![4 => Just(AclId::OPEN), 1 => Just(CLOSED)];
    prop_oneof![
        10 => (path(), data(), acl()).prop_map(|(path, data, acl)| Change::Create(path, data, acl)),
        6 => (path(), data()).prop_map(|(path, data)| Change::SetData(path, data)),
        1 => (path(), acl()).prop_map(|(path, acl)| Change::SetAcl(path, acl)),
        1 => (path(), data()).prop_map(|(path, data)| Change::Usage(path, data.unwrap_or_default())),
        6 => path().prop_map(Change::Delete),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let kind = prop_oneof![
        Just(RestoredKind::Data),
        Just(RestoredKind::Exist),
        Just(RestoredKind::Child),
        Just(RestoredKind::Persistent),
        Just(RestoredKind::PersistentRecursive),
    ];
    prop_oneof![
        4 => any::<bool>().prop_map(Ask::Exists),
        6 => any::<bool>().prop_map(Ask::Data),
        6 => any::<(bool, bool)>().prop_map(|(watch, stat)| Ask::Children { watch, stat }),
        1 => Just(Ask::Acl),
        2 => Just(Ask::Count),
        1 => any::<bool>().prop_map(Ask::AddWatch),
        1 => (0..60u64, proptest::collection::vec((kind, proptest::sample::select(&PATHS[..])), 0..20))
            .prop_map(|(since, paths)| Ask::Restore { since, paths }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let path = || proptest::sample::select(&PATHS[..]);
    let selector = prop_oneof![
        Just(WatchSelector::Any),
        Just(WatchSelector::Data),
        Just(WatchSelector::Children),
        Just(WatchSelector::Persistent),
        Just(WatchSelector::PersistentRecursive),
    ];
    prop_oneof![
        30 => proptest::collection::vec(change(), 1..4).prop_map(Act::Commit),
        60 => any::<usize>().prop_map(Act::Apply),
        15 => any::<usize>().prop_map(Act::StepView),
        6 => Just(Act::Forget),
        50 => (any::<usize>(), path(), ask()).prop_map(|(connection, path, ask)| Act::Ask(connection, path, ask)),
        80 => any::<usize>().prop_map(Act::Deliver),
        15 => any::<usize>().prop_map(Act::Work),
        10 => any::<usize>().prop_map(Act::Fetch),
        3 => any::<(usize, bool)>().prop_map(|(shard, is_cold)| Act::Checkpoint(shard, is_cold)),
        4 => any::<usize>().prop_map(Act::Pin),
        4 => Just(Act::CheckPins),
        2 => (any::<usize>(), path(), selector).prop_map(|(connection, path, of)| Act::Unwatch(connection, path, of)),
        1 => any::<usize>().prop_map(Act::Reconnect),
    ]
}

fn run(shards: usize, acts: Vec<Act>) {
    let mut world = World::new(shards, CONNECTIONS);
    world.commit(&[Change::Create("/", Some(Vec::new()), AclId::OPEN)]);
    for act in acts {
        match act {
            Act::Commit(changes) => world.commit(&changes),
            Act::Apply(shard) => world.apply(shard),
            Act::StepView(core) => world.step_view(core),
            Act::Forget => world.forget(),
            Act::Ask(connection, path, ask) => world.ask(connection, path, &ask),
            Act::Deliver(lane) => world.deliver(lane),
            Act::Work(shard) => world.work(shard),
            Act::Fetch(shard) => world.fetch(shard),
            Act::Checkpoint(shard, is_cold) => world.checkpoint(shard, is_cold),
            Act::Pin(shard) => world.pin(shard),
            Act::CheckPins => world.check_pins(),
            Act::Unwatch(connection, path, selector) => world.unwatch(connection, path, selector),
            Act::Reconnect(connection) => world.reconnect(connection),
        }
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn every_read_and_every_watch_agrees_with_the_model(
        shards in prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
        acts in proptest::collection::vec(act(), 0..400),
    ) {
        run(shards, acts);
    }
}
