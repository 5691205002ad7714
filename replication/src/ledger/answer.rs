//! What a client is told about its transaction. It follows from the transaction alone, so that a follower can answer
//! for what another server validated.

use crate::request::{MultiResult, WriteResult};
use engine::error_code::ErrorCode;
use engine::txn::Txn;

/// The answer that a committed transaction gives to the client that asked for it.
pub fn answer(txn: &Txn) -> Result<WriteResult, ErrorCode> {
    Ok(match txn {
        Txn::Error { code } => return Err(ErrorCode::from_code(*code).unwrap_or(ErrorCode::MarshallingError)),
        Txn::CreateSession { .. } | Txn::CloseSession { .. } | Txn::Delete { .. } | Txn::Check { .. } => {
            WriteResult::Done
        }
        Txn::Create { path, create2, .. } => WriteResult::Created { path: path.clone(), stat: *create2 },
        Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => {
            WriteResult::Created { path: path.clone(), stat: true }
        }
        Txn::SetData { data, reconfig: true, .. } => WriteResult::Config { data: data.clone().unwrap_or_default() },
        Txn::SetData { .. } | Txn::SetAcl { .. } => WriteResult::Stat,
        Txn::Multi { entries } => WriteResult::Multi(multi_results(entries)),
    })
}

/// Whether the transaction's answer carries a Stat.
pub fn wants_stat(txn: &Txn) -> bool {
    match txn {
        Txn::Create { create2, .. } => *create2,
        Txn::CreateContainer { .. } | Txn::CreateTtl { .. } | Txn::SetData { .. } | Txn::SetAcl { .. } => true,
        _ => false,
    }
}

fn multi_results(entries: &[Txn]) -> Vec<MultiResult> {
    let failing = entries.iter().position(|entry| matches!(entry, Txn::Error { .. }));
    let result = |(at, entry): (usize, &Txn)| match (entry, failing) {
        (Txn::Error { code }, _) => MultiResult::Failed(*code),
        (_, Some(failing)) if at < failing => MultiResult::Failed(0),
        (_, Some(_)) => MultiResult::Failed(ErrorCode::RuntimeInconsistency.code()),
        (Txn::Create { path, create2: false, .. }, None) => MultiResult::Created(path.clone()),
        (Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. }, None) => {
            MultiResult::CreatedWithStat(path.clone())
        }
        (Txn::SetData { .. } | Txn::SetAcl { .. }, None) => MultiResult::SetData,
        (Txn::Delete { .. }, None) => MultiResult::Deleted,
        (_, None) => MultiResult::Checked,
    };
    entries.iter().enumerate().map(result).collect()
}
