#!/usr/bin/env node
/* A reader of RVLF locks in plain JavaScript (Node 18, no dependency), written from format.md and
   protocol.md, with the judge of object-store.md. It reports, and changes nothing.

     rvlf.mjs status DATA [--json]    report the state and the holder of the lock of DATA
     rvlf.mjs dump LOCKFILE           print the fields of a record as JSON
     rvlf.mjs vectors DIRECTORY       check this implementation against the vectors
     rvlf.mjs answer                  for each line {"record_hex"}, {"evidence", "policy"} or
                                      {"object_hex", ...} on standard input: the decoded record,
                                      the verdict, or the verdict on a lock in an object store

   DATA is the path of the data file. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

// ---- The record: format.md --------------------------------------------------------------------

const MAGIC = Buffer.from("FLVR");
const STAMP_TAG = "RVK1";
const STORE_STAMP_TAG = "RVS1";
const PLAIN_TAG = Buffer.from("plain\0\0\0");
const RECORD_LEN = 104;
const READ_LEN = 105; // bytes that a reader reads at most (F11)
const COVERED_LEN = 100; // bytes that the checksum covers
const HOSTNAME = { at: 0x08, end: 0x48, maxLen: 63 };
const STAMP_AT = 44; // offset of either stamp in the hostname field
const PID_MAX = 2 ** 31 - 1;
const LOCK_VERSION = 1;

function reflectedCrc(polynomial) {
  return (bytes) => {
    let crc = 0xffffffff;
    for (const byte of bytes) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? polynomial : 0);
    }
    return ~crc >>> 0;
  };
}

const CHECKSUMS = { "iso-hdlc": reflectedCrc(0xedb88320), "crc-32c": reflectedCrc(0x82f63b78) };

function fnv1a64(bytes) {
  let digest = 0xcbf29ce484222325n;
  for (const byte of bytes) {
    digest = BigInt.asUintN(64, (digest ^ BigInt(byte)) * 0x100000001b3n);
  }
  return digest;
}

/** A JSON number keeps 53 bits in most readers: from 2^53 on a number of 64 bits is text. */
const exact = (number) => (number < 2n ** 53n ? Number(number) : number.toString());

const hex64 = (number) => number.toString(16).padStart(16, "0");

