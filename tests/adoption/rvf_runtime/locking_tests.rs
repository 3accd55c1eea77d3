
// What the tests below, those of the replaced file as they are published, take from it.
#[cfg(test)]
use {rvlf::lock_path_for, std::fs, std::path::PathBuf};

#[cfg(test)]
fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64
}

#[cfg(test)]
fn get_hostname() -> String {
    let directory = tempfile::tempdir().unwrap();
    let lock = rvlf::WriterLock::try_acquire(directory.path().join("any")).unwrap();
    lock.record().hostname().to_string()
}

#[cfg(test)]
fn build_lock_content(pid: u32, hostname: &str, timestamp_ns: u64, writer_id: &[u8; 16]) -> Vec<u8> {
    let pid = rvlf::record::Pid::new(pid).unwrap();
    let hostname = rvlf::record::Hostname::new(hostname.as_bytes()).unwrap();
    let writer_id = rvlf::WriterId::from_bytes(*writer_id);
    let record = rvlf::Record::new(pid, &hostname, timestamp_ns, writer_id, None);
    record.encode().to_vec()
}

#[cfg(test)]
fn simple_crc32(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

