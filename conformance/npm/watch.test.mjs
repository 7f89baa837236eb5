// Watches: what they see, how they begin and end.

import assert from 'node:assert/strict';
import test from 'node:test';

import { clientOf, collect, once } from './cluster.mjs';

test('watch: puts and deletes of a key', async (t) => {
  const client = clientOf(t);
  const watcher = await client.watch().key('w/key').create();
  const events = collect(watcher);
  await client.put('w/key').value('1');
  await client.put('w/other').value('1');
  await client.put('w/key').value('2');
  await client.delete().key('w/key');
  assert.deepEqual(await events.until(3), ['put w/key 1', 'put w/key 2', 'delete w/key']);
  await watcher.cancel();
  await client.put('w/key').value('3');
  assert.equal(events.seen.length, 3);
});

test('watch: a prefix, with previous values', async (t) => {
  const client = clientOf(t);
  const { header } = await client.put('wp/a').value('old');
  // Not from now: the member that etcd's client asks next may not have seen that yet.
  const next = String(BigInt(header.revision) + 1n);
  const watch = client.watch().prefix('wp/').withPreviousKV().startRevision(next);
  const watcher = await watch.create();
  const changed = once(watcher, 'put');
  await client.put('wp/a').value('new');
  const [kv, previous] = await changed;
  assert.deepEqual([kv.value.toString(), previous.value.toString()], ['new', 'old']);
  const deleted = once(watcher, 'delete');
  await client.delete().prefix('wp/');
  assert.equal((await deleted)[1].value.toString(), 'new');
  await watcher.cancel();
});

test('watch: only deletes, only puts', async (t) => {
  const client = clientOf(t);
  const deletes = await client.watch().prefix('wf/').only('delete').create();
  const puts = await client.watch().prefix('wf/').only('put').create();
  const [seenDeletes, seenPuts] = [collect(deletes), collect(puts)];
  await client.put('wf/a').value('1');
  await client.delete().key('wf/a');
  await client.put('wf/b').value('2');
  assert.deepEqual(await seenPuts.until(2), ['put wf/a 1', 'put wf/b 2']);
  assert.deepEqual(await seenDeletes.until(1), ['delete wf/a']);
  await Promise.all([deletes.cancel(), puts.cancel()]);
});

test('watch: from a revision in the past', async (t) => {
  const client = clientOf(t);
  const { header } = await client.put('wr').value('1');
  await client.put('wr').value('2');
  const watcher = await client.watch().key('wr').startRevision(header.revision).create();
  assert.deepEqual(await collect(watcher).until(2), ['put wr 1', 'put wr 2']);
  await watcher.cancel();
});

test('watch: from a compacted revision', async (t) => {
  const client = clientOf(t);
  const { header } = await client.put('wc').value('1');
  const last = await client.put('wc').value('2');
  await client.kv.compact({ revision: last.header.revision });
  const watcher = client.watch().key('wc').startRevision(header.revision).watcher();
  const [error] = await Promise.all([once(watcher, 'error')]);
  assert.match(error.message, /[Ww]atcher canceled/);
});

test('watch: a transaction arrives whole', async (t) => {
  const client = clientOf(t);
  const watcher = await client.watch().prefix('wt/').create();
  const response = once(watcher, 'data');
  await client
    .if('wt/a', 'Version', '==', 0)
    .then(client.put('wt/a').value('1'), client.put('wt/b').value('2'))
    .commit();
  const { events } = await response;
  assert.deepEqual(events.map((event) => event.kv.key.toString()), ['wt/a', 'wt/b']);
  assert.equal(events[0].kv.mod_revision, events[1].kv.mod_revision);
  await watcher.cancel();
});

test('watch: a hundred on one stream', async (t) => {
  const client = clientOf(t);
  const names = Array.from({ length: 100 }, (_, at) => `wh/${at}`);
  const watchers = await Promise.all(names.map((name) => client.watch().key(name).create()));
  const seen = watchers.map((watcher) => collect(watcher));
  await Promise.all(names.map((name) => client.put(name).value('x')));
  await Promise.all(seen.map((events) => events.until(1)));
  seen.forEach((events, at) => assert.deepEqual(events.seen, [`put wh/${at} x`]));
  await Promise.all(watchers.map((watcher) => watcher.cancel()));
});

test('watch: a thousand events in order', async (t) => {
  const client = clientOf(t);
  const watcher = await client.watch().key('wo').create();
  const events = collect(watcher);
  for (let at = 0; at < 1000; at += 1) await client.put('wo').value(at);
  const seen = await events.until(1000, 60_000);
  seen.forEach((text, at) => assert.equal(text, `put wo ${at}`));
  await watcher.cancel();
});
