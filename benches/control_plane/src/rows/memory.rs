//! What a tracker's memory grows by for each share, member, group and login: two states that differ in their number
//! only, each loaded by a tracker that has just started and asked nothing.

use super::Bench;
use crate::Row;
use crate::dataset::Size;
use crate::system;
use crate::tracker::Cluster;

/// Users of all states but the one with many of them.
const USERS: u64 = 10_000;

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(Row::Memory) {
        return;
    }
    let users = bench.sized(USERS, 1000);
    let base = Size { users, groups: 100, ..Size::SMALL };
    let (members, groups, logins) = (bench.sized(50, 2), bench.sized(300_000, 1000), bench.sized(30, 2));
    let shares = bench.sized(1_000_000, 1000);
    let states = [
        ("member", members * (users - 1), Size { crowds: members, crowd: users, ..base }),
        ("group with its admin", groups, Size { groups: base.groups + groups, ..base }),
        ("login", logins * users, Size { logins: base.logins + logins, ..base }),
        ("user with a login", groups, Size { users: users + groups, ..base }),
        ("share", shares - Size::SMALL.shares, Size { shares, ..Size::SMALL }),
    ];
    let (mut small, mut rest) = (None, None);
    for (what, more, size) in states {
        let without = match size.users == Size::SMALL.users {
            true => *small.get_or_insert_with(|| memory_of(bench, Size::SMALL)),
            false => *rest.get_or_insert_with(|| memory_of(bench, base)),
        };
        let with = memory_of(bench, size);
        let each = with.1.saturating_sub(without.1) as f64 / more as f64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let figures = vec![
            ("bytes_each", each),
            ("number", more as f64),
            ("rss_mib", mib(with.0)),
            ("anonymous_mib", mib(with.1)),
        ];
        bench.report.add(Row::Memory.name(), what, figures);
    }
}

/// Resident memory of a tracker with such a state: all of it, and what is not pages of files.
fn memory_of(bench: &Bench, size: Size) -> (u64, u64) {
    let dataset = bench.dataset(size);
    // A first start may have to bring the database up to date.
    let mut cluster = Cluster::solo(bench.program(), &dataset);
    cluster.quit(1);
    cluster.start(1);
    system::wait_until_idle(cluster.pid(1));
    system::memory_of(cluster.pid(1))
}
