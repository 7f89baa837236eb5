// Members are killed and started under a client that knows all of them.

import assert from 'node:assert/strict';
import test from 'node:test';

import { clientOf, collect, control, eventually, hosts, once, sleep } from './cluster.mjs';

/** Kills a member for the time of an action. */
async function without(member, action) {
  await control(`kill ${member}`);
  try {
    return await action();
  } finally {
    await control(`start ${member}`);
  }
}

test('members: writes go on while each member in turn is down', async (t) => {
  const client = clientOf(t);
  for (const member of [1, 2, 3]) {
    await without(member, async () => {
      await eventually(() => client.put(`m/down/${member}`).value('x').exec());
      assert.equal(await eventually(() => client.get(`m/down/${member}`).string()), 'x');
    });
  }
  assert.equal(await client.getAll().prefix('m/down/').count(), 3);
});

test('members: a watch goes on where it was when its member is killed', async (t) => {
  const client = clientOf(t, { hosts });
  const watcher = await client.watch().key('m/watch').create();
  const events = collect(watcher);
  const writer = clientOf(t);
  let at = 0;
  const write = () => eventually(() => writer.put('m/watch').value((at += 1)).exec());
  await write();
  await events.until(1);
  for (const member of [1, 2, 3]) {
    await without(member, async () => {
      for (let round = 0; round < 5; round += 1) await write();
      await sleep(500);
    });
  }
  await write();
  const last = await client.get('m/watch').string();
  const deadline = Date.now() + 20_000;
  while (events.seen.at(-1) !== `put m/watch ${last}` && Date.now() < deadline) await sleep(100);
  // A write that was tried again may stand twice, but nothing is missed and nothing goes back.
  const numbers = events.seen.map((text) => Number(text.split(' ')[2]));
  assert.equal(numbers.at(-1), Number(last));
  const { kvs } = await client.get('m/watch').exec();
  assert.equal(numbers.length, Number(kvs[0].version), events.seen.join(', '));
  assert.deepEqual(numbers, [...numbers].sort((one, other) => one - other));
  await watcher.cancel();
});

test('members: a lease is kept alive through a change of leader', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(6);
  await lease.put('m/lease').value('x');
  let lost = false;
  lease.on('lost', () => (lost = true));
  const leader = await control('leader');
  await without(leader, () => sleep(8000));
  assert.equal(lost, false);
  assert.equal(await eventually(() => client.get('m/lease').string()), 'x');
  await lease.revoke();
});

test('members: an election survives a change of leader', async (t) => {
  const client = clientOf(t);
  const election = client.election('m/el', 10);
  const one = election.campaign('one');
  await one.wait();
  const leader = await control('leader');
  await without(leader, async () => {
    assert.equal(await eventually(() => election.leader()), 'one');
  });
  const two = election.campaign('two');
  const elected = once(two, 'elected', 30_000);
  await eventually(() => one.resign());
  await elected;
  await two.resign();
});

test('members: without a quorum writes fail, and with one again they succeed', async (t) => {
  const client = clientOf(t);
  await control('kill 1');
  await control('kill 2');
  const options = { deadline: Date.now() + 3000 };
  await assert.rejects(client.put('m/quorum').value('x').options(options).exec());
  // Both at once: one alone would wait for the other to serve.
  await control('start 1');
  await control('start 2');
  await eventually(() => client.put('m/quorum').value('y').exec());
  assert.equal(await client.get('m/quorum').string(), 'y');
});
