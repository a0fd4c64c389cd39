//! What the figures are to be, and whether they are.

use crate::report::Report;

/// Which way is good.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

/// Row, case, figure, bound.
const GOALS: &[(&str, &str, &str, Bound)] = &[
    ("find-peers", "50 connections", "of_redis", AtLeast(1.0)),
    ("find-peers", "50 connections", "cpu_us", AtMost(12.0)),
    ("find-file", "50 connections", "of_redis", AtLeast(1.0)),
    ("find-file", "50 connections", "cpu_us", AtMost(12.0)),
    ("list-files", "50 connections", "of_redis", AtLeast(1.0)),
    ("list-files", "50 connections", "cpu_us", AtMost(12.0)),
    ("get-ticket", "50 connections", "of_redis", AtLeast(0.4)),
    ("list-groups", "4 connections", "cpu_us", AtMost(5000.0)),
    ("login", "the crowd's part", "cpu_us", AtMost(1000.0)),
    ("commands-solo", "64 connections", "of_sqlite", AtLeast(3.0)),
    ("commands-solo", "1 connections", "of_sqlite", AtLeast(0.5)),
    ("commands-dual", "64 connections", "of_sqlite", AtLeast(1.0)),
    ("commands-dual", "1 connections", "p50_us", AtMost(1500.0)),
    ("growth-shares", "find file, 1000000: growth", "of_first", AtMost(1.5)),
    ("growth-shares", "find peers, 1000000: growth", "of_first", AtMost(1.5)),
    ("growth-shares", "list files, 1000000: growth", "of_first", AtMost(1.5)),
    ("growth-users", "resume, 1000000: growth", "of_first", AtMost(1.5)),
    ("growth-users", "ticket, 1000000: growth", "of_first", AtMost(1.5)),
    ("growth-users", "list groups, 1000000: growth", "of_first", AtMost(1.5)),
    ("search", "a whole name, 1", "p99_us", AtMost(20_000.0)),
    ("search", "the end of a name, 1", "p99_us", AtMost(20_000.0)),
    ("search", "three digits, 1", "p99_us", AtMost(20_000.0)),
    ("search", "two parts, 1", "p99_us", AtMost(20_000.0)),
    ("search", "what all have, 1", "p99_us", AtMost(20_000.0)),
    ("memory", "share", "bytes_each", AtMost(400.0)),
    ("memory", "share", "rss_mib", AtMost(450.0)),
    ("memory", "member", "bytes_each", AtMost(150.0)),
    ("memory", "group with its admin", "bytes_each", AtMost(300.0 + 150.0)),
    ("memory", "login", "bytes_each", AtMost(200.0)),
    ("idle", "logged in", "kib_each", AtMost(25.0)),
    ("idle", "logged in", "held", AtLeast(20_000.0)),
    ("idle", "logged in", "kept_when_gone", AtMost(0.2)),
    ("start", "warm", "seconds", AtMost(3.0)),
    ("start", "cold", "seconds", AtMost(6.0)),
    ("storm", "5000 logins", "of_argon2", AtLeast(0.9)),
    ("storm", "5000 logins", "others_p99_us", AtMost(20_000.0)),
];

/// Prints each goal whose figure was measured.
pub(crate) fn print(report: &Report) {
    println!();
    for (row, case, figure, bound) in GOALS {
        let Some(value) = report.median(row, case, figure) else { continue };
        let (met, goal) = match bound {
            AtLeast(least) => (value >= *least, format!("at least {least}")),
            AtMost(most) => (value <= *most, format!("at most {most}")),
        };
        let verdict = if met { "met" } else { "MISSED" };
        println!("{row:<14} {case:<28} {figure:<16} {value:>12.3}  {goal:<18} {verdict}");
    }
}
