//! The calls that std does not have: opens relative to a directory handle, names and their removal by
//! handle, what a handle shows of its file and volume.

#![allow(unsafe_code, reason = "calls of ntdll and kernel32")]

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_REPARSE_POINT,
    FILE_SYNCHRONOUS_IO_NONALERT, FileFsDeviceInformation, FileRenameInformation, NtCreateFile,
    NtQueryVolumeInformationFile, NtSetInformationFile,
};
use windows_sys::Wdk::System::SystemServices::FILE_FS_DEVICE_INFORMATION;
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError, STATUS_ACCESS_DENIED,
    STATUS_DELETE_PENDING, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND, STATUS_SHARING_VIOLATION, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO,
    FILE_DISPOSITION_FLAG_DELETE, FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE,
    FILE_DISPOSITION_FLAG_POSIX_SEMANTICS, FILE_DISPOSITION_INFO, FILE_DISPOSITION_INFO_EX,
    FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS, FILE_READ_ATTRIBUTES, FILE_REMOTE_PROTOCOL_INFO,
    FILE_RENAME_INFO, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FileAttributeTagInfo,
    FileBasicInfo, FileDispositionInfo, FileDispositionInfoEx, FileIdInfo, FileRemoteProtocolInfo,
    GetFileInformationByHandle, GetFileInformationByHandleEx, GetVolumeInformationByHandleW,
    SYNCHRONIZE, SetFileInformationByHandle,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// Why a call on a name was refused. The Win32 form of the calls answers ERROR_ACCESS_DENIED to what
/// is removed and to what is forbidden alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    NameTaken,
    /// Another handle does not share what this one would do.
    Sharing,
    /// The file is removed, and a handle of it is still open.
    DeletePending,
    AccessDenied,
    Other(NTSTATUS),
}

impl Refusal {
    fn of(status: NTSTATUS) -> Refusal {
        match status {
            STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND => Refusal::NotFound,
            STATUS_OBJECT_NAME_COLLISION => Refusal::NameTaken,
            STATUS_SHARING_VIOLATION => Refusal::Sharing,
            STATUS_DELETE_PENDING => Refusal::DeletePending,
            STATUS_ACCESS_DENIED => Refusal::AccessDenied,
            status => Refusal::Other(status),
        }
    }

    pub(super) fn into_error(self) -> io::Error {
        let would_block = |text| io::Error::new(io::ErrorKind::WouldBlock, text);
        match self {
            Refusal::NotFound => io::ErrorKind::NotFound.into(),
            Refusal::NameTaken => io::ErrorKind::AlreadyExists.into(),
            Refusal::AccessDenied => io::ErrorKind::PermissionDenied.into(),
            Refusal::Sharing => {
                would_block("another process has the file open and does not share it")
            }
            Refusal::DeletePending => {
                would_block("the file is removed, but a process still has it open")
            }
            Refusal::Other(status) => {
                // SAFETY: the call maps one number to another.
                let code = unsafe { RtlNtStatusToDosError(status) };
                io::Error::from_raw_os_error(code as i32)
            }
        }
    }
}

/// What an open does to the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Opens what is there.
    Existing,
    /// Makes a new file.
    New,
}

/// Opens the file `name` in the directory `dir`. Follows no reparse point, opens no directory, and
/// the handle is not inherited.
pub(super) fn open(
    dir: &File,
    name: &[u16],
    access: u32,
    share: u32,
    disposition: Disposition,
) -> Result<File, Refusal> {
    let disposition = match disposition {
        Disposition::Existing => FILE_OPEN,
        Disposition::New => FILE_CREATE,
    };
    create_file(
        dir,
        name,
        (access, share),
        disposition,
        FILE_NON_DIRECTORY_FILE,
    )
}

/// Opens the file or directory `name` for its attributes. No other handle refuses that.
pub(super) fn open_any(dir: &File, name: &[u16]) -> Result<File, Refusal> {
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    create_file(dir, name, (FILE_READ_ATTRIBUTES, share), FILE_OPEN, 0)
}

