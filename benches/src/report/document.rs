//! The report of any verb: a headline, tables, plots, and what to write where.

use super::{Conditions, Plot, html, text};
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Schema of the JSON: raised when a name changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// A table. Numbers are written out, with the precision that they deserve.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns, with their units.
    pub columns: Vec<String>,
    /// As many cells a row as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: &str, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Table { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// Whether the first column holds names, which stand left; figures stand right.
    pub(super) fn begins_with_names(&self) -> bool {
        let figure = |cell: &String| cell.starts_with(|first: char| first.is_ascii_digit());
        !self.rows.iter().filter_map(|row| row.first()).all(figure)
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// A report.
#[derive(Clone, Debug)]
pub struct Document {
    /// Which verb made it.
    pub verb: &'static str,
    /// What was done, in one line.
    pub title: String,
    /// What came of it, in a sentence.
    pub answer: String,
    /// What a reader should know before believing it.
    pub warnings: Vec<String>,
    /// Key figures first.
    pub tables: Vec<Table>,
    /// In the order of the page.
    pub plots: Vec<Plot>,
    /// Machine, kernel, versions, configuration.
    pub conditions: Conditions,
    /// The workload and everything measured, as JSON.
    pub figures: serde_json::Value,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    verb: &'a str,
    title: &'a str,
    answer: &'a str,
    warnings: &'a [String],
    conditions: &'a Conditions,
    #[serde(flatten)]
    figures: &'a serde_json::Value,
}

impl Document {
    /// As JSON.
    ///
    /// # Errors
    /// A figure is no number that JSON knows.
    pub fn json(&self) -> anyhow::Result<String> {
        let Document { verb, title, answer, warnings, conditions, figures, .. } = self;
        let json = Json { schema: SCHEMA, verb, title, answer, warnings, conditions, figures };
        Ok(serde_json::to_string_pretty(&json)?)
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        text::render(self)
    }

    /// As one page that needs nothing else.
    ///
    /// # Errors
    /// A plot cannot be drawn.
    pub fn html(&self) -> anyhow::Result<String> {
        html::render(self)
    }

    /// Writes `report.json`, `report.html` and each plot as SVG and PNG into a folder, which is made. Returns the page.
    ///
    /// # Errors
    /// The folder cannot be written; the message names the file.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let put = |name: &str, bytes: &[u8]| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(path)
        };
        // The figures first: whatever a full disk takes, it takes from the end.
        put("report.json", self.json()?.as_bytes())?;
        let page = put("report.html", self.html()?.as_bytes())?;
        for plot in &self.plots {
            put(&format!("{}.svg", plot.name), plot.svg_file()?.as_bytes())?;
            plot.png(&folder.join(format!("{}.png", plot.name)))?;
        }
        Ok(page)
    }
}

/// A number with about three digits that matter, and thousands set apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if !value.is_finite() => return "-".to_owned(),
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A time in microseconds with the unit that suits it.
pub fn time(us: f64) -> String {
    match us {
        _ if !us.is_finite() => "-".to_owned(),
        _ if us < 1_000.0 => format!("{} us", number(us)),
        _ if us < 1_000_000.0 => format!("{} ms", number(us / 1e3)),
        _ => format!("{} s", number(us / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, text) in
            [(0.0, "0"), (0.001, "0.0010"), (0.5, "0.50"), (12.345, "12.3"), (1234.5, "1,234"), (1e7, "10,000,000")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!((number(-1234.0), number(f64::NAN)), ("-1,234".to_owned(), "-".to_owned()));
        assert_eq!((time(12.0), time(1500.0), time(2e6)), ("12 us".into(), "1.50 ms".into(), "2 s".to_owned()));
    }
}