function uuid(bytes) {
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The class of the content, tested in the order of rule F12, and the fields, as in
    vectors/index.json. */
export function decode(content) {
  const data = content.subarray(0, READ_LEN);
  const start = Math.min(data.length, MAGIC.length);
  const hasMagic = data.subarray(0, start).equals(MAGIC.subarray(0, start));
  const isZero = data.every((byte) => byte === 0);
  if ((data.length < RECORD_LEN && hasMagic) || (data.length <= RECORD_LEN && isZero)) {
    return { class: "short" };
  }
  if (!hasMagic) return { class: "foreign" };
  const version = data.readUInt32LE(0x60);
  if (version !== LOCK_VERSION) return { class: "unsupported", lock_version: version };
  const stored = data.readUInt32LE(0x64);
  const covered = data.subarray(0, COVERED_LEN);
  const checksum = Object.keys(CHECKSUMS).find((name) => CHECKSUMS[name](covered) === stored);
  if (checksum === undefined) return { class: "corrupt", why: "checksum" };
  const pid = data.readUInt32LE(0x04);
  if (pid < 1 || pid > PID_MAX) return { class: "corrupt", why: "pid" };
  const field = data.subarray(HOSTNAME.at, HOSTNAME.end);
  const nul = field.indexOf(0);
  const name = field.subarray(0, nul < 0 ? HOSTNAME.maxLen : nul);
  return {
    class: "valid",
    pid,
    hostname_hex: name.toString("hex"),
    timestamp_ns: data.readBigUInt64LE(0x48).toString(),
    writer_id: uuid(data.subarray(0x50, 0x60)),
    checksum,
    stamp: null,
    ...(nul >= 0 && nul < STAMP_AT ? stampOf(field.subarray(STAMP_AT)) : {}),
    trailing_bytes: data.length > RECORD_LEN,
  };
}

function stampOf(bytes) {
  const tag = bytes.toString("latin1", 0, 4);
  const number = bytes.readBigUInt64LE(4);
  if (tag === STAMP_TAG) {
    return { stamp: { inode_key: hex64(number), start_ticks: exact(bytes.readBigUInt64LE(12)) } };
  }
  if (tag === STORE_STAMP_TAG) {
    const [leaseMs, nonce] = [bytes.readUInt32LE(12), bytes.readUInt32LE(16)];
    return { store_stamp: { generation: exact(number), lease_ms: leaseMs, nonce } };
  }
  return {};
}

// ---- The judge: protocol.md, section 5 --------------------------------------------------------

const POLICY = {
  malformed_grace_ms: 2000,
  same_host_age_ms: 30000,
  cross_host_age_ms: 300000,
  never: false,
};

/** Age alone never makes it stale. */
const NEVER = { staleIn: null };
const AT_ONCE = { staleIn: -1 };
/** Stale once the age has passed the threshold (P8: at the threshold a lock is still held). */
const older = (age, threshold) => ({ staleIn: threshold - age });

function firstRow(evidence, policy) {
  const { content, kernel_lock: kernelLock, file_system: fileSystem, host } = evidence;
  const { process, mtime_age_ms: mtimeAge, predates_boot: predatesBoot } = evidence;
  const { same_host_age_ms: sameHost, cross_host_age_ms: crossHost } = policy;
  const plain = evidence.plain ?? false;
  const isTrusted = evidence.timestamp_age_ms >= -crossHost; // P9
  const age = isTrusted ? evidence.timestamp_age_ms : mtimeAge;
  const youngerAge = Math.min(age, mtimeAge); // both ages exceed a threshold when this one does
  if (content === "foreign" || content === "unsupported") return [1, NEVER];
  if (kernelLock === "held-elsewhere") return [2, NEVER];
  if (content !== "valid") {
    const left = policy.malformed_grace_ms - mtimeAge;
    return left > 0 ? [3, { staleIn: left }] : [4, AT_ONCE];
  }
  const ownHold = kernelLock === "free" ? evidence.own_hold : undefined;
  if (ownHold === "given-up") return [14, AT_ONCE];
  if (ownHold === "lost") return [14, NEVER];
  if (evidence.stamp) {
    // Where no kernel could answer, Same counts as Different.
    const isSame = evidence.stamp.inode === "same" && kernelLock === "free";
    const isHolder =
      process.state === "alive" && process.start_ticks === evidence.stamp.start_ticks;
    if (isSame && fileSystem === "local") {
      const isAlive = isHolder && age <= sameHost && !(plain && predatesBoot);
      return isAlive ? [5, older(age, sameHost)] : [6, AT_ONCE];
    }
    const isGone = process.state === "dead" || (process.state === "alive" && !isHolder);
    if (isSame && isGone) return [7, older(age, sameHost)];
    if (host === "same" && predatesBoot && !plain) return [8, older(youngerAge, sameHost)];
    return [9, older(youngerAge, crossHost)];
  }
  const isDead = process.state === "dead";
  if (host === "same") return isDead ? [11, older(age, sameHost)] : [10, NEVER];
  if (host === "alias") return [12, isDead ? older(age, crossHost) : NEVER];
  return [13, older(age, crossHost)];
}

export function judge(evidence, policy = POLICY) {
  const [row, { staleIn }] = firstRow(evidence, policy);
  const isStale = staleIn !== null && staleIn < 0 && !policy.never;
  return {
    state: isStale ? "stale" : "held",
    row,
    stale_in_ms: isStale || policy.never ? null : staleIn,
  };
}

// ---- The judge of a lock in an object store: object-store.md -------------------------------------

const MAX_GENERATION = 2n ** 63n;
const LEASE_MS = { min: 1000, max: 3600000 };
const OLD_BY_BOTH_CLOCKS_MS = 300000;

const isWithinLimits = ({ generation, lease_ms: lease }) =>
  BigInt(generation) <= MAX_GENERATION &&
  (lease === 0 || (lease >= LEASE_MS.min && lease <= LEASE_MS.max));

/** The verdict on the bytes of an object; `null`: there is no object. */
export function judgeStore(bytes, evidence) {
  const verdict = (state, reason, staleIn = null) => ({ state, reason_code: reason, stale_in_ms: staleIn });
  if (bytes === null) return verdict("free", "absent");
  const record = decode(bytes);
  if (record.class === "short" || record.class === "corrupt") return verdict("held", "damaged");
  if (record.class !== "valid") return verdict("held", record.class);
  const stamp = record.store_stamp;
  if (stamp === undefined || !isWithinLimits(stamp)) return verdict("held", "other-stamp");
  if (stamp.lease_ms === 0) return verdict("free", "released");
  if (evidence.own_dead) return verdict("stale", "own-dead");
  const leaseLeft = stamp.lease_ms - evidence.unchanged_ms;
  if (leaseLeft < 0) return verdict("stale", "lease-over");
  const clocks = evidence.both_clocks;
  if (clocks === null) return verdict("held", "within-lease", leaseLeft);
  const limit = Math.max(OLD_BY_BOTH_CLOCKS_MS, 10 * stamp.lease_ms);
  const youngerAge = Math.min(clocks.timestamp_age_ms, clocks.modified_age_ms);
  if (youngerAge > limit) return verdict("stale", "both-clocks");
  return verdict("held", "within-lease", Math.min(leaseLeft, limit - youngerAge));
}

// ---- Evidence: protocol.md, section 4 ---------------------------------------------------------

const LOCAL_TYPES = "ext2 ext3 ext4 tmpfs overlay xfs btrfs f2fs ramfs zfs bcachefs".split(" ");

const attempt = (call, otherwise) => {
  try {
    return call();
  } catch {
    return otherwise;
  }
};
const readText = (file) => attempt(() => fs.readFileSync(file, "latin1"), null);

/** The type of the mount on which `fd` is open, if only this kernel writes to it. */
function localType(fd) {
  const mountId = readText(`/proc/self/fdinfo/${fd}`)?.match(/^mnt_id:\s*(\d+)/m)?.[1];
  const lines = readText("/proc/self/mountinfo")?.split("\n") ?? [];
  const mount = lines.map((line) => line.split(" ")).find(([id]) => id === mountId);
  const type = mount?.[mount.indexOf("-") + 1];
  return LOCAL_TYPES.includes(type) ? type : null;
}

const littleEndian = (number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, number));
  return bytes;
};

