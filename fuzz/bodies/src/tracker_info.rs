//! The list of trackers: any text is a list that says the same when written again, or is refused with
//! a line that can be shown.

use std::path::Path;

use common::tracker_info::TrackerInfo;

use crate::harmless;
use crate::input::Input;

/// The text of a file.
pub fn run(data: &[u8]) {
    let path = Path::new("trackers.txt");
    let info = match TrackerInfo::parse(&Input::new(data).text(), path) {
        Ok(info) => info,
        Err(e) => {
            let message = e.to_string();
            assert!(message.len() < 2000, "{} bytes of message", message.len());
            return harmless(&message);
        }
    };
    let written = info.to_string();
    assert_eq!(TrackerInfo::parse(&written, path).expect("what was read can be written"), info);

    assert!((1..=16).contains(&info.trackers.len()));
    for (i, tracker) in info.trackers.iter().enumerate() {
        assert_ne!(tracker.port(), 0);
        assert!(!info.trackers[..i].contains(tracker), "{tracker} stands there twice");
        assert_eq!(info.address_of(i + 1), Some(tracker));
    }
    assert_eq!((info.address_of(0), info.address_of(info.trackers.len() + 1)), (None, None));
}

/// Good lists in every form, and some bad lines.
pub fn seeds() -> Vec<Vec<u8>> {
    let pin = "cluster sha256:un2y2snlnsu5ulpnkopozdd73xja2nhbz2u2qmw2m7bpzdwc4e5a";
    let many: String = (1..=16).map(|i| format!("192.0.2.{i}:5000\n")).collect();
    [
        "127.0.0.1:5000\n127.0.0.1:5001\n",
        "\u{feff}# two\r\n127.0.0.1 5000\r\n\r\n ::1\t5001 # the other\r\n",
        "[2001:db8::1]:5000\n[fe80::1%3]:5000\n::ffff:192.0.2.1 5000",
        &format!("{pin}\n127.0.0.1:5000\n"),
        &format!("127.0.0.1:5000\n{}", pin.to_uppercase().replace("CLUSTER", "cluster\t")),
        &format!("{pin}\n{pin}\n"),
        &many,
        &format!("{many}192.0.2.17:5000\n"),
        "127.0.0.1:0",
        "localhost:5000\nTracker.Lab.Example 5001",
        "1.2.3:5000",
        "cluster",
        "1.2.3.4 5 6",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
