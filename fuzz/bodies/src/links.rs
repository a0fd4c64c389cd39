//! Links to shares: any text is a link that says the same when written again, or is refused with a sentence that can be
//! shown. What a link says are names that hold every rule.

use client::link::ShareLink;

use crate::harmless;
use crate::input::Input;

/// What somebody pasted.
pub fn run(data: &[u8]) {
    let text = Input::new(data).text();
    let link: ShareLink = match text.parse() {
        Ok(link) => link,
        Err(why) => return harmless(&why),
    };
    assert!(ShareLink::is_meant(text.trim()), "a link that was not taken for one");
    let written = link.to_string();
    harmless(&written);
    assert!(written.len() <= "shoal:".len() + 80 + 1 + 64, "{} bytes", written.len());
    assert_eq!(written.parse(), Ok(link), "what was read can be written");
}

/// Good links in every form, and some that are none.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = "d32b230d4fe794a99577efcaa1ccb63a8f55786288020f95e39c1e7abae956c3";
    [
        format!("shoal:lab/{id}"),
        format!(" SHOAL://lab/{}/\n", id.to_uppercase()),
        format!("shoal:lab~0a1b2c3d/{id}"),
        format!("shoal:../{id}"),
        format!("shoal:lab/{id}0"),
        "shoal:lab".to_owned(),
        "shoal:lab/id:d32b230d".to_owned(),
        "https://example.org/".to_owned(),
        String::new(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