function bootKey(bootId, { dev, ino }) {
  const id = Buffer.from(bootId.replaceAll("-", ""), "hex");
  return hex64(fnv1a64(Buffer.concat([id, littleEndian(dev), littleEndian(ino)])));
}

function plainKey({ ino, birthtimeNs }) {
  return hex64(fnv1a64(Buffer.concat([PLAIN_TAG, littleEndian(ino), littleEndian(birthtimeNs)])));
}

function isSameInode(stamp, stat, type) {
  const bootId = readText("/proc/sys/kernel/random/boot_id")?.trim();
  const keys = [];
  if (bootId) keys.push(bootKey(bootId, stat));
  if (type !== null && type !== "overlay") keys.push(plainKey(stat));
  return keys.includes(stamp.inode_key);
}

/** Node has no flock(2). flock(1) locks the open file that it inherits; the close ends that lock.
    Without flock(1) no kernel can answer. */
function askKernel(fd) {
  const options = { stdio: ["ignore", "ignore", "ignore", fd] };
  const { status } = spawnSync("flock", ["--shared", "--nonblock", "3"], options);
  return status === 0 ? "free" : status === 1 ? "held-elsewhere" : "unsupported";
}

function hostRelation(recorded) {
  const cut = (name, length) => Buffer.from(name ?? "", "latin1").subarray(0, length);
  const own = Buffer.from(os.hostname()).toString("latin1");
  if (recorded.equals(cut(own, 63))) return "same";
  const variable = process.env.HOSTNAME;
  const names = [own, readText("/etc/hostname")?.trim(), "unknown", ""];
  if (variable !== undefined) names.push(Buffer.from(variable).toString("latin1"));
  const aliases = names.flatMap((name) => [cut(name, 63), cut(name, 62)]); // deployed ones cut at 62
  return aliases.some((alias) => recorded.equals(alias)) ? "alias" : "other";
}

function isVisible(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH"; // EPERM: the process exists, and belongs to another user
  }
}

/** Whether /proc is that of this pid namespace: in another one /proc/7 is another process. */
function hasOwnProc() {
  const pids = readText("/proc/self/status")?.match(/^NSpid:(.*)$/m)?.[1].trim().split(/\s+/);
  return pids?.length === 1;
}

function processState(pid) {
  if (!isVisible(pid)) return { state: "dead" };
  const line = hasOwnProc() ? readText(`/proc/${pid}/stat`) : null;
  if (line === null) return { state: "unknown" };
  // Fields 3, 20 and 22, counted from the end of the name, which may contain anything.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [state, threads, startTicks] = [fields[0], fields[17], fields[19]];
  if ((state === "Z" || state === "X") && threads === "1") return { state: "dead" };
  return { state: "alive", start_ticks: exact(BigInt(startTicks)) };
}

const NS_PER_MS = 1_000_000n;
const toMs = (ns) => Number(ns / NS_PER_MS);

