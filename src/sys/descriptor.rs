//! [`Descriptor`]: a file descriptor that is known again before it is used or closed.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::platform::{is_marked, mark};
use super::turn::Turn;
use super::wide::fstat;

/// The highest number of a standard stream.
const LAST_STANDARD_STREAM: i32 = 2;

/// A descriptor of the library, in a process whose other code may close it.
///
/// A daemon that closes "all descriptors above 2" closes this one too, and the next file that the
/// program opens gets the number. That file is neither written to, nor polled, nor closed:
/// [`get`](Self::get) fails, and a drop does nothing. Nor is a later file of the library. Other code that
/// closes the descriptor between the check and the use is not noticed; no check can.
///
/// The number is above 2. In a program that has closed its standard streams, whatever it prints
/// would be written to the file that has number 1.
pub(crate) struct Descriptor<T: AsFd> {
    /// Taken by drop alone.
    inner: Option<T>,
    /// Shows a file of the program.
    witness: Witness,
    /// Shows another file of the library, whose witness may be the same.
    turn: Turn,
}

/// What shows that a number still names the file that the library has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    /// A mark on the open file description, which the program's own open of the same file does not
    /// have. It needs no I/O, also on a mount that hangs, and not the inode number, which some file
    /// systems invent and which all inotify instances share.
    Mark(u8),
    /// The inode, where a description cannot be marked: not on Linux, or opened with O_PATH.
    Inode(Inode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    dev: u64,
    ino: u64,
    kind: SFlag,
}

impl<T: AsFd> Descriptor<T> {
    /// Takes over a descriptor that was just opened.
    ///
    /// # Errors
    ///
    /// There are too many open files, or fstat(2) fails.
    pub(crate) fn new(opened: T) -> io::Result<Descriptor<T>>
    where
        T: From<OwnedFd>,
    {
        Descriptor::converted(opened, T::from)
    }

    /// The same for a type that `convert` makes of a descriptor.
    pub(super) fn converted(
        opened: T,
        convert: impl FnOnce(OwnedFd) -> T,
    ) -> io::Result<Descriptor<T>> {
        let inner = if opened.as_fd().as_raw_fd() > LAST_STANDARD_STREAM {
            opened
        } else {
            // The copy's number is 3 at the least: that is what std asks fcntl(2) for.
            convert(opened.as_fd().try_clone_to_owned()?)
        };
        let turn = Turn::begin(inner.as_fd().as_raw_fd());
        let witness = match mark(inner.as_fd()) {
            Some(mark) => Witness::Mark(mark),
            None => Witness::Inode(Inode::of(inner.as_fd())?),
        };
        Ok(Descriptor {
            inner: Some(inner),
            witness,
            turn,
        })
    }

    /// The open file.
    ///
    /// # Errors
    ///
    /// EBADF: other code has closed the descriptor. The number may belong to another file.
    ///
    /// Async-signal-safe.
    pub(crate) fn get(&self) -> io::Result<&T> {
        let inner = self
            .inner
            .as_ref()
            .filter(|inner| self.witness.knows(inner.as_fd()) && self.turn.is_the_last());
        inner.ok_or_else(|| Errno::EBADF.into())
    }

    /// The open file, whose number the caller closes. The number's turn goes with it: an older
    /// descriptor that had the number does not close the caller's file.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(crate) fn into_inner(mut self) -> io::Result<T> {
        self.get()?;
        self.inner.take().ok_or_else(|| Errno::EBADF.into())
    }

    /// A second descriptor of the same open file description, close-on-exec.
    pub(crate) fn try_clone(&self) -> io::Result<Descriptor<T>>
    where
        T: From<OwnedFd>,
    {
        let copy = self.get()?.as_fd().try_clone_to_owned()?;
        Ok(Descriptor {
            turn: Turn::begin(copy.as_raw_fd()),
            inner: Some(copy.into()),
            witness: self.witness,
        })
    }
}

impl Witness {
    fn knows(self, descriptor: BorrowedFd<'_>) -> bool {
        match self {
            Witness::Mark(mark) => is_marked(descriptor, mark),
            // An I/O error of a network mount proves nothing.
            Witness::Inode(inode) => match Inode::of(descriptor) {
                Ok(found) => found == inode,
                Err(error) => error != Errno::EBADF,
            },
        }
    }
}

impl Inode {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' types differ between Unixes"
    )]
    fn of(file: BorrowedFd<'_>) -> nix::Result<Inode> {
        let stat = fstat(file)?;
        Ok(Inode {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            kind: SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT,
        })
    }
}

impl<T: AsFd> Drop for Descriptor<T> {
    fn drop(&mut self) {
        if self.get().is_err() {
            // The number is another file's, which stays open.
            mem::forget(self.inner.take());
        }
    }
}

impl<T: AsFd> fmt::Debug for Descriptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor")
            .field(&self.inner.as_ref().map(|inner| inner.as_fd().as_raw_fd()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::RawFd;

    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    use nix::unistd::close;

    fn opened(flags: OFlag) -> Descriptor<File> {
        let opened = open("/dev/null", flags | OFlag::O_CLOEXEC, Mode::empty());
        let opened = opened.expect("every Unix has it");
        Descriptor::new(opened.into()).expect("it is open")
    }

    fn number(of: &Descriptor<File>) -> RawFd {
        of.get().expect("it is open").as_raw_fd()
    }

    /// A descriptor that other code has closed, and the next one with its number and its witness.
    fn replaced(make: impl Fn() -> Descriptor<File>) -> (Descriptor<File>, Descriptor<File>) {
        // Again if the number was given to a file of another test.
        for _ in 0..1000 {
            let old = make();
            let closed = number(&old);
            close(closed).expect("it is open");
            // Again, since the marks go round.
            let mut next = (0..100)
                .map(|_| make())
                .take_while(|new| number(new) == closed);
            if let Some(new) = next.find(|new| new.witness == old.witness) {
                return (old, new);
            }
        }
        panic!("the kernel gives out the lowest number first");
    }

    // A daemon that closes all descriptors and acquires the lock again: the drop of the old guard closed
    // the new lock's file, and with it freed the kernel lock, if the two had one of 28 marks.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn an_old_descriptor_neither_uses_nor_closes_the_next_one_with_its_number() {
        let (old, new) = replaced(|| opened(OFlag::O_RDONLY));
        assert!(old.get().is_err(), "it is not the old one's");
        drop(old);
        new.get().expect("it is open");
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn the_next_descriptor_of_the_same_inode_is_another_one() {
        let (old, new) = replaced(|| opened(OFlag::O_PATH));
        assert!(matches!(old.witness, Witness::Inode(_)), "it has no mark");
        drop(old);
        new.get().expect("it is open");
    }

    // The copies that are lent to commands have one description, and so one mark.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn an_old_copy_does_not_close_the_next_copy_with_its_number() {
        let original = opened(OFlag::O_RDONLY);
        let (old, new) = replaced(|| original.try_clone().expect("it is open"));
        drop(old);
        new.get().expect("it is open");
    }

    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn an_old_descriptor_does_not_close_what_was_given_to_a_caller() {
        let (old, new) = replaced(|| opened(OFlag::O_RDONLY));
        let given = new.into_inner().expect("it is open");
        drop(old);
        given.metadata().expect("it is open");
    }
}
