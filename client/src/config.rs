//! The command line, and what it stands for: the list of trackers, and the data directory that
//! belongs to this process alone.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Parser;
use clap::builder::ArgPredicate;
use common::address::{HostPort, NotAnAddress};
use common::escape::Escaped;
use common::file_names::{CLIENT_LOCK, DEVICE_KEY, TRACKER_INFO};
use common::invitation::{Invitation, NotAnInvitation};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::invited::{self, Listed};
use crate::own_files;
use crate::places::Places;
use crate::private_file;
use crate::settings::limit::MaxRate;
use crate::settings::{Given, Origin, SettingName, UploadSlots, Ways};

/// The release, and the commit.
const VERSION: &str = env!("SHOAL_VERSION");

/// Where an invited client serves if nobody says otherwise.
const USUAL_ADDRESS: &str = "0.0.0.0:7000";

const USAGE: &str = "client [OPTIONS] <IP:PORT> <TRACKER_INFO>\n       client [OPTIONS] [IP:PORT] --invite <LINE>";

/// What stands below the options in `--help`.
const AFTER_HELP: &str = "\
Exit status: 0 all well; 1 a command failed; 2 wrong usage, or the client could not start (address or data \
directory in use, a list or script that cannot be read); 3 no tracker reachable; 130 interrupted; 143 terminated. \
With --json each of these is an object on stdout, too.

Passwords: whoever is on this machine sees in `ps` what is given with -c. Where a line leaves the password out, a script takes it \
from --password-fd, or else from the variable SHOAL_PASSWORD, and a person at a terminal is asked for it.";

/// Shares files with the members of your groups, and downloads theirs.
///
/// Without -c and -f, and with a terminal on stdin, this is an interactive prompt; type `help` there.
/// Lines that are piped in are run as a script. Started in the background of a terminal it reads nothing and seeds.
/// Where a client runs already on the same data directory, this one attaches to it: the lines are run there, and `shutdown` ends it.
#[derive(Debug, Clone, Parser)]
#[command(name = "client", version = VERSION, override_usage = USAGE, max_term_width = 80, after_help = AFTER_HELP)]
pub struct Args {
    /// Where this client serves pieces to others: an address of this machine, or a name for one, such as localhost:7000.
    /// Port 0 lets the system choose. May be left out with --invite: then it is 0.0.0.0:7000, all addresses of this machine.
    #[arg(value_name = "IP:PORT", value_parser = parse_address, required = false, required_unless_present = "invite",
          default_value_if("invite", ArgPredicate::IsPresent, USUAL_ADDRESS))]
    pub listen: HostPort,
    /// The list of trackers: a text file with one IP:PORT a line. May be left out with --invite: then it is
    /// tracker_info.txt here.
    #[arg(value_name = "TRACKER_INFO", required_unless_present = "invite")]
    pub tracker_info: Option<PathBuf>,
    /// Come in by an invitation: writes the list of trackers, if there is none, and at the prompt makes an account and joins
    /// the group. With --web the form of the page has it already, unless another client runs here. In scripts it only writes
    /// the list; `create_user --invite` and `accept_invite` do the rest.
    #[arg(long, value_name = "LINE")]
    pub invite: Option<Pasted>,
    /// Run this line, then the next -c, then leave. Others on this machine can see it (`ps`): leave passwords out.
    #[arg(short = 'c', long = "command", value_name = "LINE", allow_hyphen_values = true)]
    pub commands: Vec<String>,
    /// Run the lines of a file (after those of -c), then leave.
    #[arg(short = 'f', long = "file", value_name = "SCRIPT")]
    pub file: Option<PathBuf>,
    /// One JSON object per command on stdout, nothing else there.
    #[arg(long)]
    pub json: bool,
    /// After -c, -f or the end of piped input: stay and seed until SIGINT, SIGTERM or `shutdown`. Without any lines this is
    /// the service that others attach to.
    #[arg(long)]
    pub stay: bool,
    /// Do not stop at the first failing line.
    #[arg(long)]
    pub keep_going: bool,
    /// Take each password that a line leaves out from this file descriptor, a line for each:
    /// `--password-fd 3 3<FILE`.
    #[arg(long, value_name = "N")]
    pub password_fd: Option<u32>,
    /// Where keys, known trackers, shares, unfinished downloads and the login are kept
    /// (default: `./data/client-<IP>-<PORT>`; where the list is installed in an XDG directory, or the working directory cannot be
    /// written, below `$XDG_DATA_HOME/shoal`)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send at most so many bytes per second to others, for example 500K or 10M; or `off`.
    #[arg(long, value_name = "RATE")]
    pub limit_up: Option<MaxRate>,
    /// Fetch at most so many bytes per second from others.
    #[arg(long, value_name = "RATE")]
    pub limit_down: Option<MaxRate>,
    /// Serve so many others at the same time; the rest wait for their turn. `off` is without bound.
    #[arg(long, value_name = "N")]
    pub seeding_slots: Option<UploadSlots>,
    /// Write man pages of both programs and of all commands, and completions for bash, zsh and fish, below this directory;
    /// and leave.
    #[arg(long, value_name = "DIR", exclusive = true)]
    pub generate: Option<PathBuf>,
    /// Print what holds, by the command line, the environment and settings.toml, in the form of that file; and leave.
    #[arg(long, conflicts_with = "json")]
    pub print_config: bool,
    /// Open the page for a browser on this machine, and print a link to it: at 127.0.0.1:7080, or at ADDR:PORT. An address
    /// is written after the other arguments, or as --web=ADDR:PORT.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_page_address)]
    pub web: Option<Option<SocketAddr>>,
    /// Let --web=ADDR:PORT be an address that others can reach: encrypted, and open to whoever has a link.
    #[arg(long, requires = "web")]
    pub web_public: bool,
}

