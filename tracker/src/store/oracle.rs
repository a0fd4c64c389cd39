//! The state in memory answers every question as the tables do by SQL, whatever the history.

use common::id::{DeviceId, FileId, FileName, GroupId, GroupName, MembershipId, SessionId, UserId, UserName};
use proptest::prelude::*;
use rusqlite::Connection;

use super::mutation::{self, Mutations};
use super::tables::Tables;
use super::{log, prefix_range};
use crate::fact::Hlc;
use crate::state::State;
use crate::state::tests::{Step, head, history};

fn empty() -> Connection {
    let conn = Connection::open_in_memory().expect("in memory");
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).expect("set");
    conn.set_prepared_statement_cache_capacity(128);
    for schema in [
        include_str!("../../../migrations/V1__facts.sql"),
        include_str!("../../../migrations/V2__replication.sql"),
        include_str!("../../../migrations/V3__upkeep.sql"),
        include_str!("../../../migrations/V4__looks.sql"),
        include_str!("../../../migrations/V5__withdrawn.sql"),
    ] {
        conn.execute_batch(schema).expect("schema");
    }
    conn
}

fn take(conn: &Connection, state: &mut State, step: &Step) {
    match step {
        Step::Fact(stamp, delta) => {
            let mut mutations = Mutations::new();
            log::state_facts(conn, std::slice::from_ref(delta), *stamp, &mut mutations).expect("joined");
            mutation::apply(state, mutations);
        }
        Step::Manifest(m, true) => {
            let (layout, sha1) = (head(*m).layout, head(*m).sha1);
            let sql = "INSERT OR IGNORE INTO manifests (id, file_id, len, piece_len, sha1) VALUES (?1, ?1, ?2, ?3, ?4)";
            conn.execute(sql, ([*m; 32], layout.len(), layout.piece_len(), sha1.as_bytes())).expect("inserted");
            state.add_manifest(crate::fact::ManifestId([*m; 32]), head(*m));
        }
        Step::Manifest(m, false) => {
            conn.execute("DELETE FROM manifests WHERE id = ?1", [[*m; 32]]).expect("deleted");
            state.remove_manifest(crate::fact::ManifestId([*m; 32]));
        }
    }
}

/// Both answers, in an order if the question gives them none.
macro_rules! same {
    ($tables:ident, $state:ident, sorted $($call:tt)+) => {{
        let (mut by_sql, mut in_memory) = ($tables.$($call)+.expect("asked"), $state.$($call)+);
        by_sql.sort_by_key(|row| format!("{row:?}"));
        in_memory.sort_by_key(|row| format!("{row:?}"));
        assert_eq!(by_sql, in_memory, "{}", stringify!($($call)+));
    }};
    ($tables:ident, $state:ident, $($call:tt)+) => {
        assert_eq!($tables.$($call)+.expect("asked"), $state.$($call)+, "{}", stringify!($($call)+))
    };
}

fn compare(sql: Tables<'_>, memory: &State) {
    let counts = sql.counts().expect("counted");
    assert_eq!((counts.users, counts.groups), (memory.user_count(), memory.open_group_count()));
    for n in 0..4 {
        about_user(sql, memory, UserId::new([n; 16]));
        about_group(sql, memory, GroupId::new([n; 16]));
        same!(sql, memory, session(SessionId::new([n; 16])));
        same!(sql, memory, session_ended(SessionId::new([n; 16])));
        for user in 0..4 {
            between(sql, memory, GroupId::new([n; 16]), UserId::new([user; 16]));
            same!(sql, memory, sorted seeded_by(DeviceId::new([n; 32]), UserId::new([user; 16]), 1000));
        }
    }
    for m in 0..12 {
        same!(sql, memory, membership(MembershipId::new([m; 16])));
        same!(sql, memory, was_accepted(MembershipId::new([m; 16])));
        for group in 0..4 {
            same!(sql, memory, admin_by_end_of(GroupId::new([group; 16]), MembershipId::new([m; 16])));
        }
    }
    for name in ["a", "b", "A", "a~00000000", "a~01010101", "A~02020202", "b~03030303", "c"] {
        let (user, group): (UserName, GroupName) = (name.parse().expect("a name"), name.parse().expect("a name"));
        same!(sql, memory, user(&user));
        same!(sql, memory, user_name_taken(&user));
        same!(sql, memory, account(&user));
        same!(sql, memory, group(&group));
        same!(sql, memory, group_name_taken(&group));
        same!(sql, memory, sorted groups_after(Some(&group), 1000));
        for kind in [crate::vote::NameKind::User, crate::vote::NameKind::Group] {
            same!(sql, memory, vote_stage(kind, &name.to_ascii_lowercase()));
        }
    }
    same!(sql, memory, sorted groups_after(None, 1000));
}

