//! Writes the seeds of every target below a directory, where cargo-fuzz looks for them:
//! `cargo run -p shoal-fuzz-bodies --bin seeds -- [fuzz/corpus]`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use bodies::TARGETS;

fn main() -> io::Result<()> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let corpus = env::args_os().nth(1).map_or_else(beside, PathBuf::from);
    for target in TARGETS {
        let directory = corpus.join(target.name);
        fs::create_dir_all(&directory)?;
        for (i, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(directory.join(format!("seed-{i:03}")), seed)?;
        }
    }
    Ok(())
}
