//! Sizes, rates and durations as people write and read them. Pure.
//!
//! Written: `KiB MiB GiB TiB` and the bare letters `K M G T` are powers of 1024 (as in dd and curl),
//! `KB MB GB TB` powers of 1000. Read back: powers of 1024.

use std::num::NonZeroU64;
use std::time::Duration;

use common::escape::Escaped;

/// A number of bytes: digits, perhaps with a fraction, and a suffix.
///
/// # Errors
/// With a sentence that says what is accepted.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    bytes(text.trim()).ok_or_else(|| {
        format!("`{}` is not a size; write a number of bytes, or one like 256KiB, 10M, 1.5GB", Escaped(text))
    })
}

/// A rate in bytes per second: a size, with or without `/s`.
///
/// # Errors
/// With a sentence that says what is accepted.
pub(crate) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let size = text.trim();
    let size = size.strip_suffix("/s").unwrap_or(size);
    bytes(size.trim_end()).and_then(NonZeroU64::new).ok_or_else(|| {
        format!("`{}` is not a rate; write bytes per second, at least 1, or a number like 500K or 10MiB", Escaped(text))
    })
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit: u64 = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    // A fraction of a byte is nothing, and beyond 2^53 a float would not be exact.
    let value = number.parse::<f64>().ok()? * unit as f64;
    (unit > 1 && value.fract() == 0.0 && value < (1u64 << 53) as f64).then_some(value as u64)
}

/// For people: `0 B`, `17.4 MiB`, `2.0 TiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = Some(next);
    }
    format!("{value:.1} {}", unit.copied().unwrap_or_default())
}

/// For people, from bytes per second: `17.4 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// To be read back as the same number: `10M`, `1536K`, `1234`.
pub(crate) fn exact(bytes: u64) -> String {
    let units = [(1u64 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let fits = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(unit, letter)| format!("{}{letter}", bytes / unit))
}

/// For people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub(crate) fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 => format!("{:.1} s", d.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// For people, to the minute, so that it need not be shown anew every second: `just now`, `3 min ago`, `2 days ago`.
pub(crate) fn ago(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0 => "just now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        _ => count(minutes / 1440, "day ago", "days ago"),
    }
}

/// For people, in a column: `now`, `3 min`, `7 h`, `12 d`.
pub(crate) fn age(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0 => "now".to_owned(),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

/// For people: `1 share`, `2 shares`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Hundredths, and all of them only when there is nothing left.
pub(crate) fn percent(have: u64, size: u64) -> u64 {
    if have >= size { 100 } else { u64::try_from(u128::from(have) * 100 / u128::from(size)).unwrap_or(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("256KiB", 256 << 10),
            ("256 kib", 256 << 10),
            ("10M", 10 << 20),
            ("10MB", 10_000_000),
            ("1.5GiB", 3 << 29),
            ("0.1kB", 100),
            ("16777216T", u64::MAX - u64::MAX),
        ] {
            let expected = if text == "16777216T" { Err(()) } else { Ok(expected) };
            assert_eq!(parse_size(text).map_err(|_| ()), expected, "{text}");
        }
        for bad in ["", "M", "-1", "1.5", "1.2.3M", "1e3", "10X", "1/s", "NaN", "infM", "\u{1b}[2J"] {
            assert!(parse_size(bad).is_err_and(|e| !e.contains('\u{1b}')), "{bad}");
        }
    }

    #[test]
    fn rates_are_read_and_never_zero() {
        assert_eq!(parse_rate("10M").map(NonZeroU64::get), Ok(10 << 20));
        assert_eq!(parse_rate("10 M/s").map(NonZeroU64::get), Ok(10 << 20));
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(rate(2048), "2.0 KiB/s");
    }

    #[test]
    fn durations_are_shown() {
        for (ms, text) in [(400, "0.4 s"), (12_900, "12 s"), (185_000, "3 min 05 s"), (7_800_000, "2 h 10 min")] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
