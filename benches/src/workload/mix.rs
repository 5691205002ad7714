//! Operations and their shares.

use super::Dice;
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// getData of a key.
    Get,
    /// setData of a key, any version.
    Set,
    /// create of a new persistent node.
    Create,
    /// create of a new ephemeral node.
    CreateEphemeral,
    /// create of a new persistent sequential node.
    CreateSequential,
    /// delete of the oldest node that the same connection created; a create where there is none.
    Delete,
    /// exists of a key.
    Exists,
    /// getChildren of a folder of keys.
    Children,
    /// multi of one create and two to four setData.
    Multi,
    /// sync.
    Sync,
}

/// Kinds of operation.
pub const OPS: usize = 10;

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Op; OPS] = [
        Op::Get,
        Op::Set,
        Op::Create,
        Op::CreateEphemeral,
        Op::CreateSequential,
        Op::Delete,
        Op::Exists,
        Op::Children,
        Op::Multi,
        Op::Sync,
    ];

    /// How files, flags and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Set => "set",
            Op::Create => "create",
            Op::CreateEphemeral => "create_ephemeral",
            Op::CreateSequential => "create_sequential",
            Op::Delete => "delete",
            Op::Exists => "exists",
            Op::Children => "children",
            Op::Multi => "multi",
            Op::Sync => "sync",
        }
    }

    /// Whether it changes something, and so goes through the log.
    pub fn writes(self) -> bool {
        self.creates() || matches!(self, Op::Set | Op::Delete)
    }

    /// Whether it makes a node.
    pub fn creates(self) -> bool {
        matches!(self, Op::Create | Op::CreateEphemeral | Op::CreateSequential | Op::Multi)
    }
}

impl FromStr for Op {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Op> {
        let op = Op::ALL.into_iter().find(|op| op.name() == name);
        op.with_context(|| format!("no operation is called {name:?}; there are {}", names(Op::ALL.map(Op::name))))
    }
}

/// A mix with a name: the name, what it stands for, operations and shares.
pub type Preset = (&'static str, &'static str, &'static [(Op, u32)]);

/// Mixes that have a name.
pub const PRESETS: [Preset; 5] = [
    (
        "mixed",
        "a production tree reported in public: 38 get, 34 create, 9 set, 11 multi, 4 list, and 4 delete",
        &[(Op::Get, 38), (Op::Create, 34), (Op::Set, 9), (Op::Multi, 11), (Op::Children, 4), (Op::Delete, 4)],
    ),
    ("read-mostly", "90 get, 10 set: configuration that changes now and then", &[(Op::Get, 90), (Op::Set, 10)]),
    ("half", "50 get, 50 set", &[(Op::Get, 50), (Op::Set, 50)]),
    (
        "registry",
        "services that come, go and are looked up: 60 get, 20 children, 10 create_ephemeral, 10 delete",
        &[(Op::Get, 60), (Op::Children, 20), (Op::CreateEphemeral, 10), (Op::Delete, 10)],
    ),
    (
        "queue",
        "a queue or lock recipe: 40 create_sequential, 20 children, 40 delete",
        &[(Op::CreateSequential, 40), (Op::Children, 20), (Op::Delete, 40)],
    ),
];

/// Operations with their shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MixText", into = "BTreeMap<Op, u32>")]
pub struct Mix {
    shares: Vec<(Op, u32)>,
    total: u64,
}

impl Mix {
    /// These shares.
    ///
    /// # Errors
    /// All are zero.
    pub fn new(shares: impl IntoIterator<Item = (Op, u32)>) -> anyhow::Result<Mix> {
        let shares: Vec<(Op, u32)> = shares.into_iter().filter(|(_, share)| *share > 0).collect();
        let total = shares.iter().map(|(_, share)| u64::from(*share)).sum();
        ensure!(total > 0, "a mix needs at least one operation with a share above 0");
        Ok(Mix { shares, total })
    }

    /// Only this operation.
    pub fn only(op: Op) -> Mix {
        Mix { shares: vec![(op, 1)], total: 1 }
    }

    /// The share of an operation, between 0 and 1.
    pub fn share(&self, op: Op) -> f64 {
        let of_op: u64 = self.shares.iter().filter(|(known, _)| *known == op).map(|(_, share)| u64::from(*share)).sum();
        of_op as f64 / self.total as f64
    }

    /// The operations that occur.
    pub fn ops(&self) -> impl Iterator<Item = Op> + '_ {
        self.shares.iter().map(|(op, _)| *op)
    }

    /// Draws one.
    pub fn choose(&self, dice: &mut Dice) -> Op {
        let (first, _) = self.shares[0];
        if self.shares.len() == 1 {
            return first;
        }
        let mut left = dice.below(self.total);
        for (op, share) in &self.shares {
            if left < u64::from(*share) {
                return *op;
            }
            left -= u64::from(*share);
        }
        first
    }
}

