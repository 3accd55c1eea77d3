#!/usr/bin/env python3
"""The RVLF lock in plain Python (3.9, standard library), written from format.md and protocol.md, and
the judge of object-store.md.

  rvlf.py status DATA [--json]       report the state and the holder of the lock of DATA
  rvlf.py dump LOCKFILE              print the bytes, field by field
  rvlf.py run DATA -- COMMAND...     run COMMAND while holding the lock
  rvlf.py hold DATA SECONDS          hold the lock; print the times of acquisition and release
  rvlf.py vectors DIRECTORY          check this implementation against the vectors
  rvlf.py answer                     for each line {"record_hex"}, {"evidence", "policy"} or
                                     {"object_hex", ...} on standard input: the decoded record,
                                     the verdict, or the verdict on a lock in an object store

DATA is the path of the data file. Not implemented: exclusive create, waiting, removal of leftovers,
directory descriptors, and acquiring on a file system that is not Local.
"""
import ctypes, errno, fcntl, json, os, re, stat, struct, subprocess, sys, time, uuid, zlib
from contextlib import suppress
from pathlib import Path
# ---- The record: format.md -------------------------------------------------------------------
MAGIC, LOCK_VERSION, PID_MAX = b"FLVR", 1, 2**31 - 1
STAMP_TAG, STORE_STAMP_TAG = b"RVK1", b"RVS1"
PLAIN_TAG = b"plain\0\0\0"
FIELDS = {"magic": 0x00, "pid": 0x04, "hostname": 0x08, "timestamp_ns": 0x48, "writer_id": 0x50,
          "lock_version": 0x60, "checksum": 0x64, "end": 0x68}
RECORD = struct.Struct("<4sI64sQ16sII")  # the fields in this order
STAMP = struct.Struct("<4sQQ")           # tag, inode_key, start_ticks
STORE_STAMP = struct.Struct("<4sQII")    # tag, generation, lease_ms, nonce
STAMP_AT = 44      # offset of either stamp in the hostname field
COVERED_LEN = 100  # bytes that the checksum covers
READ_LEN = 105     # bytes that a reader reads at most

