//! Bytes captured from Java servers, and bytes from nowhere.

use super::super::bodies::*;
use super::*;
use engine::ids::SessionId;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("hex")).collect()
}

fn decode_all(bytes: &[u8]) -> Vec<QuorumPacket> {
    let mut decoder = PacketDecoder::new(DATA_BYTES_MAX);
    decoder.push(bytes);
    let mut packets = Vec::new();
    while let Some(packet) = decoder.next().expect("a packet") {
        packets.push(packet);
    }
    assert_eq!(decoder.waiting(), 0);
    packets
}

/// Both directions.
fn golden(packet: QuorumPacket, captured: &str) {
    assert_eq!(packet.encode(), hex(captured), "{packet:?}");
    assert_eq!(decode_all(&hex(captured)), [packet]);
}

#[test]
fn handshake_as_captured() {
    let info = |sid| LearnerInfo { sid: Some(sid), protocol: PROTOCOL_VERSION, config_version: 0 };
    golden(
        QuorumPacket::with_data(PacketKind::FollowerInfo, Zxid::ZERO, info(1).encode()),
        "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff",
    );
    golden(
        QuorumPacket::with_data(PacketKind::ObserverInfo, Zxid::ZERO, info(4).encode()),
        "00000010 0000000000000000 00000014 0000000000000004 00010000 0000000000000000 ffffffff",
    );
    golden(leader_info(1), "00000011 0000000100000000 00000004 00010000 ffffffff");
    golden(ack_epoch(Zxid::ZERO, Some(0)), "00000012 0000000000000000 00000004 00000000 ffffffff");
    golden(ack_epoch(Zxid(0x10000000e), None), "00000012 000000010000000e 00000004 ffffffff ffffffff");
}

#[test]
fn synchronisation_as_captured() {
    golden(QuorumPacket::bare(PacketKind::Diff, Zxid::ZERO), "0000000d 0000000000000000 ffffffff ffffffff");
    golden(QuorumPacket::bare(PacketKind::Trunc, Zxid(0x100000018)), "0000000e 0000000100000018 ffffffff ffffffff");
    golden(QuorumPacket::bare(PacketKind::Snap, Zxid(0x10000000e)), "0000000f 000000010000000e ffffffff ffffffff");
    golden(
        QuorumPacket::with_data(PacketKind::NewLeader, epoch_zxid(1), &b"version=0"[..]),
        "0000000a 0000000100000000 00000009 76657273696f6e3d30 ffffffff",
    );
    golden(QuorumPacket::bare(PacketKind::Ack, epoch_zxid(1)), "00000003 0000000100000000 ffffffff ffffffff");
    golden(QuorumPacket::bare(PacketKind::UpToDate, NO_ZXID), "0000000c ffffffffffffffff ffffffff ffffffff");
}

#[test]
fn broadcast_as_captured() {
    golden(QuorumPacket::bare(PacketKind::Ping, epoch_zxid(1)), "00000005 0000000100000000 ffffffff ffffffff");
    golden(ping_reply(epoch_zxid(1), &[]), "00000005 0000000100000000 00000000 ffffffff");
    golden(
        ping_reply(epoch_zxid(1), &[(SessionId(0x01000024aa160000), 8000)]),
        "00000005 0000000100000000 0000000c 01000024aa160000 00001f40 ffffffff",
    );
    golden(QuorumPacket::bare(PacketKind::Commit, Zxid(0x100000002)), "00000004 0000000100000002 ffffffff ffffffff");
    golden(QuorumPacket::bare(PacketKind::Sync, Zxid::ZERO), "00000007 0000000000000000 ffffffff ffffffff");
    golden(
        revalidate(SessionId(0x0400002602200000), 8000),
        "00000006 ffffffffffffffff 0000000c 0400002602200000 00001f40 ffffffff",
    );
    golden(
        revalidated(SessionId(0x0400002602200000), true),
        "00000006 ffffffffffffffff 00000009 0400002602200000 01 ffffffff",
    );
    golden(commit_and_activate(Zxid(0x100000002), 3), "00000009 0000000100000002 00000008 0000000000000003 ffffffff");
}

