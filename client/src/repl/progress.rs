//! Bars by indicatif: on stderr in scripts, as live lines above the prompt. Neither where the
//! terminal is not to be animated.

use std::io;
use std::time::Duration;

use common::task::TaskGroup;
use indicatif::{InMemoryTerm, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::{Console, is_lively};
use crate::app::{Bar, Bars};

/// How often live lines are rewritten.
const REDRAW: Duration = Duration::from_millis(500);
/// Most live lines.
const MOST_LINES: u16 = 6;
/// Columns of a terminal whose width is not known.
const COLUMNS: u16 = 80;
/// Columns below which bars make no sense.
const MIN_COLUMNS: u16 = 20;

const TEMPLATE: &str = "{prefix:.bold} [{bar:12}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {wide_msg}";
/// As above while the rate is measured here.
const WITH_RATE: &str =
    "{prefix:.bold} [{bar:12}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";

/// Bars that are drawn together.
#[derive(Clone)]
pub(super) struct Drawn(MultiProgress);

impl Drawn {
    /// On stderr, if that is a terminal.
    pub(super) fn on_stderr() -> Self {
        let target = if is_lively(&io::stderr()) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(MultiProgress::with_draw_target(target))
    }

    /// As live lines of `console`, rewritten by a task of `tasks`.
    pub(super) fn above_prompt(console: Console, tasks: &TaskGroup) -> Self {
        if !is_lively(&io::stdout()) {
            return Self(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
        }
        let term = InMemoryTerm::new(MOST_LINES, columns());
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        tasks.spawn("progress", async move {
            let mut tick = tokio::time::interval(REDRAW);
            loop {
                tick.tick().await;
                let shown = term.contents();
                // The terminal may have become narrower.
                let columns = usize::from(columns());
                let lines = shown.lines().map(|l| l.trim_end().chars().take(columns).collect::<String>());
                console.live(lines.filter(|l| !l.is_empty()).collect());
            }
        });
        Self(MultiProgress::with_draw_target(target))
    }

    /// What has to be lifted out of the way of other output.
    pub(super) fn multi(&self) -> MultiProgress {
        self.0.clone()
    }
}

/// A little narrower than the terminal: a line that wraps would count for two.
fn columns() -> u16 {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    if columns == 0 { COLUMNS } else { columns.max(MIN_COLUMNS) - 1 }
}

impl Bars for Drawn {
    fn add(&self, label: String) -> Box<dyn Bar> {
        let bar = self.0.add(ProgressBar::no_length());
        bar.set_prefix(label);
        Box::new(DrawnBar { bar, styled: std::sync::OnceLock::new() })
    }
}

struct DrawnBar {
    bar: ProgressBar,
    styled: std::sync::OnceLock<()>,
}

impl Bar for DrawnBar {
    fn set(&self, done: u64, total: u64, note: &str) {
        self.styled.get_or_init(|| self.bar.set_style(style(if note.is_empty() { WITH_RATE } else { TEMPLATE })));
        self.bar.set_length(total);
        self.bar.set_message(note.to_owned());
        self.bar.set_position(done);
    }
}

impl Drop for DrawnBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and tested.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_label_share_and_note_and_go_away() {
        let term = InMemoryTerm::new(MOST_LINES, 100);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let drawn = Drawn(MultiProgress::with_draw_target(target));
        let bar = drawn.add("a.bin".to_owned());
        bar.set(512, 1024, "1.0 MiB/s, 3 s left, 2 peers");
        let shown = term.contents();
        for part in ["a.bin", " 50% ", "512 B/1.00 KiB", "1.0 MiB/s, 3 s left, 2 peers"] {
            assert!(shown.contains(part), "{shown}");
        }
        drop(bar);
        assert_eq!(term.contents().trim(), "");
    }

    #[test]
    fn the_templates_are_sound() {
        for template in [TEMPLATE, WITH_RATE] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
