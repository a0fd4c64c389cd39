//! Man pages and completions, from the tables that the programs themselves read: `--generate <DIR>`. Blocks on the disk.
//!
//! `man1` has a page for each program and for each command of the prompt, `completions` a file for each program and shell.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::config::Args;
use crate::engine::command::Line;
use crate::engine::command::guide::{self, SECTIONS};
use crate::error::Error;

/// The tracker's command line, and nothing else of it.
#[allow(dead_code, unreachable_pub, reason = "only its shape is of use here")]
#[path = "../../tracker/src/arguments.rs"]
mod tracker;

/// Shells that completions are written for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes everything below `directory`, which is made if it is not there.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn generate(directory: &Path) -> Result<(), Error> {
    let (pages, completions) = (directory.join("man1"), directory.join("completions"));
    for made in [&pages, &completions] {
        fs::create_dir_all(made).map_err(|e| Error::from_io("create", made, e))?;
    }
    let written = |name: &str, page: io::Result<Vec<u8>>| {
        let path = pages.join(name);
        page.and_then(|page| fs::write(&path, page)).map_err(|e| Error::from_io("write", &path, e))
    };
    written("client.1", page_of_client())?;
    written("tracker.1", page_of(&tracker::Arguments::command()))?;
    for command in Line::command().get_subcommands() {
        written(&format!("{}.1", name_of_page(command)), page_of_command(command))?;
    }
    for mut program in [Args::command(), tracker::Arguments::command()] {
        let name = program.get_name().to_owned();
        for shell in SHELLS {
            let written = clap_complete::generate_to(shell, &mut program, &name, &completions);
            written.map_err(|e| Error::from_io("write completions to", &completions, e))?;
        }
    }
    Ok(())
}

fn page_of(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// The client's page, with the commands of its prompt.
fn page_of_client() -> io::Result<Vec<u8>> {
    let mut page = page_of(&Args::command())?;
    let table = Line::command();
    page.extend_from_slice(b".SH COMMANDS\nAt the prompt, in scripts and with -c. Each has a page of its own.\n");
    for section in &SECTIONS {
        page.extend_from_slice(format!(".SS {}\n", plain(section.title)).as_bytes());
        for (name, _) in section.commands {
            let Some(command) = table.find_subcommand(name) else { continue };
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let entry =
                format!(".TP\n\\fB{}\\fR\n{}; see {}(1)\n", plain(name), plain(&about), plain(&name_of_page(command)));
            page.extend_from_slice(entry.as_bytes());
        }
    }
    Ok(page)
}

/// The page of a command of the prompt, with an example.
fn page_of_command(command: &Command) -> io::Result<Vec<u8>> {
    let (name, typed) = (name_of_page(command), command.get_name().to_owned());
    let command = command.clone().disable_help_flag(true).display_name(name).bin_name(typed);
    let mut page = page_of(&command)?;
    if let Some(example) = guide::example(command.get_name()) {
        page.extend_from_slice(format!(".SH EXAMPLE\n.nf\n{}\n.fi\n", plain(example)).as_bytes());
    }
    page.extend_from_slice(b".SH SEE ALSO\nclient(1)\n");
    Ok(page)
}

fn name_of_page(command: &Command) -> String {
    format!("client-{}", command.get_name())
}

/// Text that means nothing to roff.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // At the beginning of a line these would begin a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_command_and_shell_has_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        generate(dir.path()).expect("written");
        generate(dir.path()).expect("written again");
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).expect(path);
        for command in Line::command().get_subcommands() {
            let page = read(&format!("man1/client-{}.1", command.get_name()));
            assert!(page.contains(".SH EXAMPLE") && page.contains(".SH SYNOPSIS"), "{page}");
        }
        let client = read("man1/client.1");
        assert!(client.contains("\\-\\-data\\-dir") && client.contains("client\\-upload_file(1)"), "{client}");
        assert!(read("man1/tracker.1").contains("\\-\\-cluster\\-secret"));
        for (name, what) in [
            ("client.bash", "--limit-up"),
            ("_client", "--limit-up"),
            ("client.fish", "limit-up"),
            ("tracker.bash", "--quota-factor"),
            ("_tracker", "--quota-factor"),
            ("tracker.fish", "quota-factor"),
        ] {
            assert!(read(&format!("completions/{name}")).contains(what), "{name}");
        }
    }
}
