//! Processes and this machine: who lives, who this process is, what names the machine.

#![allow(unsafe_code, reason = "calls about processes, and of the registry")]

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, FILETIME, HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RRF_SUBKEY_WOW6464KEY, RegGetValueW,
};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessId, GetProcessTimes, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

use super::times::unix_ns;
use crate::record::Pid;
use crate::sys::{Identity, Liveness};

/// This process. No call copies a process.
pub(super) fn identity() -> io::Result<Identity> {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    if let Some(identity) = IDENTITY.get() {
        return Ok(*identity);
    }
    let pid = Pid::new(std::process::id());
    // SAFETY: the call returns a constant that stands for this process.
    let started = started(unsafe { GetCurrentProcess() })?;
    let identity = Identity {
        pid: pid.ok_or_else(|| io::Error::other("the pid does not fit a record"))?,
        start_ticks: started,
        generation: 0,
    };
    Ok(*IDENTITY.get_or_init(|| identity))
}

/// A process is dead if its pid is unknown or it has ended; as long as any process has a handle of it,
/// it can still be opened. A process that this user may not open is not known to be dead.
pub(super) fn process(pid: Pid) -> Liveness {
    let handle = match open(pid) {
        Ok(handle) => handle,
        Err(error) if is_unknown_pid(&error) => return Liveness::Dead,
        Err(_) => return Liveness::Unknown,
    };
    let raw = handle.as_raw_handle();
    // SAFETY: the handle is open, and the call changes nothing.
    match unsafe { WaitForSingleObject(raw, 0) } {
        WAIT_OBJECT_0 => return Liveness::Dead,
        WAIT_TIMEOUT => {}
        _ => return Liveness::Unknown,
    }
    // SAFETY: the handle is open, and the call changes nothing.
    if unsafe { GetProcessId(raw) } != pid.get() {
        // The kernel ignores the two lowest bits of a pid, which it never gives.
        return Liveness::Dead;
    }
    match started(raw) {
        Ok(start_ticks) => Liveness::Alive {
            start_ticks,
            started_ns: unix_ns(start_ticks),
        },
        Err(_) => Liveness::Unknown,
    }
}

/// A handle of the process that becomes signalled when it ends.
pub(super) fn open(pid: Pid) -> io::Result<File> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: the call takes three numbers.
    let handle = unsafe { OpenProcess(access, 0, pid.get()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle, and no other code owns it. `File` is only what closes
    // it: no call on files is made with it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

fn is_unknown_pid(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_INVALID_PARAMETER as i32)
}

/// When the process was created, in units of 100 ns since 1601.
fn started(process: HANDLE) -> io::Result<u64> {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the handle is open, and the call writes four times to places on this stack.
    let done = unsafe { GetProcessTimes(process, created, ended, kernel, user) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// The name that the machine has for itself; it has no length limit here.
pub(super) fn hostname() -> String {
    let mut name = [0_u16; 512];
    let mut len = name.len() as u32;
    // SAFETY: the call writes at most `len` units to the buffer, and their number to `len`.
    let done =
        unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, name.as_mut_ptr(), &mut len) };
    let units = name.get(..len as usize).filter(|_| done != 0);
    String::from_utf16_lossy(units.unwrap_or_default())
}

/// The 16 bytes of MachineGuid, which names an installation of Windows. `None` if it cannot be read.
pub(super) fn machine_id() -> Option<[u8; 16]> {
    static ID: OnceLock<Option<[u8; 16]>> = OnceLock::new();
    *ID.get_or_init(|| to_bytes(&machine_guid()?))
}

fn machine_guid() -> Option<String> {
    let wide = |text: &str| -> Vec<u16> { text.encode_utf16().chain([0]).collect() };
    let (key, value) = (
        wide(r"SOFTWARE\Microsoft\Cryptography"),
        wide("MachineGuid"),
    );
    let mut text = [0_u16; 64];
    let mut bytes = size_of_val(&text) as u32;
    // SAFETY: both names end in zero; the call writes at most `bytes` bytes to the buffer, and their
    // number to `bytes`. A 32-bit process reads what a 64-bit one reads.
    let status = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            value.as_ptr(),
            RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY,
            ptr::null_mut(),
            text.as_mut_ptr().cast(),
            &mut bytes,
        )
    };
    let units = text.get(..bytes as usize / 2).filter(|_| status == 0)?;
    let text = String::from_utf16_lossy(units);
    Some(text.trim_end_matches('\0').to_owned())
}

/// The bytes of a GUID in the order of its digits.
fn to_bytes(guid: &str) -> Option<[u8; 16]> {
    let digits: String = guid.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok();
    number.filter(|_| digits.len() == 32).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_is_known_by_its_start() {
        let own = identity().expect("a process knows itself");
        let Liveness::Alive { start_ticks, .. } = process(own.pid) else {
            panic!("this process lives");
        };
        assert_eq!(start_ticks, own.start_ticks);
        assert!(start_ticks > 0);
    }

    // A handle that any process has of a dead process keeps its pid openable.
    #[test]
    fn a_process_that_has_ended_is_dead_although_a_handle_of_it_is_open() {
        let program = std::env::current_exe().expect("the test runs");
        let mut command = std::process::Command::new(program);
        let mut child = command
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn();
        let child = child.as_mut().expect("the test can be started");
        child.wait().expect("it ends");
        let pid = Pid::new(child.id()).expect("a positive number");
        assert_eq!(process(pid), Liveness::Dead);
    }

    // The kernel ignores the lowest two bits of a pid: without a comparison a record with a damaged pid
    // would name a process that lives.
    #[test]
    fn a_pid_that_no_process_can_have_is_dead() {
        let own = identity().expect("a process knows itself").pid.get();
        let odd = Pid::new(own | 1).expect("a positive number");
        assert_eq!(process(odd), Liveness::Dead);
    }

    #[test]
    fn a_guid_is_read_in_the_order_of_its_digits() {
        let bytes = to_bytes("00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(
            bytes,
            Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        );
        assert_eq!(to_bytes(""), None);
        assert_eq!(to_bytes("no guid"), None);
    }
}
