//! The command line. Knows nothing else of the tracker: the client, which writes man pages and completions of both programs,
//! takes this file in as well.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// One of a cluster's trackers: keeps accounts, groups and who shares what; never sees content.
#[derive(Debug, Clone, Parser)]
#[command(name = "tracker", version = env!("SHOAL_VERSION"), max_term_width = 80, about)]
pub struct Arguments {
    /// The list of trackers: one IP:PORT or NAME:PORT a line
    #[arg(required_unless_present = "trial")]
    pub tracker_info: Option<PathBuf>,
    /// Which line of it is this tracker, from 1
    #[arg(required_unless_present = "trial")]
    pub tracker_no: Option<u16>,
    /// Where the database is [default: ./data/tracker-<TRACKER_NO>]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The secret that all trackers of the cluster share, made if missing [default: cluster.secret beside TRACKER_INFO]
    #[arg(long, value_name = "FILE")]
    pub cluster_secret: Option<PathBuf>,
    /// How many times the usual bounds one user may take: groups, requests, shares. 0 for no bounds
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub quota_factor: u16,
    /// Who may make an account: whoever reaches the tracker, or only who holds an invitation. Give both trackers the same
    #[arg(long, value_enum, default_value_t)]
    pub registration: Registration,
    /// Copy the database to this new file and leave; a tracker that runs goes on meanwhile
    #[arg(long, value_name = "FILE")]
    pub backup: Option<PathBuf>,
    /// Print the cluster's pin, for the list that members get, and leave
    #[arg(long)]
    pub fingerprint: bool,
    /// Start a complete trial on this machine: both trackers, and the line that starts a client. In ./trial, or in
    /// --data-dir; `quit` tidies up
    #[arg(long, conflicts_with_all = ["tracker_info", "cluster_secret", "backup", "fingerprint", "verify"])]
    pub trial: bool,
    /// Check that the database says the same in all its parts, and leave; the tracker must be stopped
    #[arg(long)]
    pub verify: bool,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Whoever reaches the tracker.
    #[default]
    Open,
    /// Who holds an invitation.
    Invite,
}
