//! The one way to show text that came from the network or from a file name: a terminal or a log
//! reader must never be steered by it (escape sequences, line breaks, bidirectional overrides).

use std::fmt::{self, Display, Write};

/// Displays text with everything that could steer a terminal written as `\u{…}`.
///
/// Printable characters of any script pass through unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c == '\\' {
                f.write_str("\\\\")?;
            } else if is_invisible(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether `c` has no glyph of its own, or changes how its neighbours are shown: control
/// characters, bidirectional formatting (UAX #9), zero-width and other format characters,
/// unusual line separators, and blanks that are not the space.
pub fn is_invisible(c: char) -> bool {
    is_always_refused(c) || matches!(c, '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}')
}

/// Those of them that no name of a file ever had. A list for good: names that were given must be read.
pub(crate) fn is_always_refused(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00a0}' | '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}'
            | '\u{1680}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_of_any_script_is_untouched() {
        for s in ["plain.txt", "Grüße 2024.pdf", "データ.bin", "emoji 🎉"] {
            assert_eq!(Escaped(s).to_string(), s);
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_survives() {
        let shown = Escaped("a\u{1b}[2Jb\r\nc\u{202e}d\u{200b}\u{9b}e\\").to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{202e}d\\u{200b}\\u{9b}e\\\\");
    }
}
