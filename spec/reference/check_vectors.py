"""Checks an implementation (decode, encode, both judges, and the hash functions) against spec/vectors."""
import json
import uuid
import zlib
from types import SimpleNamespace

SAMPLE = SimpleNamespace(st_dev=0xFE00, st_ino=1310723)
SAMPLE_BIRTH_NS = 1699999999123456789
SAMPLE_BOOT_ID = uuid.UUID("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
JUDGE_ROWS = set(range(1, 15))
STORE_REASONS = {"absent", "released", "within-lease", "lease-over", "own-dead", "both-clocks", "foreign",
                 "unsupported", "other-stamp", "damaged"}


def run(directory, implementation):
    """Print every mismatch, and return an exit status."""
    index = json.loads((directory / "index.json").read_bytes())
    cases = json.loads((directory / "judge.json").read_bytes())
    store_cases = json.loads((directory / "judge_store.json").read_bytes())
    paths = json.loads((directory / "lock_paths.json").read_bytes())
    failures = [*check_values(implementation), *check_paths(paths, implementation),
                *check_coverage(directory, index, cases, store_cases),
                *check_records(directory, index, implementation),
                *check_judge(cases, implementation),
                *check_judge_store(directory, store_cases, implementation)]
    judged = len(cases) + len(store_cases)
    print("\n".join(failures) or f"{len(paths)} lock paths, {len(index)} records and {judged} judge vectors pass")
    return 1 if failures else 0


def check_values(implementation):
    """The check values that format.md gives."""
    expected = {
        "CRC-32/ISO-HDLC": (zlib.crc32(b"123456789"), 0xCBF43926),
        "CRC-32C": (implementation.crc32c(b"123456789"), 0xE3069283),
        "FNV-1a-64": (implementation.fnv1a_64(b"foobar"), 0x85944171F73967E8),
        "inode_key": (implementation.inode_key(SAMPLE, SAMPLE_BOOT_ID), "748ca8adc9bcf6cc"),
        "plain inode_key": (implementation.plain_key(SAMPLE, SAMPLE_BIRTH_NS), "6fd6bfd3e4fd5e12"),
    }
    return [f"{name}: got {got}, expected {want}"
            for name, (got, want) in expected.items() if got != want]


def check_paths(paths, implementation):
    for path in paths:
        got = implementation.lock_path_for(path["data_path"])
        if got != path["lock_path"]:
            yield f"lock_paths.json: got {got}, expected {path}"


def check_coverage(directory, index, cases, store_cases):
    """Files that index.json does not list, and rows and reasons without a vector, would go unnoticed."""
    listed = {entry["file"] for entry in index}
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*.bin")}
    covered = {case["row"] for case in cases}
    reasons = {case["verdict"]["reason_code"] for case in store_cases}
    return ([f"{name}: not in both index.json and {directory}" for name in sorted(listed ^ found)]
            + [f"judge.json: no vector for row {row}" for row in sorted(JUDGE_ROWS - covered)]
            + [f"judge_store.json: no vector for {code}" for code in sorted(STORE_REASONS - reasons)])


def check_records(directory, index, implementation):
    for expected in index:
        path = directory / expected["file"]
        data = path.read_bytes() if path.exists() else b""
        got = {"file": expected["file"], **implementation.decode(data)}
        if got != expected:
            yield f"{expected['file']}: expected {expected}, got {got}"
        elif is_canonical(got, data) and implementation.encode(got) != data[:104]:
            yield f"{expected['file']}: does not encode to the same bytes"


def is_canonical(record, data):
    """Valid, with the checksum that writers write, and without bytes that no field explains."""
    if record["class"] != "valid" or record["checksum"] != "iso-hdlc":
        return False
    stamped = record["stamp"] or record.get("store_stamp")
    name_end, field_end = 8 + len(record["hostname_hex"]) // 2, 0x34 if stamped else 0x48
    return not any(data[name_end:field_end])


def check_judge(cases, implementation):
    for case in cases:
        got = implementation.judge(case["evidence"], case["policy"])
        if got != case["verdict"] or got["row"] != case["row"]:
            yield f"judge.json, {case['name']}: expected {case['verdict']}, got {got}"


def check_judge_store(directory, cases, implementation):
    for case in cases:
        evidence = dict(case["evidence"])
        name = evidence.pop("object")
        data = None if name is None else (directory / name).read_bytes()
        got = implementation.judge_store(data, **evidence)
        if got != case["verdict"]:
            yield f"judge_store.json, {case['name']}: expected {case['verdict']}, got {got}"
