//! The tree of keys that a run works on.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Folders that hold keys, at most.
const LEAVES_MAX: u64 = 65_536;

/// Folders above the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// Levels of folders between the run's root and the keys.
    pub depth: u32,
    /// Folders in each folder.
    pub fanout: u32,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { depth: 1, fanout: 64 }
    }
}

impl Shape {
    /// Checks that the shape can be built.
    ///
    /// # Errors
    /// It has more than 65,536 folders that hold keys, or none.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.fanout > 0, "[tree] fanout starts at 1");
        let leaves = u64::from(self.fanout).checked_pow(self.depth).filter(|leaves| *leaves <= LEAVES_MAX);
        ensure!(
            leaves.is_some() && self.depth <= 64,
            "[tree] fanout {} to the power of depth {} is more than {LEAVES_MAX} folders",
            self.fanout,
            self.depth
        );
        Ok(())
    }
}

/// The paths of a run: `root`, folders below it, keys in the deepest folders, and a folder for what the run creates.
#[derive(Clone, Debug)]
pub struct Tree {
    root: String,
    /// From the top to the bottom; a folder comes after its parent.
    folders: Vec<String>,
    /// How many of them, at the end of the list, hold keys.
    leaves: usize,
    keys: u64,
}

impl Tree {
    /// The tree of `keys` keys below `root`; the shape has been checked.
    pub fn new(root: String, shape: Shape, keys: u64) -> Tree {
        let (mut folders, mut level) = (Vec::new(), vec![root.clone()]);
        for _ in 0..shape.depth {
            level =
                level.iter().flat_map(|above| (0..shape.fanout).map(move |at| format!("{above}/f{at:02}"))).collect();
            folders.extend_from_slice(&level);
        }
        Tree { root, leaves: if shape.depth == 0 { 0 } else { level.len() }, folders, keys }
    }

    /// The node above all others.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Keys.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Folders that hold keys.
    pub fn leaves(&self) -> u64 {
        self.leaves.max(1) as u64
    }

    /// Where connections create nodes during one run, away from the keys, so that listings of keys keep their length.
    pub fn nursery(&self, run: u32) -> String {
        format!("{}/new-{run}", self.root)
    }

    /// Every node that is not a key, parents first.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.root()).chain(self.folders.iter().map(String::as_str))
    }

    /// A folder that holds keys.
    pub fn leaf(&self, number: u64) -> &str {
        if self.leaves == 0 {
            return &self.root;
        }
        let first = self.folders.len() - self.leaves;
        &self.folders[first + (number % self.leaves as u64) as usize]
    }

    /// Writes the path of a key into `path`. Neighbours are in different folders.
    pub fn key(&self, key: u64, path: &mut Vec<u8>) {
        path.clear();
        path.extend_from_slice(self.leaf(key).as_bytes());
        path.extend_from_slice(b"/k");
        append_number(path, key);
    }
}

/// Appends a number in decimal, at least eight digits.
pub fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at.min(12)..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_node_has_its_parent_before_it() {
        for (depth, fanout) in [(0, 1), (1, 3), (2, 4), (3, 2)] {
            let tree = Tree::new("/r".into(), Shape { depth, fanout }, 100);
            let mut known: HashSet<String> = HashSet::from([String::new()]);
            let mut add = |path: &str| {
                assert!(known.contains(path.rsplit_once('/').unwrap().0), "{path} has no parent");
                assert!(known.insert(path.to_owned()), "{path} comes twice");
            };
            tree.folders().for_each(&mut add);
            let mut path = Vec::new();
            for key in 0..tree.keys() {
                tree.key(key, &mut path);
                add(std::str::from_utf8(&path).unwrap());
            }
            assert_eq!(tree.leaves(), u64::from(fanout).pow(depth));
        }
    }

    #[test]
    fn numbers_are_padded_and_never_cut() {
        for number in [0, 7, 99_999_999, 100_000_000, u64::MAX] {
            let mut out = Vec::new();
            append_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:08}"));
        }
    }

    #[test]
    fn shapes_have_a_bound() {
        assert!(Shape { depth: 4, fanout: 16 }.check().is_ok());
        assert!(Shape { depth: 5, fanout: 16 }.check().is_err());
        assert!(Shape { depth: 1, fanout: 0 }.check().is_err());
        assert!(Shape { depth: 1_000_000, fanout: 1 }.check().is_err());
    }
}
