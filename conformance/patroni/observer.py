"""Watches PostgreSQL from outside while its nodes change roles.

A writer inserts rows through whichever node takes them and keeps the numbers of those that were
acknowledged. An observer asks every node all the time whether it takes writes, and on which
timeline. Two rules are checked at the end:

* Once a write on a timeline was acknowledged, none that began later is acknowledged on an older
  timeline, nor by another node on the same one: that would be a second primary.
* An acknowledged row is there, unless it was written in a phase in which Patroni may lose it.
"""

import threading
import time
from dataclasses import dataclass

import psycopg2

# What one write may take before its connection is given up.
PATIENCE_MS = 2000


@dataclass(frozen=True)
class Accepted:
    """A write that a node acknowledged."""

    node: str
    timeline: int
    began: float
    ended: float


class Connection:
    """A connection to a node that is made again when it breaks."""

    def __init__(self, dsn):
        self.dsn = dsn
        self.connection = None

    def execute(self, sql, *values):
        try:
            if self.connection is None:
                self.connection = psycopg2.connect(self.dsn)
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            self.close()
            raise

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def dsn(port):
    options = f"-c statement_timeout={PATIENCE_MS}"
    return (
        f"host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=2 "
        f"options='{options}'"
    )


class Observer:
    """One thread for each node, and one that writes rows."""

    def __init__(self, ports):
        self.ports = ports
        self.phase = "before"
        self.accepted = []
        self.rows = {}
        self.stopping = threading.Event()
        targets = [(self.probe, (name,)) for name in ports] + [(self.write_rows, ())]
        self.threads = [
            threading.Thread(target=target, args=args, daemon=True) for target, args in targets
        ]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)

    def probe(self, name):
        """Tries to write to one node, over and over, and notes each write that it takes."""
        connection = Connection(dsn(self.ports[name]))
        sql = (
            "INSERT INTO probe (node) SELECT %s WHERE NOT pg_is_in_recovery() RETURNING "
            "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
        )
        while not self.stopping.wait(0.1):
            began = time.monotonic()
            try:
                if connection.execute("SELECT pg_is_in_recovery()")[0][0]:
                    continue
                began = time.monotonic()
                taken = connection.execute(sql, name)
            except psycopg2.Error:
                continue
            if taken:
                ended = time.monotonic()
                self.accepted.append(Accepted(name, taken[0][0], began, ended))
        connection.close()

    def write_rows(self):
        """Writes numbered rows through the node that takes them, as a client with all addresses."""
        connections = {name: Connection(dsn(port)) for name, port in self.ports.items()}
        current, number = next(iter(connections)), 0
        names = list(connections)
        while not self.stopping.wait(0.02):
            number += 1
            phase = self.phase
            try:
                connections[current].execute("INSERT INTO rows (id) VALUES (%s)", number)
                self.rows[number] = phase
            except psycopg2.Error:
                # Whether it was written is unknown; the next goes to the next node.
                current = names[(names.index(current) + 1) % len(names)]
        for connection in connections.values():
            connection.close()

    def second_primaries(self):
        """Each pair of writes of which the later one should not have been taken."""
        wrong, best = [], None
        for write in sorted(self.accepted, key=lambda write: write.ended):
            if best is not None and write.began > best.ended:
                older = write.timeline < best.timeline
                beside = write.timeline == best.timeline and write.node != best.node
                if older or beside:
                    wrong.append(f"{write} after {best}")
            if best is None or write.timeline > best.timeline:
                best = write
            elif write.timeline == best.timeline and write.node == best.node:
                best = write
        return wrong

    def lost(self, found):
        """How many acknowledged rows of each phase are not there."""
        counts = {}
        for number, phase in self.rows.items():
            if number not in found:
                counts[phase] = counts.get(phase, 0) + 1
        return counts
