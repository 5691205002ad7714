//! Random requests, pipelined, with flushes, checkpoints and crashes between them, against the model.

use super::model::{Ask, Model};
use super::*;
use crate::request::{AclEntry, MultiOp, SetDataOp};
use bytes::Bytes;
use engine::acl::AclId;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Write { session: usize, as_user: bool, op: WriteOp },
    Connect,
    Flush(usize),
    Measure,
    Checkpoint,
    Crash { mixed: Option<Vec<usize>> },
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/a"),
        Just("/b"),
        Just("/a/x"),
        Just("/a/y"),
        Just("/b/x"),
        Just("/a/x/k"),
        Just("/a/x/l"),
        Just("/a/"),
        Just("/a/s0000000001"),
        Just("/zookeeper/quota"),
        Just("/nope/x")
    ]
    .prop_map(str::to_owned)
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of((0_usize..40).prop_map(|length| Bytes::from(vec![b'd'; length])))
}

fn acl() -> impl Strategy<Value = AclSpec> {
    let entry = |perms, scheme: &str, id: &str| AclEntry { perms, scheme: Some(scheme.into()), id: Some(id.into()) };
    let lists = prop_oneof![
        Just(vec![entry(31, "digest", "user:hash")]),
        Just(vec![entry(1, "world", "anyone")]),
        Just(vec![entry(31, "world", "anyone")]),
        Just(vec![entry(5, "world", "anyone"), entry(26, "digest", "user:hash")]),
    ];
    prop_oneof![3 => Just(AclSpec::Open), 1 => lists.prop_map(|list| AclSpec::List(Some(list)))]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 2 => 0_i32..3]
}

fn creation() -> impl Strategy<Value = CreateOp> {
    let kinds = prop_oneof![
        4 => (prop_oneof![Just(CreateKind::Create), Just(CreateKind::Create2)], 0_i32..4),
        1 => Just((CreateKind::Container, 4)),
        1 => Just((CreateKind::Ttl { ttl_ms: 5 }, 5)),
        1 => Just((CreateKind::Ttl { ttl_ms: 5 }, 6)),
    ];
    (path(), data(), acl(), kinds).prop_map(|(path, data, acl, (kind, flags))| {
        let path = if flags == 2 && path == "/a/" { "/a/s".to_owned() } else { path };
        CreateOp { kind, path: path.into(), data, acl, flags }
    })
}

fn multi_op() -> impl Strategy<Value = MultiOp> {
    prop_oneof![
        creation().prop_map(MultiOp::Create),
        (path(), version()).prop_map(|(path, version)| MultiOp::Delete(DeleteOp { path: path.into(), version })),
        (path(), data(), version()).prop_map(|(path, data, version)| MultiOp::SetData(SetDataOp {
            path: path.into(),
            data,
            version
        })),
        (path(), version()).prop_map(|(path, version)| MultiOp::Check { path: path.into(), version }),
    ]
}

/// Limits and stats come and go together, so that a usage is always that of the subtree.
fn quota(of: &str, on: bool) -> WriteOp {
    let paths = ["zookeeper_limits", "zookeeper_stats"].map(|name| format!("/zookeeper/quota{of}/{name}"));
    let op = |path: &String| match create(path, 0) {
        WriteOp::Create(op) if on => MultiOp::Create(op),
        _ => MultiOp::Delete(DeleteOp { path: path.as_str().into(), version: -1 }),
    };
    WriteOp::Multi(paths.iter().map(op).collect())
}

pub(crate) fn write() -> impl Strategy<Value = WriteOp> {
    prop_oneof![
        8 => creation().prop_map(WriteOp::Create),
        4 => (path(), version()).prop_map(|(path, version)| WriteOp::Delete(DeleteOp { path: path.into(), version })),
        4 => (path(), data(), version())
            .prop_map(|(path, data, version)| WriteOp::SetData(SetDataOp { path: path.into(), data, version })),
        2 => (path(), acl(), version()).prop_map(|(path, acl, version)| WriteOp::SetAcl { path: path.into(), acl, version }),
        4 => proptest::collection::vec(multi_op(), 0..5).prop_map(WriteOp::Multi),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(a, on)| quota(if a { "/a" } else { "/b" }, on)),
        1 => Just(WriteOp::CloseSession),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0_usize..3, any::<bool>(), write()).prop_map(|(session, as_user, op)| Step::Write { session, as_user, op }),
        1 => Just(Step::Connect),
        6 => (1_usize..6).prop_map(Step::Flush),
        2 => Just(Step::Measure),
        1 => Just(Step::Checkpoint),
        1 => proptest::option::of(proptest::collection::vec(0_usize..100, 8)).prop_map(|mixed| Step::Crash { mixed }),
    ];
    proptest::collection::vec(step, 1..120)
}

struct Run {
    host: Host,
    model: Model,
    /// The model after every zxid.
    past: BTreeMap<Zxid, Model>,
    expected: Vec<(Origin, Zxid, Result<crate::request::WriteResult, engine::error_code::ErrorCode>)>,
    sessions: Vec<SessionId>,
    transcript: Vec<Action>,
}

impl Run {
    fn new(shards: u16) -> Run {
        let host = Host::new(config(shards));
        let (model, past) = (Model::new(), BTreeMap::new());
        let mut run = Run { host, model, past, expected: vec![], sessions: vec![], transcript: vec![] };
        for slot in 0..3 {
            run.connect(slot);
        }
        for path in ["/a", "/zookeeper/quota/a", "/zookeeper/quota/b"] {
            run.write(0, false, create(path, 0));
        }
        run
    }

