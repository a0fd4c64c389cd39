//! Manifests on this machine's disk, so that a restart asks nobody for them.
//!
//! A file per manifest, named by content and piece length; written once, never changed. The root
//! check of [`Manifest::new`] covers the chaining values, a checksum at the end covers the rest. A file
//! that fails either is as good as missing.

use std::fs;
use std::path::{Path, PathBuf};

use common::id::{FileId, Sha1Digest};
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;

use super::saved;
use crate::error::Error;
use crate::private_file;

const MAGIC: &[u8; 8] = b"shoalmf1";
const CHECK: usize = 32;
/// Magic, length, piece length, SHA-1, file id.
const HEADER: usize = 8 + 8 + 8 + 20 + 32;

/// The manifests of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Manifests {
    directory: PathBuf,
}

impl Manifests {
    /// Those under `data_dir`.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let directory = data_dir.join("manifests");
        saved::private_directory(&directory).map_err(|e| Error::from_io("create", &directory, e))?;
        Ok(Self { directory })
    }

    fn path(&self, file_id: FileId, layout: PieceLayout) -> PathBuf {
        self.directory.join(format!("{file_id}.{}", layout.piece_len()))
    }

    /// The manifest of this content cut this way, if it is here and sound. Blocks on the disk.
    pub(crate) fn load(&self, file_id: FileId, layout: PieceLayout) -> Option<Manifest> {
        let manifest = decode(&fs::read(self.path(file_id, layout)).ok()?)?;
        (manifest.file_id() == file_id && manifest.layout() == layout).then_some(manifest)
    }

    /// Keeps `manifest`. Blocks on the disk.
    pub(crate) fn save(&self, manifest: &Manifest) -> Result<(), Error> {
        private_file::replace(&self.path(manifest.file_id(), manifest.layout()), &encode(manifest))
    }

    /// Forgets a manifest that nothing refers to any more. Blocks on the disk.
    pub(crate) fn remove(&self, file_id: FileId, layout: PieceLayout) {
        if let Err(error) = private_file::remove(&self.path(file_id, layout)) {
            tracing::debug!(%error, "a manifest could not be removed");
        }
    }
}

fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + manifest.pieces().len() * PieceHash::LEN + CHECK);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&manifest.layout().len().to_le_bytes());
    out.extend_from_slice(&manifest.layout().piece_len().to_le_bytes());
    out.extend_from_slice(manifest.sha1().as_bytes());
    out.extend_from_slice(manifest.file_id().as_bytes());
    manifest.pieces().iter().for_each(|p| out.extend_from_slice(&p.to_bytes()));
    let check = blake3::hash(&out);
    out.extend_from_slice(check.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Manifest> {
    let (body, check) = bytes.split_last_chunk::<CHECK>()?;
    if blake3::hash(body) != *check {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (piece_len, rest) = rest.split_first_chunk::<8>()?;
    let (sha1, rest) = rest.split_first_chunk::<20>()?;
    let (file_id, rest) = rest.split_first_chunk::<32>()?;
    let (pieces, left) = rest.as_chunks::<{ PieceHash::LEN }>();
    let layout = PieceLayout::new(u64::from_le_bytes(*len), u64::from_le_bytes(*piece_len)).ok()?;
    let pieces = pieces.iter().map(PieceHash::from_bytes).collect();
    left.is_empty().then_some(())?;
    Manifest::new(layout, FileId::new(*file_id), Sha1Digest::new(*sha1), pieces).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::manifest::hash_piece;

    fn manifest(bytes: &[u8]) -> Manifest {
        let layout = PieceLayout::new(bytes.len() as u64, 16 << 10).expect("a layout");
        let pieces = layout.pieces().map(|p| {
            let r = layout.range(p);
            hash_piece(layout, p, &bytes[r.start as usize..r.end as usize])
        });
        Manifest::of_hashed(layout, Sha1Digest::new([3; 20]), pieces.collect()).expect("a manifest")
    }

    #[test]
    fn manifests_come_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Manifests::open(dir.path()).expect("opened");
        for len in [0, 1, 16 << 10, 100_000] {
            let m = manifest(&vec![7; len]);
            assert_eq!(store.load(m.file_id(), m.layout()), None);
            store.save(&m).expect("saved");
            assert_eq!(store.load(m.file_id(), m.layout()).as_ref(), Some(&m));
            let bytes = encode(&m);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x10;
                assert_eq!(decode(&damaged), None, "byte {at} of {len}");
            }
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
