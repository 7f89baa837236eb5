// Keys, ranges, transactions, namespaces.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Etcd3 } from 'etcd3';

import { clientOf, hosts } from './cluster.mjs';

test('kv: put, get in each form, delete', async (t) => {
  const client = clientOf(t);
  assert.equal(await client.get('kv/absent').string(), null);
  await client.put('kv/text').value('grüße');
  assert.equal(await client.get('kv/text').string(), 'grüße');
  assert.deepEqual(await client.get('kv/text').buffer(), Buffer.from('grüße'));
  await client.put('kv/number').value(42);
  assert.equal(await client.get('kv/number').number(), 42);
  await client.put('kv/json').value(JSON.stringify({ a: [1, 2] }));
  assert.deepEqual(await client.get('kv/json').json(), { a: [1, 2] });
  const deleted = await client.delete().key('kv/text').exec();
  assert.equal(deleted.deleted, '1');
  assert.equal(await client.get('kv/text').exists(), false);
  assert.equal(await client.get('kv/number').exists(), true);
});

test('kv: bytes that are no text', async (t) => {
  const client = clientOf(t);
  const key = Buffer.from([0x62, 0x00, 0xff, 0x01]);
  const value = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  await client.put(key).value(value);
  assert.deepEqual(await client.get(key).buffer(), value);
  await client.delete().key(key);
});

test('kv: previous values and touched keys', async (t) => {
  const client = clientOf(t);
  await client.put('prev').value('one');
  const previous = await client.put('prev').value('two').getPrevious();
  assert.equal(previous.value.toString(), 'one');
  const touched = await client.put('prev').touch();
  assert.ok(BigInt(touched.header.revision) > 0n);
  const gone = await client.delete().key('prev').getPrevious();
  assert.deepEqual(gone.map((kv) => kv.value.toString()), ['two']);
});

test('kv: a value of a megabyte', async (t) => {
  const client = clientOf(t);
  const value = 'x'.repeat(1 << 20);
  await client.put('large').value(value);
  assert.equal(await client.get('large').string(), value);
  await client.delete().key('large');
});

test('kv: a value that is too large is refused', async (t) => {
  const client = clientOf(t, { hosts: hosts[0] });
  const put = client.put('too-large').value('x'.repeat(1_600_000)).exec();
  await assert.rejects(put, /etcdserver: request is too large/);
});

test('kv: an old revision, and one from the future', async (t) => {
  const client = clientOf(t);
  const { header } = await client.put('rev').value('one');
  await client.put('rev').value('two');
  assert.equal(await client.get('rev').revision(header.revision).string(), 'one');
  const future = client.get('rev').revision(String(BigInt(header.revision) + 1_000_000n)).string();
  await assert.rejects(future, /required revision is a future revision/);
});

test('range: prefix, limit, order, counts and keys', async (t) => {
  const client = clientOf(t);
  for (const [key, value] of [['a', 3], ['b', 1], ['c', 2]]) {
    await client.put(`range/${key}`).value(value);
  }
  const all = () => client.getAll().prefix('range/');
  assert.deepEqual(await all().strings(), { 'range/a': '3', 'range/b': '1', 'range/c': '2' });
  assert.equal(await all().count(), 3);
  assert.deepEqual(await all().keys(), ['range/a', 'range/b', 'range/c']);
  assert.deepEqual(await all().sort('Value', 'Ascend').keys(), ['range/b', 'range/c', 'range/a']);
  assert.deepEqual(await all().sort('Mod', 'Descend').keys(), ['range/c', 'range/b', 'range/a']);
  assert.deepEqual(await all().sort('Key', 'Descend').limit(2).keys(), ['range/c', 'range/b']);
  const between = client.getAll().inRange({ start: 'range/a', end: 'range/c' });
  assert.deepEqual(await between.numbers(), { 'range/a': 3, 'range/b': 1 });
  const limited = await all().limit(1).exec();
  assert.deepEqual([limited.more, limited.count, limited.kvs.length], [true, '3', 1]);
  assert.equal((await client.delete().prefix('range/').exec()).deleted, '3');
  assert.equal(await all().count(), 0);
});

