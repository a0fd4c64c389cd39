//! The tracker's executable: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracker::console::main()
}
