//! What README quotes, names and claims is so.

use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../../main.rs");

/// Lines without their indentation, so that a quote may stand further to the left than its source.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// The code blocks in a language.
pub fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    let blocks = README.split(&start).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// Copies the files of the program into a folder of its own.
pub fn copy_program(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(folder.join("benches")).unwrap();
    for file in "Cargo.toml Cargo.lock main.rs index.html benches/figures.rs".split(' ') {
        std::fs::copy(root.join(file), folder.join(file)).unwrap();
    }
    folder
}

/// The rows of the table under a heading, each as what stands between backticks in its first `columns` columns.
fn rows(heading: &str, columns: usize) -> Vec<Vec<String>> {
    let section = README.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
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

#[test]
fn every_rust_snippet_stands_in_the_program() {
    let program = lines(PROGRAM);
    let snippets = blocks("rust");
    assert!(snippets.len() >= 7, "only {} snippets", snippets.len());
    for snippet in snippets {
        let wanted = lines(snippet);
        let found = program.windows(wanted.len()).any(|part| part == wanted);
        assert!(found, "not in main.rs:\n{snippet}");
    }
}

#[test]
fn every_line_that_is_explained_stands_in_the_program_in_the_order_of_the_table() {
    let explained = rows("Line by line", 2);
    assert!(explained.len() >= 25, "only {} rows", explained.len());
    let mut last = 0;
    for row in explained {
        let [_, line] = &row[..] else {
            panic!("two columns: {row:?}")
        };
        let place = PROGRAM[last..].find(line);
        let place = place.unwrap_or_else(|| panic!("not in main.rs after the row before: {line}"));
        last += place;
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = [
        ("`original::", include_str!("original.rs")),
        ("`page::", include_str!("page.rs")),
        ("`room::", include_str!("room.rs")),
    ];
    let mut count = 0;
    for (module, source) in tests {
        for rest in README.split(module).skip(1) {
            let name = rest.split('`').next().unwrap();
            let function = format!("async fn {name}(");
            assert!(source.contains(&function), "no test {module}{name}");
            count += 1;
        }
    }
    assert!(count >= 18, "only {count} tests are named");
}

/// The first error of the compiler, if there is one.
fn check(folder: &Path, program: &str) -> Option<String> {
    std::fs::write(folder.join("main.rs"), program).unwrap();
    let output = Command::new(env!("CARGO"))
        .args("check --locked --bin chat --target-dir target".split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let first = said.lines().find(|line| line.starts_with("error"));
    assert_eq!(first.is_none(), output.status.success(), "{said}");
    first.map(|error| error.replace('`', "'"))
}

/// Writes `after` in place of `before`, which stands in the program. A cell may hold several changes.
fn change(program: &str, before: &str, after: &str) -> String {
    let mut changed = program.to_owned();
    for (before, after) in before.split("<br>").zip(after.split("<br>")) {
        let (before, after) = (before.trim_matches('`'), after.trim_matches('`'));
        assert!(changed.contains(before), "not in main.rs: {before}");
        let after = if after == "(delete)" { "" } else { after };
        changed = changed.replace(before, after);
    }
    changed
}

#[test]
#[ignore = "needs cargo, and half a minute"]
fn the_compiler_says_what_the_table_says() {
    let folder = copy_program("compiler");
    assert_eq!(check(&folder, PROGRAM), None);
    let rows = rows("What the compiler says", 3);
    assert!(rows.len() >= 9, "only {} rows", rows.len());
    for row in rows {
        let [before, after, error] = &row[..] else {
            panic!("three columns: {row:?}")
        };
        let said = check(&folder, &change(PROGRAM, before, after));
        let said = said.expect("an error");
        assert!(said.starts_with(error), "{before} -> {after}: {said}");
    }
}

#[test]
#[ignore = "needs cargo, and half a minute"]
fn the_first_step_of_each_exercise_builds() {
    let folder = copy_program("exercises");
    let rows = rows("Make it yours", 3);
    assert_eq!(rows.len(), 3);
    for row in rows {
        let [exercise, before, after] = &row[..] else {
            panic!("three columns: {row:?}")
        };
        let changed = change(PROGRAM, before, after);
        assert_eq!(check(&folder, &changed), None, "{exercise}");
    }
}
