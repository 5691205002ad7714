//! Watches that commands have left behind: they print what they see, and can be removed again.
//!
//! zkCli registers one watcher object for everything, so that one notification is one line however many registrations it
//! fits. Here each registration is a task of its own, so a notification that several of them see is printed by one.

use super::console::Console;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::task::JoinHandle;
use zookeeper_client::{EventType, OneshotWatcher, PersistentWatcher, WatchedEvent};

/// What a watch is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// `get -w`, `config -w`.
    Data,
    /// `stat -w`.
    Exists,
    /// `ls -w`.
    Children,
    /// `addWatch -m PERSISTENT`.
    Persistent,
    /// `addWatch`.
    PersistentRecursive,
}

/// Which watches `removewatches` means (`Watcher.WatcherType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Selection {
    /// `-c`.
    Children,
    /// `-d`.
    Data,
    /// `-p`.
    Persistent,
    /// `-r`.
    PersistentRecursive,
    /// `-a`, or nothing said.
    Any,
}

/// The watches of one session.
pub(super) struct Watches {
    console: Arc<Console>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    tasks: HashMap<(String, Kind), (u64, JoinHandle<()>)>,
    next_id: u64,
    /// The last notification with a zxid, and who printed it.
    last_printed: Option<(WatchedEvent, u64)>,
}

impl Watches {
    /// None yet.
    pub(super) fn new(console: Arc<Console>) -> Watches {
        Watches { console, held: Mutex::default() }
    }

    /// Prints the one event of `watcher`. A second watch of the same kind on the same path adds nothing.
    pub(super) fn add_oneshot(self: &Arc<Self>, path: &str, kind: Kind, watcher: OneshotWatcher) {
        self.add(path, kind, |watches, id| async move {
            let event = watcher.changed().await;
            if event.event_type != EventType::Session {
                watches.consume(&event, id);
            }
        });
    }

    /// Prints the events of `watcher` for as long as the session lives.
    pub(super) fn add_persistent(self: &Arc<Self>, path: &str, kind: Kind, mut watcher: PersistentWatcher) {
        self.add(path, kind, |watches, id| async move {
            loop {
                let event = watcher.changed().await;
                if event.event_type != EventType::Session {
                    watches.print(&event, id);
                } else if event.session_state.is_terminated() {
                    return;
                }
            }
        });
    }

    /// Drops the watches on `path` that `selection` means, and says so as the Java client does. False if there were
    /// none.
    pub(super) async fn remove(&self, path: &str, selection: Selection) -> bool {
        let kinds: &[Kind] = match selection {
            Selection::Children => &[Kind::Children],
            Selection::Data => &[Kind::Data, Kind::Exists],
            Selection::Persistent => &[Kind::Persistent],
            Selection::PersistentRecursive => &[Kind::PersistentRecursive],
            Selection::Any => &[Kind::Children, Kind::Data, Kind::Exists, Kind::Persistent, Kind::PersistentRecursive],
        };
        let mut told: Vec<&str> = Vec::new();
        for kind in kinds {
            let held = self.lock().tasks.remove(&(path.to_owned(), *kind));
            if let Some((_, task)) = held {
                task.abort();
                // The watcher goes with its task, and only then is the server told. A watch that is added next must come
                // behind that.
                let _ = task.await;
                let name = kind.removal();
                if !told.contains(&name) {
                    told.push(name);
                }
            }
        }
        for name in &told {
            self.console.event(&format!("WatchedEvent state:SyncConnected type:{name} path:{path} zxid: -1"));
        }
        !told.is_empty()
    }

    /// Drops all watches without a word, for a session that ends.
    pub(super) fn forget_all(&self) {
        self.lock().tasks.drain().for_each(|(_, (_, task))| task.abort());
    }

