//! What README.md and the pages in docs/ quote, name and claim is so.

use crate::support::Variant;
use std::fs::{File, read_dir, read_to_string};
use std::path::{Path, PathBuf};

const PROGRAM: &str = include_str!("../../main.rs");

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files under a folder, if there is one, whose names end like this.
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

/// The change that makes one room of several machines.
pub fn several_machines() -> File {
    File::open(root("docs/several-machines.diff")).expect("docs/several-machines.diff")
}

/// The rows of the table under a heading, each as what stands between backticks in its first `columns` columns.
fn rows(heading: &str, columns: usize) -> Vec<Vec<String>> {
    let text = text();
    let section = text.split(&format!("# {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(2)
        .map(|row| {
            let row = row.replace("\\|", "\u{0}");
            let cells = row.trim_matches('|').split('|').take(columns);
            cells
                .map(|cell| cell.trim().trim_matches('`').replace('\u{0}', "|"))
                .collect()
        })
        .collect()
}

/// Lines without their indentation, so that a quote may stand further to the left than its source.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn every_rust_snippet_stands_in_a_source() {
    let first = read_to_string(root("tests/first.rs")).unwrap();
    let bare = include_str!("../../examples/bare.rs");
    let sources = [lines(PROGRAM), lines(bare), lines(&first)];
    let snippets = blocks("rust");
    assert!(snippets.len() >= 7, "only {} snippets", snippets.len());
    for snippet in snippets {
        let wanted = lines(&snippet);
        let mut parts = sources.iter().flat_map(|lines| lines.windows(wanted.len()));
        assert!(parts.any(|part| part == wanted), "not there:\n{snippet}");
    }
}

#[test]
fn every_line_that_is_explained_stands_in_the_program_in_the_order_of_the_table() {
    let explained = rows("Line by line", 2);
    assert!(explained.len() >= 20, "only {} rows", explained.len());
    let mut last = 0;
    for row in explained {
        let line = &row[1];
        let place = PROGRAM[last..].find(line);
        last += place.unwrap_or_else(|| panic!("not in main.rs after the row before: {line}"));
    }
}

/// A test is named by its function's name behind one or more of its modules: `room::order::a_test`, `room::a_test`.
#[test]
fn every_test_that_is_named_exists() {
    let tests = files(root("tests"), ".rs");
    let mut count = 0;
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
            count += 1;
        }
    }
    assert!(count >= 18, "only {count} tests are named");
}

/// The times in which the room pings and drops are tested on a copy with shorter ones: here are those that ship.
#[test]
fn the_limits_that_ship_are_those_that_are_documented() {
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

/// Writes `after` in place of `before`, which stands in the program. A cell may hold several changes.
fn change(before: &str, after: &str) -> String {
    let mut changed = PROGRAM.to_owned();
    for (before, after) in before.split("<br>").zip(after.split("<br>")) {
        let (before, after) = (before.trim_matches('`'), after.trim_matches('`'));
        assert!(changed.contains(before), "not in main.rs: {before}");
        let after = if after == "(delete)" { "" } else { after };
        changed = changed.replace(before, after);
    }
    changed
}

#[test]
#[ignore = "builds copies of the program"]
fn the_compiler_says_what_the_table_says() {
    let copy = Variant::new("compiler");
    let rows = rows("What the compiler says", 3);
    assert!(rows.len() >= 9, "only {} rows", rows.len());
    for row in rows {
        let [before, after, error] = &row[..] else {
            panic!("three columns: {row:?}")
        };
        copy.write(&change(before, after));
        let first = copy.check().expect("an error");
        assert!(first.starts_with(error), "{before} -> {after}: {first}");
    }
}

#[test]
#[ignore = "builds copies of the program"]
fn the_first_step_of_each_exercise_builds() {
    let copy = Variant::new("exercises");
    let rows = rows("Make it yours", 3);
    assert!(rows.len() >= 3, "only {} rows", rows.len());
    for row in rows {
        let [exercise, before, after] = &row[..] else {
            panic!("three columns: {row:?}")
        };
        copy.write(&change(before, after));
        assert_eq!(copy.check(), None, "{exercise}");
    }
}
