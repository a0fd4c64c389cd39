//! How the table is shown to people: in sections, and each command with a line that shows how it is used.
//!
//! Invariant: every command of the table is here once, and its example is a line that means it (held by a test beside `help`).

/// A section of `help`: its heading, and its commands in the order in which they are listed.
pub(crate) struct Section {
    /// The heading.
    pub(crate) title: &'static str,
    /// Name and example of each command.
    pub(crate) commands: &'static [(&'static str, &'static str)],
}

/// All sections.
pub(crate) const SECTIONS: [Section; 6] = [
    Section {
        title: "Accounts",
        commands: &[
            ("create_user", "create_user alice"),
            ("login", "login alice"),
            ("logout", "logout"),
            ("whoami", "whoami"),
            ("change_password", "change_password"),
            ("list_devices", "list_devices"),
            ("end_login", "end_login 3fa94c"),
        ],
    },
    Section {
        title: "Groups",
        commands: &[
            ("create_group", "create_group lab"),
            ("list_groups", "list_groups"),
            ("join_group", "join_group lab"),
            ("leave_group", "leave_group lab"),
        ],
    },
    Section {
        title: "People",
        commands: &[
            ("list_members", "list_members lab"),
            ("list_requests", "list_requests lab"),
            ("accept_request", "accept_request lab bob"),
            ("reject_request", "reject_request lab bob"),
            ("remove_member", "remove_member lab bob"),
            ("make_admin", "make_admin lab bob"),
            ("invite", "invite lab --uses 5 --expires 2d"),
            ("accept_invite", "accept_invite"),
            ("check_invite", "check_invite"),
            ("list_invites", "list_invites lab"),
            ("revoke_invite", "revoke_invite lab 3"),
        ],
    },
    Section {
        title: "Files",
        commands: &[
            ("upload_file", "upload_file results.tar lab"),
            ("list_files", "list_files lab --sort age --match '*.tar'"),
            ("search", "search results 2024"),
            ("news", "news"),
            ("info", "info lab results.tar"),
            ("verify", "verify lab results.tar"),
            ("list_shares", "list_shares"),
            ("stop_share", "stop_share lab results.tar"),
        ],
    },
    Section {
        title: "Transfers",
        commands: &[
            ("download_file", "download_file lab results.tar ."),
            ("show_downloads", "show_downloads"),
            ("pause_download", "pause_download 1"),
            ("resume_download", "resume_download 1"),
            ("cancel_download", "cancel_download 1"),
            ("subscribe", "subscribe lab '*.tar' ~/inbox"),
            ("list_subscriptions", "list_subscriptions"),
            ("unsubscribe", "unsubscribe 1"),
            ("limit", "limit up 1M --at 08:00-18:00"),
        ],
    },
    Section {
        title: "This client",
        commands: &[
            ("status", "status"),
            ("doctor", "doctor"),
            ("set", "set seeding_slots 4"),
            ("show", "show"),
            ("web", "web"),
            ("help", "help download_file"),
            ("quit", "quit"),
            ("shutdown", "shutdown"),
        ],
    },
];

/// The example of a command of the table.
pub(crate) fn example(command: &str) -> Option<&'static str> {
    let mut all = SECTIONS.iter().flat_map(|section| section.commands);
    all.find(|(name, _)| *name == command).map(|(_, example)| *example)
}
