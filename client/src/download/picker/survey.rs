//! How each piece stands, for those who look at a download. Decides nothing.

use common::pieces::PieceIndex;

use super::Picker;

/// How a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceState {
    /// Verified and written.
    Have,
    /// Asked for, at least in part, or waiting to be verified and written.
    InFlight,
    /// Wanted, and not begun.
    Missing {
        /// How many of the connected peers hold it.
        holders: u32,
    },
}

impl Picker {
    /// How all pieces stand, in their order. Linear in the pieces.
    pub fn survey(&self) -> Vec<PieceState> {
        self.layout.pieces().map(|piece| self.state_of(piece)).collect()
    }

    fn state_of(&self, piece: PieceIndex) -> PieceState {
        if self.have.has(piece) {
            PieceState::Have
        } else if self.begun.get(piece).is_some() {
            PieceState::InFlight
        } else {
            PieceState::Missing { holders: self.rarity.availability(piece) }
        }
    }
}
