//! Notifications of leader election (`FastLeaderElection.Notification`, `buildMsg`, `WorkerReceiver`).
//!
//! ```text
//! int state | long leader | long zxid | long round | long peerEpoch | int version = 2 | int n | n bytes configuration
//! ```
//!
//! Older forms end earlier; what they lack reads as given at [`Notification::decode`].

use crate::peer::ensemble::ServerId;
use bytes::Bytes;
use engine::jute::{DecodeError, Reader, Writer};

/// What a server is at the moment (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerState {
    /// In an election.
    Looking,
    /// Follows a leader, with or without a vote.
    Following,
    /// Leads.
    Leading,
    /// Follows a leader as an observer.
    Observing,
}

impl PeerState {
    fn code(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
        }
    }

    fn from_code(code: i32) -> Result<PeerState, DecodeError> {
        match code {
            0 => Ok(PeerState::Looking),
            1 => Ok(PeerState::Following),
            2 => Ok(PeerState::Leading),
            3 => Ok(PeerState::Observing),
            _ => Err(DecodeError::Value("a state of a server that does not exist")),
        }
    }
}

/// Whom a server supports, and what that one has. Numbers are compared as signed, as Java does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// Server voted for; [`ServerId::NOBODY`] of those without a vote.
    pub leader: ServerId,
    /// Last zxid of that server; -1 if it knows that data is missing.
    pub zxid: i64,
    /// The voter's round of elections (`electionEpoch`, the logical clock).
    pub round: i64,
    /// `currentEpoch` of the server voted for.
    pub peer_epoch: i64,
}

/// The version of the form that is sent (`Notification.CURRENTVERSION`).
pub const NOTIFICATION_VERSION: i32 = 2;

/// One notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// State of the sender.
    pub state: PeerState,
    /// Its vote.
    pub vote: Vote,
    /// Version of the form: 2 today.
    pub version: i32,
    /// Text of the sender's committed configuration; what is not UTF-8 reads as U+FFFD.
    pub config: Option<String>,
}

/// Bytes before the length of the configuration: all of an older form.
const FIXED_BYTES: usize = 40;
/// Bytes of the oldest form, which ends with the round.
const OLDEST_BYTES: usize = 28;