#[test]
fn requests_as_captured() {
    let session = SessionId(0x01000024aa160000);
    let created =
        ForwardedRequest { session, cxid: 0, opcode: -10, body: Bytes::from_static(&[0, 0, 0x1f, 0x40]), ids: None };
    let captured = "00000001 ffffffffffffffff 00000014 01000024aa160000 00000000 fffffff6 00001f40 ffffffff";
    golden(created.clone().into_packet(), captured);
    assert_eq!(ForwardedRequest::from_packet(created.clone().into_packet()), Ok(created));

    let body = "00000002 2f70 00000002 7630 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000";
    let id = AuthId { scheme: "ip".into(), id: "127.0.0.1".into() };
    let create = ForwardedRequest { session, cxid: 1, opcode: 1, body: hex(body).into(), ids: Some(vec![id]) };
    let captured = "00000001 ffffffffffffffff 0000003b 01000024aa160000 00000001 00000001 00000002 2f70 00000002 7630 \
                    00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000 00000001 00000002 6970 \
                    00000009 3132372e302e302e31";
    golden(create.clone().into_packet(), captured);
    assert_eq!(ForwardedRequest::from_packet(create.clone().into_packet()), Ok(create));
}

const PROPOSED: &str = "01000024aa160000 00000001 0000000100000002 000001a1fb600d45 00000001 00000002 2f70 00000002 \
                        7630 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00 00000001 00000002 \
                        00000002118cc9c3";

#[test]
fn a_proposal_as_captured_in_all_its_shapes() {
    let txn = hex(PROPOSED);
    let frame = ProposalFrame::new(Zxid(0x100000002), &txn);
    let captured = hex(&format!("00000002 0000000100000002 00000058 {PROPOSED} ffffffff"));
    assert_eq!(frame.proposal(), captured);
    assert_eq!(frame.txn(), txn);
    let informed = QuorumPacket::with_data(PacketKind::Inform, Zxid(0x100000002), txn.clone());
    assert_eq!(decode_all(&frame.inform().concat()), [informed]);

    let activate = inform_and_activate(Zxid(0x100000002), 3, &txn);
    assert_eq!(activate.data.clone().expect("data"), hex(&format!("0000000000000003 {PROPOSED}")));
    assert_eq!(decode_activate(activate.data.as_ref()), Ok((3, txn.into())));
}

#[test]
fn every_code_is_one_kind() {
    for code in 1..=19 {
        assert_ne!(PacketKind::from_code(code), PacketKind::Unknown(code));
        assert_eq!(PacketKind::from_code(code).code(), code);
    }
    for code in [i32::MIN, -1, 0, 20, i32::MAX] {
        assert_eq!(PacketKind::from_code(code), PacketKind::Unknown(code));
        assert_eq!(PacketKind::from_code(code).code(), code);
    }
}

#[test]
fn shorter_learner_infos_are_whole() {
    let whole = LearnerInfo { sid: Some(5), protocol: PROTOCOL_VERSION, config_version: 9 };
    let bytes = whole.encode();
    assert_eq!(LearnerInfo::decode(Some(&bytes)), whole);
    assert_eq!(LearnerInfo::decode(Some(&bytes[..12])), LearnerInfo { config_version: 0, ..whole });
    assert_eq!(LearnerInfo::decode(Some(&bytes[..8])), LearnerInfo { config_version: 0, protocol: 1, ..whole });
    let anonymous = LearnerInfo { sid: None, protocol: 1, config_version: 0 };
    assert_eq!(LearnerInfo::decode(Some(&bytes[..7])), anonymous);
    assert_eq!(LearnerInfo::decode(None), anonymous);
}

