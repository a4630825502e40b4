//! Copies of the program with a change, all built in one folder, so that their crates are built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// The program's files, in a folder of its own.
pub struct Variant(pub PathBuf);

impl Variant {
    pub fn new(name: &str) -> Variant {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["Cargo.toml", "Cargo.lock", "main.rs", "index.html"] {
            std::fs::copy(root.join(file), folder.join(file)).unwrap();
        }
        Variant(folder)
    }

    /// With other values for constants in main.rs, such as a shorter timeout.
    pub fn with_constants(name: &str, values: &[(&str, &str)]) -> Variant {
        let variant = Variant::new(name);
        let mut program = variant.program();
        for (constant, value) in values {
            let found = program.find(&format!("const {constant}: "));
            let start = found.unwrap_or_else(|| panic!("no constant {constant}"));
            let start = start + program[start..].find(" = ").unwrap() + 3;
            let end = start + program[start..].find(';').unwrap();
            program.replace_range(start..end, value);
        }
        variant.write(&program);
        variant
    }

    pub fn program(&self) -> String {
        std::fs::read_to_string(self.0.join("main.rs")).unwrap()
    }

    pub fn write(&self, program: &str) {
        std::fs::write(self.0.join("main.rs"), program).unwrap();
    }

    /// The first error of the compiler, if there is one.
    pub fn check(&self) -> Option<String> {
        let _turn = TURN.lock().unwrap_or_else(|failed| failed.into_inner());
        let output = self.cargo("check");
        let text = String::from_utf8(output.stderr).unwrap();
        let first = text.lines().find(|line| line.starts_with("error"));
        assert_eq!(first.is_none(), output.status.success(), "{text}");
        first.map(|error| error.replace('`', "'"))
    }

    /// The program, built.
    pub fn build(&self) -> PathBuf {
        let _turn = TURN.lock().unwrap_or_else(|failed| failed.into_inner());
        let output = self.cargo("build");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let built = self.0.join("chat");
        std::fs::copy(target().join("debug/chat"), &built).unwrap();
        built
    }

    /// To cargo, all copies are one package: it must see that the file is newer.
    fn cargo(&self, command: &str) -> Output {
        self.write(&self.program());
        Command::new(env!("CARGO"))
            .args([command, "--bin", "chat", "--target-dir"])
            .arg(target())
            .current_dir(&self.0)
            .output()
            .unwrap()
    }
}

/// Only one copy at a time is built, as all are built into one file.
static TURN: Mutex<()> = Mutex::new(());

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../copies")
}