test('txn: compares and both branches', async (t) => {
  const client = clientOf(t);
  await client.put('txn').value('one');
  const swap = (from, to) =>
    client
      .if('txn', 'Value', '==', from)
      .then(client.put('txn').value(to))
      .else(client.get('txn'))
      .commit();
  assert.equal((await swap('one', 'two')).succeeded, true);
  const refused = await swap('one', 'three');
  assert.equal(refused.succeeded, false);
  assert.equal(refused.responses[0].response_range.kvs[0].value.toString(), 'two');
  const versions = await client
    .if('txn', 'Version', '>', 1)
    .and('txn', 'Create', '!=', 0)
    .and('txn-absent', 'Mod', '==', 0)
    .then(client.delete().key('txn'))
    .commit();
  assert.deepEqual([versions.succeeded, versions.responses[0].response_delete_range.deleted], [
    true,
    '1',
  ]);
});

test('txn: one key twice is refused', async (t) => {
  const client = clientOf(t);
  const twice = client
    .if('twice', 'Version', '==', 0)
    .then(client.put('twice').value('a'), client.put('twice').value('b'))
    .commit();
  await assert.rejects(twice, /etcdserver: duplicate key given in txn request/);
});

// One host: this client reads at a revision without asking whether a member has it already.
test('stm: a hundred increments by ten writers', async (t) => {
  const client = clientOf(t, { hosts: hosts[0] });
  await client.put('stm/counter').value(0);
  const add = () =>
    client.stm({ retries: 200 }).transact(async (tx) => {
      const counter = await tx.get('stm/counter').number();
      await tx.put('stm/counter').value(counter + 1);
    });
  const writer = async () => {
    for (let round = 0; round < 10; round += 1) await add();
  };
  await Promise.all(Array.from({ length: 10 }, writer));
  assert.equal(await client.get('stm/counter').number(), 100);
});

test('stm: a transfer between two keys is never seen by half', async (t) => {
  const client = clientOf(t, { hosts: hosts[0] });
  // In one revision: the client asks that what it writes has not changed since what it read first.
  const put = [client.put('stm/a').value(100), client.put('stm/b').value(0)];
  await client.if('stm/a', 'Version', '==', 0).then(...put).commit();
  const move = () =>
    client.stm({ retries: 200 }).transact(async (tx) => {
      const [a, b] = [await tx.get('stm/a').number(), await tx.get('stm/b').number()];
      await tx.put('stm/a').value(a - 1);
      await tx.put('stm/b').value(b + 1);
    });
  const look = async () => {
    const { 'stm/a': a, 'stm/b': b } = await client
      .getAll()
      .inRange({ start: 'stm/a', end: 'stm/c' })
      .numbers();
    assert.equal(a + b, 100);
  };
  for (let round = 0; round < 10; round += 1) await Promise.all([move(), move(), look(), look()]);
  assert.equal(await client.get('stm/b').number(), 20);
});

test('namespace: keys are kept apart', async (t) => {
  const client = clientOf(t);
  const [one, two] = [client.namespace('one/'), client.namespace('two/')];
  await one.put('key').value('1');
  await two.put('key').value('2');
  assert.equal(await client.get('one/key').string(), '1');
  assert.equal(await two.get('key').string(), '2');
  assert.deepEqual(await one.getAll().strings(), { key: '1' });
  await one.delete().all();
  assert.equal(await client.get('one/key').exists(), false);
  assert.equal(await client.get('two/key').exists(), true);
});

test('maintenance: status, hash, alarms, compaction, defragmentation', async (t) => {
  const client = clientOf(t);
  const status = await client.maintenance.status();
  assert.ok(Number(status.dbSize) > 0 && status.version.startsWith('3.'));
  assert.deepEqual((await client.maintenance.alarm({ action: 'Get' })).alarms, []);
  assert.equal(typeof (await client.maintenance.hash()).hash, 'number');
  const { header } = await client.put('compacted').value('x');
  await client.put('compacted').value('y');
  await client.kv.compact({ revision: String(BigInt(header.revision) + 1n) });
  const old = client.get('compacted').revision(header.revision).string();
  await assert.rejects(old, /etcdserver: mvcc: required revision has been compacted/);
  await client.maintenance.defragment();
});

test('cluster: the members', async (t) => {
  const client = clientOf(t);
  const { members } = await client.cluster.memberList({});
  assert.equal(members.length, 3);
  assert.deepEqual(members.map((member) => member.clientURLs[0]).sort(), [...hosts].sort());
});

test('client: a wrong host fails in its own time', async () => {
  const client = new Etcd3({ hosts: 'http://127.0.0.1:1', dialTimeout: 1000 });
  await assert.rejects(client.get('a').string());
  client.close();
});