    fn add<F, Fut>(self: &Arc<Self>, path: &str, kind: Kind, run: F)
    where
        F: FnOnce(Arc<Watches>, u64) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut held = self.lock();
        let key = (path.to_owned(), kind);
        if held.tasks.get(&key).is_some_and(|(_, task)| !task.is_finished()) {
            return;
        }
        held.next_id += 1;
        let id = held.next_id;
        let task = tokio::spawn(run(self.clone(), id));
        held.tasks.insert(key, (id, task));
    }

    /// Prints an event that a one-shot watch has seen, unless a twin has already printed it and taken this one along.
    fn consume(&self, event: &WatchedEvent, id: u64) {
        let mut held = self.lock();
        if !held.tasks.values().any(|(held_id, _)| *held_id == id) {
            return;
        }
        for kind in consumed_by(event.event_type) {
            held.tasks.remove(&(event.path.clone(), *kind));
        }
        held.tasks.retain(|_, (held_id, _)| *held_id != id);
        drop(held);
        self.print(event, id);
    }

    fn print(&self, event: &WatchedEvent, id: u64) {
        let mut held = self.lock();
        if event.zxid > 0 {
            let repeated = held.last_printed.as_ref().is_some_and(|(last, by)| last == event && *by != id);
            if repeated {
                return;
            }
            held.last_printed = Some((event.clone(), id));
        }
        drop(held);
        self.console.event(&node_event(event));
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Kind {
    /// The type of the event that tells of the removal.
    fn removal(self) -> &'static str {
        match self {
            Kind::Data | Kind::Exists => "DataWatchRemoved",
            Kind::Children => "ChildWatchRemoved",
            Kind::Persistent | Kind::PersistentRecursive => "PersistentWatchRemoved",
        }
    }
}

/// The one-shot watches that a notification uses up (`ZKWatchManager.materialize`).
fn consumed_by(event: EventType) -> &'static [Kind] {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => &[Kind::Data, Kind::Exists],
        EventType::NodeChildrenChanged => &[Kind::Children],
        EventType::NodeDeleted => &[Kind::Data, Kind::Exists, Kind::Children],
        EventType::Session => &[],
    }
}

/// A notification as Java's `WatchedEvent.toString` has it.
fn node_event(event: &WatchedEvent) -> String {
    format!("WatchedEvent state:SyncConnected type:{} path:{} zxid: {}", event.event_type, event.path, event.zxid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn watches() -> (Arc<Watches>, Arc<Console>) {
        let console = Arc::new(Console::captured());
        (Arc::new(Watches::new(console.clone())), console)
    }

    fn add(watches: &Arc<Watches>, path: &str, kind: Kind) -> u64 {
        watches.add(path, kind, |_, _| std::future::pending());
        watches.lock().tasks[&(path.to_owned(), kind)].0
    }

    #[tokio::test]
    async fn one_notification_is_one_line() {
        let (watches, console) = watches();
        let data = add(&watches, "/a", Kind::Data);
        let children = add(&watches, "/a", Kind::Children);
        let recursive = add(&watches, "/", Kind::PersistentRecursive);
        let deleted = WatchedEvent::new(EventType::NodeDeleted, "/a").with_zxid(1449);
        watches.consume(&deleted, data);
        watches.consume(&deleted, children);
        watches.print(&deleted, recursive);
        assert_eq!(
            console.taken_out(),
            "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDeleted path:/a zxid: 1449\n"
        );
        assert!(!watches.remove("/a", Selection::Any).await);
    }

    #[tokio::test]
    async fn one_watch_tells_of_every_change() {
        let (watches, console) = watches();
        let id = add(&watches, "/a", Kind::Persistent);
        let changed = WatchedEvent::new(EventType::NodeDataChanged, "/a").with_zxid(7);
        watches.print(&changed, id);
        watches.print(&changed, id);
        assert_eq!(console.taken_out().matches("NodeDataChanged").count(), 2);
    }

    #[tokio::test]
    async fn removal_is_told_once_for_each_type() {
        let (watches, console) = watches();
        for kind in [Kind::Data, Kind::Exists, Kind::Children] {
            add(&watches, "/a", kind);
        }
        assert!(!watches.remove("/a", Selection::Persistent).await);
        assert!(watches.remove("/a", Selection::Data).await);
        let told = console.taken_out();
        assert_eq!(told.matches("type:DataWatchRemoved path:/a zxid: -1").count(), 1, "{told}");
        assert!(watches.remove("/a", Selection::Any).await);
        assert!(console.taken_out().contains("ChildWatchRemoved"));
        assert!(!watches.remove("/a", Selection::Any).await);
    }

    #[tokio::test]
    async fn a_second_watch_of_a_kind_adds_nothing() {
        let (watches, _) = watches();
        assert_eq!(add(&watches, "/a", Kind::Data), add(&watches, "/a", Kind::Data));
        assert_ne!(add(&watches, "/a", Kind::Data), add(&watches, "/b", Kind::Data));
    }
}
