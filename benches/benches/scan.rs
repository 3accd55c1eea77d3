//! `rvlf scan` over a tree of many files, beside `find -name '*.lock'`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use rvlf::{Durability, WriterLock};
use rvlf_benches::{
    Goal, Mode, build_command, directories, interleaved, print_row, raise_descriptor_limit,
    report_goal,
};

/// One file in a hundred is a lock file, and one lock file in ten another program's. Returns the
/// locks: they are held.
fn plant(top: &Path, directories: usize, files: usize) -> Vec<WriterLock> {
    let options = WriterLock::options()
        .durability(Durability::None)
        .keepalive(None);
    let mut held = Vec::new();
    for number in 0..directories {
        let dir = top.join(format!("{:02}/{number:03}", number % 16));
        std::fs::create_dir_all(&dir).expect("the directory is writable");
        for file in 0..files {
            let path = dir.join(file.to_string());
            if file % 1000 == 900 {
                std::fs::write(dir.join(format!("{file}.lock")), "4121\n")
                    .expect("the directory is writable");
            } else if file % 100 == 0 {
                held.push(options.try_acquire(path).expect("the lock is free"));
            } else {
                File::create(path).expect("the directory is writable");
            }
        }
    }
    held
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let found = output.expect("the program starts").stdout;
    assert!(!found.is_empty(), "the tree has lock files");
}

fn main() {
    let Some(mode) = Mode::from_args_of("scan") else {
        return;
    };
    let rvlf = build_command();
    // Each lock takes two descriptors.
    raise_descriptor_limit();
    for directory in directories() {
        let top = directory.path();
        let (directories, files) = mode.pick((100, 1000), (2, 100));
        let _held = plant(top, directories, files);
        let [scan, find] = interleaved(
            mode.pick(15, 1),
            1,
            [
                &mut || run(Command::new(&rvlf).arg("scan").arg(top)),
                &mut || run(Command::new("find").arg(top).args(["-name", "*.lock"])),
            ],
        );
        let files = directories * files;
        println!("a tree of {files} files, {}:", directory.file_system);
        print_row("find -name '*.lock'", &find, &find);
        print_row("rvlf scan", &scan, &find);
        report_goal(
            mode,
            "`rvlf scan` of 100,000 files, against `find -name '*.lock'`",
            Goal::AtMost(2.0),
            directory.file_system,
            scan.ratio_to(&find),
        );
    }
}
