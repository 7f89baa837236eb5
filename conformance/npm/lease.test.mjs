// Leases, and what is built of them: locks and elections.

import assert from 'node:assert/strict';
import test from 'node:test';

import { EtcdLockFailedError } from 'etcd3';

import { clientOf, collect, eventually, once, sleep } from './cluster.mjs';

test('lease: keys live as long as it is kept alive', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(2);
  await lease.put('l/alive').value('x');
  await sleep(4000);
  assert.equal(await client.get('l/alive').string(), 'x');
  const answer = await lease.keepaliveOnce();
  assert.equal(answer.TTL, '2');
  await lease.revoke();
  assert.equal(await client.get('l/alive').string(), null);
  assert.equal(lease.revoked(), true);
});

test('lease: runs out when it is not kept alive', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(1, { autoKeepAlive: false });
  const watcher = await client.watch().key('l/out').create();
  const events = collect(watcher);
  await lease.put('l/out').value('x');
  assert.deepEqual(await events.until(2), ['put l/out x', 'delete l/out']);
  await watcher.cancel();
});

test('lease: released, it runs out by itself', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(1);
  await lease.put('l/released').value('x');
  const watcher = await client.watch().key('l/released').create();
  const gone = once(watcher, 'delete');
  lease.release();
  await gone;
  await watcher.cancel();
});

test('lease: its holder is told that it is lost', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(2);
  const id = await lease.grant();
  const lost = once(lease, 'lost');
  await client.leaseClient.leaseRevoke({ ID: id });
  assert.match((await lost).message, /lease/i);
  await assert.rejects(lease.put('l/lost').value('x').exec());
});

test('lease: how long it lives, and which keys it has', async (t) => {
  const client = clientOf(t);
  const lease = client.lease(60);
  const id = await lease.grant();
  await lease.put('l/ttl/a').value('x');
  await lease.put('l/ttl/b').value('x');
  const told = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.equal(told.grantedTTL, '60');
  assert.ok(Number(told.TTL) > 50 && Number(told.TTL) <= 60);
  assert.deepEqual(told.keys.map(String).sort(), ['l/ttl/a', 'l/ttl/b']);
  const { leases } = await client.leaseClient.leaseLeases();
  assert.ok(leases.some((lease) => lease.ID === id));
  await lease.revoke();
  const after = await client.leaseClient.leaseTimeToLive({ ID: id });
  assert.equal(after.TTL, '-1');
});

test('lease: a key put with an unknown lease is refused', async (t) => {
  const client = clientOf(t);
  const put = client.put('l/unknown').value('x').lease('123456').exec();
  await assert.rejects(put, /requested lease not found/);
});

test('lock: one holder at a time', async (t) => {
  const client = clientOf(t);
  const lock = client.lock('lock/one');
  await lock.acquire();
  await assert.rejects(client.lock('lock/one').acquire(), EtcdLockFailedError);
  await lock.release();
  const next = client.lock('lock/one');
  await next.acquire();
  assert.ok(await next.leaseId());
  await next.release();
});

test('lock: around an action, released when it throws', async (t) => {
  const client = clientOf(t);
  const work = client.lock('lock/do').ttl(5).do(() => Promise.reject(new Error('thrown')));
  await assert.rejects(work, /thrown/);
  assert.equal(await client.lock('lock/do').do(() => 'done'), 'done');
});

test('election: won, observed, handed over', async (t) => {
  const client = clientOf(t);
  const election = client.election('el', 5);
  assert.equal(await election.leader(), undefined);
  const one = election.campaign('one');
  await one.wait();
  assert.equal(await election.leader(), 'one');
  const observer = await election.observe();
  assert.equal(observer.leader(), 'one');
  const two = election.campaign('two');
  const elected = once(two, 'elected');
  await one.resign();
  await elected;
  assert.equal(await election.leader(), 'two');
  // The observer makes a new watch for a new leader, and is not told of what was before it.
  await eventually(async () => {
    await two.proclaim('two, again');
    assert.equal(observer.leader(), 'two, again');
  });
  await two.resign();
  await observer.cancel();
});