impl Args {
    /// The invitation that the client was started with.
    ///
    /// # Errors
    /// When it is none; the text is not repeated.
    pub fn invitation(&self) -> Result<Option<Invitation>, Error> {
        let invitation = self.invite.as_ref().map(|Pasted(text)| text.parse()).transpose();
        invitation.map_err(|e: NotAnInvitation| Error::InvalidArgument(e.to_string()))
    }

    /// The list of trackers: that of the invitation is written, if there is none.
    ///
    /// # Errors
    /// With file, line and reason.
    pub(crate) fn read_tracker_info(&self) -> Result<Listed, Error> {
        let path = self.list();
        match self.invitation()? {
            Some(invitation) => invited::list(&path, &invitation),
            None => invited::read(&path).map(|info| Listed { info, is_new: false }),
        }
    }

    /// The file with the list of trackers: as it is given, or one of that name that is installed. With an invitation it is the one
    /// that is given, or that of the usual name here.
    pub fn list(&self) -> PathBuf {
        match (&self.tracker_info, &self.invite) {
            (Some(named), None) => here(|places| places.list(named)),
            (Some(named), Some(_)) => named.clone(),
            (None, _) => PathBuf::from(TRACKER_INFO),
        }
    }

    /// The address to serve at: of a name the first one, IPv4 before IPv6. Blocks on the resolver.
    ///
    /// # Errors
    /// When the name has no address.
    pub fn listen_at(&self) -> Result<SocketAddr, Error> {
        let wrong = |why: String| Error::InvalidArgument(format!("{why}; write an IP address of this machine"));
        let found = self.listen.resolve_now().map_err(|e| wrong(e.to_string()))?;
        found.first().copied().ok_or_else(|| wrong(format!("{} has no address", self.listen)))
    }

    /// Where this client keeps its things: a directory of its own for each address.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| here(|places| places.data_dir(&self.listen, &self.list())))
    }
}

