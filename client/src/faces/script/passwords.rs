//! Passwords for lines of a script that leave theirs out: from a file descriptor, or else from the environment.
//!
//! Neither is seen by others on the machine, unlike what stands on the command line.

use tokio::fs::File;
use tokio::io::BufReader;
use tokio::sync::Mutex;

use super::read_line;
use crate::engine::Command;
use crate::engine::command::Secret;
use crate::error::Error;

/// The variable that holds the password.
const VARIABLE: &str = "SHOAL_PASSWORD";

/// Where passwords come from.
#[derive(Default)]
pub(in crate::faces) struct Passwords {
    descriptor: Option<(u32, Mutex<BufReader<File>>)>,
    variable: Option<Secret>,
}

impl Passwords {
    /// From the file descriptor, if one is named, and the environment.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub(in crate::faces) async fn open(descriptor: Option<u32>) -> Result<Self, Error> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()).map(Secret::new);
        let Some(n) = descriptor else { return Ok(Self { descriptor: None, variable }) };
        let opened = File::open(format!("/dev/fd/{n}")).await;
        let file = opened.map_err(|e| Error::from_io_about(format!("read passwords from file descriptor {n}"), e))?;
        Ok(Self { descriptor: Some((n, Mutex::new(BufReader::new(file)))), variable })
    }

    /// `command` with the passwords that it lacks, as far as there are any.
    ///
    /// # Errors
    /// When the descriptor was named and has no further line.
    pub(in crate::faces) async fn fill(&self, command: Command) -> Result<Command, Error> {
        Ok(match command {
            Command::Login { user, password: None, code: None, new_password } => {
                Command::Login { user, password: self.next().await?, code: None, new_password }
            }
            Command::Login { user, password, code: Some(code), new_password: None } => {
                Command::Login { user, password, code: Some(code), new_password: self.next().await? }
            }
            Command::CreateUser { user, password: None, invite } => {
                Command::CreateUser { user, password: self.next().await?, invite }
            }
            // One variable cannot hold both.
            Command::ChangePassword { old: None, .. } if self.descriptor.is_some() => {
                Command::ChangePassword { old: self.next().await?, new: self.next().await? }
            }
            other => other,
        })
    }

    async fn next(&self) -> Result<Option<Secret>, Error> {
        let Some((n, lines)) = &self.descriptor else { return Ok(self.variable.clone()) };
        let about = || format!("read a password from file descriptor {n}");
        let line = read_line(&mut *lines.lock().await, &mut zeroize::Zeroizing::default())
            .await
            .map_err(|e| Error::from_io_about(about(), e))?;
        let none = || Error::Usage(format!("file descriptor {n} has no further line; each password takes one"));
        Ok(Some(Secret::new(line.ok_or_else(none)??.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passwords(lines: Option<&str>, variable: Option<&str>) -> Passwords {
        let descriptor = match lines {
            Some(lines) => {
                let mut file = tempfile::tempfile().expect("a file");
                std::io::Write::write_all(&mut file, lines.as_bytes()).expect("written");
                std::io::Seek::rewind(&mut file).expect("rewound");
                Some((3, Mutex::new(BufReader::new(File::from_std(file)))))
            }
            None => None,
        };
        Passwords { descriptor, variable: variable.map(|v| Secret::new(v.to_owned())) }
    }

    fn login(password: Option<&str>) -> Command {
        let password = password.map(|p| Secret::new(p.to_owned()));
        Command::Login { user: "bob".parse().expect("a name"), password, code: None, new_password: None }
    }

    #[tokio::test]
    async fn what_a_line_leaves_out_is_taken_line_by_line_and_what_it_has_is_kept() {
        let from = passwords(Some("first one\r\nsecond\nthird\nfourth"), Some("variable")).await;
        assert_eq!(from.fill(login(Some("own"))).await.expect("filled"), login(Some("own")));
        assert_eq!(from.fill(login(None)).await.expect("filled"), login(Some("first one")));
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let changed = from.fill(Command::ChangePassword { old: None, new: None }).await.expect("filled");
        assert_eq!(changed, Command::ChangePassword { old: secret("second"), new: secret("third") });
        let code = secret("agx2k");
        let by_code = |new_password| Command::Login {
            user: "bob".parse().expect("a name"),
            password: None,
            code: code.clone(),
            new_password,
        };
        assert_eq!(from.fill(by_code(None)).await.expect("filled"), by_code(secret("fourth")));
        assert_eq!(from.fill(login(None)).await.expect_err("none left").code(), "usage");
        assert_eq!(from.fill(Command::Whoami).await.expect("no password"), Command::Whoami);
    }

    #[tokio::test]
    async fn the_variable_serves_where_no_descriptor_is_named() {
        let from = passwords(None, Some("variable")).await;
        assert_eq!(from.fill(login(None)).await.expect("filled"), login(Some("variable")));
        let change = Command::ChangePassword { old: None, new: None };
        assert_eq!(from.fill(change.clone()).await.expect("left as it is"), change);
        let none = passwords(None, None).await;
        assert_eq!(none.fill(login(None)).await.expect("left as it is"), login(None));
    }
}
