//! Proof that something is on stable storage.

use std::fmt;

/// A value known to be durable on this server. Only the log makes one, where the write that covers it has completed, so
/// what acknowledges or commits asks for a `Durable<Zxid>` and a skipped flush does not compile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// The value.
    pub fn get(self) -> T {
        self.0
    }

    /// A claim without proof, for tests of what stands on one.
    #[cfg(any(test, feature = "test-support"))]
    pub fn assume(value: T) -> Durable<T> {
        Durable(value)
    }

    pub(super) fn new(value: T) -> Durable<T> {
        Durable(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "durable {:?}", self.0)
    }
}