fn here<T>(ask: impl FnOnce(&Places<'_>) -> T) -> T {
    // Without a working directory nothing can be written there.
    let here = std::env::current_dir().unwrap_or_default();
    ask(&Places { variable: &|name| std::env::var_os(name), here: &here, has_clients: &own_files::has_clients })
}

impl Args {
    /// What this command line says, and otherwise the environment, of what settings.toml may say as well.
    ///
    /// # Errors
    /// When a variable of the environment has no value that it may have; with its name.
    pub fn given(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Given, Error> {
        let (up, down) = (SettingName::LimitUp, SettingName::LimitDown);
        let rate = |given: Option<(MaxRate, Origin)>| given.map(|(MaxRate(rate), origin)| (rate, origin));
        Ok(Given {
            limit: Ways {
                up: rate(either(self.limit_up, up, &variable)?),
                down: rate(either(self.limit_down, down, &variable)?),
            },
            slots: either(self.seeding_slots, SettingName::SeedingSlots, &variable)?,
        })
    }
}

/// A value of the command line, or else of the environment.
fn either<T: FromStr<Err = String>>(
    flag: Option<T>,
    name: SettingName,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(T, Origin)>, Error> {
    if let Some(value) = flag {
        return Ok(Some((value, Origin::Flag)));
    }
    // Set to nothing is as good as not set.
    let Some(text) = variable(name.variable()).filter(|text| !text.is_empty()) else { return Ok(None) };
    let value = text.to_string_lossy().parse();
    let value =
        value.map_err(|why| Error::InvalidArgument(format!("{} in the environment: {why}", name.variable())))?;
    Ok(Some((value, Origin::Environment)))
}

/// A text that may be an invitation: never shown, also where it is none.
#[derive(Clone)]
pub struct Pasted(Zeroizing<String>);

impl std::str::FromStr for Pasted {
    type Err = std::convert::Infallible;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(s.to_owned())))
    }
}

impl std::fmt::Debug for Pasted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pasted(…)")
    }
}

/// An IP address, or `localhost`: a page that others can reach is asked for by the very address.
fn parse_page_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!(
            "`{}` is not an IP address and a port, such as 127.0.0.1:7080; `localhost` serves as well",
            Escaped(text)
        )
    };
    parse_address(text).map_err(|_| wrong())?.to_string().parse().map_err(|_| wrong())
}

fn parse_address(text: &str) -> Result<HostPort, String> {
    let port = text.rsplit_once(':').map_or("", |(_, port)| port);
    // One address, one data directory, however it is written.
    let local = |parsed: HostPort| {
        let port = parsed.to_string().strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        port.map_or(Ok(parsed), |local| local.parse())
    };
    text.parse().and_then(local).map_err(|e: NotAnAddress| match port {
        "" => format!("`{}` has no port; write IP:PORT, for example 127.0.0.1:7000", Escaped(text)),
        _ => format!("`{}` is {e}", Escaped(text)),
    })
}

/// The command line that was meant, where `arguments` (without the program's name) have a shape that this program does
/// not know but others do: `client 127.0.0.1 7000`, `client 7000 tracker_info.txt`, or the two arguments swapped.
pub fn meant(arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().map(|a| a.to_str()).collect::<Option<_>>()?;
    let is_port = |word: &str| word.parse::<u16>().is_ok();
    let is_address = |word: &str| word.parse::<HostPort>().is_ok();
    let is_host = |word: &str| !is_port(word) && !word.ends_with(".txt") && is_address(&format!("{word}:0"));
    // `--web` takes an address that stands behind it for its own.
    if let Some(web) = words.windows(2).position(|pair| pair[0] == "--web" && is_address(pair[1])) {
        let others: Vec<_> = words.iter().enumerate().filter(|(at, _)| !(web..web + 2).contains(at)).collect();
        let [(_, list)] = others.as_slice() else { return None };
        let list = shlex::try_quote(list).ok().filter(|_| !list.starts_with('-') && !is_address(list))?;
        return Some(format!("client {} {list} --web", words[web + 1]));
    }
    let (address, list) = match words.as_slice() {
        [host, port, rest @ ..] if is_port(port) && is_host(host) => (format!("{host}:{port}"), rest),
        [port, rest @ ..] if is_port(port) => (format!("127.0.0.1:{port}"), rest),
        [list, address] if is_address(address) && !is_address(list) => ((*address).to_owned(), &words[..1]),
        [address] if is_address(address) => ((*address).to_owned(), &[][..]),
        _ => return None,
    };
    match list {
        [] => Some(format!("client {address} tracker_info.txt")),
        [list] if !list.starts_with('-') => {
            Some(format!("client {address} {}", shlex::try_quote(list).unwrap_or_else(|_| "tracker_info.txt".into())))
        }
        _ => None,
    }
}

