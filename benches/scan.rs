//! `rvlf scan` over a tree of many files, next to `find -name '*.lock'`.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Mode, goal, grounds, interleaved, show};
use rvlf::{Durability, WriterLock};

/// The command, if it was built: `--features cli`.
const RVLF: Option<&str> = option_env!("CARGO_BIN_EXE_rvlf");

/// One file in a hundred is a lock, and one lock in ten of somebody else's kind.
fn plant(top: &Path, directories: usize, files: usize) -> Vec<WriterLock> {
    let options = WriterLock::options()
        .durability(Durability::None)
        .keepalive(None);
    let mut held = Vec::new();
    for d in 0..directories {
        let dir = top.join(format!("{:02}/{d:03}", d % 16));
        std::fs::create_dir_all(&dir).expect("the directory is ours");
        for f in 0..files {
            match f % 100 {
                0 if f % 1000 == 900 => {
                    std::fs::write(dir.join(format!("{f}.lock")), "4121\n").expect("it is ours");
                }
                0 => held.push(
                    options
                        .try_acquire(dir.join(f.to_string()))
                        .expect("it is free"),
                ),
                _ => drop(File::create(dir.join(f.to_string())).expect("the directory is ours")),
            }
        }
    }
    held
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    assert!(
        !output.expect("the program starts").stdout.is_empty(),
        "it finds the locks"
    );
}

fn main() {
    let mode = Mode::from_args();
    if mode == Mode::List {
        return println!("scan: bench");
    }
    let Some(rvlf) = RVLF else {
        return println!("skipped: scan: the command is not built; use --features cli");
    };
    // Each lock takes two descriptors.
    common::raise_descriptor_limit();
    for ground in grounds() {
        let top = ground.dir.path();
        let (directories, files) = mode.pick((100, 1000), (2, 100));
        let held = plant(top, directories, files);
        let [scan, find] = interleaved(
            mode.pick(15, 1),
            1,
            [
                &mut || run(Command::new(rvlf).arg("scan").arg(top)),
                &mut || run(Command::new("find").arg(top).args(["-name", "*.lock"])),
            ],
        );
        println!("a tree of {} files, {}:", directories * files, ground.name);
        println!("  rvlf scan           {}", show(scan.median()));
        println!("  find -name '*.lock' {}", show(find.median()));
        let what = format!("scan against find -name '*.lock', {}", ground.name);
        goal(mode, what, scan.ratio_to(&find), 2.0);
        drop(held);
    }
}
