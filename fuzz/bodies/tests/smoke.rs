//! Fuzzing in small, on stable Rust and within seconds: each target runs on its seeds, on every input
//! that once broke it, and on mutations that are the same in every run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use bodies::{TARGETS, Target};
use fastrand::Rng;

/// Mutated inputs per target.
const MUTATIONS: usize = 10_000;
/// Longest mutated input, in bytes.
const MAX_LEN: usize = 4096;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the target; if it panics, keeps the input and says how to go on.
fn run(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let name = target.name;
        let kept = env::temp_dir().join(format!("shoal-{name}-{:.16}", blake3::hash(input).to_hex()));
        fs::write(&kept, input).unwrap();
        println!("{name} failed on {0}; to keep it: cp {0} fuzz/regressions/{name}/", kept.display());
        resume_unwind(panic);
    }
}

/// Every target on a thread of its own.
fn each(work: impl Fn(&Target) + Sync) {
    thread::scope(|s| TARGETS.iter().for_each(|target| drop(s.spawn(|| work(target)))));
}

#[test]
fn seeds_and_their_mutations() {
    each(|target| {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| run(target, seed));
        let mut rng = Rng::with_seed(7);
        for _ in 0..MUTATIONS {
            run(target, &mutated(&seeds, &mut rng));
        }
    });
}

#[test]
fn regressions() {
    each(|target| {
        let directory = fuzz().join("regressions").join(target.name);
        for file in fs::read_dir(directory).into_iter().flatten() {
            run(target, &fs::read(file.unwrap().path()).unwrap());
        }
    });
}

#[test]
fn every_target_is_there_for_cargo_fuzz() {
    let names: BTreeSet<_> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let files: BTreeSet<_> =
        files.map(|f| f.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(files, names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no [[bin]] {name}");
        let source = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(source.contains(&format!("bodies::{name}::run(")), "fuzz_targets/{name}.rs runs something else");
    }
    for kept in fs::read_dir(fuzz().join("regressions")).unwrap() {
        let name = kept.unwrap().file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name) || name.starts_with('.'), "fuzz/regressions/{name} belongs to no target");
    }
}

/// One of `seeds`, changed in a few places.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[rng.usize(..seeds.len())].clone();
    for _ in 0..rng.usize(1..6) {
        mutate(&mut bytes, &seeds[rng.usize(..seeds.len())], rng);
    }
    bytes.truncate(MAX_LEN);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let end = (at + rng.usize(..9)).min(bytes.len());
    match rng.u8(..8) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.insert(at, rng.u8(..)),
        3 => bytes.extend_from_within(at..end),
        4 => {
            let from = rng.usize(..=other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        5 => {
            // Edges of the wire's integers and of ours.
            let edges = [0, 0xfa, 0xfb, 0xfc, 0xfd, 0xff, 0x80, 0x7f];
            bytes[at..end].fill(edges[rng.usize(..edges.len())]);
        }
        6 => bytes[at..end].iter_mut().for_each(|b| *b = rng.u8(..)),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
    }
}
