//! What README.md and docs/operating.md claim is true, and what other tests take from docs/.

use std::fs::File;

const PROGRAM: &str = include_str!("../../main.rs");
pub const OPERATING: &str = include_str!("../../docs/operating.md");

/// The code blocks of a page in a language.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("\n```{language}\n");
    let blocks = page.split(&start).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// The patch that joins several machines into one room.
pub fn several_machines() -> File {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/several-machines.diff");
    File::open(path).expect(path)
}

/// Other tests run copies with shorter ping intervals and timeouts: these are the real ones.
#[test]
fn the_limits_are_the_documented_ones() {
    let readme = include_str!("../../README.md");
    for (constant, documented) in [
        ("MAX_MESSAGE: usize = 4 * 1024", "4 KiB"),
        ("PING_INTERVAL: Duration = Duration::from_secs(25)", "25 s"),
        ("READ_TIMEOUT: Duration = Duration::from_secs(130)", "130 s"),
    ] {
        assert!(PROGRAM.contains(constant), "not in main.rs: {constant}");
        for page in [readme, OPERATING] {
            assert!(page.contains(documented), "not documented: {documented}");
        }
    }
}
