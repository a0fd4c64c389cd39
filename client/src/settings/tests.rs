//! What is set is read back, and what a person wrote stays.

use std::num::NonZeroU64;

use common::id::GroupName;

use super::limit::Hours;
use super::*;

fn settings(text: &str) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join(FILE), text).expect("written");
    let settings = Settings::at(dir.path());
    (dir, settings)
}

fn rate(n: u64) -> Rate {
    NonZeroU64::new(n)
}

fn always(n: u64) -> Option<Limit> {
    Some(Limit::always(rate(n)))
}

fn hours(text: &str) -> Hours {
    text.parse().expect(text)
}

fn content(settings: &Settings) -> String {
    fs::read_to_string(settings.path()).expect("a file")
}

#[test]
fn what_is_set_is_read_back_and_explained_to_people() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings::at(dir.path());
    assert_eq!(settings.read().expect("no file"), Values::default());
    settings.set_limit(Direction::Up, None, rate(10 << 20), &[]).expect("set");
    settings.set_limit(Direction::Down, None, rate(1234), &[]).expect("set");
    let limit = Ways { up: always(10 << 20), down: always(1234) };
    assert_eq!(settings.read().expect("read"), Values { limit, ..Values::default() });
    let text = content(&settings);
    assert!(text.starts_with("# Settings") && text.ends_with("up = \"10M\"\ndown = \"1234\"\n"), "{text}");
    settings.set_limit(Direction::Up, None, None, &[]).expect("set");
    assert_eq!(settings.read().expect("read").limit.up, Some(Limit::default()));
    settings.unset(SettingName::LimitUp).expect("unset");
    assert_eq!(settings.read().expect("read").limit.up, None);
    for (typed, slots) in [("3", UploadSlots(NonZeroU32::new(3))), ("0", UploadSlots(None)), ("off", UploadSlots(None))]
    {
        settings.set_slots(typed.parse().expect(typed)).expect("set");
        assert_eq!(settings.read().expect("read").seeding_slots, Some(slots), "{typed}");
    }
    assert!("-1".parse::<UploadSlots>().is_err() && "many".parse::<UploadSlots>().is_err());
}

#[test]
fn a_persons_comments_and_order_survive() {
    let text = "# mine\nother = 1 # kept\n\n[limit] # a table\n# slow line at home\ndown = '2M' # enough\n\n[limit.down_at]\n# work\n\"8-18\" = \"1M\" # office\n\n[later]\nx = []\n";
    let (_dir, settings) = settings(text);
    settings.set_limit(Direction::Down, None, rate(3 << 10), &[hours("08:00-18:00")]).expect("set");
    let text = text.replace("\"1M\"", "\"3K\"");
    assert_eq!(content(&settings), text);
    let values = settings.read().expect("read");
    let limit = Limit { rate: rate(2 << 20), windows: vec![(hours("8-18"), rate(3 << 10))] };
    assert_eq!((values.limit.down, values.unknown), (Some(limit), vec!["other".to_owned(), "later".to_owned()]));
    settings.set_slots(UploadSlots(NonZeroU32::new(2))).expect("set");
    assert!(content(&settings).starts_with(&text), "{}", content(&settings));
    settings.set_limit(Direction::Down, None, None, &[]).expect("set");
    let now = content(&settings);
    assert!(now.contains("# slow line at home\ndown = \"off\" # enough\n") && !now.contains("8-18"), "{now}");
}

#[test]
fn groups_have_limits_of_their_own_under_their_ids() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings::at(dir.path());
    let (id, name) = (GroupId::new([7; 16]), "lab".parse::<GroupName>().expect("a name"));
    let whose = Some((id, &name));
    settings.set_limit(Direction::Up, whose, rate(1 << 20), &[]).expect("set");
    settings.set_limit(Direction::Up, whose, None, &[hours("22-6"), hours("12:00-13:00")]).expect("set");
    let values = settings.read().expect("read");
    let group = &values.groups[&id];
    let windows = vec![(hours("12-13"), None), (hours("22-6"), None)];
    assert_eq!((group.name.as_str(), &group.limit.up), ("lab", &Limit { rate: rate(1 << 20), windows }));
    assert_eq!(group.limit.down, Limit::default());
    settings.set_limit(Direction::Up, whose, None, &[]).expect("set");
    assert!(settings.read().expect("read").groups.is_empty() && !content(&settings).contains("lab"));
}

