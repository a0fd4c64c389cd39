//! The tracker that can be made to die at a named point, for tests: see `failpoint`. Built only when asked for.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracker::console::main()
}
