//! The row's names as files of a directory, on any mount that has link(2).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rvlf::WriterId;

use crate::row::{DataFile, Directory, Manifest, Name};

/// The directory as one hold uses it.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    writer_id: WriterId,
}

impl Mount {
    pub fn new(path: &Path, writer_id: WriterId) -> Mount {
        Mount {
            path: path.to_owned(),
            writer_id,
        }
    }

    pub fn write_data(&self, data: DataFile, content: &str) -> io::Result<()> {
        write_new(&self.file(Name::Data(data)), content)?;
        self.sync()
    }

    pub fn read_data(&self, data: DataFile) -> io::Result<String> {
        fs::read_to_string(self.file(Name::Data(data)))
    }

    /// Removes what killed writers left. A writer that lives and lost its lock cannot link any more.
    pub fn remove_private_files(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".private-") {
                ignore_missing(fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    fn file(&self, name: Name) -> PathBuf {
        self.path.join(match name {
            Name::Manifest(number) => format!("manifest-{number}"),
            Name::Retired(block) => format!("retired-{block}"),
            Name::Data(data) => format!("data-{}-{}", data.generation, data.number),
        })
    }
}

impl Directory for Mount {
    fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().to_str().and_then(parse_name));
        }
        Ok(names)
    }

    fn read(&self, number: u64) -> io::Result<Option<Manifest>> {
        match fs::read_to_string(self.file(Name::Manifest(number))) {
            Ok(text) => parse_manifest(&text).map(Some).ok_or_else(|| {
                let message = format!("manifest-{number} is damaged: restore it from a backup");
                io::Error::new(ErrorKind::InvalidData, message)
            }),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn link(&self, manifest: &Manifest) -> io::Result<()> {
        let private = format!(".private-{}-{}", self.writer_id, manifest.number);
        // A new file each time: one that got a second name by an earlier call must never change.
        let private = self.path.join(private);
        write_new(&private, &text(manifest))?;
        let linked = fs::hard_link(&private, self.file(Name::Manifest(manifest.number)));
        // Whatever the answer to the link was: after a change of its own, an NFS client does not answer
        // the look for the mark from what it remembers of the directory.
        fs::remove_file(&private)?;
        linked
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn is_retired(&self, block: u64) -> io::Result<bool> {
        self.file(Name::Retired(block)).try_exists()
    }

    fn retire(&self, block: u64) -> io::Result<()> {
        match File::create_new(self.file(Name::Retired(block))) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => self.sync(),
        }
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.file(name)))
    }

    fn pause(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn is_missing(error: &io::Error) -> bool {
    // Another client of an NFS server has removed the file.
    [ErrorKind::NotFound, ErrorKind::StaleNetworkFileHandle].contains(&error.kind())
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome,
    }
}

fn parse_name(name: &str) -> Option<Name> {
    let (kind, rest) = name.split_once('-')?;
    match kind {
        "manifest" => rest.parse().ok().map(Name::Manifest),
        "retired" => rest.parse().ok().map(Name::Retired),
        "data" => parse_data(rest.split_once('-')?).map(Name::Data),
        _ => None,
    }
}

fn parse_data((generation, number): (&str, &str)) -> Option<DataFile> {
    Some(DataFile {
        generation: generation.parse().ok()?,
        number: number.parse().ok()?,
    })
}

fn text(manifest: &Manifest) -> String {
    let data = manifest.data.map_or("none".to_owned(), |data| {
        format!("{} {}", data.generation, data.number)
    });
    format!(
        "number {}\ngeneration {}\nwriter {}\ndata {data}\nend\n",
        manifest.number, manifest.generation, manifest.writer_id
    )
}

/// `None` also for a text that is not complete.
fn parse_manifest(text: &str) -> Option<Manifest> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    let mut value = |key: &str| lines.next()?.strip_prefix(key);
    Some(Manifest {
        number: value("number ")?.parse().ok()?,
        generation: value("generation ")?.parse().ok()?,
        writer_id: value("writer ")?.parse().ok()?,
        data: match value("data ")? {
            "none" => None,
            data => Some(parse_data(data.split_once(' ')?)?),
        },
    })
}
