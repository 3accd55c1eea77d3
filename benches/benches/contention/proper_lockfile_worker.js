// A contender that uses npm proper-lockfile: a directory whose mtime is refreshed.
// Speaks the protocol of worker.rs. Usage: proper_lockfile_worker.js RESOURCE ID
'use strict';

const fs = require('fs');
const readline = require('readline');
const lockfile = require('proper-lockfile');

const [resource, id] = process.argv.slice(2);
const me = BigInt(id);

// It does not wait by itself: retries as often as filelock polls, every 50 ms.
const options = {
  realpath: false,
  retries: { forever: true, minTimeout: 50, maxTimeout: 50, factor: 1 },
};

function note(shared) {
  const bytes = Buffer.alloc(24);
  fs.readSync(shared, bytes, 0, 24, 0);
  const last = bytes.readBigUInt64LE(0);
  bytes.writeBigUInt64LE(me + 1n, 0);
  bytes.writeBigUInt64LE(bytes.readBigUInt64LE(8) + 1n, 8);
  if (last !== me + 1n) bytes.writeBigUInt64LE(bytes.readBigUInt64LE(16) + 1n, 16);
  fs.writeSync(shared, bytes, 0, 24, 0);
}

async function compete(duration, shared) {
  const cpuBefore = process.cpuUsage();
  const start = process.hrtime.bigint();
  let holds = 0n;
  let longest = 0n;
  while (process.hrtime.bigint() - start < duration) {
    const asked = process.hrtime.bigint();
    const release = await lockfile.lock(resource, options);
    const waited = process.hrtime.bigint() - asked;
    if (waited > longest) longest = waited;
    note(shared);
    await release();
    holds += 1n;
  }
  const cpu = process.cpuUsage(cpuBefore);
  return [holds, longest, (cpu.user + cpu.system) * 1000];
}

async function main() {
  console.log('0');
  let release;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [order, ...rest] = line.split(' ');
    if (order === 'a') {
      release = await lockfile.lock(resource, options);
      console.log(String(process.hrtime.bigint()));
    } else if (order === 'r') {
      const before = process.hrtime.bigint();
      await release();
      console.log(String(before));
    } else if (order === 'c') {
      const shared = fs.openSync(rest[1], 'r+');
      console.log((await compete(BigInt(rest[0]), shared)).join(' '));
    }
  }
}

main();
