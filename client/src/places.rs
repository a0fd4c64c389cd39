//! Where things are when the command line does not say so.
//!
//! A client that is used in a working directory keeps its things there, in `data`, as the trackers do: whoever copies or
//! removes the directory has all of it. One whose list of trackers is installed for a user or a machine, in a directory of
//! the XDG base directory specification (0.8), keeps its things in `$XDG_DATA_HOME/shoal`, unless there is client's data in `data`; so does one whose working directory
//! cannot be written. Pure but for looking what is there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::address::HostPort;
use rustix::fs::{Access, access};

/// Names what is ours in the directories of others.
const SHOAL: &str = "shoal";
/// Says where the data is, before any other rule.
const DATA_DIR: &str = "SHOAL_DATA_DIR";
/// Digits that tell lists apart.
const DIGITS: usize = 8;

/// The environment and the working directory, as far as they matter.
pub(crate) struct Places<'a> {
    /// A variable of the environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The working directory.
    pub(crate) here: &'a Path,
    /// Whether clients keep their things below a directory.
    pub(crate) has_clients: &'a dyn Fn(&Path) -> bool,
}

impl Places<'_> {
    /// The list of trackers that `named` means: that file, or where it is only a name and not here, one that is installed.
    pub(crate) fn list(&self, named: &Path) -> PathBuf {
        let is_name = named.components().count() == 1 && named.file_name().is_some();
        if !is_name || self.here.join(named).exists() {
            return named.to_owned();
        }
        let installed = self.config_directories().into_iter().map(|directory| directory.join(SHOAL).join(named));
        installed.into_iter().find(|path| path.exists()).unwrap_or_else(|| named.to_owned())
    }

    /// Where a client that listens at `address` keeps its things: a directory of its own for each address.
    pub(crate) fn data_dir(&self, address: &HostPort, list: &Path) -> PathBuf {
        if let Some(said) = (self.variable)(DATA_DIR).filter(|path| !path.is_empty()) {
            return said.into();
        }
        let name = format!("client-{}", file_name(address));
        let beside = Path::new("data").join(&name);
        // So it was called where the address was given as localhost.
        let before = Path::new("data").join(name.replace("client-127.0.0.1-", "client-localhost-"));
        let is_there = |path: &Path| self.here.join(path).exists();
        if is_there(&before) && !is_there(&beside) {
            return before;
        }
        let Some(home) = self.data_home().filter(|_| !(self.has_clients)(&self.here.join("data"))) else {
            return beside;
        };
        if self.is_installed(list) {
            return home.join(SHOAL).join(name);
        }
        if access(self.here, Access::WRITE_OK).is_ok() {
            return beside;
        }
        // Of several lists each has its own.
        let list = std::path::absolute(self.here.join(list)).unwrap_or_else(|_| list.to_owned());
        let digits = blake3::hash(list.as_os_str().as_encoded_bytes()).to_hex();
        home.join(SHOAL).join(format!("{name}-{}", &digits[..DIGITS]))
    }

    fn is_installed(&self, list: &Path) -> bool {
        let list = std::path::absolute(self.here.join(list));
        list.is_ok_and(|list| self.config_directories().iter().any(|directory| list.starts_with(directory.join(SHOAL))))
    }

    /// `$XDG_DATA_HOME`.
    fn data_home(&self) -> Option<PathBuf> {
        self.absolute("XDG_DATA_HOME").or_else(|| Some(self.absolute("HOME")?.join(".local/share")))
    }

    /// `$XDG_CONFIG_HOME` and `$XDG_CONFIG_DIRS`, the most important first.
    fn config_directories(&self) -> Vec<PathBuf> {
        let own = self.absolute("XDG_CONFIG_HOME").or_else(|| Some(self.absolute("HOME")?.join(".config")));
        let others = (self.variable)("XDG_CONFIG_DIRS").filter(|all| !all.is_empty()).unwrap_or("/etc/xdg".into());
        let others = std::env::split_paths(&others).filter(|path| path.is_absolute()).collect::<Vec<_>>();
        own.into_iter().chain(others).collect()
    }

    /// A path that a variable says; a relative one is to be ignored.
    fn absolute(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

fn file_name(address: &HostPort) -> String {
    match address {
        // Colons of IPv6 are not for file names.
        HostPort::Ip(address) => format!("{}-{}", address.ip().to_string().replace(':', "_"), address.port()),
        HostPort::Name { host, port } => format!("{host}-{port}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn has_clients(data: &Path) -> bool {
        data.join("a-client/device.key").exists()
    }

    fn address(text: &str) -> HostPort {
        text.parse().expect(text)
    }

    /// In `here`, with a home and nothing else in the environment but what is said.
    fn data_dir(here: &Path, home: &Path, said: &[(&str, &Path)], at: &str, list: &str) -> PathBuf {
        let variable = |name: &str| {
            let said = said.iter().find(|(known, _)| *known == name).map(|(_, path)| path.as_os_str().to_owned());
            said.or_else(|| (name == "HOME").then(|| home.as_os_str().to_owned()))
        };
        Places { variable: &variable, here, has_clients: &has_clients }.data_dir(&address(at), Path::new(list))
    }

    #[test]
    fn in_a_working_directory_each_address_has_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |at| data_dir(dir.path(), dir.path(), &[], at, "t.txt");
        for (at, expected) in [
            ("127.0.0.1:7000", "data/client-127.0.0.1-7000"),
            ("[fe80::1]:7000", "data/client-fe80__1-7000"),
            ("localhost:7000", "data/client-localhost-7000"),
        ] {
            assert_eq!(of(at), Path::new(expected));
        }
        fs::create_dir_all(dir.path().join("data/client-localhost-1")).expect("made");
        assert_eq!(of("127.0.0.1:1"), Path::new("data/client-localhost-1"), "what it was called before");
        let said = dir.path().join("elsewhere");
        assert_eq!(data_dir(dir.path(), dir.path(), &[("SHOAL_DATA_DIR", &said)], "127.0.0.1:1", "t.txt"), said);
    }

    #[test]
    fn an_installed_list_has_its_data_in_the_home_directory_unless_there_is_data_here() {
        let (here, home) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let installed = home.path().join(".config/shoal");
        fs::create_dir_all(&installed).expect("made");
        fs::write(installed.join("tracker_info.txt"), "").expect("written");
        let list = installed.join("tracker_info.txt");
        let of = |said: &[(&str, &Path)]| {
            data_dir(here.path(), home.path(), said, "127.0.0.1:1", list.to_str().expect("UTF-8"))
        };
        assert_eq!(of(&[]), home.path().join(".local/share/shoal/client-127.0.0.1-1"));
        let elsewhere = home.path().join("d");
        assert_eq!(of(&[("XDG_DATA_HOME", &elsewhere)]), elsewhere.join("shoal/client-127.0.0.1-1"));
        assert_eq!(of(&[("XDG_DATA_HOME", Path::new("relative"))]), of(&[]), "to be ignored, says the specification");
        let variable = |name: &str| (name == "HOME").then(|| home.path().as_os_str().to_owned());
        let places = Places { variable: &variable, here: here.path(), has_clients: &has_clients };
        assert_eq!(places.list(Path::new("tracker_info.txt")), list);
        assert_eq!(places.list(Path::new("./tracker_info.txt")), Path::new("./tracker_info.txt"));
        assert_eq!(places.list(Path::new("other.txt")), Path::new("other.txt"));
        fs::write(here.path().join("tracker_info.txt"), "").expect("written");
        assert_eq!(
            places.list(Path::new("tracker_info.txt")),
            Path::new("tracker_info.txt"),
            "what is here goes before"
        );
        fs::create_dir_all(here.path().join("data/a-client")).expect("made");
        assert_eq!(of(&[]), home.path().join(".local/share/shoal/client-127.0.0.1-1"), "some folder of that name");
        fs::write(here.path().join("data/a-client/device.key"), "").expect("written");
        assert_eq!(of(&[]), Path::new("data/client-127.0.0.1-1"));
    }

    #[test]
    fn where_nothing_can_be_written_each_list_has_its_data_in_the_home_directory() {
        // Root may write everywhere but where nothing is.
        let here = Path::new("/no/such/place");
        let home = tempfile::tempdir().expect("a directory");
        let of = |list| data_dir(here, home.path(), &[], "127.0.0.1:1", list);
        let (one, other) = (of("/a/list.txt"), of("/b/list.txt"));
        assert!(one.starts_with(home.path().join(".local/share/shoal")) && one != other, "{one:?} {other:?}");
    }
}
