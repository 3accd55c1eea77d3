//! Paths: made absolute, and the names that Windows gives a second meaning.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf, Prefix};

/// Names that stand for devices, in every directory and with every extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// The units of a name.
pub(super) fn wide(name: &OsStr) -> Vec<u16> {
    name.encode_wide().collect()
}

/// The absolute form of `path`, from `base` or from the working directory.
pub(super) fn absolute(base: Option<&Path>, path: &Path) -> io::Result<PathBuf> {
    if is_drive_relative(path) {
        let text = "a path such as C:name depends on the working directory of its drive: use an \
                    absolute path";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match base {
        Some(base) => std::path::absolute(base.join(path)),
        None => std::path::absolute(path),
    }
}

fn is_drive_relative(path: &Path) -> bool {
    let mut components = path.components();
    let is_drive = |component| matches!(component, Component::Prefix(prefix) if matches!(prefix.kind(), Prefix::Disk(_)));
    components.next().is_some_and(is_drive) && !path.has_root()
}

/// The form of an absolute path that has no limit of 260 units, and in which no component has a second
/// meaning.
pub(super) fn verbatim(absolute: &Path) -> OsString {
    let Some(Component::Prefix(prefix)) = absolute.components().next() else {
        return absolute.as_os_str().to_owned();
    };
    let mut verbatim = OsString::from(r"\\?\");
    match prefix.kind() {
        Prefix::Disk(_) => verbatim.push(absolute),
        Prefix::UNC(server, share) => {
            verbatim.push(r"UNC\");
            verbatim.push(server);
            verbatim.push(r"\");
            verbatim.push(share);
            let rest = absolute.components().skip(1).collect::<PathBuf>();
            verbatim.push(rest);
        }
        _ => return absolute.as_os_str().to_owned(),
    }
    verbatim
}

/// An error for a name of a data file that also names another file, or a device: two writers could come
/// by two lock paths.
pub(super) fn check_data_name(name: &OsStr) -> io::Result<()> {
    let units = wide(name);
    let is_at_the_end = |c: char| units.last() == Some(&(c as u16));
    let text = if units.contains(&(':' as u16)) {
        "the file name has a colon, and names a stream of another file"
    } else if is_at_the_end('.') || is_at_the_end(' ') {
        "the file name ends in a dot or a space, which most programs leave out: they would use \
         another lock"
    } else if is_device(&String::from_utf16_lossy(&units)) {
        "the file name is the name of a device"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(' ').to_uppercase();
    let numbered = |prefix| {
        let number = stem.strip_prefix(prefix);
        number.is_some_and(|number: &str| {
            let mut digits = number.chars();
            let is_digit = |c: char| matches!(c, '0'..='9' | '¹' | '²' | '³');
            digits.next().is_some_and(is_digit) && digits.next().is_none()
        })
    };
    DEVICES.contains(&stem.as_str()) || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    // `d.rvf.` and `d.rvf` are one file for every program that does not use verbatim paths, and would
    // have two locks.
    #[test]
    fn a_name_with_a_second_meaning_is_refused() {
        let refused = [
            "d:stream", "d.", "d ", "nul", "NUL.rvf", "aux .x", "com1", "LPT9.rvf", "com¹",
            "conin$",
        ];
        for name in refused {
            assert!(check_data_name(OsStr::new(name)).is_err(), "{name}");
        }
        for name in [
            "d.rvf", "null", "com", "com10", "lpt", "a b", ".x", "conx", "äö",
        ] {
            assert!(check_data_name(OsStr::new(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_verbatim_path_keeps_drive_and_share() {
        let cases = [
            (r"C:\a\b", r"\\?\C:\a\b"),
            (r"\\server\share\a", r"\\?\UNC\server\share\a"),
            (r"\\?\C:\a", r"\\?\C:\a"),
            (r"\\.\pipe\a", r"\\.\pipe\a"),
        ];
        for (path, expected) in cases {
            assert_eq!(verbatim(Path::new(path)), expected);
        }
    }

    #[test]
    fn a_path_that_depends_on_a_drives_working_directory_is_refused() {
        assert!(absolute(None, Path::new("C:x")).is_err());
        let base = Path::new(r"C:\base");
        let joined = absolute(Some(base), Path::new("x")).expect("the base is absolute");
        assert_eq!(joined, Path::new(r"C:\base\x"));
        let rooted = absolute(Some(base), Path::new(r"\x")).expect("the base is absolute");
        assert_eq!(rooted, Path::new(r"C:\x"));
    }
}
