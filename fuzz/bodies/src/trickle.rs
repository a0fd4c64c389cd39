//! A stream that gives its bytes in parts of arbitrary lengths, with pauses, and a way to read from
//! it without a runtime.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

/// Gives `bytes` in parts that `pattern` decides.
#[derive(Debug)]
pub struct Trickle<'a> {
    bytes: &'a [u8],
    pattern: u64,
}

impl<'a> Trickle<'a> {
    /// Different seeds give different parts and pauses.
    pub fn new(bytes: &'a [u8], seed: u16) -> Self {
        Self { bytes, pattern: u64::from(seed) }
    }

    /// The next number of a 64-bit linear congruential generator (Knuth, MMIX), its upper half.
    fn draw(&mut self) -> usize {
        self.pattern = self.pattern.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.pattern >> 32) as usize
    }
}

impl AsyncRead for Trickle<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let drawn = self.draw();
        if drawn.is_multiple_of(4) {
            return Poll::Pending; // whoever reads asks again at once
        }
        let most = [1, 3, 40, 5000][drawn / 4 % 4];
        let len = (1 + drawn / 16 % most).min(self.bytes.len()).min(buf.remaining());
        let (part, rest) = self.bytes.split_at(len);
        buf.put_slice(part);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

/// Polls one future until it is done.
pub fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = once(future.as_mut()) {
            return output;
        }
    }
}

/// Polls a future once.
pub fn once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
