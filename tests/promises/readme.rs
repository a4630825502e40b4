//! What README quotes, names and claims is so.

use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../../main.rs");

/// Lines without their indentation, so that a quote may stand further to the left than its source.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
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
    let snippets: Vec<_> = README
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(snippets.len() >= 7, "only {} snippets", snippets.len());
    for snippet in snippets {
        let wanted = lines(snippet);
        let found = program.windows(wanted.len()).any(|part| part == wanted);
        assert!(found, "not in main.rs:\n{snippet}");
    }
    let explained = rows("Rust for this file", 1);
    assert!(explained.len() >= 15, "only {} rows", explained.len());
    for row in explained {
        assert!(PROGRAM.contains(&row[0]), "not in main.rs: {}", row[0]);
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

#[test]
#[ignore = "needs cargo, and half a minute"]
fn the_compiler_says_what_the_table_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiler");
    std::fs::create_dir_all(folder.join("benches")).unwrap();
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "index.html",
        "benches/figures.rs",
    ] {
        std::fs::copy(root.join(file), folder.join(file)).unwrap();
    }
    let rows = rows("What the compiler says", 3);
    assert!(rows.len() >= 5, "only {} rows", rows.len());
    for row in rows {
        let [before, after, error] = &row[..] else {
            panic!("three columns: {row:?}")
        };
        assert!(PROGRAM.contains(before), "not in main.rs: {before}");
        std::fs::write(folder.join("main.rs"), PROGRAM.replacen(before, after, 1)).unwrap();
        let output = Command::new(env!("CARGO"))
            .args([
                "check",
                "--locked",
                "--bin",
                "chat",
                "--target-dir",
                "target",
            ])
            .current_dir(&folder)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let first = said.lines().find(|line| line.starts_with("error"));
        let first = first.unwrap_or("nothing").replace('`', "'");
        assert!(first.starts_with(error), "{before} -> {after}: {first}");
    }
}
