//! The servers side by side: every step done to each, every answer compared.

use crate::answer;
use crate::known::{self, Context, Verdict};
use crate::script::Script;
use crate::side::{AUDITOR, Item, SLOTS, Side};
use crate::step::{Body, Greeting, Request, Step};
use crate::support::record::{self, op};
use crate::support::server::{ServerConfig, four_letter};
use crate::support::try_wait_for;
use engine::jute::Reader;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a server may take to notice that a connection is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers: the reference first.
pub struct Twins {
    sides: Vec<Side>,
    /// The steps of this run, for whoever reads a failure.
    trace: Vec<String>,
    /// Watches that the reference alone has set: connection and path.
    surplus: Vec<(usize, Vec<u8>)>,
    /// The session that each slot had last.
    occupants: [Option<usize>; SLOTS + 1],
    /// Known differences that were met, and how often.
    pub met: BTreeMap<&'static str, u64>,
}

/// Where servers differ: what was done, and what came.
#[derive(Debug)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

type Outcome = Result<(), Difference>;

impl Twins {
    /// Fresh servers.
    pub fn start(config: &ServerConfig) -> Twins {
        let one = config.clone();
        let reference = Side::start("reference", config.clone().reference());
        let sides =
            vec![reference, Side::start("one shard", one), Side::start("four shards", config.clone().shards(4))];
        let mut twins =
            Twins { sides, trace: Vec::new(), surplus: Vec::new(), occupants: [None; SLOTS + 1], met: BTreeMap::new() };
        let greeting = Greeting::new();
        twins.step(&Step::Open { slot: AUDITOR, greeting }).expect("the auditor's session");
        let auth =
            Request { xid: -4, code: op::AUTH, body: Body::Bytes(record::auth("digest", b"super:test")), path: None };
        twins.step(&Step::Requests { slot: AUDITOR, requests: vec![auth] }).expect("the auditor's password");
        twins
    }

    /// Random steps of this seed, then a look at everything, then all is removed.
    pub fn run(&mut self, seed: u64, steps: u64) -> Outcome {
        self.trace.clear();
        let mut script = Script::new(seed, format!("/s{seed}"));
        let first_session = self.sides[0].sessions.len();
        for _ in 0..steps {
            let step = self.next(&mut script, first_session);
            self.step(&step)?;
        }
        self.compare_words()?;
        self.audit(&script)?;
        self.tidy(&script, first_session)
    }

    fn next(&mut self, script: &mut Script, first_session: usize) -> Step {
        let slot = script.below(SLOTS as u64) as usize;
        if !self.sides[0].is_open(slot) {
            return Step::Open { slot, greeting: self.greeting(script, first_session) };
        }
        let requests = match script.below(200) {
            0..=2 => return Step::Drop { slot },
            3..=4 => {
                let bytes = script.pick(&[
                    vec![0xff; 4],
                    vec![0x80, 0, 0, 0],
                    vec![0, 0x10, 0, 0],
                    vec![0x7f, 0xff, 0xff, 0xff],
                    vec![0; 4],
                    vec![0, 0, 0, 4, 0, 0, 0, 1],
                    vec![0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0],
                    b"ruok".to_vec(),
                ]);
                return Step::Garbage { slot, bytes };
            }
            5..=6 => vec![script.fatal()],
            7..=9 => vec![script.request(op::CLOSE_SESSION, Vec::new(), None)],
            10..=15 => vec![script.auth()],
            16 => {
                let body = script.pick(&[vec![0, 0, 0, 0], vec![0xff; 4], vec![0, 0, 0, 2, 1, 2]]);
                vec![script.request(op::SASL, body, None)]
            }
            17..=20 => script.quota(),
            n => script.some(slot, 1 + n % 4),
        };
        Step::Requests { slot, requests }
    }

    fn greeting(&mut self, script: &mut Script, first_session: usize) -> Greeting {
        let known = self.sides[0].sessions.len() - first_session;
        let mut greeting = Greeting::new();
        greeting.timeout = script.pick(&[300_000, 300_000, 300_000, 0, -1, i32::MIN, i32::MAX, 350_000, 200_000]);
        greeting.read_only = script.pick(&[None, Some(false), Some(true)]);
        greeting.seen_behind = script.pick(&[None, Some(0), Some(3), None, Some(0), Some(-1), Some(-1_000_000)]);
        if known > 0 && script.below(2) == 0 {
            greeting.session = Some(first_session + script.below(known as u64) as usize);
            greeting.password =
                script.pick(&[None, None, None, Some(None), Some(Some(vec![7; 16])), Some(Some(Vec::new()))]);
        } else {
            greeting.password = script.pick(&[None, None, Some(None), Some(Some(Vec::new())), Some(Some(vec![1; 40]))]);
        }
        greeting
    }

