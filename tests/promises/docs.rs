//! What README.md and the pages in docs/ quote, name and claim is true.

use std::fs::{File, read_dir, read_to_string};
use std::path::{Path, PathBuf};

const PROGRAM: &str = include_str!("../../main.rs");

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files under a folder, if it exists, with this suffix.
fn files(folder: PathBuf, end: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// README.md and docs/*.md, one after the other.
fn text() -> String {
    let mut pages = vec![root("README.md")];
    pages.extend(files(root("docs"), ".md"));
    let pages = pages.into_iter().map(|page| read_to_string(page).unwrap());
    pages.collect::<Vec<_>>().join("\n")
}

/// The code blocks in a language.
pub fn blocks(language: &str) -> Vec<String> {
    let start = format!("\n```{language}\n");
    let text = text();
    let blocks = text.split(&start).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The patch that joins several machines into one room.
pub fn several_machines() -> File {
    File::open(root("docs/several-machines.diff")).expect("docs/several-machines.diff")
}

/// The docs name a test by its function after one or more of its modules: `room::order::a_test`, `room::a_test`.
#[test]
fn every_named_test_exists() {
    let tests = files(root("tests"), ".rs");
    for name in text().split('`').filter(|name| name.contains("::")) {
        let (modules, function) = name.rsplit_once("::").unwrap();
        let is_in = |path: &&PathBuf| {
            let path = path.with_extension("");
            let path: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
            modules.split("::").all(|module| path.contains(&module))
        };
        let mut sources = tests.iter().filter(is_in).peekable();
        if sources.peek().is_some() {
            let function = format!("fn {function}(");
            let mut sources = sources.map(|path| read_to_string(path).unwrap());
            assert!(
                sources.any(|source| source.contains(&function)),
                "no test {name}"
            );
        }
    }
}

/// Other tests run copies with shorter ping intervals and timeouts: these are the real ones.
#[test]
fn the_limits_are_the_documented_ones() {
    let text = text();
    for (constant, documented) in [
        ("MAX_MESSAGE: usize = 4 * 1024", "4 KiB"),
        ("PING_INTERVAL: Duration = Duration::from_secs(25)", "25 s"),
        ("READ_TIMEOUT: Duration = Duration::from_secs(130)", "130 s"),
    ] {
        assert!(PROGRAM.contains(constant), "not in main.rs: {constant}");
        assert!(text.contains(documented), "not documented: {documented}");
    }
}
