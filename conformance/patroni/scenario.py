"""Three nodes of PostgreSQL under Patroni, with the store that is examined, through bad days.

Run with the store's hosts and the control port in the environment, in a folder of its own, as a
user who is not root. Tells each test's outcome as a line of JSON; see src/clients/lines.rs.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

from observer import Connection, Observer, dsn

HOSTS = [host.removeprefix("http://") for host in os.environ["CONFORMANCE_HOSTS"].split(",")]
BIN = os.environ["CONFORMANCE_POSTGRESQL"]
FOLDER = Path.cwd()
NAMES = ["n1", "n2", "n3"]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def control(command):
    """Kills or starts a member of the store, or asks for its leader."""
    port = int(os.environ["CONFORMANCE_CONTROL"])
    with socket.create_connection(("127.0.0.1", port), timeout=90) as connection:
        connection.sendall(f"{command}\n".encode())
        answer = connection.makefile().readline().strip()
    if not answer or answer.startswith("error"):
        raise RuntimeError(f"{command}: {answer}")
    return answer


class Node:
    """A node: Patroni's process and the PostgreSQL that it starts."""

    def __init__(self, name, rest, port):
        self.name, self.rest, self.port = name, rest, port
        self.data = FOLDER / name / "data"
        self.log = FOLDER / f"{name}.log"
        self.config = FOLDER / f"{name}.json"
        self.process = None
        self.data.parent.mkdir()
        # YAML is a superset of JSON.
        self.config.write_text(json.dumps(self.settings()))

    def settings(self):
        loopback = "127.0.0.1"
        user = {"username": "postgres", "password": "unused"}
        return {
            "scope": "conformance",
            "name": self.name,
            "restapi": {
                "listen": f"{loopback}:{self.rest}",
                "connect_address": f"{loopback}:{self.rest}",
            },
            "etcd3": {"hosts": HOSTS},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "maximum_lag_on_failover": 1 << 20,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{loopback}:{self.port}",
                "connect_address": f"{loopback}:{self.port}",
                "data_dir": str(self.data),
                "bin_dir": BIN,
                "pgpass": str(FOLDER / self.name / "pgpass"),
                "authentication": {"superuser": user, "replication": user, "rewind": user},
                "parameters": {
                    "unix_socket_directories": str(FOLDER / self.name),
                    "shared_buffers": "16MB",
                    "max_connections": 50,
                    # Processes are killed here, not the machine.
                    "fsync": "off",
                    "wal_keep_size": "256MB",
                    "wal_log_hints": "on",
                },
                "pg_hba": [
                    "local all all trust",
                    f"host all all {loopback}/32 trust",
                    f"host replication all {loopback}/32 trust",
                ],
            },
        }

    def start(self):
        bound = ["setpriv", "--pdeathsig", "KILL", "--"]
        command = bound + [sys.executable, "-m", "patroni", str(self.config)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self):
        """Ends Patroni and PostgreSQL at once, as a power cut would."""
        self.process.kill()
        self.process.wait()
        try:
            postmaster = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        except FileNotFoundError:
            return
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True
        )
        for process in [postmaster, *map(int, children.stdout.split())]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def end(self):
        """Asks Patroni to stop PostgreSQL and itself; kills what does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def ask(self, path, body=None, method=None):
        """The answer of Patroni's own API: a status and JSON or text."""
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.rest}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def last_words(self):
        return "\n".join(self.log.read_text().splitlines()[-15:])


