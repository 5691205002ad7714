//! Random requests by clients of all members, moves, expiry, restarts and new leaders, under any delivery.

use super::clients::Client;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Write {
        client: usize,
        as_user: bool,
        op: WriteOp,
    },
    Open {
        member: usize,
    },
    /// A client goes on elsewhere. Its old connection stays, and may still write.
    Move {
        client: usize,
        member: usize,
    },
    Sync {
        client: usize,
    },
    /// Some messages of one queue.
    Deliver {
        member: usize,
        upwards: bool,
        count: usize,
    },
    Flush {
        member: usize,
        entries: usize,
    },
    Measure {
        member: usize,
    },
    Ping {
        member: usize,
    },
    Pass {
        ms: i64,
    },
    Checkpoint {
        member: usize,
    },
    Restart {
        member: usize,
        known: usize,
    },
    Lead {
        among: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = || 0..MEMBERS;
    let step = prop_oneof![
        24 => (0_usize..8, any::<bool>(), crate::role::tests::random::write())
            .prop_map(|(client, as_user, op)| Step::Write { client, as_user, op }),
        2 => member().prop_map(|member| Step::Open { member }),
        3 => (0_usize..8, member()).prop_map(|(client, member)| Step::Move { client, member }),
        2 => (0_usize..8).prop_map(|client| Step::Sync { client }),
        30 => (member(), any::<bool>(), 1_usize..6)
            .prop_map(|(member, upwards, count)| Step::Deliver { member, upwards, count }),
        14 => (member(), 1_usize..6).prop_map(|(member, entries)| Step::Flush { member, entries }),
        2 => member().prop_map(|member| Step::Measure { member }),
        3 => member().prop_map(|member| Step::Ping { member }),
        2 => (0_i64..3000).prop_map(|ms| Step::Pass { ms }),
        1 => member().prop_map(|member| Step::Checkpoint { member }),
        1 => (member(), 0_usize..20).prop_map(|(member, known)| Step::Restart { member, known }),
        1 => (0..MEMBERS).prop_map(|among| Step::Lead { among }),
    ];
    proptest::collection::vec(step, 1..200)
}

struct Run {
    cluster: Cluster,
    clients: Vec<Client>,
    opening: Vec<(usize, u32)>,
    /// All that ever were.
    sessions: Vec<SessionId>,
}

impl Run {
    fn new(shards: u16) -> Run {
        let mut cluster = Cluster::new(shards);
        let clients: Vec<_> = (0..MEMBERS).map(|member| cluster.client(member)).collect();
        for path in ["/a", "/zookeeper/quota/a", "/zookeeper/quota/b"] {
            cluster.write(clients[0], false, create(path, 0));
        }
        let sessions = clients.iter().map(|client| client.session).collect();
        Run { cluster, clients, opening: Vec::new(), sessions }
    }

    fn client(&mut self, client: usize) -> Option<Client> {
        for (member, slot) in std::mem::take(&mut self.opening) {
            match self.cluster.opened(member, slot) {
                Some(Ok(session)) => {
                    self.clients.push(Client { session, member, slot });
                    self.sessions.push(session);
                }
                Some(Err(())) => {}
                None => self.opening.push((member, slot)),
            }
        }
        // The latest ones are the likeliest to be alive.
        let recent = self.clients.len().min(8);
        let at = self.clients.len().checked_sub(1 + client % recent.max(1))?;
        Some(self.clients[at])
    }

    fn drop_connections(&mut self, of: impl Fn(usize) -> bool) {
        self.clients.retain(|client| !of(client.member));
        self.opening.retain(|(member, _)| !of(*member));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { client, as_user, op } => {
                if let Some(client) = self.client(client) {
                    self.cluster.write(client, as_user, op);
                }
            }
            Step::Open { member } => {
                let slot = self.cluster.open(member);
                self.opening.push((member, slot));
            }
            Step::Move { client, member } => {
                let recent = self.sessions.len().min(8);
                let session = self.sessions[self.sessions.len() - 1 - client % recent];
                let slot = self.cluster.renew(session, member);
                self.opening.push((member, slot));
            }
            Step::Sync { client } => {
                if let Some(client) = self.client(client) {
                    self.cluster.sync(client);
                }
            }
            Step::Deliver { member, upwards, count } => {
                for _ in 0..count {
                    self.cluster.deliver(member, upwards);
                }
            }
            Step::Flush { member, entries } => self.cluster.flush(member, entries),
            Step::Measure { member } => self.cluster.measure(member),
            Step::Ping { member } => self.cluster.ping(member),
            Step::Pass { ms } => self.cluster.pass(ms),
            Step::Checkpoint { member } => {
                self.cluster.members[member].step(Input::CheckpointDue);
            }
            Step::Restart { member, known } => {
                if member != self.cluster.leader {
                    self.drop_connections(|at| at == member);
                    self.cluster.restart(member, known);
                }
            }
            Step::Lead { among } => {
                self.drop_connections(|_| true);
                // Of two members the one with more in its log: they are a quorum, and one of them has all that is
                // decided.
                let last = |member: &usize| self.cluster.members[*member].log.last().map(|(zxid, _)| *zxid);
                let leader = (0..MEMBERS).filter(|member| *member != among).max_by_key(last).unwrap();
                self.cluster.establish(leader);
                // Clients are back at once, before anything of the new leader's history is committed.
                for session in self.sessions.iter().rev().take(3) {
                    let slot = self.cluster.renew(*session, leader);
                    self.opening.push((leader, slot));
                }
            }
        }
        self.cluster.compare();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn members_agree_and_clients_are_told_what_one_server_would_say(steps in steps(), shards in 1_u16..4) {
        let mut run = Run::new(shards);
        for step in steps {
            run.step(step);
        }
        run.cluster.settle();
        run.cluster.compare();
        run.cluster.compare_answers();
        let committed: Vec<_> = run.cluster.members.iter().map(|host| host.role.committed()).collect();
        let end = run.cluster.role(run.cluster.leader).proposed();
        prop_assert_eq!(committed, vec![end; MEMBERS], "all is applied everywhere");
        for host in &run.cluster.members {
            prop_assert_eq!(host.role.ledger().outstanding_paths(), 0);
            prop_assert_eq!(host.role.outstanding_requests(), 0);
        }
    }
}
