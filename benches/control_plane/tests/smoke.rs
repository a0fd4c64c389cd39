//! The benchmark runs, and measures every row: with little of everything, so that it takes some seconds.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

const ROWS: [&str; 15] = [
    "status",
    "find-peers",
    "find-file",
    "list-files",
    "get-ticket",
    "list-groups",
    "login",
    "commands-dual",
    "commands-solo",
    "growth-shares",
    "growth-users",
    "memory",
    "start",
    "idle",
    "storm",
];

#[test]
fn every_row_is_measured() {
    let dir = tempfile::tempdir().expect("a directory");
    let json = dir.path().join("out.jsonl");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench-control-plane"));
    bench.arg("--quick").arg("--json").arg(&json).arg("--tracker").arg(harness::binary("tracker"));
    let output = bench.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = fs::read_to_string(&json).expect("JSON");
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect();
    let rows: BTreeSet<&str> = lines.iter().filter_map(|l| l["row"].as_str()).collect();
    for row in ROWS {
        assert!(rows.contains(row), "{row} is missing of {rows:?}");
    }
    let held = lines.iter().find(|l| l["row"] == "idle").map(|l| &l["held"]);
    assert_eq!(held.and_then(Value::as_f64), Some(200.0), "every connection is served");
}