fn create_file(
    dir: &File,
    name: &[u16],
    (access, share): (u32, u32),
    disposition: u32,
    options: u32,
) -> Result<File, Refusal> {
    let Some(name) = counted(name) else {
        return Err(Refusal::NotFound);
    };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: dir.as_raw_handle(),
        ObjectName: ptr::from_ref(&name),
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: ptr::null(),
        SecurityQualityOfService: ptr::null(),
    };
    let mut handle: HANDLE = ptr::null_mut();
    // SAFETY: all zeros is a valid status block, which the call only writes.
    let mut status_block: IO_STATUS_BLOCK = unsafe { zeroed() };
    // SAFETY: the pointers are to values on this stack that outlive the call, and `name` points to
    // units that the caller lends for it; the handle of the directory is open.
    let status = unsafe {
        NtCreateFile(
            &mut handle,
            access | SYNCHRONIZE,
            &attributes,
            &mut status_block,
            ptr::null(),
            FILE_ATTRIBUTE_NORMAL,
            share,
            disposition,
            options | FILE_OPEN_REPARSE_POINT | FILE_SYNCHRONOUS_IO_NONALERT,
            ptr::null(),
            0,
        )
    };
    if status < 0 {
        return Err(Refusal::of(status));
    }
    // SAFETY: the call has just made this handle, and no other code owns it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// `None` for a name that is longer than the kernel's strings.
fn counted(units: &[u16]) -> Option<UNICODE_STRING> {
    let bytes = u16::try_from(size_of_val(units)).ok()?;
    Some(UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        // The calls take a pointer to mutable units and write nothing.
        Buffer: units.as_ptr().cast_mut(),
    })
}

/// Gives the open file the name `name` in the directory `dir`, unless the name is taken.
pub(super) fn rename(file: &File, dir: &File, name: &[u16]) -> Result<(), Refusal> {
    const NAME: usize = offset_of!(FILE_RENAME_INFO, FileName);
    let bytes = size_of_val(name);
    // At least the whole structure, in units that are aligned as it is.
    let words = (NAME + bytes + 2)
        .max(size_of::<FILE_RENAME_INFO>())
        .div_ceil(8);
    let mut buffer = vec![0_u64; words];
    let info = buffer.as_mut_ptr().cast::<FILE_RENAME_INFO>();
    // SAFETY: the buffer is aligned to 8 bytes and as large as the structure and the name; all fields
    // are plain numbers, written through pointers into the buffer. Zeros mean: do not replace.
    unsafe {
        (*info).RootDirectory = dir.as_raw_handle();
        (*info).FileNameLength = bytes as u32;
        let units = info.cast::<u8>().add(NAME).cast::<u16>();
        ptr::copy_nonoverlapping(name.as_ptr(), units, name.len());
    }
    // SAFETY: all zeros is a valid status block, which the call only writes.
    let mut status_block: IO_STATUS_BLOCK = unsafe { zeroed() };
    // SAFETY: the handles are open, and the buffer outlives the call and has the length that is given.
    let status = unsafe {
        NtSetInformationFile(
            file.as_raw_handle(),
            &mut status_block,
            buffer.as_ptr().cast(),
            (words * 8) as u32,
            FileRenameInformation,
        )
    };
    match status {
        ..0 => Err(Refusal::of(status)),
        _ => Ok(()),
    }
}

/// Deletes the open file: at once by POSIX semantics where the system has them (Windows 10 1709 on
/// NTFS), else when the last handle is closed.
pub(super) fn delete(file: &File) -> io::Result<()> {
    let by_posix = FILE_DISPOSITION_INFO_EX {
        Flags: FILE_DISPOSITION_FLAG_DELETE
            | FILE_DISPOSITION_FLAG_POSIX_SEMANTICS
            | FILE_DISPOSITION_FLAG_IGNORE_READONLY_ATTRIBUTE,
    };
    set(file, FileDispositionInfoEx, &by_posix).or_else(|_| {
        let classic = FILE_DISPOSITION_INFO { DeleteFile: true };
        set(file, FileDispositionInfo, &classic)
    })
}

/// Sets the modification time, in units of 100 ns since 1601. What a write sets may be seen only when
/// the handle is closed.
pub(super) fn set_mtime(file: &File, filetime: i64) -> io::Result<()> {
    let basic = FILE_BASIC_INFO {
        LastWriteTime: filetime,
        ..FILE_BASIC_INFO::default()
    };
    set(file, FileBasicInfo, &basic)
}

