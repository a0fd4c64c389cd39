//! What was measured: a line of JSON for each measurement, and a table of medians at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::system;

/// One measurement: figures with their names. A name ends in its unit.
type Figures = Vec<(&'static str, f64)>;

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    json: Option<File>,
    /// In the order in which rows first came.
    order: Vec<(&'static str, String)>,
    rows: BTreeMap<(&'static str, String), Vec<Figures>>,
}

impl Report {
    /// Appends lines of JSON to `json`, if there is to be such a file.
    pub(crate) fn new(json: Option<&Path>) -> Self {
        let json = json.map(|path| File::options().create(true).append(true).open(path).expect("the file for JSON"));
        Self { json, order: Vec::new(), rows: BTreeMap::new() }
    }

    /// Takes down a measurement of `row` in a `case`.
    pub(crate) fn add(&mut self, row: &'static str, case: impl Into<String>, figures: Figures) {
        let case = case.into();
        if let Some(file) = &mut self.json {
            let mut line: Map<String, Value> = figures.iter().map(|(name, v)| ((*name).to_owned(), json!(v))).collect();
            line.insert("row".into(), row.into());
            line.insert("case".into(), case.clone().into());
            line.insert("load".into(), system::load().into());
            writeln!(file, "{}", Value::Object(line)).expect("JSON written");
        }
        eprintln!("{}", line(row, &case, &figures));
        let key = (row, case);
        if !self.rows.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.rows.entry(key).or_default().push(figures);
    }

    /// The median of a figure.
    pub(crate) fn median(&self, row: &'static str, case: &str, figure: &str) -> Option<f64> {
        let all = self.rows.get(&(row, case.to_owned()))?;
        let mut values: Vec<f64> =
            all.iter().flatten().filter(|(name, _)| *name == figure).map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        // Of an even number the middle lies between two.
        let lower = values[(values.len() - 1) / 2];
        Some(f64::midpoint(lower, upper))
    }

    /// Prints the medians of everything.
    pub(crate) fn print(&self) {
        println!();
        for (row, case) in &self.order {
            let Some(all) = self.rows.get(&(row, case.clone())) else { continue };
            let Some(first) = all.first() else { continue };
            let medians: Figures =
                first.iter().filter_map(|(name, _)| Some((*name, self.median(row, case, name)?))).collect();
            println!("{}", line(row, case, &medians));
        }
        println!(
            "\n{} measurements; load at the end {:.1}",
            self.rows.values().map(Vec::len).sum::<usize>(),
            system::load()
        );
    }
}

fn line(row: &str, case: &str, figures: &Figures) -> String {
    let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
    format!("{row:<16} {case:<26} {}", figures.join("  "))
}

/// With three or four digits that mean something.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
