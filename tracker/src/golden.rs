//! The bytes of everything that is stored or shipped encoded, and the hashes over it, fixed: whoever changes
//! them makes every database unreadable, and every sibling of another release.
//!
//! `golden.txt` holds one line `name bytes` for each sample, the bytes in hexadecimal. A variant that is new
//! takes a name in [`listed!`] (the compiler asks for it), a sample in [`samples`] (a test asks for it), and a
//! line at the end of the file (a test prints it). No line is ever changed or removed: a fact that needs another
//! form is a new variant. The frames around all this are fixed in `common::wire`.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use common::codec;
use common::id::UserId;
use common::wire::limits::MAX_FRAME;
use common::wire::sync::Event;
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::{Answer, Mint};
use crate::fact::{EndReason, Fact, Stamp};
use crate::store::{Change, Cursor, NewManifest, StampedFact, Store, StoreError, Versions};

const FILE: &str = include_str!("golden.txt");
const PATH: &str = "tracker/src/golden.txt";

/// A type with the names of all its variants.
trait Listed: Serialize + DeserializeOwned + PartialEq + Debug + 'static {
    const NAMES: &'static [&'static str];
    fn name(&self) -> &'static str;
}

/// Names every variant. The match has no wildcard, so that a variant without a name does not compile.
macro_rules! listed {
    ($($kind:ident: $($variant:ident)*;)*) => { $(
        impl Listed for $kind {
            const NAMES: &'static [&'static str] = &[$(concat!(stringify!($kind), "::", stringify!($variant))),*];
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => concat!(stringify!($kind), "::", stringify!($variant)),)*
                }
            }
        }
    )* };
}

listed! {
    Fact: User Credential Session SessionBound SessionEnded Group Admin Requested Accepted Ended Kicked Published
        Withdrawn Seeding Invited InvitationRevoked Redeemed Sponsored;
    EndReason: Left Rejected Kicked;
    Answer: Done Left LoggedIn LoggedOut Published Invited Joined;
}

/// What the file says, and what is wrong with it.
struct Check {
    lines: BTreeMap<&'static str, Vec<u8>>,
    changed: Vec<String>,
    missing: Vec<String>,
}

impl Check {
    fn new() -> Self {
        let mut lines = BTreeMap::new();
        for line in FILE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (name, hex) = line.split_once(' ').unwrap_or_else(|| panic!("{PATH}: `{line}` is not `name bytes`"));
            let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_else(|e| panic!("{PATH}: {name}: {e}"));
            assert!(lines.insert(name, bytes).is_none(), "{PATH}: {name} stands there twice");
        }
        Self { lines, changed: Vec::new(), missing: Vec::new() }
    }

    /// Compares samples with their lines. The second sample of a variant is called `name/2`.
    fn samples<T: Listed>(&mut self, samples: Vec<T>) {
        let mut seen = BTreeMap::new();
        for sample in samples {
            let count = seen.entry(sample.name()).and_modify(|n| *n += 1).or_insert(1);
            let name = if *count == 1 { sample.name().to_owned() } else { format!("{}/{count}", sample.name()) };
            self.value(&name, &sample);
        }
        let unseen: BTreeSet<_> = T::NAMES.iter().filter(|name| !seen.contains_key(*name)).collect();
        assert!(unseen.is_empty(), "tracker/src/golden/samples.rs has no sample of {unseen:?}");
    }

    /// Compares what is encoded with its line, which must be read as the same.
    fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let golden = self.bytes(name, &codec::encode(value, MAX_FRAME).unwrap());
        if let Some(golden) = golden {
            assert_eq!(codec::decode::<T>(&golden, MAX_FRAME).unwrap(), *value, "{name}");
        }
    }

    /// Compares bytes with their line, which is then done with, and given if it is the same.
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.lines.remove(name) {
            Some(golden) if golden == bytes => return Some(golden),
            Some(_) => self.changed.push(format!("{name} {}", HEXLOWER.encode(bytes))),
            None => self.missing.push(format!("{name} {}", HEXLOWER.encode(bytes))),
        }
        None
    }

    fn finish(self) {
        let Self { lines, changed, missing } = self;
        assert!(
            changed.is_empty(),
            "these bytes have changed: databases and siblings out there have the old ones. Undo that, and append a \
             variant instead (a test's sample that was edited on purpose gets its old values back):\n{}",
            changed.join("\n")
        );
        assert!(missing.is_empty(), "append these lines to {PATH}:\n{}", missing.join("\n"));
        let left: Vec<_> = lines.into_keys().collect();
        assert!(left.is_empty(), "{PATH} has bytes of what is gone, and which old databases still hold: {left:?}");
    }
}

#[tokio::test]
async fn the_bytes_of_everything_stored_or_shipped_stay_as_they_are() {
    let mut check = Check::new();
    check.samples(samples::facts().into_iter().chain(samples::invitation_facts()).collect());
    check.samples(samples::end_reasons());
    check.samples(samples::answers());
    check.value("Stamp", &samples::stamp());
    check.value("StampedFact", &(samples::stamp(), samples::facts().swap_remove(0)));
    check.bytes("ManifestId", &NewManifest::new(samples::manifest()).id().0);
    check.bytes("Mint/user", Mint::new(samples::asked()).id::<UserId>("user").as_bytes());
    whole(&mut check, "", samples::facts()).await;
    whole(&mut check, "/invitations", samples::invitation_facts()).await;
    check.finish();
}

/// An event as the log has it, its hash, and the state that follows from it as it is sent and compared.
async fn whole(check: &mut Check, of: &str, facts: Vec<Fact>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_as(dir.path(), Arc::new(|| 1_700_000_000_000), samples::ORIGIN).unwrap();
    let answer = codec::encode(&samples::answers().swap_remove(2), MAX_FRAME).unwrap();
    let change = Change { facts: facts.clone(), manifest: None, answer, value: () };
    store.write(samples::asked(), move |_| Ok::<_, StoreError>(change)).await.unwrap();

    let out = store.outbox(Versions::new(), (0, 0), MAX_FRAME).await.unwrap();
    let [event]: [Event; 1] = out.events.try_into().unwrap();
    check.value(&format!("Event{of}"), &event);
    assert_eq!(codec::decode::<Vec<Fact>>(&event.body, MAX_FRAME).unwrap(), facts);
    check.bytes(&format!("Event/hash{of}"), &store.heads().await.unwrap()[0].hash);

    let (packed, next) = store.facts(Cursor::default(), MAX_FRAME).await.unwrap();
    assert!(next.is_none(), "it fits into one part");
    let facts: Vec<StampedFact> = codec::decode(&packed, MAX_FRAME).unwrap();
    assert!(facts.iter().all(|(s, d)| *s == at(&event) || matches!(d, Fact::SessionBound { .. })));
    check.value(&format!("Facts{of}"), &facts);
    assert_eq!(packed, codec::encode(&facts, MAX_FRAME).unwrap());
    let (_, buckets) = store.digest().await.unwrap();
    let filled: Vec<(usize, u64)> = buckets.into_iter().enumerate().filter(|(_, sum)| *sum != 0).collect();
    check.value(&format!("Digest{of}"), &filled);
    store.close().await;
}

fn at(event: &Event) -> Stamp {
    Stamp { hlc: crate::fact::Hlc::from_stored(event.hlc.cast_signed()), origin: event.origin }
}
