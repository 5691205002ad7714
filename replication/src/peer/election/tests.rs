#![allow(clippy::unwrap_used)]

use super::*;
use crate::peer::wire::notification::NOTIFICATION_VERSION;

const FOLLOWING: PeerState = PeerState::Following;
const LEADING: PeerState = PeerState::Leading;
const LOOKING: PeerState = PeerState::Looking;
const NO_VOTE: Vote = Vote { leader: ServerId::NOBODY, zxid: i64::MIN, round: 1, peer_epoch: i64::MIN };

/// Voters 1 to `voters`, then observers up to `all`.
fn ensemble(voters: i64, all: i64, more: &str) -> Arc<Ensemble> {
    let role = |sid: i64| if sid <= voters { "participant" } else { "observer" };
    let lines: String = (1..=all).map(|sid| format!("server.{sid}=h{sid}:1:2:{}\n", role(sid))).collect();
    Arc::new(Ensemble::parse(&format!("{lines}{more}")).unwrap())
}

/// One server among peers that the test plays.
struct Stage {
    election: Election,
    now_ms: i64,
    out: Vec<ElectionAction>,
}

impl Stage {
    fn new(own: i64, ensemble: Arc<Ensemble>) -> Stage {
        Stage::with_views(own, Views::settled(ensemble))
    }

    fn with_views(own: i64, views: Views) -> Stage {
        let config = ElectionConfig::new(ServerId(own), true);
        Stage { election: Election::new(config, views), now_ms: 1_000, out: Vec::new() }
    }

    /// Server 2 of three voters, which has logged up to 10 in epoch 1, in its first round.
    fn looking() -> Stage {
        let mut stage = Stage::new(2, ensemble(3, 3, ""));
        stage.look(10, 1);
        stage
    }

    fn step(&mut self, input: ElectionInput) {
        self.election.step(self.now_ms, input, &mut self.out);
    }

    fn look(&mut self, zxid: i64, peer_epoch: i64) {
        let role = self.election.views.committed().role_of(self.election.config.own);
        self.step(ElectionInput::Look { role, zxid, peer_epoch });
    }

    fn hear(&mut self, from: i64, state: PeerState, vote: Vote) {
        self.hear_with(from, state, vote, NOTIFICATION_VERSION, None);
    }

    fn hear_with(&mut self, from: i64, state: PeerState, vote: Vote, version: i32, config: Option<&str>) {
        let notification = Notification { state, vote, version, config: config.map(str::to_owned) };
        self.step(ElectionInput::Notification { from: ServerId(from), notification });
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.step(ElectionInput::Tick { delivered: true });
    }

    /// What went out since the last call: receiver, state and vote.
    fn sent(&mut self) -> Vec<(i64, PeerState, Vote)> {
        let read = |action: &ElectionAction| match action {
            ElectionAction::Send { to, notification } => {
                let read = Notification::decode(notification).unwrap();
                assert_eq!(read.config.as_deref(), Some(&**self.election.views.committed().text()));
                Some((to.0, read.state, read.vote))
            }
            _ => None,
        };
        let sent = self.out.iter().filter_map(read).collect();
        self.out.retain(|action| !matches!(action, ElectionAction::Send { .. }));
        sent
    }

    fn elected(&self) -> Option<(i64, PeerState, Vote)> {
        self.out.iter().find_map(|action| match action {
            ElectionAction::Elected { leader, state, vote } => Some((leader.0, *state, *vote)),
            _ => None,
        })
    }
}

fn vote(leader: i64, peer_epoch: i64, zxid: i64, round: i64) -> Vote {
    Vote { leader: ServerId(leader), zxid, round, peer_epoch }
}

#[test]
fn a_round_begins_with_the_own_vote_to_every_voter() {
    let mut stage = Stage::looking();
    let own = vote(2, 1, 10, 1);
    assert_eq!(stage.sent(), [(1, LOOKING, own), (3, LOOKING, own)]);
    assert_eq!((stage.election.round(), stage.election.state()), (1, LOOKING));
    assert_eq!(stage.election.next_deadline(), Some(1_200));
}

#[test]
fn a_lone_voter_elects_itself_after_the_quiet_time() {
    let mut stage = Stage::new(1, ensemble(1, 1, ""));
    stage.look(10, 1);
    stage.pass(199);
    assert_eq!(stage.elected(), None);
    stage.pass(1);
    assert_eq!(stage.elected(), Some((1, LEADING, vote(1, 1, 10, 1))));
    assert_eq!(stage.election.next_deadline(), None);
}

