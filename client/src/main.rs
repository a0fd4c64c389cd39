//! The client: see the library for what it is made of.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(client::start::start(std::env::args_os()))
}
