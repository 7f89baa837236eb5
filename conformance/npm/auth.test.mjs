// Users, roles and passwords. Each test leaves authentication off.

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  EtcdAuthenticationFailedError,
  EtcdPermissionDeniedError,
  EtcdRoleExistsError,
  EtcdRoleNotFoundError,
  EtcdRoleNotGrantedError,
  EtcdUserExistsError,
  EtcdUserNotFoundError,
} from 'etcd3';

import { clientOf } from './cluster.mjs';

test('auth: roles and users', async (t) => {
  const client = clientOf(t);
  const role = client.role('npm-role');
  await role.create();
  await assert.rejects(client.role('npm-role').create(), EtcdRoleExistsError);
  await role.grant({ permission: 'Readwrite', range: client.range({ prefix: 'rw/' }) });
  const [permission] = await role.permissions();
  assert.equal(permission.permission, 'Readwrite');
  const user = client.user('npm-user');
  await user.create('secret');
  await assert.rejects(client.user('npm-user').create('x'), EtcdUserExistsError);
  await user.addRole('npm-role');
  assert.deepEqual((await user.roles()).map(({ name }) => name), ['npm-role']);
  assert.ok((await client.getUsers()).some(({ name }) => name === 'npm-user'));
  assert.ok((await client.getRoles()).some(({ name }) => name === 'npm-role'));
  await user.removeRole('npm-role');
  await assert.rejects(user.removeRole('npm-role'), EtcdRoleNotGrantedError);
  await role.revoke({ permission: 'Readwrite', range: client.range({ prefix: 'rw/' }) });
  await role.delete();
  await assert.rejects(role.delete(), EtcdRoleNotFoundError);
  await user.delete();
  await assert.rejects(user.delete(), EtcdUserNotFoundError);
});

test('auth: who may do what', async (t) => {
  const client = clientOf(t);
  const root = client.user('root');
  await root.create('rootpw');
  await client.role('root').create().catch(() => {});
  await root.addRole('root');
  const role = client.role('npm-reader');
  await role.create();
  await role.grant({ permission: 'Read', range: client.range({ prefix: 'open/' }) });
  const user = client.user('npm-ann');
  await user.create('annpw');
  await user.addRole('npm-reader');
  await client.put('open/a').value('1');
  await client.put('closed').value('1');
  await client.auth.authEnable();
  const admin = clientOf(t, { auth: { username: 'root', password: 'rootpw' } });
  try {
    const ann = clientOf(t, { auth: { username: 'npm-ann', password: 'annpw' } });
    assert.equal(await ann.get('open/a').string(), '1');
    await assert.rejects(ann.get('closed').string(), EtcdPermissionDeniedError);
    await assert.rejects(ann.put('open/a').value('2').exec(), EtcdPermissionDeniedError);
    await assert.rejects(ann.getAll().strings(), EtcdPermissionDeniedError);
    await assert.rejects(ann.user('npm-ann').delete(), EtcdPermissionDeniedError);
    const wrong = clientOf(t, { auth: { username: 'npm-ann', password: 'no' } });
    await assert.rejects(wrong.get('open/a').string(), EtcdAuthenticationFailedError);
    await assert.rejects(clientOf(t).get('open/a').string());
    assert.equal(await admin.get('closed').string(), '1');
    await admin.role('npm-reader').grant({
      permission: 'Readwrite',
      range: client.range('closed'),
    });
    // A token from before the change is refused, and this client does not ask for another.
    const again = clientOf(t, { auth: { username: 'npm-ann', password: 'annpw' } });
    await again.put('closed').value('2');
  } finally {
    await admin.auth.authDisable();
  }
  assert.equal(await client.get('closed').string(), '2');
  for (const name of ['npm-ann', 'root']) await client.user(name).delete();
  for (const name of ['npm-reader', 'root']) await client.role(name).delete();
});
