//! rvf-runtime 0.5 as it is published, and with rvlf in the place of its locking.rs: two packages in the
//! target directory, built by cargo with the versions of this workspace's Cargo.lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

pub static PUBLISHED: LazyLock<Built> = LazyLock::new(|| build("published", &stop_at_create));
pub static PATCHED: LazyLock<Built> = LazyLock::new(|| build("patched", &patch));

/// A package that was built, with all its test programs and the contender.
pub struct Built {
    pub directory: PathBuf,
    pub tests: Vec<TestProgram>,
    pub contender: PathBuf,
}

pub struct TestProgram {
    pub name: String,
    pub path: PathBuf,
}

fn build(name: &str, patch: &dyn Fn(&mut Package)) -> Built {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("adoption");
    let directory = scratch.join(name);
    let mut package = Package::published();
    patch(&mut package);
    package.write(&directory);
    fetch(&directory);
    let mut command = cargo(&directory);
    command.args(["build", "--offline", "--tests", "--example", "contender"]);
    command
        .args(["--message-format", "json", "--target-dir"])
        .arg(scratch.join("target"));
    let messages = output(&mut command).expect("the package compiles");
    let mut programs: Vec<_> = messages.lines().filter_map(program).collect();
    let contender = programs
        .iter()
        .position(|program| program.name == "contender");
    let built = programs.swap_remove(contender.expect("it was to be built"));
    // Cargo puts the examples of both packages at one path, where the next build replaces this one.
    let contender = directory.join("contender");
    fs::copy(&built.path, &contender).expect("the directory is writable");
    Built {
        directory,
        tests: programs,
        contender,
    }
}

/// The files of rvf-runtime, and its manifest.
struct Package {
    manifest: String,
    /// Paths relative to the package.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Package {
    /// What cargo has downloaded for this workspace, whose Cargo.lock has the checksum.
    fn published() -> Package {
        let mut metadata = cargo(&support::repository());
        metadata.args(["metadata", "--locked", "--format-version", "1"]);
        let metadata = output(&mut metadata).expect("the workspace has metadata");
        let metadata: Value = serde_json::from_str(&metadata).expect("it is JSON");
        let mut packages = metadata
            .pointer("/packages")
            .and_then(Value::as_array)
            .expect("a list")
            .iter();
        let found = packages.find(|package| {
            package
                .get("name")
                .is_some_and(|name| name == "rvf-runtime")
        });
        let found = found.expect("it is a dependency of this package");
        let manifest = Path::new(
            found
                .get("manifest_path")
                .and_then(Value::as_str)
                .expect("a path"),
        );
        let root = manifest.parent().expect("the manifest is in a directory");
        let mut files = Vec::new();
        for part in ["src", "tests", "examples"] {
            read_tree(root, &root.join(part), &mut files);
        }
        let mut manifest = fs::read_to_string(manifest).expect("a manifest is text");
        manifest.push_str(&contender_in_manifest());
        Package { manifest, files }
    }

    /// The content of one file.
    fn file(&mut self, wanted: &str) -> &mut Vec<u8> {
        let mut files = self.files.iter_mut();
        let found = files.find(|(path, _)| path == Path::new(wanted));
        let (_, content) = found.expect("the package has this file");
        content
    }

    fn write(&self, directory: &Path) {
        write_if_changed(&directory.join("Cargo.toml"), self.manifest.as_bytes());
        for (path, content) in &self.files {
            write_if_changed(&directory.join(path), content);
        }
        let versions = fs::read(support::repository().join("Cargo.lock"));
        let versions = versions.expect("the workspace has one");
        fs::write(directory.join("Cargo.lock"), versions).expect("the directory is writable");
    }
}

/// A workspace of its own, optimized a little because some of its tests compute for long.
fn contender_in_manifest() -> String {
    let program = own_file("contender.rs");
    format!(
        "\n[[example]]\nname = \"contender\"\npath = {program:?}\n\
         [dev-dependencies.nix]\nversion = \"0.31\"\nfeatures = [\"time\"]\n\
         [workspace]\n[profile.dev]\nopt-level = 1\ndebug = false\nincremental = false\n"
    )
}

/// Stops a process with the variable `STOP_AT_CREATE` between the creation of a lock file and its write, where
/// the scheduler may stop any process, until another process has found the file empty and removed it. The
/// process goes on after 2 s where none does. Only the contenders of the published lock set the variable.
fn stop_at_create(package: &mut Package) {
    let content = package.file("src/locking.rs");
    let text = String::from_utf8_lossy(content).into_owned();
    let (create, write) = text
        .split_once("    file.write_all(content)?;")
        .expect("the lock file is created, and then written");
    let stop = r#"    if std::env::var_os("STOP_AT_CREATE").is_some() {
        for _ in 0..2000 {
            if std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
"#;
    *content = format!("{create}{stop}    file.write_all(content)?;{write}").into_bytes();
}

/// Puts rvlf in the place of locking.rs, whose own tests remain.
fn patch(package: &mut Package) {
    let rvlf = support::repository();
    package
        .manifest
        .push_str(&format!("[dependencies.rvlf]\npath = {rvlf:?}\n"));
    let content = package.file("src/locking.rs");
    let text = String::from_utf8_lossy(content).into_owned();
    let (_, tests) = text
        .split_once("#[cfg(test)]\nmod tests {")
        .expect("it has tests");
    let ours = ["locking.rs", "locking_tests.rs"]
        .map(|name| fs::read_to_string(own_file(name)).expect("it is a file of this package"));
    *content = format!("{}#[cfg(test)]\nmod tests {{{tests}", ours.concat()).into_bytes();
}

/// A file of tests/adoption/rvf_runtime.
pub fn own_file(name: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.join("rvf_runtime").join(name)
}

fn read_tree(root: &Path, directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("the package has this directory") {
        let path = entry.expect("the directory can be listed").path();
        if path.is_dir() {
            read_tree(root, &path, files);
        } else {
            let relative = path.strip_prefix(root).expect("it is below the root");
            files.push((
                relative.to_owned(),
                fs::read(&path).expect("a readable file"),
            ));
        }
    }
}

/// Leaves a file alone that has this content, so that cargo need not compile it again.
fn write_if_changed(path: &Path, content: &[u8]) {
    if fs::read(path).is_ok_and(|present| present == content) {
        return;
    }
    let directory = path.parent().expect("the path of a file in a directory");
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(path, content));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

// ---------------------------------------------------------------- cargo

fn cargo(directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Warnings of a package of others do not concern us.
    command
        .current_dir(directory)
        .env("RUSTFLAGS", "--cap-lints=allow");
    command
}

/// Downloads what this machine does not have. A registry's hiccup is not a failure of ours.
fn fetch(directory: &Path) {
    for pause in [5, 20, 60] {
        if output(cargo(directory).args(["fetch", "--quiet"])).is_some() {
            return;
        }
        eprintln!("cargo fetch failed, again in {pause} s");
        std::thread::sleep(Duration::from_secs(pause));
    }
    output(cargo(directory).arg("fetch")).expect("the dependencies can be downloaded");
}

/// The standard output of a command, if it succeeded.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// The program that a message of cargo reports.
fn program(message: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    Some(TestProgram {
        name: message.pointer("/target/name")?.as_str()?.to_owned(),
        path: path.into(),
    })
}
