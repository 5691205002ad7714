//! addWatch, checkWatches, removeWatches, setWatches, setWatches2.

use super::OpCode;
use super::read::path;
use engine::jute::{DecodeError, Reader};
use engine::read::{PathArg, ReadOp, RestoredKind, RestoredWatch, WatchSelector};

/// `AddWatchMode.PERSISTENT`.
const PERSISTENT: i32 = 0;
/// `AddWatchMode.PERSISTENT_RECURSIVE`.
const PERSISTENT_RECURSIVE: i32 = 1;

/// A request of this family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchRequest<'a> {
    /// addWatch, checkWatches or removeWatches.
    One(ReadOp<'a>),
    /// checkWatches or removeWatches of a null path, where no watch can be.
    Nowhere,
    /// setWatches or setWatches2: `relativeZxid` and the watches in the order in which they are worked through.
    Restore(i64, Vec<RestoredWatch>),
}

/// Reads the record. `None` if `op` is not of this family.
pub fn decode<'a>(op: OpCode, r: &mut Reader<'a>) -> Option<Result<WatchRequest<'a>, DecodeError>> {
    Some(match op {
        OpCode::AddWatch => add(r),
        OpCode::CheckWatches => find(r, false),
        OpCode::RemoveWatches => find(r, true),
        OpCode::SetWatches => restore(r, &LISTS[..3]),
        OpCode::SetWatches2 => restore(r, &LISTS),
        _ => return None,
    })
}

const LISTS: [RestoredKind; 5] = [
    RestoredKind::Data,
    RestoredKind::Exist,
    RestoredKind::Child,
    RestoredKind::Persistent,
    RestoredKind::PersistentRecursive,
];

fn add<'a>(r: &mut Reader<'a>) -> Result<WatchRequest<'a>, DecodeError> {
    let path = path(r)?;
    let recursive = match r.int()? {
        PERSISTENT => false,
        PERSISTENT_RECURSIVE => true,
        _ => return Err(DecodeError::Value("unsupported watch mode")),
    };
    Ok(WatchRequest::One(ReadOp::AddWatch { path, recursive }))
}

fn find<'a>(r: &mut Reader<'a>, remove: bool) -> Result<WatchRequest<'a>, DecodeError> {
    let path: Option<PathArg<'a>> = r.string()?;
    let kind = match r.int()? {
        1 => WatchSelector::Children,
        2 => WatchSelector::Data,
        3 => WatchSelector::Any,
        4 => WatchSelector::Persistent,
        5 => WatchSelector::PersistentRecursive,
        _ => return Err(DecodeError::Value("unknown watcher type")),
    };
    Ok(match path {
        Some(path) => WatchRequest::One(ReadOp::FindWatch { path, kind, remove }),
        None => WatchRequest::Nowhere,
    })
}

fn restore<'a>(r: &mut Reader<'a>, lists: &[RestoredKind]) -> Result<WatchRequest<'a>, DecodeError> {
    let relative_zxid = r.long()?;
    let mut items = Vec::new();
    for kind in lists {
        let count = r.count()?.ok_or(DecodeError::Value("null list of watches"))?;
        for _ in 0..count {
            let path = path(r)?.into();
            items.push(RestoredWatch { index: items.len() as u32, kind: *kind, path });
        }
    }
    Ok(WatchRequest::Restore(relative_zxid, items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::jute::Writer;

    fn record(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Writer::new(&mut bytes));
        bytes
    }

    #[test]
    fn modes_and_types_outside_the_lists_are_refused() {
        let watch = |mode| {
            record(|w| {
                w.string("no path at all");
                w.int(mode);
            })
        };
        for (op, good) in [(OpCode::AddWatch, 0..=1), (OpCode::CheckWatches, 1..=5), (OpCode::RemoveWatches, 1..=5)] {
            for mode in -1..8 {
                let bytes = watch(mode);
                let decoded = decode(op, &mut Reader::new(&bytes));
                assert_eq!(decoded.is_some_and(|result| result.is_ok()), good.contains(&mode), "{op:?} {mode}");
            }
        }
        let null = record(|w| {
            w.buffer(None);
            w.int(1);
        });
        assert!(matches!(decode(OpCode::AddWatch, &mut Reader::new(&null)), Some(Err(_))));
        assert_eq!(decode(OpCode::RemoveWatches, &mut Reader::new(&null)), Some(Ok(WatchRequest::Nowhere)));
    }

    #[test]
    fn lists_keep_their_order_and_none_may_be_null() {
        let bytes = record(|w| {
            w.long(9);
            for paths in [&["/a", "/b"][..], &[], &["/c"]] {
                w.count(Some(paths.len()));
                paths.iter().for_each(|path| w.string(path));
            }
        });
        let item = |index, kind, path: &str| RestoredWatch { index, kind, path: path.into() };
        let expected = vec![
            item(0, RestoredKind::Data, "/a"),
            item(1, RestoredKind::Data, "/b"),
            item(2, RestoredKind::Child, "/c"),
        ];
        assert_eq!(decode(OpCode::SetWatches, &mut Reader::new(&bytes)), Some(Ok(WatchRequest::Restore(9, expected))));
        assert!(matches!(decode(OpCode::SetWatches2, &mut Reader::new(&bytes)), Some(Err(DecodeError::CutShort))));
        let null = record(|w| {
            w.long(9);
            w.count(None);
        });
        assert!(matches!(decode(OpCode::SetWatches, &mut Reader::new(&null)), Some(Err(DecodeError::Value(_)))));
    }
}