class World:
    def __init__(self):
        ports = free_ports(2 * len(NAMES))
        self.nodes = {
            name: Node(name, ports[2 * at], ports[2 * at + 1]) for at, name in enumerate(NAMES)
        }
        self.observer = Observer({name: node.port for name, node in self.nodes.items()})

    def members(self):
        """What Patroni says of all nodes, asked of any that answers."""
        for node in self.nodes.values():
            try:
                status, text = node.ask("/cluster")
            except OSError:
                continue
            if status == 200:
                return json.loads(text)["members"]
        return []

    def leader(self):
        leaders = [one["name"] for one in self.members() if one["role"] == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    def is_whole(self):
        """One leader, and two others that stream from it."""
        states = sorted((one["role"], one["state"]) for one in self.members())
        roles = [role for role, _ in states]
        streaming = [state for role, state in states if role != "leader" and state == "streaming"]
        return roles.count("leader") == 1 and len(streaming) == 2

    def wait(self, what, condition, patience=90):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.5)
        words = "\n".join(f"{n.name}: {n.last_words()}" for n in self.nodes.values())
        raise TimeoutError(f"{what}: not in {patience} s: {self.members()}\n{words}")

    def writes_go_on(self, patience=60):
        """Waits until ten more rows are acknowledged."""
        before = len(self.observer.rows)
        self.wait("ten more rows", lambda: len(self.observer.rows) >= before + 10, patience)

    def begin(self, phase):
        self.observer.phase = phase

    # The tests, in their order.

    def comes_up(self):
        for node in self.nodes.values():
            node.start()
        self.wait("a leader and two replicas", self.is_whole, 120)
        first = Connection(dsn(self.nodes[self.leader()].port))
        first.execute("CREATE TABLE rows (id bigint PRIMARY KEY)")
        first.execute("CREATE TABLE probe (node text)")
        first.close()
        self.observer.start()
        self.writes_go_on()

    def switches_over(self):
        self.begin("switch-over")
        old = self.leader()
        new = next(name for name in NAMES if name != old)
        status, text = self.nodes[old].ask("/switchover", {"leader": old, "candidate": new})
        if status != 200:
            raise RuntimeError(f"switch-over: {status}: {text}")
        self.wait("the candidate leads", lambda: self.leader() == new)
        self.wait("all stream", self.is_whole)
        self.writes_go_on()

    def survives_the_primary(self):
        self.begin("primary killed")
        old = self.leader()
        self.nodes[old].kill()
        self.wait("another leads", lambda: self.leader() not in (None, old))
        self.writes_go_on()
        self.begin("after the primary was killed")
        self.nodes[old].start()
        self.wait("all stream", self.is_whole)

    def survives_the_stores_leader(self):
        self.begin("store's leader killed")
        primary = self.leader()
        member = control("leader")
        control(f"kill {member}")
        self.writes_go_on()
        # Longer than Patroni's lease: it has to be renewed through the others.
        time.sleep(22)
        self.writes_go_on()
        control(f"start {member}")
        self.wait("all stream", self.is_whole)
        if self.leader() != primary:
            raise RuntimeError(f"{self.leader()} leads in place of {primary}")

    def survives_a_store_without_quorum(self):
        self.begin("store without quorum")
        member = int(control("leader"))
        other = member % 3 + 1
        control(f"kill {member}")
        control(f"kill {other}")
        # Patroni gives the primary up when it cannot renew its lease.
        self.wait("no primary", lambda: not self.takes_writes(), 60)
        # The first cannot serve alone with the third before it has caught up; the second can wait.
        control(f"start {member}")
        control(f"start {other}")
        self.wait("all stream", self.is_whole)
        self.writes_go_on()

    def takes_writes(self):
        recent = time.monotonic() - 3
        return any(write.ended > recent for write in self.observer.accepted[-50:])

    def survives_the_primary_in_step(self):
        any_node = next(iter(self.nodes.values()))
        status, text = any_node.ask("/config", {"synchronous_mode": True}, "PATCH")
        if status != 200:
            raise RuntimeError(f"synchronous mode: {status}: {text}")
        synchronous = lambda: any(one["role"] == "sync_standby" for one in self.members())
        self.wait("a synchronous standby", synchronous)
        self.begin("primary killed, synchronous")
        self.writes_go_on()
        old = self.leader()
        self.nodes[old].kill()
        self.wait("another leads", lambda: self.leader() not in (None, old))
        self.nodes[old].start()
        self.wait("all stream", self.is_whole)
        self.writes_go_on()

    def had_one_primary_at_a_time(self):
        self.observer.stop()
        wrong = self.observer.second_primaries()
        if wrong:
            raise AssertionError(f"{len(wrong)} writes by a second primary, first: {wrong[0]}")
        if len(self.observer.accepted) < 100:
            raise AssertionError(f"only {len(self.observer.accepted)} writes: shows nothing")

    def lost_no_row(self):
        last = Connection(dsn(self.nodes[self.leader()].port))
        found = {number for (number,) in last.execute("SELECT id FROM rows")}
        last.close()
        lost = self.observer.lost(found)
        note = f"{len(self.observer.rows)} rows acknowledged, lost by phase: {lost}"
        print(note, flush=True)
        # Without synchronous mode a primary that dies may take rows with it that no replica has.
        lost.pop("primary killed", None)
        if lost:
            raise AssertionError(note)

    TESTS = [
        comes_up,
        switches_over,
        survives_the_primary,
        survives_the_stores_leader,
        survives_a_store_without_quorum,
        survives_the_primary_in_step,
        had_one_primary_at_a_time,
        lost_no_row,
    ]

    def run(self):
        for test in self.TESTS:
            began = time.monotonic()
            line = {"test": test.__name__.replace("_", " "), "outcome": "passed", "text": ""}
            try:
                test(self)
            except Exception:
                line.update(outcome="failed", text=traceback.format_exc()[-3000:])
            took = time.monotonic() - began
            print(f"{line['test']}: {took:.0f} s")
            print(json.dumps(line, separators=(",", ":")), flush=True)
            if line["outcome"] == "failed" and test is World.comes_up:
                return

    def end(self):
        self.observer.stopping.set()
        # Replicas first: a primary that stops waits for those that stream from it.
        for node in self.nodes.values():
            node.end()


if __name__ == "__main__":
    # Whoever started this may go away; then the nodes are ended as at any other end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    world = World()
    try:
        world.run()
    finally:
        world.end()
