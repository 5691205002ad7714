//! Mixes of operations.

use serde::Serialize;

/// One kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// getData of an existing key.
    Get,
    /// setData of an existing key, any version.
    Set,
    /// create of a new key.
    Create,
    /// delete of a key that this connection created.
    Delete,
    /// getChildren of a folder of keys.
    Children,
    /// multi of 3 to 5 setData and create.
    Multi,
}

/// Operations with their shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mix(pub Vec<(Op, u32)>);

impl Mix {
    /// Only this operation.
    pub fn only(op: Op) -> Mix {
        Mix(vec![(op, 1)])
    }

    /// The mix of a production tree reported in public, in percent: 38 get, 34 create, 9 set, 11 multi, 4 list,
    /// 4 delete.
    pub fn production() -> Mix {
        Mix(vec![(Op::Get, 38), (Op::Create, 34), (Op::Set, 9), (Op::Multi, 11), (Op::Children, 4), (Op::Delete, 4)])
    }

    /// A mix by name: `get`, `set`, `create`, `mixed`.
    pub fn by_name(name: &str) -> Option<Mix> {
        match name {
            "get" => Some(Mix::only(Op::Get)),
            "set" => Some(Mix::only(Op::Set)),
            "create" => Some(Mix::only(Op::Create)),
            "mixed" => Some(Mix::production()),
            _ => None,
        }
    }

    /// The operation for a random number.
    pub(super) fn choose(&self, random: u64) -> Op {
        let total: u64 = self.0.iter().map(|(_, share)| u64::from(*share)).sum();
        let mut left = random % total.max(1);
        for (op, share) in &self.0 {
            if left < u64::from(*share) {
                return *op;
            }
            left -= u64::from(*share);
        }
        self.0[0].0
    }
}

/// splitmix64: the choices of a run are repeatable from its seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept() {
        let (mix, mut dice) = (Mix::production(), Dice(1));
        let gets = (0..100_000).filter(|_| mix.choose(dice.roll()) == Op::Get).count();
        assert!((37_000..39_000).contains(&gets), "{gets} of 100,000 are gets, of 38 %");
    }
}
