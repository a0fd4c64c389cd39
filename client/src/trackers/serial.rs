//! The number that grows with every announcement of this device, also over restarts: trackers
//! believe the announcement with the highest.
//!
//! The upper half counts runs and is stored once per start; the lower half counts announcements.

use std::path::Path;

use crate::error::Error;
use crate::private_file;

const FILE_NAME: &str = "announce_serial";

/// Begins a new run: what its announcements are numbered from. Blocks on the disk. A run number that cannot be read
/// starts again from the wall clock, which is higher than any count of runs.
pub(crate) fn begin_run(data_dir: &Path) -> Result<u64, Error> {
    let path = data_dir.join(FILE_NAME);
    let last = private_file::read(&path)?.map(|text| text.trim().parse::<u32>());
    let run = match last {
        None => 1,
        Some(Ok(last)) => last.saturating_add(1),
        Some(Err(_)) => u32::try_from(common::ticket::now()).unwrap_or(u32::MAX),
    };
    private_file::replace(&path, format!("{run}\n").as_bytes())?;
    Ok(u64::from(run) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_over_restarts_and_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut last = 0;
        for round in 0..4 {
            let first = begin_run(dir.path()).expect("begun");
            assert!(first > last);
            last = first + 3;
            if round == 2 {
                std::fs::write(dir.path().join(FILE_NAME), "?").expect("written");
            }
        }
    }
}