    /// One step, on all of them.
    fn step(&mut self, step: &Step) -> Outcome {
        self.trace.push(format!("{step:?}"));
        let requests: &[Request] = match step {
            Step::Requests { requests, .. } => requests,
            _ => &[],
        };
        for side in &mut self.sides {
            side.send(step);
        }
        let items = self.sides.iter_mut().map(|side| side.receive(step)).collect();
        self.compare(step.slot(), items, requests, step)?;
        let left = self.moved_from(step);
        let others = || (0..=SLOTS).filter(|slot| *slot != step.slot());
        // A server may still answer on the connection that a session has left; its end is what counts.
        for slot in others().filter(|slot| left != Some(*slot)) {
            self.sides.iter_mut().for_each(|side| side.send_sync(slot));
        }
        for slot in others() {
            let items = self.sides.iter_mut().map(|side| side.read_to_sync(slot, &[])).collect();
            self.compare(slot, items, &[], step)?;
        }
        while let Some((slot, path)) = self.surplus.pop() {
            self.forget_watch(slot, &path);
        }
        if self.sides[0].is_hiding() {
            // A write that fails shows the zxid.
            let request = by_auditor(op::DELETE, record::path_int("/nobody", -1), "/nobody");
            return self.step(&Step::Requests { slot: AUDITOR, requests: vec![request] });
        }
        Ok(())
    }

    /// Takes note of the connection that a session is on now, and says which one it has left, if that was open.
    fn moved_from(&mut self, step: &Step) -> Option<usize> {
        let Step::Open { slot, greeting } = step else { return None };
        if !self.sides[0].is_open(*slot) {
            return None;
        }
        let session = greeting.session.unwrap_or(self.sides[0].sessions.len() - 1);
        self.occupants[*slot] = Some(session);
        (0..=SLOTS)
            .find(|other| other != slot && self.occupants[*other] == Some(session) && self.sides[0].is_open(*other))
    }

    /// Removes a watch everywhere, whoever has it.
    fn forget_watch(&mut self, slot: usize, path: &[u8]) {
        let body = record::record(|out| {
            out.buffer(Some(path));
            out.int(2);
        });
        let request = Request { xid: 1, code: op::REMOVE_WATCHES, body: Body::Bytes(body), path: None };
        let step = Step::Requests { slot, requests: vec![request] };
        for side in self.sides.iter_mut().filter(|side| side.is_open(slot)) {
            side.send(&step);
            side.receive(&step);
        }
    }

    fn compare(&mut self, slot: usize, mut items: Vec<Vec<Item>>, requests: &[Request], step: &Step) -> Outcome {
        if step.closes_session() {
            items.iter_mut().for_each(|items| sort_events(items));
        }
        let [theirs, ours, ours4] = items.try_into().expect("three servers");
        let (mut i, mut j) = (0, 0);
        while i < theirs.len() || j < ours.len() {
            let (their, our) = (theirs.get(i), ours.get(j));
            if let (Some(their), Some(our)) = (their, our) {
                known::settle_zxid(&mut self.sides[0], their, our, requests);
            }
            let text = |side: &mut Side, item: Option<&Item>| {
                item.map_or_else(|| "nothing".to_owned(), |item| answer::describe(side, item, requests))
            };
            let said = text(&mut self.sides[0], their);
            let answered = text(&mut self.sides[1], our);
            let answered4 = text(&mut self.sides[2], ours4.get(j));
            if answered != answered4 {
                return Err(self.difference(slot, step, &[&said, &answered, &answered4]));
            }
            if said == answered {
                (i, j) = (i + 1, j + 1);
                continue;
            }
            let context = Context { slot, step, requests, said: &said, answered: &answered };
            match their.and_then(|their| known::judge(&context, their, our)) {
                Some(Verdict::Same(name)) => {
                    *self.met.entry(name).or_default() += 1;
                    (i, j) = (i + 1, j + 1);
                }
                Some(Verdict::Watching(name)) => {
                    *self.met.entry(name).or_default() += 1;
                    if let Some(Item::Reply(index, _)) = their {
                        self.surplus.extend(requests[*index].path.clone().map(|path| (slot, path)));
                    }
                    (i, j) = (i + 1, j + 1);
                }
                Some(Verdict::End(name)) => {
                    *self.met.entry(name).or_default() += 1;
                    self.sides.iter_mut().for_each(|side| side.drop_slot(slot));
                    return Ok(());
                }
                None => return Err(self.difference(slot, step, &[&said, &answered, &answered4])),
            }
        }
        if ours4.len() != ours.len() {
            return Err(Difference(format!("slot {slot}: four shards say more: {ours4:02x?}")));
        }
        Ok(())
    }

    fn difference(&self, slot: usize, step: &Step, said: &[&str]) -> Difference {
        let mut text = format!("on slot {slot}, by {step:?}\n");
        for (side, said) in self.sides.iter().zip(said) {
            text.push_str(&format!("  {:12} {said}\n", side.name));
        }
        Difference(text)
    }

    /// The steps so far.
    pub fn trace(&self) -> String {
        self.trace.join("\n")
    }

