//! What takes the place of `store/` in a command that was installed without object stores: the message that
//! says how to install it with them. No [`Url`] exists, so that nothing else is ever called.

use std::io;
use std::time::Duration;

use rvlf::WriterId;

use crate::order::Order;
use crate::report::Report;
use crate::verbs::acquisition::Acquisition;
use crate::verbs::dump::Contents;

/// The URL of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {}

impl Url {
    /// # Errors
    ///
    /// Always.
    pub fn parse(_url: &str) -> Result<Url, String> {
        Err(
            "this rvlf was installed without object stores: cargo install rvlf-cli --features \
             object-store"
                .into(),
        )
    }
}

pub fn run(
    url: &Url,
    _acquisition: &Acquisition,
    _lease: Option<Duration>,
    _order: &Order,
) -> Result<i32, u8> {
    match *url {}
}

/// Looks at one lock as often as requested.
pub struct Looker(Url);

impl Looker {
    pub fn new(url: &Url) -> Looker {
        match *url {}
    }

    pub fn look(&mut self) -> Result<Box<dyn Report>, String> {
        match self.0 {}
    }
}

pub fn wait(url: &Url, _timeout: Option<Duration>) -> Result<u8, u8> {
    match *url {}
}

pub fn break_lock(url: &Url, _forced: Option<WriterId>, _now: bool) -> io::Result<u8> {
    match *url {}
}

pub fn read_lock(url: &Url) -> Result<Contents, u8> {
    match *url {}
}

pub fn diagnose(url: &Url) -> io::Result<u8> {
    match *url {}
}