#[test]
fn the_better_vote_is_adopted_and_told() {
    // (peerEpoch, zxid, sid), in this order of weight, and never the epoch of the zxid.
    for (better, other) in [
        (vote(3, 1, 10, 1), vote(1, 1, 10, 1)),
        (vote(1, 1, 11, 1), vote(3, 1, 9, 1)),
        (vote(1, 2, 0, 1), vote(3, 0, 0x9_0000_0000, 1)),
    ] {
        let mut stage = Stage::looking();
        stage.sent();
        stage.hear(1, LOOKING, other);
        assert_eq!(stage.sent(), [], "a worse vote changes nothing: {other:?}");
        stage.hear(3, LOOKING, better);
        assert_eq!(stage.sent(), [(1, LOOKING, better), (3, LOOKING, better)]);
        stage.pass(200);
        assert_eq!(stage.elected(), Some((better.leader.0, FOLLOWING, better)));
        assert_eq!(stage.election.current_vote(), Some(better));
    }
}

/// Trap: deciding at once on a quorum loses a better late vote.
#[test]
fn a_better_late_vote_ends_the_quiet_time() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(199);
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(199);
    assert_eq!(stage.elected(), None, "every message begins the quiet time anew");
    stage.hear(3, LOOKING, vote(3, 1, 11, 1));
    stage.pass(150);
    stage.hear(1, LOOKING, vote(3, 1, 11, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((3, FOLLOWING, vote(3, 1, 11, 1))));
}

/// It ignored the vote, and would not hear of it until silence makes this server repeat it.
#[test]
fn who_still_followed_when_it_was_told_is_told_again() {
    let mut stage = Stage::looking();
    stage.sent();
    stage.hear(1, FOLLOWING, vote(3, 1, 9, 0));
    assert_eq!(stage.sent(), []);
    stage.hear(1, LOOKING, vote(1, 1, 9, 1));
    assert_eq!(stage.sent(), [(1, LOOKING, vote(2, 1, 10, 1))]);
}

#[test]
fn a_vote_for_a_stranger_does_not_disturb_the_quiet_time() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.hear(3, LOOKING, vote(99, 9, 99, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((2, LEADING, vote(2, 1, 10, 1))));
}

/// Trap: a lower round is never adopted, a higher one always.
#[test]
fn rounds_only_rise() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(1, 1, 9, 7));
    let own = vote(2, 1, 10, 7);
    assert_eq!(stage.election.round(), 7);
    assert_eq!(stage.sent()[2..], [(1, LOOKING, own), (3, LOOKING, own)], "the own vote is better, in the new round");
    stage.hear(3, LOOKING, vote(3, 9, 99, 6));
    assert_eq!(stage.sent(), [(3, LOOKING, own)], "the late one is told, and not counted");
    stage.hear(3, LOOKING, vote(3, 9, 99, 8));
    let better = vote(3, 9, 99, 8);
    assert_eq!(stage.sent(), [(1, LOOKING, better), (3, LOOKING, better)]);
}

/// Who only votes in the configuration under way votes for nobody at first, and hears nothing that is said in lower rounds.
#[test]
fn who_votes_for_nobody_is_followed_to_its_round() {
    let mut views = Views::settled(ensemble(3, 3, "version=1"));
    views.see(ensemble(4, 4, "version=2"));
    let nobody = |zxid, round| Vote { zxid, round, ..NO_VOTE };
    let mut stage = Stage::with_views(3, views.clone());
    stage.look(10, 1);
    stage.hear(2, LOOKING, vote(3, 1, 10, 1));
    stage.sent();
    stage.hear(4, LOOKING, nobody(-1, 9));
    assert_eq!(stage.election.round(), 1, "who abstains calls nobody");
    stage.hear(4, LOOKING, nobody(11, 7));
    assert_eq!(stage.election.round(), 7);
    let own = vote(3, 1, 10, 7);
    assert_eq!(stage.sent(), [(1, LOOKING, own), (2, LOOKING, own), (4, LOOKING, own)]);
    stage.hear(4, LOOKING, own);
    stage.pass(200);
    assert_eq!(stage.elected(), None, "the vote of server 2 was of the former round");
    stage.hear(2, LOOKING, own);
    stage.pass(200);
    assert_eq!(stage.elected(), Some((3, LEADING, own)));
    // To its own round, or one before, there is no way.
    let mut stage = Stage::with_views(2, views);
    stage.look(10, 1);
    stage.sent();
    stage.hear(4, LOOKING, nobody(11, 1));
    assert!(stage.sent().is_empty());
}

