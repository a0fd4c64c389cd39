//! The client: see the library for what it is made of.

use std::process::ExitCode;

use clap::Parser;
use client::config::Args;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => ExitCode::from(client::repl::run(args)),
        Err(e) => {
            // Nowhere left to complain.
            let _ = e.print();
            ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2))
        }
    }
}