/// Takes the attribute "read-only" away.
pub(super) fn make_writable(file: &File) -> io::Result<()> {
    let basic = FILE_BASIC_INFO {
        FileAttributes: FILE_ATTRIBUTE_NORMAL,
        ..FILE_BASIC_INFO::default()
    };
    set(file, FileBasicInfo, &basic)
}

fn set<T>(file: &File, class: FILE_INFO_BY_HANDLE_CLASS, info: &T) -> io::Result<()> {
    // SAFETY: the handle is open; `info` is a structure of the class, of the length that is given.
    let done = unsafe {
        SetFileInformationByHandle(
            file.as_raw_handle(),
            class,
            ptr::from_ref(info).cast(),
            size_of::<T>() as u32,
        )
    };
    checked(done)
}

/// # Safety
///
/// `T` is the structure of the class, plain numbers for which all zeros are valid.
unsafe fn query<T>(file: &File, class: FILE_INFO_BY_HANDLE_CLASS) -> io::Result<T> {
    // SAFETY: as the caller promises.
    let mut info: T = unsafe { zeroed() };
    // SAFETY: the handle is open, and the call writes at most the length of `info`.
    let done = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            class,
            ptr::from_mut(&mut info).cast(),
            size_of::<T>() as u32,
        )
    };
    checked(done).map(|()| info)
}

fn checked(done: i32) -> io::Result<()> {
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Attributes, times, the number of links, and a short id.
pub(super) fn information(file: &File) -> io::Result<BY_HANDLE_FILE_INFORMATION> {
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the structure outlives the call.
    let done = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut info) };
    checked(done).map(|()| info)
}

/// The volume's serial number of 64 bits, and the file id of 128.
pub(super) fn id(file: &File) -> io::Result<(u64, [u8; 16])> {
    // SAFETY: the structure belongs to the class, and zeros are valid numbers.
    let info: FILE_ID_INFO = unsafe { query(file, FileIdInfo) }?;
    Ok((info.VolumeSerialNumber, info.FileId.Identifier))
}

/// What kind of reparse point the file is.
pub(super) fn reparse_tag(file: &File) -> io::Result<u32> {
    // SAFETY: the structure belongs to the class, and zeros are valid numbers.
    let info: FILE_ATTRIBUTE_TAG_INFO = unsafe { query(file, FileAttributeTagInfo) }?;
    Ok(info.ReparseTag)
}

/// How a redirector reached the file. Local file systems do not know the question:
/// ERROR_INVALID_PARAMETER.
pub(super) fn remote_protocol(file: &File) -> io::Result<()> {
    // SAFETY: the structure belongs to the class, and zeros are valid numbers.
    let info: io::Result<FILE_REMOTE_PROTOCOL_INFO> =
        unsafe { query(file, FileRemoteProtocolInfo) };
    info.map(drop)
}

/// The characteristics of the device of the file's volume.
pub(super) fn device_characteristics(file: &File) -> io::Result<u32> {
    let mut info = FILE_FS_DEVICE_INFORMATION::default();
    // SAFETY: all zeros is a valid status block, which the call only writes.
    let mut status_block: IO_STATUS_BLOCK = unsafe { zeroed() };
    // SAFETY: the handle is open, and the call writes at most the length of `info`.
    let status = unsafe {
        NtQueryVolumeInformationFile(
            file.as_raw_handle(),
            &mut status_block,
            ptr::from_mut(&mut info).cast(),
            size_of::<FILE_FS_DEVICE_INFORMATION>() as u32,
            FileFsDeviceInformation,
        )
    };
    match status {
        ..0 => Err(Refusal::of(status).into_error()),
        _ => Ok(info.Characteristics),
    }
}

/// The name of the file system.
pub(super) fn file_system_name(file: &File) -> io::Result<String> {
    let mut name = [0_u16; 64];
    // SAFETY: the handle is open; the call writes at most as many units as the buffer has, and nothing
    // through null pointers.
    let done = unsafe {
        GetVolumeInformationByHandleW(
            file.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            name.as_mut_ptr(),
            name.len() as u32,
        )
    };
    checked(done)?;
    let units = name.iter().copied().take_while(|unit| *unit != 0);
    Ok(char::decode_utf16(units)
        .map(|c| c.unwrap_or('?'))
        .collect())
}