/// A preset's name, an operation's name, or `get=38,set=9`.
impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Mix> {
        if let Some((_, _, shares)) = PRESETS.iter().find(|(name, _, _)| *name == text) {
            return Mix::new(shares.iter().copied());
        }
        if let Ok(op) = text.parse() {
            return Ok(Mix::only(op));
        }
        if !text.contains('=') {
            let presets = names(PRESETS.map(|(name, _, _)| name));
            let ops = names(Op::ALL.map(Op::name));
            bail!(
                "no mix is called {text:?}; presets are {presets}; operations are {ops}; or shares as in get=9,set=1"
            );
        }
        let share = |part: &str| {
            let (op, share) = part.split_once('=').with_context(|| format!("{part:?} is not operation=share"))?;
            let share = share.trim().parse().with_context(|| format!("the share in {part:?} is not a whole number"))?;
            Ok((op.trim().parse()?, share))
        };
        Mix::new(text.split(',').map(share).collect::<anyhow::Result<Vec<_>>>()?)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(op, _)] = self.shares[..] {
            return f.write_str(op.name());
        }
        if let Some((name, _, _)) =
            PRESETS.iter().find(|(_, _, shares)| Mix::new(shares.iter().copied()).is_ok_and(|preset| preset == *self))
        {
            write!(f, "{name}: ")?;
        }
        let percent = |share: u32| 100.0 * f64::from(share) / self.total as f64;
        for (at, (op, share)) in self.shares.iter().enumerate() {
            write!(f, "{}{:.3$} % {}", if at > 0 { ", " } else { "" }, percent(*share), op.name(), 0)?;
        }
        Ok(())
    }
}

/// What a file may say: a name, or a table of shares.
#[derive(Deserialize)]
#[serde(untagged, expecting = "the name of a mix, or a table of operations and their shares as whole numbers")]
enum MixText {
    Name(String),
    Shares(BTreeMap<String, u32>),
}

impl TryFrom<MixText> for Mix {
    type Error = anyhow::Error;

    fn try_from(text: MixText) -> anyhow::Result<Mix> {
        match text {
            MixText::Name(name) => name.parse(),
            MixText::Shares(shares) => {
                let share = |(op, share): (String, u32)| Ok((op.parse::<Op>()?, share));
                Mix::new(shares.into_iter().map(share).collect::<anyhow::Result<Vec<_>>>()?)
            }
        }
    }
}

impl From<Mix> for BTreeMap<Op, u32> {
    fn from(mix: Mix) -> BTreeMap<Op, u32> {
        mix.shares.into_iter().collect()
    }
}

fn names<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_kept() {
        let (mix, mut dice): (Mix, _) = ("mixed".parse().unwrap(), Dice::new(1, 0));
        let mut counts = BTreeMap::new();
        for _ in 0..100_000 {
            *counts.entry(mix.choose(&mut dice)).or_insert(0_u32) += 1;
        }
        for op in mix.ops() {
            let (expected, got) = (mix.share(op) * 100_000.0, f64::from(counts[&op]));
            assert!((got - expected).abs() < 1_000.0, "{}: {got} of {expected}", op.name());
        }
    }

    #[test]
    fn texts_are_read() {
        assert_eq!("get".parse::<Mix>().unwrap(), Mix::only(Op::Get));
        let shares = "get=9, create_ephemeral=1".parse::<Mix>().unwrap();
        assert_eq!(shares, Mix::new([(Op::Get, 9), (Op::CreateEphemeral, 1)]).unwrap());
        assert_eq!(shares.to_string(), "90 % get, 10 % create_ephemeral");
        for (text, part) in
            [("gte", "presets are mixed"), ("gte=1", "\"gte\""), ("get=x", "whole number"), ("get=0", "above 0")]
        {
            let error = text.parse::<Mix>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn every_operation_has_its_place_and_name() {
        for (at, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, at);
            assert_eq!(op.name().parse::<Op>().unwrap(), op);
            assert_eq!(serde_json::to_value(op).unwrap(), op.name());
        }
    }
}