#[test]
fn absurd_lengths_are_refused_before_their_bytes_come() {
    let head = |length: i32| [&[0; 12][..], &length.to_be_bytes(), &[0; 4]].concat();
    for length in [-2, i32::MIN, 11, i32::MAX] {
        let mut decoder = PacketDecoder::new(10);
        decoder.push(&head(length));
        assert_eq!(decoder.next(), Err(PacketError::Length { length, max: 10 }));
    }
    let mut decoder = PacketDecoder::new(10);
    decoder.push(&head(10));
    assert_eq!(decoder.next(), Ok(None));

    let mut endless = PacketDecoder::new(10);
    endless.push(&[&[0; 12][..], &[0xFF; 4], &i32::MAX.to_be_bytes(), &vec![0; AUTHINFO_BYTES_MAX + 8]].concat());
    assert_eq!(endless.next(), Err(PacketError::Credentials));
}

fn packets() -> impl Strategy<Value = QuorumPacket> {
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let id = ("[a-z]{0,6}", "[a-z:é]{0,9}");
    let auth = proptest::option::of(proptest::collection::vec(id, 0..3));
    let code = prop_oneof![0_i32..22, Just(PacketKind::Proposal.code())];
    (code, any::<u64>(), data, auth).prop_map(|(code, zxid, data, auth)| QuorumPacket {
        kind: PacketKind::from_code(code),
        zxid: Zxid(zxid),
        data: data.map(Bytes::from),
        auth: auth
            .map(|ids| ids.into_iter().map(|(scheme, id)| AuthId { scheme: scheme.into(), id: id.into() }).collect()),
    })
}

proptest! {
    #[test]
    fn packets_survive_any_segmentation(
        sent in proptest::collection::vec(packets(), 1..6), cuts in proptest::collection::vec(1_usize..30, 1..9)
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|packet| packet.encode()).collect();
        let (mut decoder, mut framer) = (PacketDecoder::new(64), PacketDecoder::new(64));
        let (mut received, mut framed) = (Vec::new(), Vec::new());
        let (mut at, mut cuts) = (0, cuts.iter().cycle());
        while at < stream.len() {
            let end = (at + cuts.next().expect("endless")).min(stream.len());
            decoder.push(&stream[at..end]);
            while let Some(packet) = decoder.next().expect("a packet") {
                received.push(packet);
            }
            framer.push(&stream[at..end]);
            loop {
                if let Some((zxid, frame)) = framer.next_proposal().expect("a packet") {
                    prop_assert_eq!(&frame, &ProposalFrame::new(zxid, frame.txn_bytes()));
                    framed.push(QuorumPacket::with_data(PacketKind::Proposal, zxid, frame.txn()));
                } else if let Some(packet) = framer.next().expect("a packet") {
                    let is_plain = packet.data.is_some() && packet.auth.is_none();
                    prop_assert!(packet.kind != PacketKind::Proposal || !is_plain);
                    framed.push(packet);
                } else {
                    break;
                }
            }
            at = end;
        }
        prop_assert_eq!(&received, &sent);
        prop_assert_eq!(framed, sent);
        prop_assert_eq!(decoder.waiting() + framer.waiting(), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = PacketDecoder::new(100);
        decoder.push(&bytes);
        while let Ok(Some(packet)) = decoder.next() {
            let data = packet.data.as_deref();
            let _ = LearnerInfo::decode(data);
            let _ = decode_ack_epoch(data);
            let _ = decode_touches(data);
            let _ = decode_revalidate(data);
            let _ = decode_revalidated(data);
            let _ = decode_activate(packet.data.as_ref());
            let _ = ForwardedRequest::from_packet(packet);
        }
    }

    #[test]
    fn small_lengths_in_arbitrary_bytes_never_panic(bytes in proptest::collection::vec(0_u8..4, 0..400)) {
        let mut decoder = PacketDecoder::new(100);
        decoder.push(&bytes);
        while matches!(decoder.next_proposal(), Ok(Some(_))) || matches!(decoder.next(), Ok(Some(_))) {}
    }
}