#[test]
fn a_higher_round_forgets_the_votes_of_the_lower_one() {
    let mut stage = Stage::new(3, ensemble(5, 5, ""));
    stage.look(10, 1);
    stage.hear(1, LOOKING, vote(3, 1, 10, 1));
    // The round rises by a vote that is worse than the own one: server 1's support belongs to the past.
    stage.hear(2, LOOKING, vote(2, 1, 9, 2));
    stage.hear(2, LOOKING, vote(3, 1, 10, 2));
    stage.pass(200);
    assert_eq!(stage.elected(), None, "two of five");
    stage.hear(1, LOOKING, vote(3, 1, 10, 2));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((3, LEADING, vote(3, 1, 10, 2))));
}

/// The best vote of an abandoned round does not come along: its server may be gone.
#[test]
fn a_higher_round_begins_from_the_own_vote() {
    let mut stage = Stage::new(2, ensemble(5, 5, ""));
    stage.look(10, 1);
    stage.hear(3, LOOKING, vote(3, 5, 50, 1));
    stage.sent();
    stage.hear(1, LOOKING, vote(1, 1, 9, 2));
    assert_eq!(stage.sent()[0], (1, LOOKING, vote(2, 1, 10, 2)));
}

#[test]
fn the_clock_of_rounds_survives_its_end() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(1, 1, 9, i64::MAX));
    stage.look(10, 1);
    assert_eq!(stage.election.round(), i64::MIN);
}

/// Trap: servers whose data is incomplete neither elect nor count.
#[test]
fn missing_data_bars_from_electing() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(1, 9, -1, 1));
    stage.hear(3, LOOKING, vote(3, 9, -1, 5));
    stage.pass(200);
    assert_eq!((stage.elected(), stage.election.round()), (None, 1));
    let mut stage = Stage::new(2, ensemble(3, 3, ""));
    stage.look(-1, 0);
    stage.hear(1, LOOKING, vote(1, 1, 5, 1));
    stage.hear(3, LOOKING, vote(1, 1, 5, 1));
    stage.pass(1_000);
    assert_eq!(stage.elected(), None, "its own vote is not needed, and it waits for an established leader");
    stage.hear(3, FOLLOWING, vote(1, 2, 5, 1));
    stage.hear(1, LEADING, vote(1, 2, 5, 1));
    assert_eq!(stage.elected(), Some((1, FOLLOWING, vote(1, 2, 5, 1))));
}

#[test]
fn silence_repeats_the_vote_ever_less_often() {
    let mut stage = Stage::looking();
    stage.sent();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let wait = stage.election.next_deadline().unwrap() - stage.now_ms;
        waits.push(wait);
        stage.pass(wait - 1);
        assert_eq!(stage.sent(), []);
        stage.pass(1);
        assert_eq!(stage.sent().len(), 2);
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000, 60_000]);
    let mut stage = Stage::looking();
    stage.sent();
    stage.now_ms += 200;
    stage.step(ElectionInput::Tick { delivered: false });
    assert!(matches!(stage.out[..], [ElectionAction::ConnectAll]), "nobody could be reached: connect, do not repeat");
}

/// Trap: observers, removed servers and strangers are answered at once and never counted.
#[test]
fn those_without_a_vote_are_answered_and_not_counted() {
    let mut stage = Stage::new(2, ensemble(3, 4, ""));
    stage.look(10, 1);
    stage.sent();
    for stranger in [4, 9] {
        stage.hear(stranger, LOOKING, vote(2, 1, 10, 1));
        assert_eq!(stage.sent(), [(stranger, LOOKING, vote(2, 1, 10, 1))], "the round is the present one");
    }
    stage.hear(9, FOLLOWING, vote(2, 1, 10, 1));
    assert_eq!(stage.sent().len(), 1, "whatever its state");
    stage.pass(200);
    assert_eq!(stage.elected(), None);
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    stage.step(ElectionInput::Established { peer_epoch: 2 });
    stage.sent();
    stage.hear(4, LOOKING, NO_VOTE);
    assert_eq!(stage.sent(), [(4, LEADING, vote(2, 2, 10, 1))]);
    stage.hear(4, PeerState::Observing, vote(2, 2, 10, 1));
    assert_eq!(stage.sent(), [], "neither looks");
}