impl Notification {
    /// The bytes of a notification in the present form, without the length in front.
    pub fn encode(state: PeerState, vote: Vote, config: &str) -> Bytes {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + 4 + config.len());
        let mut out = Writer::new(&mut bytes);
        out.int(state.code());
        out.long(vote.leader.0);
        out.long(vote.zxid);
        out.long(vote.round);
        out.long(vote.peer_epoch);
        out.int(NOTIFICATION_VERSION);
        out.string(config);
        bytes.into()
    }

    /// Reads a notification of any release. With 28 bytes the epoch is that of the zxid; with exactly 40 the version
    /// counts as 0, although four bytes stand there; a configuration follows only from version 2 on. What stands behind
    /// it is ignored.
    ///
    /// # Errors
    /// Fewer than 28 bytes, a form cut short, a configuration longer than the message, a state that does not exist. Such
    /// a message is skipped; the connection stays.
    pub fn decode(bytes: &[u8]) -> Result<Notification, DecodeError> {
        let mut reader = Reader::new(bytes);
        let state = reader.int()?;
        let (leader, zxid, round) = (ServerId(reader.long()?), reader.long()?, reader.long()?);
        let old = bytes.len() == OLDEST_BYTES;
        let peer_epoch = if old { zxid >> 32 } else { reader.long()? };
        let version = if old || bytes.len() == FIXED_BYTES { 0 } else { reader.int()? };
        let config = if version > 1 {
            let length = reader.int()?;
            let text = usize::try_from(length).ok().and_then(|length| reader.rest().get(..length));
            Some(String::from_utf8_lossy(text.ok_or(DecodeError::Length(length))?).into_owned())
        } else {
            None
        };
        let vote = Vote { leader, zxid, round, peer_epoch };
        Ok(Notification { state: PeerState::from_code(state)?, vote, version, config })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const VOTE: Vote = Vote { leader: ServerId(2), zxid: 0x3_0000_0005, round: 1, peer_epoch: 2 };
    const CONFIG: &str = "server.1=a:1:2:participant\nversion=0";

    fn bytes() -> Vec<u8> {
        Notification::encode(PeerState::Following, VOTE, CONFIG).to_vec()
    }

    /// Captured from Apache ZooKeeper 3.9.4, up to where its configuration begins.
    #[test]
    fn captured_bytes() {
        let config = "x".repeat(178);
        let vote = Vote { leader: ServerId(2), zxid: 0, round: 1, peer_epoch: 0 };
        let bytes = Notification::encode(PeerState::Looking, vote, &config);
        assert_eq!(bytes.len(), 0xde);
        let expected = [0, 0, 0, 0]
            .into_iter()
            .chain([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
            .chain([0, 0, 0, 2, 0, 0, 0, 0xb2]);
        assert!(expected.eq(bytes[..44].iter().copied()));
    }

    #[test]
    fn a_voteless_vote_is_the_smallest_long() {
        let vote = Vote { leader: ServerId::NOBODY, zxid: i64::MIN, round: 1, peer_epoch: i64::MIN };
        let bytes = Notification::encode(PeerState::Looking, vote, "");
        assert_eq!(bytes[4..12], [0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..20], bytes[4..12]);
        assert_eq!(bytes[28..36], bytes[4..12]);
    }

    #[test]
    fn what_is_written_reads_back() {
        let read = Notification::decode(&bytes()).unwrap();
        assert_eq!(read.config.as_deref(), Some(CONFIG));
        assert_eq!((read.state, read.vote, read.version), (PeerState::Following, VOTE, 2));
        let mut longer = bytes();
        longer.extend([1, 2, 3]);
        assert_eq!(Notification::decode(&longer).unwrap(), read, "what follows is ignored");
    }

    #[test]
    fn older_forms() {
        let bytes = bytes();
        let oldest = Notification::decode(&bytes[..28]).unwrap();
        assert_eq!((oldest.vote.peer_epoch, oldest.version, oldest.config), (3, 0, None), "the epoch of the zxid");
        let older = Notification::decode(&bytes[..40]).unwrap();
        assert_eq!((older.vote.peer_epoch, older.version, older.config), (2, 0, None), "the version is not looked at");
        let mut first = bytes[..44].to_vec();
        first[39] = 1;
        let first = Notification::decode(&first).unwrap();
        assert_eq!((first.version, first.config), (1, None));
        assert_eq!(
            Notification::decode(&[&bytes[..12], &[0xFF; 8], &bytes[20..28]].concat()).unwrap().vote.peer_epoch,
            -1
        );
    }

    #[test]
    fn malformed_ones_are_refused() {
        let bytes = bytes();
        for cut in (0..28).chain(29..40).chain(41..44).chain([bytes.len() - 1]) {
            assert!(Notification::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for length in [-1, i32::MIN, i32::MAX, bytes.len() as i32] {
            let mut wrong = bytes.clone();
            wrong[40..44].copy_from_slice(&length.to_be_bytes());
            assert_eq!(Notification::decode(&wrong), Err(DecodeError::Length(length)));
        }
        for state in [4_i32, -1, i32::MAX] {
            let mut wrong = bytes.clone();
            wrong[..4].copy_from_slice(&state.to_be_bytes());
            assert!(Notification::decode(&wrong).is_err());
        }
        let mut odd = bytes.clone();
        odd[50] = 0xFF;
        assert!(
            Notification::decode(&odd).unwrap().config.unwrap().contains('\u{FFFD}'),
            "odd text is no fault of the vote"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Notification::decode(&bytes);
        }

        #[test]
        fn arbitrary_votes_read_back(state in 0..4_i32, leader: i64, zxid: i64, round: i64, peer_epoch: i64, config in ".{0,40}") {
            let vote = Vote { leader: ServerId(leader), zxid, round, peer_epoch };
            let state = PeerState::from_code(state).unwrap();
            let read = Notification::decode(&Notification::encode(state, vote, &config)).unwrap();
            prop_assert_eq!(read, Notification { state, vote, version: 2, config: Some(config) });
        }
    }
}
