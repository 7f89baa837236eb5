// The cluster that the tests speak to: three members, which they may kill and start.

import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Etcd3 } from 'etcd3';

export const hosts = process.env.CONFORMANCE_HOSTS.split(',');

/** A client of all members, closed when the test ends. */
export function clientOf(test, options = {}) {
  const client = new Etcd3({ hosts, ...options });
  test.after(() => client.close());
  return client;
}

/** Sends `kill 2`, `start 2` or `leader`, and gives the answer. */
export async function control(command) {
  const socket = connect(Number(process.env.CONFORMANCE_CONTROL), '127.0.0.1');
  try {
    socket.write(`${command}\n`);
    for await (const line of createInterface({ input: socket })) {
      if (line.startsWith('error')) throw new Error(`${command}: ${line}`);
      return line;
    }
    throw new Error(`${command}: no answer`);
  } finally {
    socket.destroy();
  }
}

/** Waits for an event; fails after `patience` milliseconds. */
export function once(emitter, event, patience = 15_000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} in ${patience} ms`)), patience);
    emitter.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args.length > 1 ? args : args[0]);
    });
  });
}

/** Tries again until it succeeds, as a client does while members come and go. */
export async function eventually(action, patience = 20_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

/** Collects what a watcher sees, as short texts, and waits for a number of them. */
export function collect(watcher) {
  const seen = [];
  const waiting = [];
  const add = (text) => {
    seen.push(text);
    waiting.splice(0).forEach((look) => look());
  };
  watcher.on('put', (kv) => add(`put ${kv.key} ${kv.value}`));
  watcher.on('delete', (kv) => add(`delete ${kv.key}`));
  const until = (count, patience = 20_000) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${seen.length} of ${count} events: ${seen.join(', ')}`)),
        patience,
      );
      const look = () => {
        if (seen.length < count) return void waiting.push(look);
        clearTimeout(timer);
        resolve(seen);
      };
      look();
    });
  return { seen, until };
}

export { sleep };
