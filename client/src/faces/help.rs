//! The texts of `help`: all commands by section, or one with its arguments and an example. Pure.

use clap::CommandFactory;

use super::parse::{unknown, usage_of};
use crate::engine::command::Line;
use crate::engine::command::guide::{self, SECTIONS, Section};
use crate::error::Error;

/// Columns of the usages in the list of all commands; longer ones have a line of their own.
const USAGE_COLUMNS: usize = 32;

/// What stands below the list of all commands.
const FOOT: &str = "`help <command>` tells more. A file is named, or chosen by `id:` and digits of its id. \
                    Quote what has spaces: 'my file.pdf'. `~` is your home directory.";

/// The help for all commands, or for one, in lines of at most so many columns.
///
/// # Errors
/// When there is no such command.
pub(crate) fn help(command: Option<&str>, columns: usize) -> Result<String, Error> {
    let mut table = Line::command();
    let Some(name) = command else { return Ok(overview(&mut table, columns)) };
    let found = table.find_subcommand_mut(name).ok_or_else(|| unknown(name))?;
    let example = guide::example(found.get_name()).map(|line| format!("\n\nExample:\n  {line}"));
    let mut found = found.clone().disable_help_flag(true).term_width(columns);
    Ok(found.render_help().to_string().trim_end().to_owned() + &example.unwrap_or_default())
}

/// All commands: usage and a line about each, by section.
fn overview(table: &mut clap::Command, columns: usize) -> String {
    let sections = SECTIONS.map(|Section { title, commands }| {
        let rows = commands.iter().filter_map(|(name, _)| row(table.find_subcommand_mut(name)?));
        (title, rows.collect::<Vec<_>>())
    });
    let usages = sections.iter().flat_map(|(_, rows)| rows).map(|(usage, _)| usage.len());
    let width = usages.filter(|w| *w <= USAGE_COLUMNS).max().unwrap_or_default();
    let sections = sections.map(|(title, rows)| {
        let rows = rows.iter().map(|(usage, about)| entry(usage, about, width, columns));
        std::iter::once(title.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    });
    format!("{}\n\n{}", sections.join("\n\n"), wrap(FOOT, columns).join("\n"))
}

/// Usage of a command, and what it does.
fn row(command: &mut clap::Command) -> Option<(String, String)> {
    Some((usage_of(command), command.get_about()?.to_string()))
}

/// A command in the list: usages have so many columns of it, and what is longer a line of its own.
fn entry(usage: &str, about: &str, width: usize, columns: usize) -> String {
    let about = wrap(about, columns.saturating_sub(width + 4)).join(&format!("\n  {:width$}  ", ""));
    if usage.len() <= width {
        return format!("  {usage:width$}  {about}");
    }
    let usage = wrap(usage, columns.saturating_sub(6)).join("\n      ");
    format!("  {usage}\n  {:width$}  {about}", "")
}

/// `text` in lines of at most so many columns, broken between words; only a word that is longer makes a longer line.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::parse::parse;

    #[test]
    fn every_command_is_in_one_section_with_an_example_that_means_it() {
        let mut listed: Vec<_> = SECTIONS.iter().flat_map(|section| section.commands).copied().collect();
        for (name, example) in &listed {
            let parsed = parse(example).expect("a command");
            assert!(parsed.command.is_ok_and(|command| command.name() == *name), "the example of {name}: {example}");
        }
        let table = Line::command();
        let mut named: Vec<_> = table.get_subcommands().map(clap::Command::get_name).collect();
        named.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), named);
    }

    #[test]
    fn help_fits_its_columns_and_breaks_no_word() {
        let table = Line::command();
        let names: Vec<_> = table.get_subcommands().map(|c| Some(c.get_name())).chain([None]).collect();
        for columns in [40, 60, 80, 100] {
            let texts: Vec<_> = names.iter().map(|name| help(*name, columns).expect("help")).collect();
            let words: Vec<_> = texts.iter().flat_map(|t| t.split_whitespace()).collect();
            let wide = help(None, 1000).expect("help");
            assert!(wide.split_whitespace().all(|w| words.contains(&w)), "no word is broken at {columns}");
            let longest = texts.iter().flat_map(|t| t.lines()).max_by_key(|l| l.chars().count()).expect("lines");
            assert!(columns < 80 || longest.chars().count() <= columns, "{columns}: {longest}");
        }
    }

    #[test]
    fn every_command_has_help() {
        let all = help(None, 80).expect("an overview");
        for command in Line::command().get_subcommands() {
            let name = command.get_name();
            assert!(all.contains(name), "{name}");
            let one = help(Some(name), 80).expect(name);
            assert!(one.contains("Usage: ") && one.contains("\n\nExample:\n  "), "{one}");
        }
        assert!(help(Some("upload"), 80).expect("an alias").contains("--piece-size"));
        assert_eq!(help(Some("nonsense"), 80).expect_err("none").code(), "usage");
    }

    #[test]
    fn all_of_help_is_as_people_have_seen_it() {
        insta::assert_snapshot!("help", help(None, 80).expect("an overview"));
        for command in Line::command().get_subcommands() {
            let name = command.get_name();
            insta::assert_snapshot!(format!("help_{name}"), help(Some(name), 80).expect(name));
        }
    }
}
