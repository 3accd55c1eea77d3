// A process of the deployed client, driven by lines: `create`, `open` and `close`, each with a path.
'use strict';

const readline = require('readline');
const { RvfDatabase } = require('@ruvector/rvf-node');

const stores = [];
const requests = {
  create: (path) => stores.push(RvfDatabase.create(path, { dimension: 4 })),
  open: (path) => stores.push(RvfDatabase.open(path)),
  close: () => stores.pop().close(),
};

function answer(line) {
  const space = line.indexOf(' ');
  try {
    requests[line.slice(0, space)](line.slice(space + 1));
    return 'ok';
  } catch (error) {
    return error.message;
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  process.stdout.write(`answer: ${answer(line)}\n`);
});
