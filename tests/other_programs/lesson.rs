//! What docs/lesson.md quotes and claims is true.

use crate::blocks;
use crate::support::Variant;

const LESSON: &str = include_str!("../../docs/lesson.md");
const PROGRAM: &str = include_str!("../../main.rs");
const BARE: &str = include_str!("../../examples/bare.rs");
const GO: &str = include_str!("../../examples/go/main.go");

/// The lines of a program, without empty ones and those that are only a comment.
fn code(text: &str) -> Vec<&str> {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    text.lines().map(str::trim_end).filter(is_code).collect()
}

/// Part 1 is about bare.rs, part 2 about main.rs.
fn part(number: usize) -> &'static str {
    LESSON.split("\n# Part ").nth(number).unwrap()
}

/// A part's second-level sections.
fn sections(number: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = part(number).split("\n## ").skip(1);
    sections.map(|section| section.split_once('\n').unwrap())
}

/// The cells of a section's tables, row by row, without the header.
fn rows(section: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = section.lines().collect();
    let rows = lines.iter().enumerate().filter(|(at, line)| {
        let is_head = lines
            .get(at + 1)
            .is_some_and(|next| next.starts_with("| -"));
        line.starts_with("| ") && !line.starts_with("| -") && !is_head
    });
    rows.map(|(_, row)| {
        let row = row.replace("\\|", "\u{0}");
        let cells = row.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().replace('\u{0}', "|"))
            .collect()
    })
    .collect()
}

fn section(heading: &str) -> &'static str {
    let mut all = sections(1).chain(sections(2)).chain(sections(3));
    let found = all.find(|(name, _)| *name == heading);
    found.unwrap_or_else(|| panic!("no section {heading}")).1
}

#[test]
fn part_1_quotes_both_programs_whole_and_in_order() {
    for (language, program, first) in [("rust", BARE, "use "), ("go", GO, "var ")] {
        let program = &program[program.find(first).unwrap()..];
        assert_eq!(code(&blocks(part(1), language).concat()), code(program));
    }
    let manifest = include_str!("../../Cargo.toml");
    let quoted = blocks(part(1), "toml").concat();
    assert!(quoted.contains("[dependencies]"), "no Cargo.toml");
    for line in quoted.lines() {
        assert!(manifest.contains(line), "not in Cargo.toml: {line}");
    }
}

#[test]
fn every_explained_line_is_in_its_source() {
    let mut count = 0;
    for (part, source) in [(1, BARE), (2, PROGRAM)] {
        let explained = sections(part).filter(|(_, text)| text.contains("| line |"));
        for row in explained.flat_map(|(_, text)| rows(text)) {
            let line = row[0].trim_matches('`');
            assert!(source.contains(line), "not in its source: {line}");
            count += 1;
        }
    }
    let parts = LESSON.split("\n# Part 3").next().unwrap();
    let all = parts.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(count, all, "not every row was compared");
    assert!(count > 0, "no lines are explained");
}

/// Replaces `before`, which must be in the program, with `after`. A cell may hold several changes.
fn change(program: &str, before: &str, after: &str) -> String {
    let mut changed = program.to_owned();
    for (before, after) in before.split("<br>").zip(after.split("<br>")) {
        let (before, after) = (before.trim_matches('`'), after.trim_matches('`'));
        assert!(changed.contains(before), "not there: {before}");
        let after = if after == "(delete)" { "" } else { after };
        changed = changed.replace(before, after);
    }
    changed
}

#[test]
fn the_compiler_says_what_the_table_says() {
    let copy = Variant::new("lesson-compiler", BARE);
    let program = BARE.replace("../index.html", "index.html");
    let rows = rows(section("What the compiler says, and why"));
    assert!(rows.len() >= 9, "only {} rows", rows.len());
    for row in rows {
        let [before, after, error, _why] = &row[..] else {
            panic!("four columns: {row:?}")
        };
        copy.write("main.rs", &change(&program, before, after));
        let first = copy.check().unwrap_or_default();
        let error = error.trim_matches('`');
        assert!(first.starts_with(error), "{before} -> {after}: {first}");
    }
}

/// Applies a diff without line numbers: an empty line ends a hunk.
fn apply(program: &str, diff: &str) -> String {
    let mut changed: Vec<&str> = program.lines().collect();
    for hunk in diff.trim_end().split("\n\n") {
        let side = |sign| {
            let lines = hunk.lines().filter(move |line| !line.starts_with(sign));
            lines.map(|line| &line[1..]).collect::<Vec<_>>()
        };
        let (before, after) = (side('+'), side('-'));
        let mut places = changed.windows(before.len());
        let at = places.position(|place| place == before);
        let at = at.unwrap_or_else(|| panic!("not there:\n{hunk}"));
        changed.splice(at..at + before.len(), after);
    }
    changed.join("\n") + "\n"
}

#[test]
fn the_first_step_of_each_exercise_builds() {
    let copy = Variant::new("lesson-exercises", PROGRAM);
    let exercises: Vec<_> = section("Exercises").split("\n**").skip(1).collect();
    assert!(exercises.len() >= 6, "only {} exercises", exercises.len());
    let mut built = String::new();
    for exercise in exercises {
        if exercise.contains("`cargo add serde_json`") {
            let manifest = include_str!("../../Cargo.toml");
            let added =
                manifest.replace("[dependencies]\n", "[dependencies]\nserde_json = \"1\"\n");
            copy.write("Cargo.toml", &added);
        }
        let diff = exercise.split("```").nth(1).unwrap();
        let diff = diff.strip_prefix("diff\n").expect("a diff comes first");
        let goes_on = exercise.contains("after the first step of");
        built = apply(if goes_on { &built } else { PROGRAM }, diff);
        copy.write("main.rs", &built);
        assert_eq!(copy.check(), None, "{exercise}");
    }
}
