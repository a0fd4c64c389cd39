//! Ids for what a call makes. They follow from the call's own id, so that the same call made at both
//! trackers, while they cannot hear each other, makes the same thing.

use crate::store::Asked;

const CONTEXT: &str = "shoal id of what a request makes 1";

/// Makes ids for one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mint(Asked);

impl Mint {
    pub(crate) const fn new(asked: Asked) -> Self {
        Self(asked)
    }

    /// The id of the one `kind` of thing that this call makes.
    pub(crate) fn id<T: From<[u8; 16]>>(self, kind: &str) -> T {
        let mut h = blake3::Hasher::new_derive_key(CONTEXT);
        h.update(self.0.device.as_bytes()).update(self.0.request.as_bytes()).update(kind.as_bytes());
        let mut id = [0; 16];
        h.finalize_xof().fill(&mut id);
        T::from(id)
    }
}

#[cfg(test)]
mod tests {
    use common::id::{DeviceId, RequestId, UserId};

    use super::*;

    #[test]
    fn ids_follow_from_device_request_and_kind() {
        let of = |device, request, kind| {
            let asked = Asked { device: DeviceId::new([device; 32]), request: RequestId::new([request; 16]) };
            Mint::new(asked).id::<UserId>(kind)
        };
        assert_eq!(of(1, 1, "user"), of(1, 1, "user"));
        assert_ne!(of(1, 1, "user"), of(2, 1, "user"));
        assert_ne!(of(1, 1, "user"), of(1, 2, "user"));
        assert_ne!(of(1, 1, "user"), of(1, 1, "group"));
    }
}