#[test]
fn the_round_told_to_those_without_a_vote_is_the_present_one() {
    let mut stage = Stage::new(2, ensemble(3, 3, ""));
    stage.look(10, 1);
    stage.hear(1, LEADING, vote(1, 4, 20, 8));
    stage.hear(3, FOLLOWING, vote(1, 4, 20, 8));
    assert_eq!(stage.elected(), Some((1, FOLLOWING, vote(1, 4, 20, 8))));
    stage.step(ElectionInput::Restart(stage.election.views.clone()));
    stage.sent();
    stage.hear(9, LOOKING, NO_VOTE);
    stage.hear(3, LOOKING, vote(3, 4, 20, 1));
    assert_eq!(
        stage.sent(),
        [(9, FOLLOWING, vote(1, 4, 20, 0)), (3, FOLLOWING, vote(1, 4, 20, 8))],
        "voters are told the round of the vote"
    );
}

#[test]
fn observers_learn_of_the_leader_and_never_vote() {
    let mut stage = Stage::new(4, ensemble(3, 4, ""));
    stage.look(10, 1);
    let sent = stage.sent();
    assert_eq!(sent.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(sent.iter().all(|(_, state, vote)| (*state, *vote) == (LOOKING, NO_VOTE)));
    stage.hear(1, LOOKING, vote(3, 1, 5, 1));
    stage.hear(2, LOOKING, vote(3, 1, 5, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((3, PeerState::Observing, vote(3, 1, 5, 1))));
    let mut stage = Stage::new(4, ensemble(3, 4, ""));
    stage.look(10, 1);
    stage.hear(3, LEADING, vote(3, 2, 5, 7));
    stage.hear(1, FOLLOWING, vote(3, 2, 5, 7));
    assert_eq!(stage.elected().unwrap().0, 3, "by the answers of an established ensemble");
    stage.sent();
    stage.hear(1, LOOKING, vote(1, 2, 5, 8));
    assert_eq!(stage.sent(), [(1, PeerState::Observing, vote(3, 2, 5, 7))]);
}

#[test]
fn a_participant_that_is_not_listed_votes_for_nobody() {
    let mut stage = Stage::new(5, ensemble(3, 3, ""));
    stage.look(10, 1);
    let own = Vote { leader: ServerId::NOBODY, zxid: 10, round: 1, peer_epoch: 1 };
    assert_eq!(stage.sent().len(), 3);
    assert_eq!(stage.election.looking.as_ref().unwrap().proposal(1), own);
    stage.hear(1, LEADING, vote(1, 2, 5, 7));
    stage.hear(2, FOLLOWING, vote(1, 2, 5, 7));
    assert_eq!(stage.elected().unwrap().1, FOLLOWING);
}

/// Trap: a leader is not believed on its followers' word.
#[test]
fn followers_do_not_vouch_for_their_leader() {
    let mut stage = Stage::new(2, ensemble(5, 5, ""));
    stage.look(10, 1);
    for from in [3, 4, 5] {
        stage.hear(from, FOLLOWING, vote(1, 1, 20, 1));
        stage.hear(from, FOLLOWING, vote(1, 1, 20, 4));
    }
    stage.pass(5_000);
    assert_eq!(stage.elected(), None);
    stage.hear(1, FOLLOWING, vote(1, 1, 20, 4));
    assert_eq!(stage.elected(), None, "it says itself that it does not lead");
    stage.hear(1, LEADING, vote(1, 1, 20, 4));
    assert_eq!(stage.elected(), Some((1, FOLLOWING, vote(1, 1, 20, 4))));
    assert_eq!(stage.election.round(), 4, "the round of the established ones");
}

#[test]
fn followers_of_this_server_count_in_its_present_round_only() {
    let mut stage = Stage::looking();
    for from in [1, 3] {
        stage.hear(from, FOLLOWING, vote(2, 1, 10, 5));
    }
    assert_eq!(stage.elected(), None, "it led then, and does not any more");
    stage.hear(1, FOLLOWING, vote(2, 1, 10, 1));
    assert_eq!(stage.elected(), Some((2, LEADING, vote(2, 1, 10, 1))));
}

/// Traps: zxid and round differ among established servers; the epoch must not, unless a message is of the old form.
#[test]
fn established_servers_agree_by_leader_and_epoch() {
    let mut stage = Stage::new(2, ensemble(5, 5, ""));
    stage.look(10, 1);
    stage.hear(3, FOLLOWING, vote(1, 4, 99, 3));
    stage.hear(4, FOLLOWING, vote(1, 3, 20, 9));
    stage.hear(1, LEADING, vote(1, 4, 20, 9));
    assert_eq!(stage.elected(), None, "one of them is of an older epoch");
    stage.hear(5, FOLLOWING, vote(1, 4, 7, 2));
    assert_eq!(stage.elected().unwrap().0, 1);
    let mut stage = Stage::new(2, ensemble(3, 3, ""));
    stage.look(10, 1);
    stage.hear_with(3, FOLLOWING, vote(1, 3, 20, 9), 0, None);
    stage.hear(1, LEADING, vote(1, 4, 20, 9));
    assert_eq!(stage.elected().unwrap().0, 1, "an old form agrees by leader alone");
}

#[test]
fn in_the_same_round_established_servers_agree_by_leader_alone() {
    let mut stage = Stage::new(2, ensemble(5, 5, ""));
    stage.look(10, 1);
    stage.hear(3, FOLLOWING, vote(1, 3, 20, 1));
    stage.hear(4, FOLLOWING, vote(1, 3, 20, 1));
    stage.hear(1, LEADING, vote(1, 4, 20, 1));
    assert_eq!(stage.elected().unwrap().0, 1);
}

#[test]
fn votes_of_lookers_and_of_followers_add_up_if_wholly_equal() {
    let mut stage = Stage::new(2, ensemble(3, 3, ""));
    stage.look(10, 1);
    stage.hear(3, LEADING, vote(3, 1, 11, 1));
    assert_eq!(stage.elected(), None);
    stage.hear(1, LOOKING, vote(3, 1, 11, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((3, FOLLOWING, vote(3, 1, 11, 1))));
}

#[test]
fn observing_servers_and_votes_for_strangers_say_nothing() {
    let mut stage = Stage::looking();
    for from in [1, 3] {
        stage.hear(from, PeerState::Observing, vote(1, 1, 20, 1));
        stage.hear(from, LOOKING, vote(9, 9, 20, 3));
        stage.hear(from, LEADING, vote(9, 9, 20, 1));
    }
    stage.pass(200);
    assert_eq!((stage.elected(), stage.election.round()), (None, 1));
}

/// Trap: a stale word of an earlier state comes first on a new connection.
#[test]
fn stale_and_repeated_words_do_no_harm() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(1, 1, 5, 1));
    stage.hear(1, LEADING, vote(1, 2, 5, 1));
    stage.hear(1, LEADING, vote(1, 2, 5, 1));
    assert_eq!(stage.elected(), None, "one server, however often it speaks");
    stage.hear(3, LOOKING, vote(3, 1, 4, 1));
    stage.hear(3, FOLLOWING, vote(1, 2, 5, 1));
    assert_eq!(stage.elected().unwrap().0, 1);
}

/// Otherwise the two would wait for each other for ever: the word of the one breaks the silence of the other.
#[test]
fn who_repeats_a_worse_vote_is_told_the_better_one() {
    let mut stage = Stage::looking();
    stage.sent();
    let worse = vote(1, 1, 9, 1);
    stage.hear(1, LOOKING, worse);
    assert_eq!(stage.sent(), [], "it may have the better one by now");
    stage.hear(1, LOOKING, worse);
    assert_eq!(stage.sent(), [(1, LOOKING, vote(2, 1, 10, 1))]);
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    assert_eq!(stage.sent(), [], "it agrees");
}

/// Trap: a voter that abstains, in an earlier round, and does not know the server that the configuration under way lets vote.
/// Each has reason to answer whatever the other says.
#[test]
fn an_answer_is_not_answered_for_ever() {
    let mut views = Views::settled(ensemble(3, 3, "version=1"));
    views.see(ensemble(4, 4, "version=2"));
    let mut joiner = Stage::with_views(4, views);
    let mut abstains = Stage::new(3, ensemble(3, 3, "version=1"));
    abstains.look(-1, 1);
    joiner.look(11, 1);
    joiner.hear(2, LOOKING, vote(2, 1, 10, 3));
    joiner.hear(1, LOOKING, vote(2, 1, 10, 3));
    let mut words = 0;
    loop {
        let heard = joiner.sent().into_iter().filter(|(to, ..)| *to == 3).collect::<Vec<_>>();
        heard.iter().for_each(|(_, state, vote)| abstains.hear(4, *state, *vote));
        let answers = abstains.sent().into_iter().filter(|(to, ..)| *to == 4).collect::<Vec<_>>();
        answers.iter().for_each(|(_, state, vote)| joiner.hear(3, *state, *vote));
        words += answers.len();
        assert!(words < 10, "{heard:?} {answers:?}");
        if answers.is_empty() {
            break;
        }
    }
    assert!(words > 0);
    joiner.pass(200);
    assert_eq!(joiner.elected(), Some((2, FOLLOWING, vote(2, 1, 10, 3))), "nothing breaks the silence");
    // It asks again, having heard nothing for a while.
    abstains.now_ms += 200;
    abstains.hear(4, LOOKING, vote(2, 1, 10, 3));
    assert_eq!(abstains.sent(), [(4, LOOKING, vote(3, 1, -1, 1))]);
}

/// Trap: it has given up the leader that it has followed meanwhile, and a leader that it does not follow waits in vain.
#[test]
fn who_has_gone_on_to_a_later_round_does_not_count() {
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.sent();
    stage.hear(1, LOOKING, vote(1, 1, 9, 2));
    let next = vote(2, 1, 10, 2);
    assert_eq!(stage.sent(), [(1, LOOKING, next), (3, LOOKING, next)], "this server follows it there");
    stage.pass(200);
    assert_eq!(stage.elected(), None);
    stage.hear(1, LOOKING, next);
    stage.pass(200);
    assert_eq!(stage.elected(), Some((2, LEADING, next)));
    // Who is not needed is not waited for.
    let mut stage = Stage::looking();
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.hear(3, LOOKING, vote(3, 1, 9, 2));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((2, LEADING, vote(2, 1, 10, 1))));
}

