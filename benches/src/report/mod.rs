//! Reports: figures as JSON, a page to read, plots, and a table for the terminal.
//!
//! | file | idea |
//! |---|---|
//! | `figures` | what a run's JSON says |
//! | `conditions` | machine, kernel, versions, configuration |
//! | `document` | headline, tables, plots of any verb; writing them to a folder |
//! | `text` | for the terminal |
//! | `html`, `plot` | for the eye |

pub mod conditions;
pub mod document;
pub mod figures;
mod html;
pub mod plot;
mod text;

pub use conditions::Conditions;
pub use document::{Document, Table};
pub use figures::{Latency, RunFigures};
pub use plot::{Plot, Scale, Series};