#[test]
fn a_file_that_is_wrong_is_told_by_its_line_and_left_alone() {
    for (text, what) in [
        ("\n\n[limit\n", "line 3"),
        ("[limit]\nup = \"fast\"\n", "line 2: `fast` is not a rate"),
        ("[limit]\nup = 0\n", "line 2"),
        ("[limit]\nup = []\n", "line 2: a rate has to be"),
        ("[limit.up_at]\n'25-26' = '1M'\n", "line 2: `25-26` is no part of a day"),
        ("[seeding]\nslots = -1\n", "line 2: `-1` is no number of uploads"),
        ("limit = 3\n", "line 1: `limit` has to be a table"),
    ] {
        let (_dir, settings) = settings(text);
        let read = settings.read().expect_err(text);
        assert!(read.code() == "invalid_argument" && read.to_string().contains(what), "{text}: {read}");
        if ["line 3", "line 1"].contains(&&what[..6]) {
            settings.set_limit(Direction::Up, None, rate(9), &[]).expect_err(text);
            assert_eq!(content(&settings), text);
        }
    }
}

#[test]
fn limits_in_other_shapes_of_toml_are_the_same() {
    let (id, name) = (GroupId::new([7; 16]), "lab".parse::<GroupName>().expect("a name"));
    for text in ["limit.up = \"1M\"\n", "limit = { up = 1048576 }\n", "[limit]\nup = \"1 MiB/s\"\n"] {
        let (_dir, settings) = settings(text);
        assert_eq!(settings.read().expect(text).limit.up, always(1 << 20), "{text}");
        settings.set_limit(Direction::Up, None, rate(2 << 20), &[]).expect(text);
        settings.set_limit(Direction::Up, None, rate(9), &[hours("8-9")]).expect(text);
        settings.set_limit(Direction::Down, Some((id, &name)), rate(7), &[]).expect(text);
        let values = settings.read().unwrap_or_else(|e| panic!("{e}\n{}", content(&settings)));
        let limit = Limit { rate: rate(2 << 20), windows: vec![(hours("8-9"), rate(9))] };
        assert_eq!((values.limit.up, values.groups[&id].limit.down.clone()), (Some(limit), Limit::always(rate(7))));
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_written_through_and_stays_one() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().expect("a directory");
    let (kept, data) = (dir.path().join("kept"), dir.path().join("data"));
    [&kept, &data].iter().for_each(|path| fs::create_dir(path).expect("made"));
    fs::write(kept.join("mine.toml"), "# mine\n").expect("written");
    fs::set_permissions(kept.join("mine.toml"), fs::Permissions::from_mode(0o644)).expect("set");
    symlink("../kept/mine.toml", data.join(FILE)).expect("linked");
    let settings = Settings::at(&data);
    settings.set_limit(Direction::Up, None, rate(9), &[]).expect("set");
    assert!(fs::symlink_metadata(data.join(FILE)).expect("there").is_symlink());
    let text = fs::read_to_string(kept.join("mine.toml")).expect("there");
    assert!(text.contains("# mine\n") && text.contains("up = \"9\""), "{text}");
    let mode = fs::metadata(kept.join("mine.toml")).expect("there").permissions().mode();
    assert_eq!((mode & 0o777, fs::read_dir(&kept).expect("listed").count()), (0o644, 1));
    // To where nothing is yet, and in a circle.
    fs::remove_file(kept.join("mine.toml")).expect("removed");
    settings.set_limit(Direction::Up, None, rate(8), &[]).expect("set");
    assert!(kept.join("mine.toml").is_file());
    fs::remove_file(data.join(FILE)).expect("removed");
    symlink(FILE, data.join(FILE)).expect("linked");
    settings.set_limit(Direction::Up, None, rate(7), &[]).expect_err("it leads to itself");
}

#[test]
fn what_is_printed_is_read_back_as_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings::at(dir.path());
    let limit = Ways { up: Limit { rate: rate(5), windows: vec![(hours("8-9"), None)] }, down: Limit::default() };
    let group = GroupLimit { name: "a \"b\"".to_owned(), limit: limit.clone() };
    let groups = BTreeMap::from([(GroupId::new([7; 16]), group)]);
    let origin = |name| if name == SettingName::LimitUp { Origin::Environment } else { Origin::Default };
    let text = print("One\nand two", &limit, &groups, UploadSlots(None), origin);
    assert!(
        text.starts_with("# One\n# and two\n") && text.contains("(from SHOAL_LIMIT_UP in the environment)"),
        "{text}"
    );
    fs::write(settings.path(), &text).expect("written");
    let values = settings.read().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let read = Ways { up: values.limit.up.expect("set"), down: values.limit.down.expect("set") };
    assert_eq!((read, values.groups, values.seeding_slots), (limit, groups, Some(UploadSlots(None))), "{text}");
}
