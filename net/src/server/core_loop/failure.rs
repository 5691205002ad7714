//! Why a core ended by itself.

/// Why a core ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum CoreFailure {
    /// Something of its own failed.
    #[error("{0}")]
    Own(String),
    /// Another core did, which knows why.
    #[error("another core has ended")]
    Deserted,
}

impl From<String> for CoreFailure {
    fn from(why: String) -> CoreFailure {
        CoreFailure::Own(why)
    }
}