/// Trap: an observer that has a leader already answers whoever looks, and nobody who looks counts it.
#[test]
fn an_observer_and_a_voter_do_not_answer_each_other_for_ever() {
    let mut stage = Stage::looking();
    stage.sent();
    stage.hear(4, LOOKING, NO_VOTE);
    for answers in [1, 1, 0, 0] {
        assert_eq!(stage.sent().len(), answers);
        stage.hear(4, PeerState::Observing, vote(1, 1, 9, 1));
    }
    stage.look(10, 1);
    stage.sent();
    stage.hear(4, PeerState::Observing, vote(1, 1, 9, 1));
    assert_eq!(stage.sent(), [(4, LOOKING, vote(2, 1, 10, 2))], "the answer is another one");
}

#[test]
fn who_has_a_role_answers_lookers_and_ignores_others() {
    let mut stage = Stage::looking();
    stage.hear(3, LOOKING, vote(3, 1, 11, 1));
    stage.pass(200);
    stage.sent();
    // Trap: without the new epoch, newcomers would see mixed epochs and never join.
    stage.step(ElectionInput::Established { peer_epoch: 2 });
    stage.hear(1, LOOKING, vote(1, 1, 9, 5));
    assert_eq!(stage.sent(), [(1, FOLLOWING, vote(3, 2, 11, 1))], "round and zxid stay those of the election");
    stage.hear(1, FOLLOWING, vote(3, 2, 11, 1));
    stage.hear(1, PeerState::Observing, vote(3, 2, 11, 1));
    assert_eq!(stage.sent(), []);
    stage.look(12, 2);
    assert_eq!(stage.election.round(), 2);
    assert_eq!(stage.sent()[0], (1, LOOKING, vote(2, 2, 12, 2)));
    stage.hear(9, LOOKING, NO_VOTE);
    // It may be a voter by a configuration that this server does not know, and would tell it on.
    assert_eq!(stage.sent(), [(9, LOOKING, vote(2, 2, 12, 2))], "not the leader that was lost");
}

