//! A checkpoint as a server finds it: the partitions that a manifest names, and what the ledger has to know of them.

use super::disk::{FileName, Files};
use crate::ledger::{Ledger, NodeFact};
use crate::peer::snapshot::stage::Stage;
use crate::role::{Role, RoleConfig, SystemState};
use engine::partition::{Manifest, Partition, SegmentBytes, SegmentCut, recover};
use engine::zxid::Zxid;
use std::sync::Arc;

/// What a manifest names.
pub(super) struct Loaded {
    pub partitions: Vec<Partition>,
    pub ledger: Ledger,
    pub system: SystemState,
}

/// Whether a file belongs to the checkpoint.
pub(super) fn names(manifest: &Manifest, (partition, generation, segment): FileName) -> bool {
    let mut cuts = manifest.partitions.iter().filter(|cut| cut.partition == partition);
    cuts.any(|cut| cut.segments.iter().any(|s| (s.generation, s.segment) == (generation, segment)))
}

/// Reads the checkpoint back.
pub(super) fn load(manifest: &Manifest, files: &Files, config: &RoleConfig) -> Result<Loaded, String> {
    let system = SystemState::decode(&manifest.system).map_err(|problem| problem.to_string())?;
    let mut loader = Role::loader(config, &system, marks(manifest, config));
    let mut partitions = Vec::new();
    for cut in &manifest.partitions {
        let file = |segment: &SegmentCut| {
            let name = (cut.partition, segment.generation, segment.segment);
            Arc::clone(files.get(name)) as Arc<dyn SegmentBytes>
        };
        let files: Vec<_> = cut.segments.iter().map(file).collect();
        let mut problem = None;
        let partition = recover(cut, &files, &mut |facts| {
            problem = problem.take().or(loader.node(NodeFact::from(facts)).err());
        });
        if let Some(problem) = problem {
            return Err(problem.to_string());
        }
        partitions.push(partition.map_err(|problem| problem.to_string())?);
    }
    let ledger = loader.finish().map_err(|problem| problem.to_string())?;
    Ok(Loaded { partitions, ledger, system })
}

/// What a manifest says of a stage, as hosts take it over: without reading it back.
pub(super) fn staged(manifest: &Manifest, mut stage: Stage, config: &RoleConfig) -> Result<Loaded, String> {
    let system = SystemState::decode(&manifest.system).map_err(|problem| problem.to_string())?;
    let mut loader = Role::loader(config, &system, marks(manifest, config));
    stage.load(&mut loader).map_err(|problem| problem.to_string())?;
    let ledger = loader.finish().map_err(|problem| problem.to_string())?;
    Ok(Loaded { partitions: stage.into_partitions(), ledger, system })
}

/// Up to which transaction each partition goes.
fn marks(manifest: &Manifest, config: &RoleConfig) -> Box<[Zxid]> {
    let mut marks = vec![manifest.zxid; config.ledger.partitions as usize];
    for cut in &manifest.partitions {
        marks[usize::from(cut.partition.0)] = cut.zxid;
    }
    marks.into()
}
