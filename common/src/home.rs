//! Paths as people write them: `~` is the home directory, as in a shell. Elsewhere in a path it is a letter like any
//! other, and `./~` is a file of that name. Pure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// `path` with the home directory in place of a `~` that is its first part.
pub fn expand(path: &OsStr, home: Option<&Path>) -> PathBuf {
    let path = Path::new(path);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => {
            let expanded: PathBuf = home.components().chain(rest.components()).collect();
            // A slash at the end goes on saying that a directory is meant.
            let is_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
            if is_directory { expanded.join("") } else { expanded }
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory_only_where_it_stands_alone_at_the_beginning() {
        let expanded = |path: &str| expand(path.as_ref(), Some(Path::new("/home/alice"))).display().to_string();
        for (path, expected) in [
            ("~", "/home/alice"),
            ("~/", "/home/alice/"),
            ("~/in/a.bin", "/home/alice/in/a.bin"),
            ("~/in/", "/home/alice/in/"),
            ("~bob/x", "~bob/x"),
            ("./~", "./~"),
            ("a/~/b", "a/~/b"),
            ("/x", "/x"),
            ("", ""),
        ] {
            assert_eq!(expanded(path), expected);
        }
        assert_eq!(expand("~/x".as_ref(), None), Path::new("~/x"), "nobody's home");
    }
}