def crc32c(data):
    crc = 0xFFFFFFFF
    for bit in range(len(data) * 8):
        crc ^= data[bit // 8] >> bit % 8 & 1
        crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF

def fnv1a_64(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest
CHECKSUMS = {"iso-hdlc": zlib.crc32, "crc-32c": crc32c}

def exact(number):
    """Many JSON readers would round a larger number."""
    return number if number < 2**53 else str(number)

def decode(data):
    """The class, tested in the order of rule F12, and the fields, as in vectors/index.json."""
    data = data[:READ_LEN]
    is_prefix = len(data) < RECORD.size and data[:4] == MAGIC[:len(data)]
    if is_prefix or (len(data) <= RECORD.size and not any(data)):
        return {"class": "short"}
    if data[:4] != MAGIC:
        return {"class": "foreign"}
    _, pid, field, timestamp_ns, writer_id, version, stored = RECORD.unpack_from(data)
    if version != LOCK_VERSION:
        return {"class": "unsupported", "lock_version": version}
    body = data[:COVERED_LEN]
    matching = [name for name, checksum in CHECKSUMS.items() if checksum(body) == stored]
    if not matching:
        return {"class": "corrupt", "why": "checksum"}
    if not 1 <= pid <= PID_MAX:
        return {"class": "corrupt", "why": "pid"}
    hostname = field.partition(b"\0")[0]
    has_room = len(hostname) < STAMP_AT
    return {"class": "valid", "pid": pid, "hostname_hex": hostname[:63].hex(),
            "timestamp_ns": str(timestamp_ns), "writer_id": str(uuid.UUID(bytes=writer_id)),
            "checksum": matching[0], "trailing_bytes": len(data) > RECORD.size,
            "stamp": None, **(stamp_of(field) if has_room else {})}

def stamp_of(field):
    tag, key, start_ticks = STAMP.unpack_from(field, STAMP_AT)
    if tag == STAMP_TAG:
        return {"stamp": {"inode_key": f"{key:016x}", "start_ticks": exact(start_ticks)}}
    tag, generation, lease_ms, nonce = STORE_STAMP.unpack_from(field, STAMP_AT)
    if tag == STORE_STAMP_TAG:
        generation = exact(generation)
        return {"store_stamp": {"generation": generation, "lease_ms": lease_ms, "nonce": nonce}}
    return {}

def encode(record):
    field, stamp = bytes.fromhex(record["hostname_hex"]).ljust(64, b"\0"), record["stamp"]
    store_stamp = record.get("store_stamp")
    if stamp:
        key = int(stamp["inode_key"], 16)
        field = field[:STAMP_AT] + STAMP.pack(STAMP_TAG, key, int(stamp["start_ticks"]))
    if store_stamp:
        generation, lease_ms, nonce = (int(number) for number in store_stamp.values())
        field = field[:STAMP_AT] + STORE_STAMP.pack(STORE_STAMP_TAG, generation, lease_ms, nonce)
    fields = (MAGIC, record["pid"], field, int(record["timestamp_ns"]),
              uuid.UUID(record["writer_id"]).bytes, LOCK_VERSION)
    return RECORD.pack(*fields, zlib.crc32(RECORD.pack(*fields, 0)[:COVERED_LEN]))

# ---- The judge: protocol.md, section 5 -------------------------------------------------------
POLICY = {"malformed_grace_ms": 2000, "same_host_age_ms": 30000, "cross_host_age_ms": 300000,
          "never": False}
AT_ONCE, NOT_BY_AGE = -1, None
def first_row(e, policy):
    """The first matching row, and the time until age alone makes it stale (negative: stale now)."""
    same_host, cross_host = policy["same_host_age_ms"], policy["cross_host_age_ms"]
    mtime_age, trusted = e["mtime_age_ms"], e["timestamp_age_ms"] >= -cross_host
    age = e["timestamp_age_ms"] if trusted else mtime_age  # negative: the timestamp lies ahead
    younger_age = min(age, mtime_age)  # both ages exceed a threshold when the younger one does
    stamp, process, kernel_was_asked = e["stamp"], e["process"], e["kernel_lock"] == "free"
    dead, unknown = process["state"] == "dead", process["state"] == "unknown"
    same_process = stamp and process.get("start_ticks") == stamp["start_ticks"]
    if e["content"] in ("foreign", "unsupported"):
        return 1, NOT_BY_AGE
    if e["kernel_lock"] == "held-elsewhere":
        return 2, NOT_BY_AGE
    if e["content"] in ("short", "corrupt"):
        left = policy["malformed_grace_ms"] - mtime_age
        return (3, left) if left > 0 else (4, AT_ONCE)
    if kernel_was_asked and e.get("own_hold", "none") != "none":  # never gathered: one hold a run
        return 14, AT_ONCE if e["own_hold"] == "given-up" else NOT_BY_AGE
    same_inode = stamp and kernel_was_asked and stamp["inode"] == "same"
    plain = e.get("plain", False)
    same_process = same_process and not (plain and e["predates_boot"])  # the ticks are of a boot
    if same_inode and e["file_system"] == "local":
        return (5, same_host - age) if same_process and age <= same_host else (6, AT_ONCE)
    if same_inode and not (same_process or unknown):
        return 7, same_host - age
    if stamp and e["host"] == "same" and e["predates_boot"] and not plain:
        return 8, same_host - younger_age
    if stamp:
        return 9, cross_host - younger_age
    if e["host"] == "same":
        return (11, same_host - age) if dead else (10, NOT_BY_AGE)
    if e["host"] == "alias":
        return 12, cross_host - age if dead else NOT_BY_AGE
    return 13, cross_host - age

def judge(evidence, policy=POLICY):
    row, left = first_row(evidence, policy)
    stale = left is not None and left < 0 and not policy["never"]
    return {"state": "stale" if stale else "held", "row": row,
            "stale_in_ms": None if stale or policy["never"] else left}

# ---- The judge of a lock in an object store: object-store.md ---------------------------------
MAX_GENERATION, LEASES_MS, OLD_BY_BOTH_CLOCKS_MS = 2**63, range(1000, 3600001), 300000
def judge_store(data, unchanged_ms, own_dead, both_clocks):
    """The verdict on the bytes of an object; None: there is no object."""
    def verdict(state, reason, stale_in_ms=None):
        return {"state": state, "reason_code": reason, "stale_in_ms": stale_in_ms}
    if data is None:
        return verdict("free", "absent")
    record = decode(data)
    if record["class"] != "valid":
        damaged = record["class"] in ("short", "corrupt")
        return verdict("held", "damaged" if damaged else record["class"])
    stamp = record.get("store_stamp", {"generation": MAX_GENERATION + 1, "lease_ms": 0})
    lease_ms = stamp["lease_ms"]
    if int(stamp["generation"]) > MAX_GENERATION or (lease_ms and lease_ms not in LEASES_MS):
        return verdict("held", "other-stamp")
    if lease_ms == 0:
        return verdict("free", "released")
    if own_dead:
        return verdict("stale", "own-dead")
    lefts = [lease_ms - unchanged_ms]
    if both_clocks:  # both ages exceed the limit when the younger one does
        limit = max(OLD_BY_BOTH_CLOCKS_MS, 10 * lease_ms)
        lefts.append(limit - min(both_clocks["timestamp_age_ms"], both_clocks["modified_age_ms"]))
    for left, reason in zip(lefts, ("lease-over", "both-clocks")):
        if left < 0:
            return verdict("stale", reason)
    return verdict("held", "within-lease", min(lefts))

# ---- Evidence: protocol.md, section 4 --------------------------------------------------------
def read(path, length=-1):
    with open(path, "rb", buffering=0) as file:  # unbuffered: it reads no further (F11)
        return file.read(length)

OWN_HOSTNAME = os.fsencode(os.uname().nodename)
LOCAL_TYPES = b"ext2 ext3 ext4 tmpfs overlay xfs btrfs f2fs ramfs zfs bcachefs".split()
BOOT_ID = uuid.UUID(read("/proc/sys/kernel/random/boot_id").decode().strip())

def local_type(fd):
    """The type of the mount of fd if only this kernel writes to it, else None."""
    mount_id = read(f"/proc/self/fdinfo/{fd}").partition(b"mnt_id:")[2].split()[0]
    mounts = [line.split() for line in read("/proc/self/mountinfo").splitlines()]
    types = {mount[0]: mount[mount.index(b"-") + 1] for mount in mounts}
    return types[mount_id] if types.get(mount_id) in LOCAL_TYPES else None

def is_plain(fd):
    return local_type(fd) not in (None, b"overlay")

def inode_key(file, boot_id=BOOT_ID):
    return f"{fnv1a_64(boot_id.bytes + struct.pack('<QQ', file.st_dev, file.st_ino)):016x}"

def plain_key(file, birth_ns):
    numbers = struct.pack("<QQ", file.st_ino, birth_ns)
    return f"{fnv1a_64(PLAIN_TAG + numbers):016x}"

def birth_ns(fd):
    """stx_btime of statx(2), which Python does not have. 0: the file system has none."""
    at_empty_path, btime, result = 0x1000, 0x800, ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statx(fd, b"", at_empty_path, btime, result) != 0:
        return 0
    mask, = struct.unpack_from("=I", result, 0)
    seconds, nanos = struct.unpack_from("=qI", result, 80)
    return seconds * 10**9 + nanos if mask & btime else 0

def own_keys(fd):
    """The keys of the file that fd has open, the one that a writer writes first."""
    plain = [plain_key(os.fstat(fd), birth_ns(fd))] if is_plain(fd) else []
    return plain + [inode_key(os.fstat(fd))]

def host_relation(recorded):
    configured = read("/etc/hostname").strip() if os.access("/etc/hostname", os.R_OK) else b""
    names = OWN_HOSTNAME, configured, os.environb.get(b"HOSTNAME", configured), b"unknown", b""
    cuts = [name[:length] for name in names for length in (63, 62)]  # deployed clients cut at 62
    return "same" if recorded == OWN_HOSTNAME[:63] else "alias" if recorded in cuts else "other"

def process_fields(pid):
    """State, threads, start ticks: fields 3, 20, 22, counted from the end of the name."""
    fields = read(f"/proc/{pid}/task/{pid}/stat").rpartition(b")")[2].split()
    return fields[0], int(fields[17]), int(fields[19])

def has_own_proc():
    """Whether /proc is that of this pid namespace: in another one /proc/7 is another process."""
    own_pids = read("/proc/self/status").partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
    return len(own_pids) == 1

def process_evidence(pid):
    try:
        with suppress(PermissionError):  # the process exists, and belongs to another user
            os.kill(pid, 0)
        if not has_own_proc():
            return {"state": "unknown"}
        state, threads, start_ticks = process_fields(pid)
    except ProcessLookupError:
        return {"state": "dead"}
    except OSError:
        return {"state": "unknown"}
    if state in (b"Z", b"X") and threads == 1:  # with more threads only the main one has ended
        return {"state": "dead"}
    return {"state": "alive", "start_ticks": exact(start_ticks)}

def flock(fd, how):
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return "free"
    except OSError as error:  # ENOLCK, EOPNOTSUPP and the like: no kernel can answer
        return "held-elsewhere" if isinstance(error, BlockingIOError) else "unsupported"

def gather(fd, record, kernel_lock):
    now, file, content = time.time_ns(), os.fstat(fd), record["class"]
    if kernel_lock == "held-elsewhere" and content in ("foreign", "unsupported"):
        content = "corrupt"  # a live process has locked it: row 2 decides
    evidence = {"content": content, "kernel_lock": kernel_lock,
                "file_system": "local" if local_type(fd) else "not-local",
                "plain": is_plain(fd), "stamp": None,
                "host": "other", "process": {"state": "unknown"}, "timestamp_age_ms": 0,
                "mtime_age_ms": max(0, now - file.st_mtime_ns) // 10**6, "predates_boot": False}
    if record["class"] == "valid":
        timestamp, stamp = int(record["timestamp_ns"]), record["stamp"]
        evidence.update(host=host_relation(bytes.fromhex(record["hostname_hex"])),
                        process=process_evidence(record["pid"]),
                        timestamp_age_ms=(now - timestamp) // 10**6,
                        predates_boot=now - timestamp > time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        if stamp:
            inode = "same" if stamp["inode_key"] in own_keys(fd) else "different"
            evidence["stamp"] = {"inode": inode, "start_ticks": stamp["start_ticks"]}
    return evidence

# ---- The lock path: format.md, section 1 ------------------------------------------------------
def lock_path_for(data_path):
    """None: the path names no file."""
    named = re.sub(r"(?:/+\.?)+$", "", data_path)
    return None if os.path.basename(named) in ("", ".", "..") else named + ".lock"

# ---- The lock: protocol.md, sections 3 and 6 to 8 --------------------------------------------
OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
SETTLE, REFRESH, ROUNDS = 0.010, 10.0, 16  # seconds, and attempts
HELD, NOT_OURS, IO_ERROR = 1, 4, 5         # exit statuses

class Refused(Exception):
    """Its arguments are a sentence and an exit status: one of the three above, or another one."""

def temporary_path(lock_path):
    return os.path.join(os.path.dirname(lock_path), ".rvlf-" + os.urandom(8).hex())

def names(path, fd):
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    return False

class Examination:
    """Kernel lock, content, evidence and verdict of one open lock file, at one moment."""
    def __init__(self, path, fd, how):
        self.path, self.fd, self.kernel_lock = path, fd, flock(fd, how)
        if how == fcntl.LOCK_SH and self.kernel_lock == "free":
            fcntl.flock(fd, fcntl.LOCK_UN)  # the answer is all that an examiner needs
        self.data = os.pread(fd, READ_LEN, 0)
        self.record = decode(self.data)
        self.evidence = gather(fd, self.record, self.kernel_lock)
        self.verdict = judge(self.evidence)
        self.row, self.stale = self.verdict["row"], self.verdict["state"] == "stale"

    def close(self):
        if self.kernel_lock == "free":
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # else a child forked meanwhile would keep the lock
        os.close(self.fd)

def examine_once(path):
    """Open, lock and read the file that the path names before and after. None: there is no file."""
    while True:
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise Refused(f"{path} is not a regular file; find out which program made it",
                              NOT_OURS)
            fd = os.open(path, os.O_RDONLY | OPEN)
        except FileNotFoundError:
            os.stat(os.path.dirname(path))  # a directory that does not exist is an error, not free
            return None
        seen = Examination(path, fd, fcntl.LOCK_SH)
        if names(path, fd):
            return seen
        seen.close()

def examine(path):
    """Examine again if a breaker may hold flock for a moment, or a refresh may tear the read."""
    for pause_ms in (1, 2, 4, 8, 16, 32, 0):
        seen = examine_once(path)
        dead_but_held = seen and seen.row == 2 and seen.evidence["process"]["state"] == "dead"
        if not (pause_ms and seen and (dead_but_held or seen.record["class"] == "corrupt")):
            return seen
        seen.close()
        time.sleep(pause_ms / 1000)

def break_stale(seen):
    """Judge again under the exclusive kernel lock, rename the file, verify that one, remove it."""
    again = Examination(seen.path, seen.fd, fcntl.LOCK_EX)
    if not again.stale or again.data != seen.data or not names(seen.path, seen.fd):
        return False
    renamed = temporary_path(seen.path)
    os.rename(seen.path, renamed)
    if not names(renamed, seen.fd):
        put_back(renamed, seen.path)
        return False
    os.unlink(renamed)
    return True

def put_back(renamed, path):
    """Give a file that was renamed by mistake its name again, without replacing another file."""
    try:
        os.link(renamed, path)
    except FileExistsError:  # a third writer has published: the holder of the renamed file has lost
        if decode(read(renamed, READ_LEN))["class"] in ("foreign", "unsupported"):
            why = f"{renamed} was {path}, and is no RVLF lock: find out which program made it"
            raise Refused(why, NOT_OURS)
    os.unlink(renamed)

class Lock:
    """A held lock: flock lasts as long as the descriptor, and LOCK_UN is never called."""
    def __init__(self, path, fd):
        may_stamp = flock(fd, fcntl.LOCK_EX) == "free"
        hostname = OWN_HOSTNAME[:STAMP_AT - 1 if may_stamp else 63]
        stamp = {"inode_key": own_keys(fd)[0], "start_ticks": process_fields(os.readlink("/proc/self"))[2]}
        self.path, self.fd = path, fd
        self.record = {"pid": os.getpid(), "hostname_hex": hostname.hex(),
                       "timestamp_ns": str(time.time_ns()), "writer_id": str(uuid.uuid4()),
                       "stamp": stamp if may_stamp else None}

    def is_ours(self):
        if not names(self.path, self.fd):
            time.sleep(SETTLE)  # a breaker may be putting our file back
        return names(self.path, self.fd)

    def refresh(self):
        """Write the time through the descriptor, never to a successor's file. False: lost."""
        ours = self.is_ours()
        if ours:
            self.record["timestamp_ns"] = str(time.time_ns())
            os.pwrite(self.fd, encode(self.record), 0)  # all: others may have overwritten it
        return ours

    def release(self):
        """Unlink, then close. False: lost, and the file at the path is another holder's."""
        ours = self.is_ours()
        if ours:
            os.unlink(self.path)
        os.close(self.fd)
        return ours

def publish(path, directory):
    """The whole record appears at once, or not at all. None: another process was first."""
    private = temporary_path(path)
    fd = os.open(private, os.O_CREAT | os.O_EXCL | os.O_RDWR | OPEN, 0o666)
    try:
        lock = Lock(path, fd)
        if os.write(fd, encode(lock.record)) < RECORD.size:
            raise OSError(errno.ENOSPC, "the record was cut short", path)
        os.fsync(fd)
        os.link(private, path)
        os.fsync(directory)
        return lock
    except FileExistsError:
        os.close(fd)
        return None
    finally:
        os.unlink(private)

def absolute_lock_path(data_path):
    lock_path = lock_path_for(data_path)
    if lock_path is None:
        raise OSError(errno.EINVAL, "the path has no file name", data_path)
    return os.path.join(os.getcwd(), lock_path)

def acquire(data_path):
    path, settle = absolute_lock_path(data_path), 0
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    if not local_type(directory):
        raise OSError(errno.EOPNOTSUPP, "not a Local file system: other kernels may write here; "
                      "use rvlf", path)
    for _ in range(ROUNDS):
        seen = examine(path)
        if seen is None:
            lock = publish(path, directory)
            time.sleep(settle)  # a deployed client may be about to unlink the new file
            if lock and lock.is_ours():
                return lock
            continue
        settle = SETTLE if seen.stale and break_stale(seen) else settle
        seen.close()
        if seen.row == 3:
            time.sleep(seen.verdict["stale_in_ms"] / 1000)
        elif not seen.stale:
            why = SENTENCE.format(**status_of(data_path))
            raise Refused(why, NOT_OURS if seen.row == 1 else HELD)
    raise Refused(f"{path} changed hands {ROUNDS} times in a row; try again", HELD)

# ---- The command -----------------------------------------------------------------------------
SENTENCE = "{lock_path}: {state} (row {row} of the judge table), record: {record}"
STATUS_EXIT = {"free": 0, "held": 1, "stale": 3, "malformed": 4, "foreign": 4, "unsupported": 4}

def status_of(data_path):
    status = {"data_path": data_path, "lock_path": lock_path_for(data_path), "state": "free",
              "row": None, "trailing_bytes": None, "record": None}
    try:
        seen = examine(absolute_lock_path(data_path))
    except PermissionError:
        return {**status, "state": "held"}  # unreadable: doubt counts as held
    except Refused:
        return {**status, "state": "foreign", "row": 1}
    if seen:
        seen.close()
        state = {1: seen.record["class"], 4: "malformed"}.get(seen.row, seen.verdict["state"])
        status.update(state=state, row=seen.row)
        if seen.record.pop("class") == "valid":
            hostname = bytes.fromhex(seen.record["hostname_hex"]).decode("utf-8", "replace")
            status["trailing_bytes"] = seen.record.pop("trailing_bytes")
            status["record"] = {"hostname": hostname, **seen.record}
    return status

def run_status(*arguments):
    data_path, = (argument for argument in arguments if argument != "--json")
    status = status_of(data_path)
    print(json.dumps(status) if "--json" in arguments else SENTENCE.format(**status))
    return STATUS_EXIT[status["state"]]

def run_dump(lock_file):
    data, fields = read(lock_file, READ_LEN), list(FIELDS)
    for name, end in zip(fields, fields[1:]):
        print(f"0x{FIELDS[name]:02x}  {name:<12}  {data[FIELDS[name]:FIELDS[end]].hex()}")
    print(json.dumps(decode(data)))
    return 0 if decode(data)["class"] == "valid" else 4

def run_hold(data_path, seconds):
    lock, end = acquire(data_path), time.monotonic() + float(seconds)
    print("held", lock.record["writer_id"], time.monotonic_ns(), flush=True)
    while (left := end - time.monotonic()) > 0 and lock.refresh():
        time.sleep(min(left, REFRESH))
    print("released", lock.record["writer_id"], time.monotonic_ns(), flush=True)
    return 0 if lock.release() else IO_ERROR

def run_run(data_path, dashes, program, *arguments):
    lock = acquire(data_path)
    env = {**os.environ, "RVLF_LOCK_PATH": lock.path, "RVLF_WRITER_ID": lock.record["writer_id"]}
    try:  # the command inherits flock: if this process is killed, the lock lasts until COMMAND ends
        child = subprocess.Popen([program, *arguments], env=env, pass_fds=[lock.fd])
    except OSError as error:
        lock.release()
        raise Refused(error, 127 if error.errno == errno.ENOENT else 126)
    while child.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            child.wait(REFRESH)
        if not lock.refresh():
            child.terminate()
    lock.release()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode

def run_vectors(directory):
    import check_vectors
    return check_vectors.run(Path(directory), sys.modules[__name__])

def answer(question):
    if "record_hex" in question:
        return decode(bytes.fromhex(question["record_hex"]))
    if "object_hex" in question:
        data = question.pop("object_hex")
        return judge_store(None if data is None else bytes.fromhex(data), **question)
    return judge(**question)

def run_answer():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))
    return 0

def main(verb="", *arguments):
    verbs = {"status": run_status, "dump": run_dump, "run": run_run, "hold": run_hold,
             "vectors": run_vectors, "answer": run_answer}
    if verb not in verbs:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return verbs[verb](*arguments)
    except (KeyError, TypeError, ValueError) as error:
        message, exit_status = f"these arguments, or this input, do not fit: {error}\n{__doc__}", 2
    except Refused as refused:
        message, exit_status = refused.args
    except OSError as error:
        message, exit_status = error, IO_ERROR
    print(f"rvlf.py: {message}", file=sys.stderr)
    in_run = {HELD: 75, NOT_OURS: 125, IO_ERROR: 125}
    return in_run.get(exit_status, exit_status) if verb == "run" else exit_status

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