    fn connect(&mut self, slot: u32) {
        let session = self.host.connect(slot, 1_000_000);
        self.sessions.insert(0, session);
        self.sessions.truncate(3);
        self.model.sessions.insert(session);
        self.note();
    }

    fn note(&mut self) {
        self.past.insert(self.host.role.proposed(), self.model.clone());
    }

    fn write(&mut self, session: usize, as_user: bool, op: WriteOp) {
        let mut identity = Identity::anonymous();
        if as_user {
            identity.add("digest", "user:hash");
        }
        self.host.now.wall_ms += 1;
        let session = self.sessions[session % self.sessions.len()];
        let (origin, actions) = self.host.write(session, &Arc::new(identity.clone()), op.clone());
        let zxid = self.host.role.proposed();
        let time_ms = self.host.now.wall_ms;
        let ask = Ask { zxid: zxid.to_wire(), time_ms, session, identity: &identity };
        let result = self.model.run(&ask, &op);
        self.expected.push((origin, zxid, result));
        self.transcript.extend(actions);
        self.note();
    }

    fn crash(&mut self, mixed: Option<Vec<usize>>) {
        let durable = self.host.last_durable();
        match mixed {
            None => self.host.restart(None),
            Some(marks) => self.host.restart(Some(&|partition| marks[partition as usize])),
        }
        self.model = self.past[&durable].clone();
        self.past.retain(|zxid, _| *zxid <= durable);
        // Answers to durable writes may be lost with the process, but nothing that was answered may be.
        let answered: Vec<_> = self.host.answers.iter().map(|answer| answer.origin).collect();
        self.expected.retain(|(origin, zxid, _)| {
            assert!(*zxid <= durable || !answered.contains(origin), "answered before it was durable");
            answered.contains(origin)
        });
        self.note();
    }

    fn run(mut self, steps: Vec<Step>) -> Run {
        for step in steps {
            match step {
                Step::Write { session, as_user, op } => self.write(session, as_user, op),
                Step::Connect => {
                    self.host.settle();
                    self.connect(9);
                }
                Step::Flush(entries) => {
                    let actions = self.host.flush(entries);
                    self.transcript.extend(actions);
                }
                Step::Measure => self.host.measure(),
                Step::Checkpoint => {
                    let actions = self.host.step(Input::CheckpointDue);
                    self.transcript.extend(actions);
                }
                Step::Crash { mixed } => self.crash(mixed),
            }
        }
        self.host.settle();
        self
    }

    /// Shards, ledger and model are one.
    fn compare(&self) {
        let (replica, ledger) = (&self.host.replica, self.host.role.ledger());
        assert_eq!(
            replica.nodes.keys().collect::<Vec<_>>(),
            self.model.nodes.keys().collect::<Vec<_>>(),
            "the same nodes"
        );
        let mut data_bytes = 0;
        for (path, expected) in &self.model.nodes {
            let node = &replica.nodes[path];
            assert_eq!((&node.data, node.stat), (&expected.data, expected.stat), "{path}");
            assert_eq!(node.owner.0, expected.owner, "{path}");
            assert_eq!(replica.acls.get(node.acl), Some(&expected.acl), "{path}");
            let children = self.model.children(path);
            assert_eq!(node.children.len(), children, "{path}");
            let known = ledger.committed_node(path).unwrap();
            assert_eq!(
                (known.version, known.cversion, known.aversion, known.children as usize, known.acl, known.owner),
                (node.stat.version, node.stat.cversion, node.stat.aversion, children, node.acl, node.owner),
                "{path}"
            );
            assert_eq!(known.data_length, node.data_length(), "{path}");
            data_bytes += path.len() as i64 + i64::from(node.data_length());
        }
        assert_eq!(ledger.node_count(), self.model.nodes.len());
        assert_eq!(ledger.data_bytes(), data_bytes);
        assert_eq!(ledger.outstanding_paths(), 0, "nothing is outstanding");
        let sessions: Vec<_> = self.host.role.sessions().committed().into_iter().map(|(id, _)| id).collect();
        assert_eq!(sessions, self.model.sessions.iter().copied().collect::<Vec<_>>());
        let ephemerals = self.model.nodes.values().filter(|node| node.owner > 0).count();
        assert_eq!(ledger.ephemeral_count(), ephemerals);
        let lists: Vec<AclId> = ledger.acls().map(|(id, _)| id).collect();
        assert!(lists.len() <= 3, "lists are interned: {lists:?}");
    }

    fn compare_answers(&self) {
        let mut answers = self.host.answers.iter();
        for (origin, zxid, result) in &self.expected {
            let answer = answers.next().unwrap();
            assert_eq!((answer.origin, answer.zxid, &answer.result), (*origin, *zxid, result));
        }
        assert_eq!(answers.next(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_role_and_its_shards_do_what_zookeeper_does(steps in steps(), shards in 1_u16..5) {
        let run = Run::new(shards).run(steps);
        run.compare();
        run.compare_answers();
    }

    #[test]
    fn equal_inputs_give_equal_actions(steps in steps(), shards in 1_u16..5) {
        let (one, other) = (Run::new(shards).run(steps.clone()), Run::new(shards).run(steps));
        prop_assert_eq!(one.host.log, other.host.log);
        prop_assert_eq!(one.transcript, other.transcript);
        prop_assert_eq!(one.host.role.system_state().encode(), other.host.role.system_state().encode());
    }
}
