//! The programs beside this one (the Go program that it mirrors, examples/bare.rs, what docs/lesson.md makes of both), and
//! those it works with: nginx in front, and Redis between several machines. They must be installed.

mod go;
mod lesson;
mod nginx;
mod redis;
#[path = "../support/mod.rs"]
mod support;

/// The code blocks of a page in a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("\n```{language}\n");
    let blocks = page.split(&start).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}
