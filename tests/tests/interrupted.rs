//! A downloader that is killed goes on where it was. `download_kills` does the same at length.

use harness::{Interrupted, Kind, Resumed};

#[test]
fn a_downloader_that_is_killed_goes_on_where_it_was() {
    let seen = Interrupted::run(Kind::File, 5, |_| ());
    assert_eq!((seen.wrong, seen.lost), (0, 0), "{seen:?}");
    assert!(seen.served < seen.size + seen.size / 2, "only what was unfinished is fetched again: {seen:?}");
}

#[test]
fn a_downloader_of_a_folder_that_is_killed_goes_on_where_it_was() {
    let seen = Interrupted::run(Kind::Folder, 5, |_| ());
    assert_eq!((seen.wrong, seen.lost), (0, 0), "{seen:?}");
    assert!(seen.served < seen.size + seen.size / 2, "only what was unfinished is fetched again: {seen:?}");
}

#[test]
fn a_stopped_download_goes_on_without_rereading() {
    const LEN: u64 = 192 << 20;
    let seen = Resumed::run(LEN);
    assert!(seen.reread.max(seen.shared_reread) < LEN / 16, "{seen:?}");
}
