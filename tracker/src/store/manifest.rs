//! Manifests, stored under the hash of what they say, in runs of pieces that are sent as they lie.

use common::id::FileId;
use common::manifest::{Manifest, PieceHash};
use common::pieces::PieceLayout;
use common::wire::limits::MAX_PART;
use rusqlite::{Connection, OptionalExtension};

use super::error::{Result, StoreError};
use super::tables::Tables;
use super::trees::{self, CheckedTree};
use crate::fact::ManifestId;
use crate::state::{Folder, ManifestHead};

const CONTEXT: &str = "shoal manifest 1";
const FOLDER_CONTEXT: &str = "shoal folder manifest 1";
/// Pieces in one stored run.
const RUN: usize = MAX_PART;

/// A manifest that a command's facts will refer to.
#[derive(Debug, Clone)]
pub struct NewManifest {
    id: ManifestId,
    manifest: Manifest,
    /// Of a folder, its tree, and the manifest that its content would have as a file.
    folder: Option<(CheckedTree, ManifestId)>,
}

impl NewManifest {
    /// Of a file. Hashes the manifest, which takes a while when it is long.
    pub fn new(manifest: Manifest) -> Self {
        let id = ManifestId(*fields(CONTEXT, &manifest).finalize().as_bytes());
        Self { id, manifest, folder: None }
    }

    /// Of a folder with this tree, the bytes of whose files are this content: its id is bound to both. `None`, if their lengths
    /// differ.
    pub fn of_folder(manifest: Manifest, tree: CheckedTree) -> Option<Self> {
        if tree.len != manifest.layout().len() {
            return None;
        }
        let Self { id: plain, manifest, .. } = Self::new(manifest);
        let id = fields(FOLDER_CONTEXT, &manifest).update(tree.id.as_bytes()).finalize();
        Some(Self { id: ManifestId(*id.as_bytes()), manifest, folder: Some((tree, plain)) })
    }

    /// Its name.
    pub const fn id(&self) -> ManifestId {
        self.id
    }

    /// The content it describes.
    pub const fn file(&self) -> FileId {
        self.manifest.file_id()
    }

    /// How that is cut.
    pub const fn layout(&self) -> PieceLayout {
        self.manifest.layout()
    }

    /// What it would be called if the content were a file.
    pub fn plain(&self) -> ManifestId {
        self.folder.as_ref().map_or(self.id, |(_, plain)| *plain)
    }

    /// Length of the tree's form, in bytes; 0 for a file.
    pub fn tree_bytes(&self) -> u64 {
        self.folder.as_ref().map_or(0, |(tree, _)| tree.bytes)
    }

    /// What it says of the whole content.
    pub(super) fn head(&self) -> ManifestHead {
        let folder =
            self.folder.map(|(tree, plain)| Folder { tree: tree.id, bytes: tree.bytes, entries: tree.entries, plain });
        ManifestHead { layout: self.manifest.layout(), sha1: self.manifest.sha1(), folder }
    }

    /// Writes it, if it is not there.
    pub(super) fn write(&self, tx: &Connection) -> Result<()> {
        let m = &self.manifest;
        let len = i64::try_from(m.layout().len()).map_err(|_| StoreError::Content("a file longer than 2^63 bytes"))?;
        if let Some((tree, _)) = &self.folder {
            trees::write(tx, tree)?;
        }
        let sql = "INSERT OR IGNORE INTO manifests (id, file_id, len, piece_len, sha1, tree, plain)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (file, sha1, piece_len) = (m.file_id(), m.sha1(), m.layout().piece_len().cast_signed());
        let (tree, plain) = self.folder.map(|(tree, plain)| (*tree.id.as_bytes(), plain.0)).unzip();
        let row = (self.id.0, file.as_bytes(), len, piece_len, sha1.as_bytes(), tree, plain);
        if tx.prepare_cached(sql)?.execute(row)? == 0 {
            return Ok(());
        }
        let sql = "INSERT OR IGNORE INTO manifest_pieces (manifest, first, pieces) VALUES (?1, ?2, ?3)";
        for (n, run) in m.pieces().chunks(RUN).enumerate() {
            let bytes: Vec<u8> = run.iter().flat_map(|p| p.to_bytes()).collect();
            tx.prepare_cached(sql)?.execute((self.id.0, (n * RUN) as u64, bytes))?;
        }
        Ok(())
    }
}

fn fields(context: &str, manifest: &Manifest) -> blake3::Hasher {
    let (mut h, layout) = (blake3::Hasher::new_derive_key(context), manifest.layout());
    h.update(manifest.file_id().as_bytes()).update(manifest.sha1().as_bytes());
    h.update(&layout.len().to_le_bytes()).update(&layout.piece_len().to_le_bytes());
    for piece in manifest.pieces() {
        h.update(&piece.to_bytes());
    }
    h
}

impl Tables<'_> {
    /// Digests of consecutive pieces from `first` on; empty when there are none.
    pub(crate) fn manifest_part(&self, id: ManifestId, first: u32) -> Result<Vec<PieceHash>> {
        let within = first as usize % RUN;
        let mut find =
            self.conn.prepare_cached("SELECT pieces FROM manifest_pieces WHERE manifest = ?1 AND first = ?2")?;
        let bytes: Option<Vec<u8>> =
            find.query_row((id.0, (first as usize - within) as u64), |r| r.get(0)).optional()?;
        let (rows, _) = bytes.as_deref().unwrap_or_default().as_chunks::<{ PieceHash::LEN }>();
        Ok(rows.iter().skip(within).map(PieceHash::from_bytes).collect())
    }
}
