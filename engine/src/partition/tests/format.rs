//! The formats, held against sample files. A format that changes gets another number and another sample, and the old
//! samples must still open.

use super::host::{Host, ID, MemoryFile, hash, hashed};
use crate::acl::AclId;
use crate::node_owner::NodeOwner;
use crate::partition::*;
use crate::path::HashKey;
use bytes::Bytes;

/// The used part of a segment of format 1: a record of every kind.
const SEGMENT_1: &[u8] = include_bytes!("fixtures/segment-1.bin");
/// A manifest of format 1 that names it.
const MANIFEST_1: &[u8] = include_bytes!("fixtures/manifest-1.bin");

fn sample() -> Partition {
    let mut partition = Partition::new(ID, 2);
    let put = |path: &str, data: Option<&'static [u8]>, owner| Piece::Put {
        node: hashed(path),
        data: data.map(Bytes::from_static),
        acl: AclId::OPEN,
        owner,
    };
    let link = |child: &str, cversion| {
        let (parent, child) = (hash("/"), hashed(child));
        Piece::Link { parent, child, cversion, moves_pzxid: true }
    };
    let pieces = [
        put("/", Some(b""), NodeOwner::PERSISTENT),
        put("/a", Some(b"value"), NodeOwner::PERSISTENT),
        link("/a", 1),
        put("/null", None, NodeOwner::ttl(5000)),
        link("/null", 2),
        put("/gone", Some(b"x"), NodeOwner::CONTAINER),
        link("/gone", 3),
        Piece::SetData { node: hashed("/a"), data: Some(Bytes::from_static(b"later")), version: 1 },
        Piece::SetAcl { node: hashed("/a"), acl: AclId(3), aversion: 1 },
        Piece::Unlink { parent: hash("/"), child: hashed("/gone"), moves_pzxid: true },
        Piece::Remove { node: hashed("/gone") },
    ];
    for (n, piece) in pieces.iter().enumerate() {
        partition.apply(Zxid::new(1, n as u32), 1_700_000_000_000 + n as i64, piece);
    }
    partition.flush_tail();
    partition
}

fn manifest(partition: &Partition) -> Manifest {
    let mut cut = partition.cut();
    cut.zxid = Zxid::new(1, 20);
    Manifest {
        server: 3,
        hash_key: Manifest::fingerprint(&HashKey::new([1; HashKey::BYTES])),
        zxid: Zxid::new(1, 20),
        is_installed: false,
        partitions: vec![cut],
        system: b"system state".to_vec(),
    }
}

#[test]
fn samples_of_format_1_open() {
    let manifest = Manifest::decode(MANIFEST_1).unwrap();
    assert_eq!((manifest.server, &manifest.system[..]), (3, &b"system state"[..]));
    let cut = &manifest.partitions[0];
    let file = MemoryFile::with(SEGMENT_1.to_vec()) as Arc<dyn SegmentBytes>;
    let mut nodes = Vec::new();
    let partition = recover(cut, &[file], &mut |facts| {
        let image = facts.image;
        nodes.push((image.path.to_owned(), image.data.map(<[u8]>::to_vec), image.version, image.acl, image.owner));
    });
    let partition = partition.unwrap();
    assert_eq!(
        nodes,
        [
            ("/".to_owned(), Some(vec![]), 0, AclId::OPEN, NodeOwner::PERSISTENT),
            ("/null".to_owned(), None, 0, AclId::OPEN, NodeOwner::ttl(5000)),
            ("/a".to_owned(), Some(b"later".to_vec()), 1, AclId(3), NodeOwner::PERSISTENT),
        ]
    );
    let root = partition.get(hash("/")).unwrap();
    let stat = partition.stat(&root, true).unwrap();
    assert_eq!((stat.num_children, stat.cversion, stat.pzxid), (2, 4, Zxid::new(1, 9).to_wire()));
    assert_eq!((stat.czxid, stat.ctime), (Zxid::new(1, 0).to_wire(), 1_700_000_000_000));
    assert_eq!(partition.zxid(), Zxid::new(1, 20));
}

#[test]
fn what_is_written_today_is_format_1() {
    let mut partition = sample();
    let manifest = manifest(&partition);
    let mut host = Host::default();
    host.work(&mut partition, usize::MAX);
    let segment = manifest.partitions[0].segments[0];
    assert_eq!(&host.files[&segment.segment].content()[..segment.end as usize], SEGMENT_1);
    assert_eq!(manifest.encode(), MANIFEST_1);
}

/// Gives a segment's bytes to a check in pieces of `piece`.
fn check(bytes: &[u8], piece: usize) -> Result<(), Damage> {
    let manifest = Manifest::decode(MANIFEST_1).unwrap();
    let mut check = SegmentCheck::new(ID, manifest.partitions[0].segments[0]);
    assert_eq!(check.end(), SEGMENT_1.len() as u64);
    bytes.chunks(piece).try_for_each(|piece| check.feed(piece))?;
    check.finish()
}

#[test]
fn a_check_passes_what_was_written_in_pieces_of_any_size() {
    let mut longer = SEGMENT_1.to_vec();
    longer.extend_from_slice(&[0xff; 5000]);
    for piece in [1, 2, 3, 7, 31, 32, 100, 4096, usize::MAX] {
        assert_eq!(check(SEGMENT_1, piece), Ok(()), "{piece}");
        assert_eq!(check(&longer, piece), Ok(()), "{piece}");
    }
    for end in [0, 1, 31, 32, 33, 100, SEGMENT_1.len() - 1] {
        let damage = check(&SEGMENT_1[..end], 64).unwrap_err();
        assert_eq!((damage.partition, damage.offset, damage.fault), (ID, end as u64, Fault::Missing));
    }
}

#[test]
fn a_check_finds_every_flipped_bit_where_recovery_does() {
    let manifest = Manifest::decode(MANIFEST_1).unwrap();
    for at in 0..SEGMENT_1.len() {
        let mut bytes = SEGMENT_1.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let damage = check(&bytes, 50 + at % 1000).unwrap_err();
        assert!(damage.offset <= at as u64, "{at}: {damage}");
        let file = MemoryFile::with(bytes) as Arc<dyn SegmentBytes>;
        let recovered = recover(&manifest.partitions[0], &[file], &mut |_| {}).err().unwrap();
        assert_eq!(recovered.offset, damage.offset, "{at}: {recovered} {damage}");
    }
}
