//! `rvlf diagnose URL`.

use std::io::{self, Write};
use std::time::Duration;

use anstream::stdout;
use rvlf::Escaped;
use rvlf_object_store::{Diagnosis, SelfTestError, StoreOptions, diagnose as races};

use super::requests::with_bucket;
use super::url::Url;
use crate::failure::io_failed;
use crate::{exit, messages};

/// A server that is fast takes seconds, SeaweedFS under load two minutes.
const TIMEOUT: Duration = Duration::from_secs(600);

pub fn diagnose(url: &Url) -> io::Result<u8> {
    // The test goes on through failures that may pass. A store that cannot be asked at all is reported at once.
    let opened = url.open(&StoreOptions::new());
    if let Err(error) = opened.and_then(|opened| opened.inspect()) {
        return Ok(io_failed(error));
    }
    let key = url.location().lock_key(None);
    let tested = with_bucket(url, async |bucket| {
        races(&bucket, key.as_ref(), TIMEOUT).await
    });
    match tested {
        Ok(Ok(diagnosis)) => print(url, &diagnosis),
        Ok(Err(error)) => {
            messages::print(&error);
            Ok(match error {
                SelfTestError::Unsuitable { .. } => exit::NOT_A_LOCK,
                _ => exit::IO,
            })
        }
        Err(unsent) => Ok(io_failed(unsent)),
    }
}

fn print(url: &Url, diagnosis: &Diagnosis) -> io::Result<u8> {
    let url = url.location().to_string();
    let url = Escaped::path(url.as_ref());
    let (verdict, status) = match diagnosis.is_suitable() {
        true => ("its store can carry a lock", exit::SUCCESS),
        false => (
            "its store cannot carry a lock: it reported success to more than one of several simultaneous writers",
            exit::NOT_A_LOCK,
        ),
    };
    writeln!(stdout(), "{url}: {verdict}")?;
    writeln!(stdout(), "  self-test  passed")?;
    writeln!(stdout(), "  create     {}", diagnosis.create)?;
    writeln!(stdout(), "  update     {}", diagnosis.update)?;
    Ok(status)
}