/// A data directory that was to be taken.
#[derive(Debug)]
pub enum Opened {
    /// It is ours now.
    Ours(DataDir),
    /// Another process has it; its canonical path.
    Theirs(PathBuf),
}

/// A data directory that no other process uses. Released when dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is not there, and takes it unless another process has it.
    ///
    /// # Errors
    /// When it cannot be made or used, or has what a client keeps and no client's key.
    pub fn open(path: &Path) -> Result<Opened, Error> {
        if own_files::is_planted(path) {
            return Err(Error::InvalidArgument(format!(
                "{} has what a client keeps, but no {}: no client here has made it, and what is in it may be somebody else's wish. \
                 Look at where it comes from; --data-dir names another place",
                crate::error::shown(path),
                DEVICE_KEY
            )));
        }
        create_private(path)?;
        // Absolute, so that it stays the same whatever becomes of the working directory.
        let path = path.canonicalize().map_err(|e| Error::from_io("find", path, e))?;
        let file = path.join(CLIENT_LOCK);
        let failed = |e| Error::from_io("lock", &file, e);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&file).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                private_file::tidy(&path).map_err(|e| Error::from_io("tidy", &path, e))?;
                Ok(Opened::Ours(Self { path, _lock: lock }))
            }
            Err(TryLockError::WouldBlock) => Ok(Opened::Theirs(path)),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn create_private(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| Error::from_io("create the data directory", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("client").chain(line.split_whitespace()))
    }

    #[test]
    fn help_is_as_people_have_seen_it_and_fits_80_columns() {
        let help = <Args as clap::CommandFactory>::command().term_width(80).render_long_help().to_string();
        let longest = help.lines().max_by_key(|line| line.chars().count()).expect("lines");
        assert!(longest.chars().count() <= 80, "{longest}");
        insta::assert_snapshot!("client_help", help);
    }

    #[test]
    fn a_data_directory_that_is_named_is_used() {
        assert_eq!(args("0.0.0.0:0 t.txt --data-dir d").expect("good arguments").data_dir(), Path::new("d"));
    }

    #[test]
    fn options_are_read() {
        let a = args("127.0.0.1:0 t.txt -c whoami -c -x --limit-up 10M --stay --json --keep-going").expect("good");
        assert_eq!(a.commands, ["whoami", "-x"]);
        assert_eq!((a.limit_up, a.stay, a.json, a.keep_going), (Some(rate("10M")), true, true, true));
        for bad in ["", "127.0.0.1:0", "local host:1 t.txt", "127.0.0.1 t.txt", "127.0.0.1:0 t.txt --limit-up 0"] {
            assert!(args(bad).is_err(), "{bad}");
        }
    }

    fn rate(text: &str) -> MaxRate {
        text.parse().expect(text)
    }

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let a = args("127.0.0.1:0 t.txt --limit-up off").expect("good");
        let given = |down: &'static str| a.given(move |name| (name != "SHOAL_SEEDING_SLOTS").then(|| down.into()));
        let limit = Ways { up: Some((None, Origin::Flag)), down: Some((rate("2M").0, Origin::Environment)) };
        assert_eq!(given("2M").expect("good"), Given { limit, slots: None });
        assert_eq!(given("").expect("as if it were not set").limit.down, None);
        let wrong = given("fast").expect_err("no rate").to_string();
        assert!(wrong.contains("SHOAL_LIMIT_DOWN in the environment: `fast` is not a rate"), "{wrong}");
    }

    #[test]
    fn with_an_invitation_the_list_may_be_left_out_and_nothing_shows_the_line() {
        let a = args("127.0.0.1:0 --invite shoal-invite:secret99").expect("good");
        assert_eq!(a.list(), Path::new("tracker_info.txt"));
        let wrong = a.invitation().expect_err("cut off").to_string();
        assert!(!wrong.contains("secret99") && !format!("{a:?}").contains("secret99"), "{wrong}");
        assert_eq!(args("127.0.0.1:0 t.txt --invite x").expect("good").list(), Path::new("t.txt"));
        assert!(args("127.0.0.1:0 t.txt").expect("good").invitation().is_ok_and(|none| none.is_none()));
        let bare = args("--invite x --web").expect("an address is not needed");
        assert_eq!((bare.listen.to_string().as_str(), bare.web), (USUAL_ADDRESS, Some(None)));
    }

    #[test]
    fn an_address_may_be_a_name_and_needs_a_port() {
        let listen = |address: &str| args(&format!("{address} t.txt")).map(|a| a.listen_at().expect("known"));
        assert_eq!(listen("localhost:7000").expect("good"), SocketAddr::from(([127, 0, 0, 1], 7000)));
        let data_dir = |address: &str| args(&format!("{address} t.txt")).expect("good").data_dir();
        assert_eq!(data_dir("LocalHost:7000"), data_dir("127.0.0.1:7000"), "one client, however it is written");
        for (bad, what) in [("127.0.0.1", "has no port"), ("localhost", "has no port"), ("127.0.0:1", "not an address")]
        {
            let refused = listen(bad).expect_err(bad).to_string();
            assert!(refused.contains(what), "{refused}");
        }
        let nowhere = args("no-such-machine.invalid:1 t.txt").expect("a name").listen_at().expect_err("RFC 2606");
        assert_eq!(nowhere.code(), "invalid_argument");
    }

    #[test]
    fn the_page_has_an_address_that_may_be_called_localhost() {
        let web = |text: &str| args(&format!("127.0.0.1:0 t.txt --web={text}")).map(|a| a.web);
        assert_eq!(web("LocalHost:7444").expect("good"), Some(Some(SocketAddr::from(([127, 0, 0, 1], 7444)))));
        assert_eq!(web("[::1]:0").expect("good"), Some(Some("[::1]:0".parse().expect("an address"))));
        for bad in ["localhost", "tracker.example:1", "7444"] {
            let refused = web(bad).expect_err(bad).to_string();
            assert!(refused.contains("is not an IP address and a port"), "{refused}");
        }
    }

    #[test]
    fn the_shapes_of_other_systems_are_answered_with_ours() {
        let meant = |line: &str| meant(&line.split_whitespace().map(Into::into).collect::<Vec<_>>());
        for (typed, ours) in [
            ("127.0.0.1 7000", "client 127.0.0.1:7000 tracker_info.txt"),
            ("localhost 7000 list.txt", "client localhost:7000 list.txt"),
            ("7000", "client 127.0.0.1:7000 tracker_info.txt"),
            ("7000 tracker_info.txt", "client 127.0.0.1:7000 tracker_info.txt"),
            ("127.0.0.1:7000", "client 127.0.0.1:7000 tracker_info.txt"),
            ("list.txt 127.0.0.1:7000", "client 127.0.0.1:7000 list.txt"),
            ("--web 127.0.0.1:7000 list.txt", "client 127.0.0.1:7000 list.txt --web"),
            ("list.txt --web localhost:7000", "client localhost:7000 list.txt --web"),
        ] {
            assert_eq!(meant(typed).as_deref(), Some(ours), "{typed}");
        }
        for none in ["", "127.0.0.1", "127.0.0.1:7000 a b", "list.txt", "127.0.0.1 7000 --json", "--no-such-option"] {
            assert_eq!(meant(none), None, "{none}");
        }
    }

    #[test]
    fn a_directory_that_has_come_from_elsewhere_is_no_data_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let downloads = dir.path().join("downloads");
        fs::create_dir(&downloads).expect("made");
        let refused = DataDir::open(dir.path()).expect_err("planted").to_string();
        assert!(refused.contains("no device.key"), "{refused}");
        fs::remove_dir(&downloads).expect("removed");
        fs::write(dir.path().join("settings.toml"), "").expect("prepared by its owner");
        assert!(matches!(DataDir::open(dir.path()), Ok(Opened::Ours(_))));
    }

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");
        let Opened::Ours(first) = DataDir::open(&path).expect("free") else { panic!("nobody has it") };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);
        }
        let Opened::Theirs(taken) = DataDir::open(&path).expect("usable") else { panic!("the first has it") };
        assert_eq!(taken, first.path());
        drop(first);
        assert!(matches!(DataDir::open(&path), Ok(Opened::Ours(_))), "free again");
    }
}
