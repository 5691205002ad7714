//! One page that needs no network: headline, key figures, plots, conditions.

use super::plot::{GRID, INK};
use super::{Document, Table};
use std::fmt::Write;

/// Light and dark by the reader's own setting. Plots are drawn in the colours of the light theme, which the dark one
/// replaces by attribute.
const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #222426; --soft: #5d646c; --line: #d5d8dc;
  --accent: #2f7ec7; --warn: #8a4b00; --warn-ground: #fff4df; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181b; --card: #1e2125; --ink: #e6e8ea; --soft: #a1a8b0;
  --line: #3a3f46; --accent: #6fb1ee; --warn: #ffcf8a; --warn-ground: #3a2c14; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.1rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 0.6rem; }
.answer { font-size: 1.15rem; background: var(--card); border-left: 4px solid var(--accent); padding: 0.9rem 1.1rem;
  border-radius: 4px; margin: 0 0 1rem; }
.warning { background: var(--warn-ground); color: var(--warn); padding: 0.6rem 1.1rem; border-radius: 4px; margin: 0.5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 50%; }
th, td { padding: 0.3rem 1.1rem 0.3rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 0.9rem; }
.names th:first-child, .names td:first-child { text-align: left; }
.wide { font-size: 0.86rem; } .wide th, .wide td { padding-right: 0.75rem; }
.wide td:last-child, .wide th:last-child { white-space: normal; min-width: 9rem; padding-right: 0; }
.conditions td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.conditions td:first-child { color: var(--soft); white-space: nowrap; vertical-align: top; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem; }
svg { display: block; width: 100%; height: auto; }
details { margin-top: 1.5rem; } summary { cursor: pointer; color: var(--accent); }
pre { overflow: auto; max-height: 30rem; font-size: 0.8rem; background: var(--card); border: 1px solid var(--line);
  padding: 0.8rem; border-radius: 6px; }
";

pub(super) fn render(document: &Document) -> anyhow::Result<String> {
    let conditions = &document.conditions;
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    write!(page, "<title>{}</title>\n<style>{STYLE}{}</style></head>\n", text(&document.title), plot_style())?;
    write!(
        page,
        "<body><main>\n<header><p>ringkeeper-load {} &middot; {}</p>",
        document.verb,
        text(&conditions.began)
    )?;
    writeln!(page, "<h1>{}</h1></header>", text(&document.title))?;
    writeln!(page, "<p class=\"answer\">{}</p>", text(&document.answer))?;
    for warning in &document.warnings {
        writeln!(page, "<p class=\"warning\">{}</p>", text(warning))?;
    }
    let (key, others) = document.tables.split_at(document.tables.len().min(1));
    key.iter().try_for_each(|key| table(&mut page, key))?;
    for plot in &document.plots {
        writeln!(page, "<h2>{}</h2>\n<figure>{}</figure>", text(&plot.title), plot.svg()?)?;
    }
    others.iter().try_for_each(|other| table(&mut page, other))?;
    table_of(&mut page, &conditions_table(document), "conditions")?;
    writeln!(page, "<details><summary>All figures as JSON</summary><pre>{}</pre></details>", text(&document.json()?))?;
    page += "</main></body></html>\n";
    Ok(page)
}

fn plot_style() -> String {
    format!(
        "svg [fill=\"{INK}\"] {{ fill: var(--ink); }} svg [stroke=\"{INK}\"] {{ stroke: var(--ink); }} \
         svg [stroke=\"{GRID}\"] {{ stroke: var(--line); }} svg text {{ font-family: inherit; }}"
    )
}

fn table(page: &mut String, table: &Table) -> anyhow::Result<()> {
    let classes = [(table.columns.len() > 8, "wide"), (table.begins_with_names(), "names")];
    table_of(
        page,
        table,
        &classes.into_iter().filter_map(|(is, class)| is.then_some(class)).collect::<Vec<_>>().join(" "),
    )
}

fn table_of(page: &mut String, table: &Table, class: &str) -> anyhow::Result<()> {
    if table.rows.is_empty() {
        return Ok(());
    }
    writeln!(page, "<h2>{}</h2>\n<div class=\"scroll\"><table class=\"{class}\">", text(&table.title))?;
    if table.columns.iter().any(|column| !column.is_empty()) {
        let cells: String = table.columns.iter().map(|column| format!("<th>{}</th>", text(column))).collect();
        writeln!(page, "<tr>{cells}</tr>")?;
    }
    for row in &table.rows {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", text(cell))).collect();
        writeln!(page, "<tr>{cells}</tr>")?;
    }
    writeln!(page, "</table></div>")?;
    Ok(())
}

fn conditions_table(document: &Document) -> Table {
    let conditions = &document.conditions;
    let mut table = Table::new("Conditions", &["", ""]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("Command", conditions.command.clone());
    row("Began", conditions.began.clone());
    let built = if conditions.optimised { "" } else { ", built without optimisation" };
    row("Generator", format!("ringkeeper-load {}{built}", conditions.version));
    row(
        "Machine",
        format!("{}, {} processors, {} MiB", conditions.processor, conditions.processors, conditions.memory_mib),
    );
    row("Kernel", conditions.kernel.clone());
    row("Seed", conditions.seed.to_string());
    for server in &conditions.servers {
        let said =
            [server.role.as_deref(), server.version.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
        row("Server", if said.is_empty() { server.address.to_string() } else { format!("{}: {said}", server.address) });
        if let Some(command) = &server.command {
            row("Its command", command.clone());
        }
        if !server.configuration.is_empty() {
            row("Its configuration", server.configuration.join(", "));
        }
    }
    table
}

fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{Conditions, Plot, Scale, Series};
    use crate::workload::Servers;

    #[test]
    fn a_page_holds_everything_and_asks_for_nothing() {
        let nobody: Servers = "127.0.0.1:1".parse().unwrap();
        let mut key = Table::new("Key figures", &["what", "value"]);
        key.row(["p99 <script>".to_owned(), "1".to_owned()]);
        let plot = Plot::new("p", "over time", ("s", Scale::Linear), ("ms", Scale::Linear));
        let document = Document {
            verb: "run",
            title: "a & b".to_owned(),
            answer: "42".to_owned(),
            warnings: vec!["beware".to_owned()],
            tables: vec![key],
            plots: vec![plot.with([Series::new("p99", [(0.0, 1.0), (1.0, 2.0)])])],
            conditions: Conditions::gather(&nobody, 1),
            figures: serde_json::json!({ "run": 1 }),
        };
        let page = document.html().unwrap();
        for part in ["a &amp; b", "42", "beware", "p99 &lt;script&gt;", "<svg", "Kernel", "&quot;schema&quot;: 1"] {
            assert!(page.contains(part), "no {part}");
        }
        for part in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(part), "{part}");
        }
        let folder = tempfile::tempdir().unwrap();
        document.write(folder.path()).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["p.png", "p.svg", "report.html", "report.json"]);
    }
}
