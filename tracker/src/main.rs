//! The tracker's executable: see the library.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracker::{config, console};

fn main() -> ExitCode {
    let arguments = config::Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.map_err(config::Refused::from).and_then(|runtime| {
        let ran = runtime.block_on(console::run(&arguments));
        // What still blocks then, such as a read of standard input, does not matter any more.
        runtime.shutdown_background();
        ran
    });
    ran.unwrap_or_else(|refused| console::refuse(&refused))
}