/// Trap: a server of weight 0 votes and is never elected.
#[test]
fn the_weightless_vote_and_are_not_elected() {
    let groups = "group.1=1:2:3\nweight.1=1\nweight.2=1\nweight.3=0";
    let mut stage = Stage::new(2, ensemble(3, 3, groups));
    stage.look(10, 1);
    stage.sent();
    stage.hear(3, LOOKING, vote(3, 9, 99, 1));
    assert_eq!(stage.sent(), []);
    stage.hear(3, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), None, "one of two weights is no quorum");
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    assert_eq!(stage.elected().unwrap().0, 2);
}

/// Trap: while a reconfiguration is under way both configurations must agree.
#[test]
fn both_configurations_must_agree() {
    let mut views = Views::settled(ensemble(3, 3, "version=1"));
    views.see(ensemble(5, 5, "version=2"));
    let mut stage = Stage::with_views(2, views);
    stage.look(10, 1);
    assert_eq!(stage.sent().len(), 4, "voters of both are asked");
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), None);
    stage.hear(5, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    assert_eq!(stage.elected().unwrap().0, 2);
}

/// A server that only the configuration under way lets vote may have logged more than all who can be elected. Its vote may
/// be needed all the same.
#[test]
fn who_cannot_be_elected_supports_whoever_can() {
    let mut views = Views::settled(ensemble(3, 3, "version=1"));
    views.see(ensemble(4, 4, "version=2"));
    let mut stage = Stage::with_views(4, views.clone());
    stage.look(11, 1);
    assert!(stage.sent().iter().all(|(_, _, vote)| vote.leader == ServerId::NOBODY), "not all know it");
    stage.hear(2, LOOKING, vote(2, 1, 10, 1));
    assert!(stage.sent().contains(&(2, LOOKING, vote(2, 1, 10, 1))));
    stage.hear(1, LOOKING, vote(2, 1, 10, 1));
    stage.pass(200);
    assert_eq!(stage.elected(), Some((2, FOLLOWING, vote(2, 1, 10, 1))));
    // Who lacks something abstains whatever it is.
    let mut stage = Stage::with_views(4, views);
    stage.look(-1, 1);
    stage.hear(2, LOOKING, vote(2, 1, 10, 1));
    assert!(stage.sent().iter().all(|(_, _, vote)| (vote.leader, vote.zxid) == (ServerId::NOBODY, -1)));
}

