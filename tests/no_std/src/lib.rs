//! What a program without std, or in another language, can do with the record and the judgement.
#![no_std]

use core::slice;
use core::time::Duration;

use rvlf::{Record, StalePolicy};
use rvlf::judge::{Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Stamp, judge};
use rvlf::record::RECORD_LEN;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}

/// The pid in a lock file's content; 0 if that is not a valid record.
///
/// # Safety
///
/// `bytes` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rvlf_pid(bytes: *const u8, len: usize) -> u32 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(bytes, len) };
    Record::decode(bytes).map_or(0, |record| record.pid().get())
}

/// Writes the record in `bytes` to `to` as a refresh at `timestamp_ns` would. False if it is not a
/// valid one.
///
/// # Safety
///
/// `bytes` points to `len` bytes, and `to` to 104 that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rvlf_refresh(
    bytes: *const u8,
    len: usize,
    timestamp_ns: u64,
    to: *mut [u8; RECORD_LEN],
) -> bool {
    // SAFETY: the caller's promise.
    let (bytes, to) = unsafe { (slice::from_raw_parts(bytes, len), &mut *to) };
    let Ok(record) = Record::decode(bytes) else {
        return false;
    };
    *to = record.refreshed(timestamp_ns).encode();
    true
}

/// The row of the table, negative if the verdict is Stale, for a lock file with this content, this
/// many seconds old, of another host.
///
/// # Safety
///
/// `bytes` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rvlf_row(bytes: *const u8, len: usize, age_seconds: u64) -> i32 {
    // SAFETY: the caller's promise.
    let decoded = Record::decode(unsafe { slice::from_raw_parts(bytes, len) });
    let age = Duration::from_secs(age_seconds);
    let evidence = Evidence {
        content: decoded
            .as_ref()
            .map_or_else(Content::from, |_| Content::Valid),
        kernel_lock: KernelLock::Unsupported,
        file_system: FileSystem::NotLocal,
        stamp: decoded
            .ok()
            .and_then(|record| record.stamp())
            .map_or(Stamp::Absent, |stamp| Stamp::Different {
                start_ticks: stamp.start_ticks,
            }),
        host: HostMatch::Other,
        process: Process::Unknown,
        timestamp_age: Age::Past(age),
        mtime_age: age,
        predates_boot: false,
        own_hold: OwnHold::None,
    };
    let verdict = judge(&evidence, &StalePolicy::new());
    let row = i32::from(verdict.reason().row());
    if verdict.is_stale() { -row } else { row }
}
