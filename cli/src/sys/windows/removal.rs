//! Whether this user may remove a lock file: recovering a lock removes the file of the dead holder.

use std::path::Path;

/// Who may remove a lock file: on Windows the attempt shows it.
pub struct Removal;

impl Removal {
    pub fn of(_path: &Path) -> Removal {
        Removal
    }

    /// `None`: this user, as far as that is known before.
    pub fn by_whom(self) -> Option<String> {
        None
    }
}
