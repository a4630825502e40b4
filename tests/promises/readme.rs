//! What README quotes and names is there.

/// Lines without their indentation, so that a quote may stand further to the left than its source.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

const README: &str = include_str!("../../README.md");

#[test]
fn every_rust_snippet_stands_in_the_program() {
    let program = lines(include_str!("../../main.rs"));
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
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = [
        ("`room::", include_str!("room.rs")),
        ("`page::", include_str!("page.rs")),
    ];
    let mut count = 0;
    for (module, source) in tests {
        for rest in README.split(module).skip(1) {
            let name = rest.split('`').next().unwrap();
            assert!(
                source.contains(&format!("async fn {name}(")),
                "no test {module}{name}"
            );
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} tests are named");
}