    /// What the four-letter words say that is determined, once all have noticed which connections are gone.
    fn compare_words(&mut self) -> Outcome {
        let mut last = Ok(());
        let is_same = || {
            last = self.words();
            last.is_ok().then_some(())
        };
        try_wait_for(PATIENCE, is_same);
        last
    }

    fn words(&mut self) -> Outcome {
        for (word, read) in [("wchp", watchers as fn(&Side, &str) -> String), ("mntr", gauges)] {
            let mut said: Vec<String> = Vec::new();
            for side in &mut self.sides {
                let answer = four_letter(side.server.address(), word.as_bytes()).unwrap();
                said.push(read(side, &answer));
            }
            if said.iter().any(|text| *text != said[0]) {
                return Err(Difference(format!("{word}: {said:#?}")));
            }
        }
        Ok(())
    }

    fn audit(&mut self, script: &Script) -> Outcome {
        for top in ["/", "/zookeeper/config"] {
            self.look(top)?;
        }
        for path in self.walk(&script.prefix)?.into_iter().chain(self.walk("/zookeeper/quota")?) {
            self.look(&path)?;
        }
        Ok(())
    }

    fn look(&mut self, path: &str) -> Outcome {
        let body = |code| if code == op::GET_ACL { record::path(path) } else { record::read(path, false) };
        let codes = [op::GET_DATA, op::GET_CHILDREN2, op::GET_ACL];
        let requests = codes.map(|code| by_auditor(code, body(code), path)).to_vec();
        self.step(&Step::Requests { slot: AUDITOR, requests })
    }

    /// The paths below `top`, as the reference has them, parents first.
    fn walk(&mut self, top: &str) -> Result<Vec<String>, Difference> {
        let mut paths = vec![top.to_owned()];
        let mut next = 0;
        while next < paths.len() {
            let path = paths[next].clone();
            next += 1;
            let request = by_auditor(op::GET_CHILDREN, record::read(&path, false), &path);
            let step = Step::Requests { slot: AUDITOR, requests: vec![request.clone()] };
            for side in &mut self.sides {
                side.send(&step);
            }
            let items: Vec<Vec<Item>> = self.sides.iter_mut().map(|side| side.receive(&step)).collect();
            if let Some(Item::Reply(_, frame)) = items[0].first()
                && answer::err(frame) == 0
            {
                let names =
                    Reader::new(&frame[16..]).vector(|r| Ok(r.string()?.unwrap().into_owned())).unwrap().unwrap();
                paths.extend(names.into_iter().map(|name| format!("{path}/{name}")));
            } else if next == 1 {
                paths.clear();
            }
            self.compare(AUDITOR, items, &[request], &step)?;
        }
        Ok(paths)
    }

    fn tidy(&mut self, script: &Script, first_session: usize) -> Outcome {
        for session in first_session..self.sides[0].sessions.len() {
            let greeting = Greeting { session: Some(session), ..Greeting::new() };
            self.step(&Step::Open { slot: 0, greeting })?;
            if self.sides[0].is_open(0) {
                let request = by_auditor(op::CLOSE_SESSION, Vec::new(), "");
                self.step(&Step::Requests { slot: 0, requests: vec![request] })?;
            }
        }
        let mut paths = self.walk(&script.prefix)?;
        paths.extend(self.walk("/zookeeper/quota")?.into_iter().skip(1));
        for path in paths.into_iter().rev() {
            let request = by_auditor(op::DELETE, record::path_int(&path, -1), &path);
            self.step(&Step::Requests { slot: AUDITOR, requests: vec![request] })?;
        }
        Ok(())
    }
}

fn by_auditor(code: i32, body: Vec<u8>, path: &str) -> Request {
    Request { xid: 1, code, body: Body::Bytes(body), path: Some(path.as_bytes().to_vec()) }
}

/// Events between two replies in an order of their own: that of a session's ephemerals is nobody's promise.
fn sort_events(items: &mut [Item]) {
    for run in items.split_mut(|item| !matches!(item, Item::Event(_))) {
        run.sort_by_key(|item| match item {
            Item::Event(frame) => answer::event_of(frame),
            _ => None,
        });
    }
}

/// wchp: the watchers of each path.
fn watchers(side: &Side, answer: &str) -> String {
    let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut path = "";
    for line in answer.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("\t0x") {
            Some(id) => {
                let id = u64::from_str_radix(id, 16).unwrap() as i64;
                paths.entry(path).or_default().push(side.session_name(id));
            }
            None => path = line,
        }
    }
    paths.values_mut().for_each(|names| names.sort());
    format!("{paths:?}")
}

/// mntr: the figures that follow from what was done. Not the number of watches, for 3.8 counts
/// recursive ones twice; nor the size of the data, of which it loses what the nodes of quotas gain.
fn gauges(_side: &Side, answer: &str) -> String {
    let names = ["znode_count", "ephemerals_count", "global_sessions"];
    names
        .map(|name| {
            let line = answer.lines().find(|line| line.starts_with(&format!("zk_{name}\t")));
            line.unwrap_or(name).to_owned()
        })
        .join(", ")
}
