//! Notes that are ordered with the writes of all disks.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::fcntl::OFlag;

use super::program::Fallible;

/// The disk takes each sector for one note.
const SECTOR: usize = 512;

/// Notes of different processes are so far apart that no scheduler makes one write of them.
const DISTANCE: u64 = 4096;

#[repr(align(512))]
struct Sector([u8; SECTOR]);

/// Where one process notes what it was promised about one item.
pub(crate) struct Marks {
    device: File,
    prefix: String,
}

impl Marks {
    pub(crate) fn open(name: &str, item: &str) -> Fallible<Marks> {
        let path = std::env::var_os("RVLF_POWER_MARKS").ok_or("RVLF_POWER_MARKS is not set")?;
        // Past the page cache: a note is in its place among the writes when the call returns.
        let mut options = File::options();
        let device = options
            .write(true)
            .custom_flags(OFlag::O_DIRECT.bits())
            .open(path)?;
        Ok(Marks {
            device,
            prefix: format!("{name} {item}"),
        })
    }

    pub(crate) fn note(&self, event: &str) -> io::Result<()> {
        let mut sector = Sector([0; SECTOR]);
        let note = format!("{} {event}\n", self.prefix);
        for (byte, of_note) in sector.0.iter_mut().zip(note.bytes()) {
            *byte = of_note;
        }
        let offset = u64::from(std::process::id()) * DISTANCE;
        self.device.write_all_at(&sector.0, offset)
    }
}