/// Trap: a configuration was seen that never came into force, and those who lead and follow know nothing of it.
#[test]
fn who_leads_already_needs_no_quorum_of_a_configuration_under_way() {
    let mut views = Views::settled(ensemble(3, 3, "version=1"));
    views.see(ensemble(2, 2, "version=2"));
    let mut stage = Stage::with_views(2, views);
    stage.look(10, 1);
    stage.hear(1, FOLLOWING, vote(3, 2, 5, 7));
    assert_eq!(stage.elected(), None, "its own word is missing");
    stage.hear(3, LEADING, vote(3, 2, 5, 7));
    assert_eq!(stage.elected(), Some((3, FOLLOWING, vote(3, 2, 5, 7))));
}

#[test]
fn a_newer_configuration_with_other_members_ends_the_round() {
    let mut stage = Stage::new(2, ensemble(3, 3, "version=1"));
    stage.look(10, 1);
    stage.hear(1, LOOKING, vote(1, 1, 9, 6));
    stage.sent();
    let newer = ensemble(4, 4, "version=2");
    stage.hear_with(1, LOOKING, vote(1, 5, 50, 7), 2, Some(newer.text()));
    let [ElectionAction::Adopt { ensemble, restart: true }] = &stage.out[..] else { panic!("{:?}", stage.out) };
    assert!(ensemble.same_membership(&newer) && ensemble.text() == newer.text());
    assert_eq!((stage.election.next_deadline(), stage.election.round()), (None, 6));
    stage.hear(1, LOOKING, vote(1, 5, 50, 8));
    stage.pass(10_000);
    assert_eq!(stage.out.len(), 1, "it waits for the restart");
    stage.step(ElectionInput::Restart(Views::settled(newer)));
    stage.look(10, 1);
    assert_eq!(stage.election.round(), 1);
    assert_eq!(stage.sent().len(), 3);
    assert_eq!(stage.election.current_vote(), Some(vote(2, 1, 10, -1)));
}

