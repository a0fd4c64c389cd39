//! Standard input without being stopped for it.
//!
//! A process that reads its terminal from the background is stopped by the kernel (SIGTTIN), with everything else
//! that it does. [`Stdin`] waits instead until its process group is in the foreground, as `fg` makes it.

use std::io::{self, Read};
use std::time::Duration;

/// How often a process in the background looks whether it has come to the foreground. No signal tells: a shell
/// continues only what was stopped.
const LOOK: Duration = Duration::from_secs(1);

/// Whether standard input is a terminal that another process group has in the foreground.
#[cfg(unix)]
pub fn is_in_background() -> bool {
    // An error says: no terminal, or not the one that controls this process. Nothing stops its readers.
    nix::unistd::tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != nix::unistd::getpgrp())
}

/// Elsewhere nobody is stopped for reading.
#[cfg(not(unix))]
pub fn is_in_background() -> bool {
    false
}

/// Standard input for a thread of its own: a read blocks for as long as nothing is typed, or the process is in the
/// background. The thread is never again sent SIGTTIN.
#[derive(Debug, Default)]
pub struct Stdin(());

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        refuse_to_be_stopped()?;
        loop {
            match io::stdin().lock().read(buf) {
                // The process may have lost the foreground while it read: then the read itself says so (EIO).
                Err(_) if is_in_background() => std::thread::sleep(LOOK),
                done => return done,
            }
        }
    }
}

/// Blocks SIGTTIN for this thread: a read from the background fails with EIO then, and stops nobody.
#[cfg(unix)]
fn refuse_to_be_stopped() -> io::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTTIN);
    signals.thread_block().map_err(io::Error::from)
}

#[cfg(not(unix))]
fn refuse_to_be_stopped() -> io::Result<()> {
    Ok(())
}