function gather(fd, stat, record) {
  const now = BigInt(Date.now()) * NS_PER_MS;
  const type = localType(fd);
  const kernelLock = askKernel(fd);
  const isLockedFile = kernelLock === "held-elsewhere"; // then row 2 decides, whatever it contains
  const isOther = record.class === "foreign" || record.class === "unsupported";
  const evidence = {
    content: isLockedFile && isOther ? "corrupt" : record.class,
    kernel_lock: kernelLock,
    file_system: type === null ? "not-local" : "local",
    plain: type !== null && type !== "overlay",
    stamp: null,
    host: "other",
    process: { state: "unknown" },
    timestamp_age_ms: 0,
    mtime_age_ms: Math.max(0, toMs(now - stat.mtimeNs)),
    predates_boot: false,
  };
  if (record.class !== "valid") return evidence;
  const { stamp } = record;
  const age = now - BigInt(record.timestamp_ns);
  const uptime = BigInt(Math.floor(os.uptime() * 1000)) * NS_PER_MS;
  return {
    ...evidence,
    stamp: stamp && {
      inode: isSameInode(stamp, stat, type) ? "same" : "different",
      start_ticks: stamp.start_ticks,
    },
    host: hostRelation(Buffer.from(record.hostname_hex, "hex")),
    process: processState(record.pid),
    timestamp_age_ms: toMs(age),
    predates_boot: age > uptime,
  };
}

// ---- The lock path: format.md, section 1 --------------------------------------------------------

/** `null`: the path names no file. */
export function lockPathFor(dataPath) {
  const named = dataPath.replace(/(?:\/+\.?)+$/, "");
  return ["", ".", ".."].includes(path.basename(named)) ? null : `${named}.lock`;
}

// ---- Status: protocol.md, section 3, and reports.md ---------------------------------------------

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
const EXIT = { free: 0, held: 1, stale: 3, malformed: 4, foreign: 4, unsupported: 4 };
const WRONG_USAGE = 2;
const IO_ERROR = 5;

function readHead(fd) {
  const bytes = Buffer.alloc(READ_LEN);
  return bytes.subarray(0, fs.readSync(fd, bytes, 0, READ_LEN, 0));
}

const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** One look at what the lock path names. `null`: the path named another file afterwards. */
function lookOnce(lockPath) {
  const named = fs.lstatSync(lockPath, { bigint: true, throwIfNoEntry: false });
  if (named === undefined) {
    fs.statSync(path.dirname(lockPath)); // a directory that does not exist is an error, not free
    return { state: "free", row: null, record: null };
  }
  if (!named.isFile()) return { state: "foreign", row: 1, record: null };
  const fd = fs.openSync(lockPath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stat = fs.fstatSync(fd, { bigint: true });
    const record = decode(readHead(fd));
    const evidence = gather(fd, stat, record);
    const after = fs.lstatSync(lockPath, { bigint: true, throwIfNoEntry: false });
    if (after?.dev !== stat.dev || after?.ino !== stat.ino) return null; // P5
    return { ...report(record, judge(evidence)), evidence };
  } finally {
    fs.closeSync(fd);
  }
}

function report(record, { state, row }) {
  const isOther = row === 1;
  return {
    state: isOther ? record.class : row === 4 && state === "stale" ? "malformed" : state,
    row,
    record: record.class === "valid" ? record : null,
    isCorrupt: record.class === "corrupt",
  };
}

/** Looks again where a breaker may hold flock for a moment, or a refresh may have torn the read. */
export function status(lockPath) {
  for (const ms of [1, 2, 4, 8, 16, 32, 0]) {
    const seen = lookOnce(lockPath);
    const isBreaker = seen?.row === 2 && seen.evidence.process.state === "dead";
    if (ms === 0 || (seen !== null && !isBreaker && !seen.isCorrupt)) {
      return seen ?? { state: "held", row: null, record: null };
    }
    pause(ms);
  }
}

function describe(dataPath, lockPath, { state, row, record }) {
  const { class: _, trailing_bytes: trailing = false, ...fields } = record ?? {};
  const hostname = Buffer.from(fields.hostname_hex ?? "", "hex").toString();
  return {
    data_path: dataPath,
    lock_path: lockPath,
    state,
    row,
    trailing_bytes: trailing,
    record: record && { ...fields, hostname },
  };
}

/** Host names come from files that any user may write: control characters are not printed. */
const printable = (text) => text.replace(/\p{C}/gu, "?");

