//! The program, built, and copies of it with a change. All share one target folder, so their crates are built once.

use super::Command;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The path of the program. Cargo builds it for its own tests, but not for those in tests/Cargo.toml.
pub fn built_chat() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_chat") {
        Some(path) => path.into(),
        None => build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).join("chat"),
    }
}

/// The program's files, in a folder of their own.
pub struct Variant {
    pub folder: PathBuf,
    name: String,
}

impl Variant {
    /// The program and its package take this name, so that no two copies are built into the same file.
    pub fn new(name: &str, program: &str) -> Variant {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let variant = Variant { folder, name: name.to_owned() };
        let named = |text: &str| text.replace("name = \"chat\"", &format!("name = \"{name}\""));
        variant.write("Cargo.toml", &named(include_str!("../../Cargo.toml")));
        variant.write("Cargo.lock", &named(include_str!("../../Cargo.lock")));
        variant.write("index.html", include_str!("../../index.html"));
        variant.write("main.rs", program);
        variant
    }

    /// An unchanged file keeps its date, so that nothing is built again.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            std::fs::write(path, text).unwrap();
        }
    }

    /// The first error of the compiler, if there is one.
    pub fn check(&self) -> Option<String> {
        let output = cargo("check", &self.folder);
        let text = String::from_utf8(output.stderr).unwrap();
        let first = text.lines().find(|line| line.starts_with("error"));
        assert_eq!(first.is_none(), output.status.success(), "{text}");
        first.map(|error| error.replace('`', "'"))
    }

    pub fn build(&self) -> PathBuf {
        build(&self.folder).join(&self.name)
    }
}

/// Builds the package in a folder. Returns the folder of its programs.
fn build(package: &Path) -> PathBuf {
    let output = cargo("build", package);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    target().join("debug")
}

fn cargo(command: &str, package: &Path) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--bins", "--target-dir"]).arg(target());
    cargo.current_dir(package).output().unwrap()
}

/// The folder that this test program itself was built in.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("..")
}
