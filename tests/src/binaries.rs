//! Finds (and, once per test process, builds) the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Path of `tracker` or `client`, built in the profile that the caller was built in, or found in
/// the directory that `SHOAL_BIN` names.
///
/// # Panics
/// When they cannot be built: no test can go on then.
#[expect(clippy::panic, reason = "a test harness")]
pub fn binary(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let programs = ["-p", "shoal-tracker", "-p", "shoal-client", "--bin", "tracker", "--bin", "client"];
    let dir = DIR.get_or_init(|| match build(&programs) {
        Ok(dir) => dir,
        Err(why) => panic!("cannot build the programs under test: {why}"),
    });
    dir.join(name)
}

/// Path of the tracker that dies at named points, which nothing but these tests is built with.
///
/// # Panics
/// As [`binary`].
#[expect(clippy::panic, reason = "a test harness")]
pub fn failing_tracker() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    const NAME: &str = "tracker-failpoints";
    let program = ["-p", "shoal-tracker", "--features", "shoal-tracker/failpoints", "--bin", NAME];
    let dir = DIR.get_or_init(|| match build(&program) {
        Ok(dir) => dir,
        Err(why) => panic!("cannot build the tracker with failpoints: {why}"),
    });
    dir.join(NAME)
}

fn build(what: &[&str]) -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("SHOAL_BIN") {
        return Ok(dir.into());
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    // target/<profile>/deps/<test>, or target/<profile>/<bin>
    let dir = exe.ancestors().skip(1).find(|d| !d.ends_with("deps")).ok_or("no target directory")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let profile = match dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root).args(["build", "--quiet", "--profile", profile]);
    build.args(what).arg("--target-dir");
    build.arg(dir.parent().ok_or("no target directory")?);
    let done = build.status().map_err(|e| e.to_string())?;
    if done.success() { Ok(dir.to_owned()) } else { Err(format!("cargo build: {done}")) }
}