fn about_user(sql: Tables<'_>, memory: &State, user: UserId) {
    same!(sql, memory, user_renamed(user));
    same!(sql, memory, user_name(user));
    same!(sql, memory, user_claim(user));
    same!(sql, memory, account_of(user));
    same!(sql, memory, sorted groups_renamed(user));
    same!(sql, memory, sorted fellows(user));
    same!(sql, memory, groups_made(user));
    same!(sql, memory, memberships_made(user));
    same!(sql, memory, shares_made(user));
    same!(sql, memory, manifest_bytes(user));
    same!(sql, memory, sessions_that_hold(user, 4));
    same!(sql, memory, logins(user, 4));
    for few in [0, 1, 2, 3, 100] {
        same!(sql, memory, groups_run(user, few));
        same!(sql, memory, memberships_open(user, few));
        same!(sql, memory, sessions_beyond(user, few, 3));
    }
    for since in [0, 1 << 16, 3 << 16, 9 << 16] {
        same!(sql, memory, sessions_ended_around(user, Hlc::from_stored(since), 1000));
        same!(sql, memory, sessions_ended_around(user, Hlc::from_stored(since), 1));
        same!(sql, memory, memberships_ended_around(user, Hlc::from_stored(since), 1000));
        same!(sql, memory, memberships_ended_around(user, Hlc::from_stored(since), 2));
    }
}

fn about_group(sql: Tables<'_>, memory: &State, group: GroupId) {
    same!(sql, memory, group_name(group));
    same!(sql, memory, group_claim(group));
    same!(sql, memory, admin(group));
    same!(sql, memory, sorted members(group));
    same!(sql, memory, sorted members_after(group, None, 1000));
    same!(sql, memory, requests_after(group, None, 1000));
    same!(sql, memory, requests_after(group, None, 1));
    for name in ["A", "a", "a~00000000", "b"] {
        let name: UserName = name.parse().expect("a name");
        same!(sql, memory, sorted members_after(group, Some(&name), 1000));
        same!(sql, memory, requests_after(group, Some(&name), 1000));
    }
    same!(sql, memory, shares_after(group, None, 1000));
    same!(sql, memory, shares_after(group, None, 2));
    let suffixed = |name: &str| (0..4).map(|n| format!("{name}~{}", format!("0{n}").repeat(4))).collect::<Vec<_>>();
    let names = [
        vec!["a".to_owned(), "b".to_owned(), "aa".to_owned(), "A".to_owned(), "0".to_owned(), "O".to_owned()],
        suffixed("a"),
        suffixed("b"),
        suffixed("a~01010101"),
    ];
    for name in names.into_iter().flatten() {
        let name: FileName = name.parse().expect("a name");
        for most in [1, 2, 1000] {
            same!(sql, memory, shares_after(group, Some(&name), most));
        }
        same!(sql, memory, share_named(group, &name));
        // Of several any will do.
        let twin = sql.twin_of(group, &name).expect("asked");
        assert_eq!(twin.is_some(), memory.twin_of(group, &name).is_some(), "{name} and {twin:?}");
        same!(sql, memory, sorted publications_named(group, &name));
        for m in 0..12 {
            for file in 0..4 {
                same!(sql, memory, has_published(MembershipId::new([m; 16]), &name, FileId::new([file; 32])));
            }
        }
    }
    for file in (0..4).map(|n| FileId::new([n; 32])) {
        same!(sql, memory, share_of(group, file));
        same!(sql, memory, sorted seeders(group, file));
        for user in 0..4 {
            same!(sql, memory, devices_seeding(group, file, UserId::new([user; 16])));
        }
        for device in 0..4 {
            same!(sql, memory, seeding(group, file, DeviceId::new([device; 32])));
        }
    }
    for digits in ["0", "00", "01010101", "02", "03030303030303030303", "04"] {
        let (low, high) = prefix_range(digits).expect("a range");
        same!(sql, memory, shares_between(group, low, high, 1000));
        same!(sql, memory, shares_between(group, low, high, 1));
    }
}

fn between(sql: Tables<'_>, memory: &State, group: GroupId, user: UserId) {
    same!(sql, memory, admin_without(group, Some(user)));
    same!(sql, memory, standing(group, user));
    same!(sql, memory, admin_was_made(group, user));
    same!(sql, memory, kicks(group, user));
    same!(sql, memory, shares_only_of(group, user));
    for few in [0, 1, 2, 100] {
        same!(sql, memory, shares_in(group, user, few));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn memory_answers_as_the_tables_do(history in history()) {
        let (conn, mut state) = (empty(), State::default());
        for step in &history {
            take(&conn, &mut state, step);
        }
        let loaded = super::load::state(&conn).expect("loaded");
        prop_assert_eq!(loaded.said(), state.said());
        compare(Tables::new(&conn), &state);
    }
}