function runStatus(dataPath, ...options) {
  const lockPath = lockPathFor(dataPath);
  if (lockPath === null) throw new Error(`${printable(dataPath)}: the path has no file name`);
  const seen = describe(dataPath, lockPath, status(lockPath));
  if (options.includes("--json")) {
    console.log(JSON.stringify(seen));
  } else {
    const { record } = seen;
    const holder = record && `, written by pid ${record.pid} on ${printable(record.hostname)}`;
    console.log(`${printable(dataPath)}: ${seen.state}${holder ?? ""}`);
  }
  return EXIT[seen.state];
}

function runDump(lockFile) {
  const fd = fs.openSync(lockFile, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  console.log(JSON.stringify(decode(readHead(fd))));
  return 0;
}

// ---- Vectors and answers ------------------------------------------------------------------------

function answer({ record_hex: record, object_hex: object, evidence, policy, ...facts }) {
  if (record !== undefined) return decode(Buffer.from(record, "hex"));
  if (object !== undefined) return judgeStore(object === null ? null : Buffer.from(object, "hex"), facts);
  return judge(evidence, policy);
}

function runAnswer() {
  const lines = fs.readFileSync(0, "utf8").split("\n").filter(Boolean);
  process.stdout.write(lines.map((line) => `${JSON.stringify(answer(JSON.parse(line)))}\n`).join(""));
  return 0;
}

/** The check values that format.md gives. */
const SAMPLE = { dev: 0xfe00n, ino: 1310723n, birthtimeNs: 1699999999123456789n };
const CHECK_VALUES = [
  [CHECKSUMS["iso-hdlc"](Buffer.from("123456789")), 0xcbf43926],
  [CHECKSUMS["crc-32c"](Buffer.from("123456789")), 0xe3069283],
  [fnv1a64(Buffer.from("foobar")), 0x85944171f73967e8n],
  [bootKey("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", SAMPLE), "748ca8adc9bcf6cc"],
  [plainKey(SAMPLE), "6fd6bfd3e4fd5e12"],
];

const sorted = (value) =>
  value === null || typeof value !== "object"
    ? value
    : Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
const isEqual = (a, b) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function runVectors(directory) {
  const parse = (name) => JSON.parse(fs.readFileSync(path.join(directory, name), "utf8"));
  const names = ["lock_paths", "index", "judge", "judge_store"];
  const [paths, index, cases, storeCases] = names.map((name) => parse(`${name}.json`));
  const failures = CHECK_VALUES.filter(([got, want]) => got !== want).map(
    ([got, want]) => `a check value of format.md: got ${got}, expected ${want}`,
  );
  for (const { data_path: dataPath, lock_path: expected } of paths) {
    const got = lockPathFor(dataPath);
    if (got !== expected) failures.push(`${dataPath}: expected ${expected}, got ${got}`);
  }
  for (const { file, ...expected } of index) {
    const got = decode(fs.readFileSync(path.join(directory, file)));
    if (!isEqual(got, expected)) failures.push(`${file}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
  }
  for (const { name, evidence, policy, verdict } of cases) {
    const got = judge(evidence, policy);
    if (!isEqual(got, verdict)) failures.push(`${name}: expected ${JSON.stringify(verdict)}, got ${JSON.stringify(got)}`);
  }
  for (const { name, evidence: { object, ...facts }, verdict } of storeCases) {
    const got = judgeStore(object && fs.readFileSync(path.join(directory, object)), facts);
    if (!isEqual(got, verdict)) failures.push(`${name}: expected ${JSON.stringify(verdict)}, got ${JSON.stringify(got)}`);
  }
  for (const failure of failures) console.log(failure);
  if (failures.length > 0) return 1;
  console.log(
    `${paths.length} lock paths, ${index.length} records and ${cases.length + storeCases.length} judge vectors pass`,
  );
  return 0;
}

// ---- The command ----------------------------------------------------------------------------------

const VERBS = { status: runStatus, dump: runDump, vectors: runVectors, answer: runAnswer };

export function main([verb, ...operands]) {
  const run = Object.hasOwn(VERBS, verb ?? "") ? VERBS[verb] : undefined;
  if (run === undefined || operands.length < (verb === "answer" ? 0 : 1)) {
    console.error("usage: rvlf.mjs status DATA [--json] | dump LOCKFILE | vectors DIRECTORY | answer");
    return WRONG_USAGE;
  }
  try {
    return run(...operands);
  } catch (error) {
    console.error(`rvlf.mjs: ${error.message}`);
    return IO_ERROR;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  process.exitCode = main(process.argv.slice(2));
}
