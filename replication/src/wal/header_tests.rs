//! The header of a segment against arbitrary bytes: nothing passes that was not written as it stands.

use super::format::{BLOCK_BYTES, DirectoryId, SegmentHeader, SegmentIdentity, SegmentSeq};
use proptest::prelude::*;

const DIRECTORY: DirectoryId = DirectoryId(7);

fn header() -> SegmentHeader {
    SegmentHeader {
        directory: DIRECTORY,
        server: 3,
        sequence: SegmentSeq(5),
        identity: SegmentIdentity(0x1234_5678_9ABC_DEF0),
        bytes: 16 << 20,
    }
}

proptest! {
    #[test]
    fn arbitrary_blocks_are_no_headers(block in proptest::collection::vec(any::<u8>(), BLOCK_BYTES)) {
        prop_assert!(SegmentHeader::decode(&block, DIRECTORY).is_err());
    }

    /// A header with some bytes changed is refused, or the change was none.
    #[test]
    fn no_change_goes_unnoticed(
        changes in proptest::collection::vec((0..BLOCK_BYTES, any::<u8>()), 1..8),
        other in 0_u64..10,
    ) {
        let sound = header().encode();
        prop_assert_eq!(SegmentHeader::decode(sound.as_slice(), DIRECTORY), Ok(header()));
        prop_assert_eq!(SegmentHeader::decode(sound.as_slice(), DirectoryId(other)).is_ok(), other == DIRECTORY.0);
        let mut block = sound.as_slice().to_vec();
        for (at, byte) in changes {
            block[at] = byte;
        }
        prop_assert_eq!(SegmentHeader::decode(&block, DIRECTORY).is_ok(), block == sound.as_slice());
    }
}
