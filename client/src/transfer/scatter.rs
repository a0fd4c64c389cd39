//! Runs of bytes that lie in several buffers, one after the other. Pure.

/// Goes through buffers that follow each other, some bytes at a time.
#[derive(Debug)]
pub(crate) struct Scatter<'a, T> {
    parts: &'a mut [T],
    part: usize,
    at: usize,
}

impl<'a, T> Scatter<'a, T> {
    /// From the beginning of the first.
    pub(crate) const fn new(parts: &'a mut [T]) -> Self {
        Self { parts, part: 0, at: 0 }
    }

    /// Shows the next `len` bytes to `take`, in as many slices as they lie in, each with how many came before it.
    ///
    /// # Errors
    /// When `take` fails. Where the buffers end first, the rest is not shown.
    pub(crate) fn next<E>(&mut self, len: u64, mut take: impl FnMut(&mut [u8], u64) -> Result<(), E>) -> Result<(), E>
    where
        T: AsMut<[u8]>,
    {
        let mut done = 0;
        while done < len {
            let Some(part) = self.parts.get_mut(self.part) else { break };
            let rest = &mut part.as_mut()[self.at..];
            let here = rest.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
            if here == 0 {
                (self.part, self.at) = (self.part + 1, 0);
                continue;
            }
            take(&mut rest[..here], done)?;
            self.at += here;
            done += here as u64;
        }
        Ok(())
    }
}

/// Goes through buffers that are only read.
#[derive(Debug)]
pub(crate) struct Gather<'a, T> {
    parts: &'a [T],
    part: usize,
    at: usize,
}

impl<'a, T: AsRef<[u8]>> Gather<'a, T> {
    /// From the beginning of the first.
    pub(crate) const fn new(parts: &'a [T]) -> Self {
        Self { parts, part: 0, at: 0 }
    }

    /// As [`Scatter::next`].
    ///
    /// # Errors
    /// When `give` fails.
    pub(crate) fn next<E>(&mut self, len: u64, mut give: impl FnMut(&[u8], u64) -> Result<(), E>) -> Result<(), E> {
        let mut done = 0;
        while done < len {
            let Some(part) = self.parts.get(self.part) else { break };
            let rest = &part.as_ref()[self.at..];
            let here = rest.len().min(usize::try_from(len - done).unwrap_or(usize::MAX));
            if here == 0 {
                (self.part, self.at) = (self.part + 1, 0);
                continue;
            }
            give(&rest[..here], done)?;
            self.at += here;
            done += here as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_shown_once_and_in_order(parts in proptest::collection::vec(0..20usize, 0..6), steps in proptest::collection::vec(0..30u64, 0..8)) {
            let mut next = 0u8;
            let mut buffers: Vec<Vec<u8>> =
                parts.iter().map(|len| (0..*len).map(|_| { next += 1; next }).collect()).collect();
            let all: Vec<u8> = buffers.concat();
            let (mut written, mut read) = (Vec::new(), Vec::new());
            let copy = buffers.clone();
            let mut gather = Gather::new(&copy);
            let mut slices: Vec<&mut [u8]> = buffers.iter_mut().map(|b| &mut b[..]).collect();
            let mut scatter = Scatter::new(&mut slices);
            for step in &steps {
                let mut expected = 0;
                gather.next(*step, |bytes, before| { assert_eq!(before, expected); expected += bytes.len() as u64; read.extend_from_slice(bytes); Ok::<_, ()>(()) }).expect("no fault");
                scatter.next(*step, |bytes, _| { written.extend_from_slice(bytes); Ok::<_, ()>(()) }).expect("no fault");
            }
            let len = all.len().min(steps.iter().sum::<u64>() as usize);
            prop_assert_eq!(&read[..], &all[..len]);
            prop_assert_eq!(read, written);
        }
    }
}
