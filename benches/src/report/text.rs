//! A report for the terminal.

use super::{Document, Table};

pub(super) fn render(document: &Document) -> String {
    let mut text = format!("{}\n\n", document.title);
    for table in document.tables.iter().filter(|table| !table.rows.is_empty()) {
        text += &render_table(table);
        text.push('\n');
    }
    text += &document.answer;
    for warning in &document.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}

fn render_table(table: &Table) -> String {
    let width = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column)).chain(table.columns.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let names = table.begins_with_names();
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            line += if at == 0 { "" } else { "  " };
            line += &if at == 0 && names { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = format!("{}\n", table.title);
    text += &line(&table.columns);
    table.rows.iter().for_each(|row| text += &line(row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("Operations", &["operation", "rate /s"]);
        table.row(["get".to_owned(), "1,000".to_owned()]);
        table.row(["create_ephemeral".to_owned(), "9".to_owned()]);
        let expected = "Operations\noperation         rate /s\nget                 1,000\ncreate_ephemeral        9\n";
        assert_eq!(render_table(&table), expected);
        let mut table = Table::new("Load", &["asked /s", "p99"]);
        table.row(["900".to_owned(), "1 ms".to_owned()]);
        table.row(["12,000".to_owned(), "20 ms".to_owned()]);
        assert_eq!(render_table(&table), "Load\nasked /s    p99\n     900   1 ms\n  12,000  20 ms\n");
    }
}