#[test]
fn a_newer_version_with_the_same_members_goes_on() {
    let mut stage = Stage::new(2, ensemble(3, 3, "version=1"));
    stage.look(10, 1);
    stage.sent();
    let newer = ensemble(3, 3, "version=2");
    stage.hear_with(3, LOOKING, vote(3, 1, 11, 1), 2, Some(newer.text()));
    assert!(matches!(stage.out[0], ElectionAction::Adopt { restart: false, .. }), "before anything that tells of it");
    assert_eq!(stage.election.views().committed().version(), 2);
    assert_eq!(stage.sent().len(), 2);
    stage.pass(200);
    assert_eq!(stage.elected().unwrap().0, 3);
}

#[test]
fn configurations_that_change_nothing() {
    let older = ensemble(5, 5, "version=1");
    let newer = ensemble(5, 5, "version=9");
    let mut stage = Stage::new(2, ensemble(3, 3, "version=2"));
    stage.look(10, 1);
    stage.hear_with(1, LOOKING, vote(2, 1, 10, 1), 2, Some(older.text()));
    stage.hear_with(1, LOOKING, vote(2, 1, 10, 1), 2, Some("server.1=garbage\nversion=77"));
    stage.pass(200);
    assert_eq!(stage.elected().unwrap().0, 2, "the vote beside an odd text counts");
    stage.hear_with(1, LOOKING, vote(1, 1, 9, 2), 2, Some(newer.text()));
    assert_eq!(stage.election.views().committed().version(), 2, "not while in a role");
    // reconfigEnabled=false: no configuration is ever taken from others.
    let config = ElectionConfig::new(ServerId(2), false);
    let mut stage = Stage::looking();
    stage.election = Election::new(config, Views::settled(ensemble(3, 3, "")));
    stage.look(10, 1);
    stage.hear_with(1, LOOKING, vote(2, 1, 10, 1), 2, Some(newer.text()));
    stage.pass(200);
    assert_eq!(stage.elected().unwrap().0, 2);
}

/// A server that another configuration has removed learns of it and goes on without a vote.
#[test]
fn a_joiner_takes_the_newer_configuration() {
    let mut stage = Stage::new(4, ensemble(4, 4, ""));
    stage.look(0, 0);
    assert_eq!(stage.sent()[0].2.leader, ServerId(4));
    let newer = ensemble(3, 3, "version=100000000");
    stage.hear_with(1, LEADING, vote(1, 1, 5, 1), 2, Some(newer.text()));
    assert!(matches!(stage.out[..], [ElectionAction::Adopt { restart: true, .. }]));
    stage.step(ElectionInput::Restart(Views::settled(newer)));
    stage.look(0, 0);
    assert_eq!(stage.sent()[0].2.leader, ServerId::NOBODY);
    stage.hear(1, LEADING, vote(1, 1, 5, 1));
    stage.hear(2, FOLLOWING, vote(1, 1, 5, 1));
    assert_eq!(stage.elected().unwrap().1, FOLLOWING);
}

#[test]
fn a_designated_leader_needs_no_election() {
    let mut stage = Stage::looking();
    stage.hear(3, LOOKING, vote(3, 1, 11, 1));
    stage.pass(200);
    stage.out.clear();
    stage.step(ElectionInput::Designated { leader: ServerId(3), zxid: 0x20 });
    assert!(stage.out.is_empty(), "the leader stays");
    stage.step(ElectionInput::Designated { leader: ServerId(1), zxid: 0x20 });
    assert_eq!(stage.elected(), Some((1, FOLLOWING, vote(1, -1, 0x20, -1))));
    stage.sent();
    stage.hear(3, LOOKING, vote(3, 1, 11, 2));
    assert_eq!(stage.sent(), [(3, FOLLOWING, vote(1, -1, 0x20, -1))]);
    stage.step(ElectionInput::Established { peer_epoch: 2 });
    stage.hear(3, LOOKING, vote(3, 1, 11, 2));
    assert_eq!(stage.sent(), [(3, FOLLOWING, vote(1, 2, 0x20, -1))]);
    stage.out.clear();
    stage.step(ElectionInput::Designated { leader: ServerId(2), zxid: 0x30 });
    assert_eq!(stage.elected().unwrap().1, LEADING);
}

#[test]
fn nothing_is_said_before_the_first_round() {
    let mut stage = Stage::new(2, ensemble(3, 3, ""));
    stage.hear(1, LOOKING, vote(1, 1, 9, 1));
    stage.hear(9, LOOKING, NO_VOTE);
    stage.pass(1_000);
    assert!(stage.out.is_empty() && stage.election.next_deadline().is_none());
}
