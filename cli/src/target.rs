//! What the argument DATA names: a file, or an object in a store.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::store;

/// Without a supervisor of its own process tree, no keeper can end a script before a lease is over.
pub const NOT_FOR_HOLD: &str =
    "rvlf hold takes files only; run the script under the lock: rvlf run URL COMMAND";

/// Data that has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A data file. Its lock is a file beside it.
    File(PathBuf),
    /// An object in a store. Its lock is an object beside it.
    Store(store::Url),
}

impl Target {
    /// # Errors
    ///
    /// A URL that names no object. The text repeats nothing of the argument but its scheme and bucket: the
    /// rest may contain credentials.
    fn parse(argument: &OsStr) -> Result<Target, String> {
        let Some(scheme) = argument.to_str().and_then(scheme_of) else {
            return Ok(Target::File(argument.into()));
        };
        match (scheme, argument.to_str()) {
            ("s3" | "gs" | "az", Some(url)) => store::Url::parse(url).map(Target::Store),
            ("file", _) => Err("give a file by its path, without file://".into()),
            _ => Err(format!(
                "no object store has the scheme {scheme}://: use s3://, gs:// or az://; a file with such a \
                 name begins with ./"
            )),
        }
    }
}

/// Whether the path looks like a URL.
pub fn is_url(path: &Path) -> bool {
    path.to_str().and_then(scheme_of).is_some()
}

/// The scheme of a URL. RFC 3986, section 3.1; one letter is a drive of Windows.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(is_letter);
    is_scheme.then_some(scheme)
}

impl ValueParserFactory for Target {
    type Parser = TargetParser;

    fn value_parser() -> TargetParser {
        TargetParser
    }
}

/// Reads a [`Target`]. A refusal is one line, without the argument.
#[derive(Clone)]
pub struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = Target;

    fn parse_ref(&self, verb: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Target, Error> {
        let refused = |text: String| Error::raw(ErrorKind::ValueValidation, text + "\n");
        let holds = ["hold", "keep"].contains(&verb.get_name());
        match value.to_str().and_then(scheme_of) {
            // The line that installs object stores would lead to this refusal.
            Some("s3" | "gs" | "az") if holds => Err(refused(NOT_FOR_HOLD.into())),
            _ => Target::parse(value).map_err(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A directory named `s3:` was there before the command knew URLs.
    #[test]
    fn only_a_scheme_at_the_beginning_makes_a_url() {
        for path in [
            "store.rvf",
            "./s3://b/k",
            "s3:/b/k",
            "s3:b",
            "/srv/s3://b/k",
            "c://dir/d",
            "://b/k",
            "a b://c",
            "-s3://b",
            "",
        ] {
            let target = Target::parse(OsStr::new(path));
            assert_eq!(target, Ok(Target::File(path.into())), "{path}");
        }
    }

    #[test]
    fn a_url_that_is_none_of_a_store_is_refused_without_its_secrets() {
        for url in [
            "http://h/k?sig=hunter2",
            "https://user:hunter2@h/k",
            "file:///srv/hunter2",
            "S3://hunter2/k",
        ] {
            let refusal = Target::parse(OsStr::new(url)).expect_err(url);
            assert!(!refusal.contains("hunter2"), "{refusal}");
            assert!(!refusal.contains('\n'), "{refusal}");
        }
    }
}
