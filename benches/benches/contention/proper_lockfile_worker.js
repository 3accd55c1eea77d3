// A contender that uses npm proper-lockfile: a directory whose mtime is refreshed.
// Speaks the protocol of contender.rs. Usage: proper_lockfile_worker.js DATA ID
'use strict';

const fs = require('fs');
const readline = require('readline');
const lockfile = require('proper-lockfile');

const [dataPath, idText] = process.argv.slice(2);
const id = BigInt(idText);

// It does not wait by itself: retries as often as filelock polls, every 50 ms.
const options = {
  realpath: false,
  retries: { forever: true, minTimeout: 50, maxTimeout: 50, factor: 1 },
};

function addToTally(tally) {
  const bytes = Buffer.alloc(24);
  fs.readSync(tally, bytes, 0, 24, 0);
  const last = bytes.readBigUInt64LE(0);
  bytes.writeBigUInt64LE(id + 1n, 0);
  bytes.writeBigUInt64LE(bytes.readBigUInt64LE(8) + 1n, 8);
  if (last !== id + 1n) bytes.writeBigUInt64LE(bytes.readBigUInt64LE(16) + 1n, 16);
  fs.writeSync(tally, bytes, 0, 24, 0);
}

async function compete(duration, tally) {
  const cpuBefore = process.cpuUsage();
  const start = process.hrtime.bigint();
  let holds = 0n;
  let longest = 0n;
  while (process.hrtime.bigint() - start < duration) {
    const started = process.hrtime.bigint();
    const release = await lockfile.lock(dataPath, options);
    const waited = process.hrtime.bigint() - started;
    if (waited > longest) longest = waited;
    addToTally(tally);
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
    const [request, ...rest] = line.split(' ');
    if (request === 'a') {
      release = await lockfile.lock(dataPath, options);
      console.log(String(process.hrtime.bigint()));
    } else if (request === 'r') {
      const before = process.hrtime.bigint();
      await release();
      console.log(String(before));
    } else if (request === 'c') {
      const tally = fs.openSync(rest[1], 'r+');
      console.log((await compete(BigInt(rest[0]), tally)).join(' '));
    }
  }
}

main();
