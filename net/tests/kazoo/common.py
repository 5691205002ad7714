"""What the kazoo scripts share: where the server is, clients that are closed again, requests that kazoo lacks."""

import faulthandler
import os
import queue
import struct
import threading
import time
import unittest
import uuid
from collections import namedtuple

from kazoo.client import KazooClient
from kazoo.protocol.serialization import Create2, int_struct, read_string, write_buffer, write_string
from kazoo.protocol.states import ZnodeStat

HOSTS = os.environ["RINGKEEPER_HOSTS"]
# A wait that only a broken server lets run out.
PATIENCE = 60

# If something hangs, say where before the caller ends this process.
faulthandler.dump_traceback_later(380, exit=True)


def wait_for(condition, what="the condition"):
    """Polls until the condition holds, and returns what it returned."""
    until = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("%s: not within %s s" % (what, PATIENCE))
        threading.Event().wait(0.02)


class ServerTest(unittest.TestCase):
    """A test with a path of its own and clients that are stopped when it ends."""

    def setUp(self):
        self.base = "/kazoo-" + uuid.uuid4().hex[:12]
        self._clients = []
        self.client = self.connect()
        self.client.create(self.base, b"")

    def tearDown(self):
        for client in self._clients:
            client.stop()
            client.close()

    def connect(self, **options):
        client = self.unstarted(**options)
        client.start(timeout=PATIENCE)
        return client

    def unstarted(self, chroot="", **options):
        options.setdefault("timeout", 10.0)
        client = KazooClient(hosts=HOSTS + chroot, **options)
        self._clients.append(client)
        return client

    def path(self, name):
        return self.base + "/" + name

    def call(self, client, request):
        """Sends a request that kazoo has no method for."""
        result = client.handler.async_result()
        client._call(request, result)
        return result.get(timeout=PATIENCE)


def record_events(client):
    """A queue of (type, path) of every notification that arrives on the connection, in order."""
    from kazoo.protocol.serialization import Watch

    events = queue.Queue()
    connection = client._connection
    deliver = connection._read_watch_event

    def read_watch_event(buffer, offset):
        event, _ = Watch.deserialize(buffer, offset)
        events.put((event.type, event.path))
        deliver(buffer, offset)

    connection._read_watch_event = read_watch_event
    return events


CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4


def expect_events(test, events, expected):
    """The next events are these, and no further one has arrived."""
    seen = [events.get(timeout=PATIENCE) for _ in expected]
    test.assertEqual(seen, expected)
    test.assertTrue(events.empty())


class _Create2Reply:
    @classmethod
    def deserialize(cls, data, offset):
        path, offset = read_string(data, offset)
        return path, ZnodeStat._make(struct.Struct("!qqqqiiiqiiq").unpack_from(data, offset))


class CreateContainer(_Create2Reply, namedtuple("CreateContainer", "path data acl")):
    type = 19

    def serialize(self):
        return Create2(self.path, self.data, self.acl, 4).serialize()


class CreateTTL(_Create2Reply, namedtuple("CreateTTL", "path data acl flags ttl")):
    type = 21

    def serialize(self):
        return Create2(self.path, self.data, self.acl, self.flags).serialize() + struct.pack("!q", self.ttl)


class AddWatch(namedtuple("AddWatch", "path mode")):
    type = 106

    def serialize(self):
        return write_string(self.path) + int_struct.pack(self.mode)

    @classmethod
    def deserialize(cls, data, offset):
        return int_struct.unpack_from(data, offset)[0]


class _WatchLookup:
    def serialize(self):
        return write_string(self.path) + int_struct.pack(self.kind)

    @classmethod
    def deserialize(cls, data, offset):
        return True


class CheckWatches(_WatchLookup, namedtuple("CheckWatches", "path kind")):
    type = 17


class RemoveWatches(_WatchLookup, namedtuple("RemoveWatches", "path kind")):
    type = 18


class GetEphemerals(namedtuple("GetEphemerals", "prefix")):
    type = 103

    def serialize(self):
        return write_buffer(self.prefix.encode())

    @classmethod
    def deserialize(cls, data, offset):
        (count,) = int_struct.unpack_from(data, offset)
        offset += 4
        paths = []
        for _ in range(count):
            path, offset = read_string(data, offset)
            paths.append(path)
        return paths


class GetAllChildrenNumber(namedtuple("GetAllChildrenNumber", "path")):
    type = 104

    def serialize(self):
        return write_string(self.path)

    @classmethod
    def deserialize(cls, data, offset):
        return int_struct.unpack_from(data, offset)[0]


class WhoAmI(namedtuple("WhoAmI", "not_empty")):
    """Without a field the tuple would be false, and kazoo would not read the reply."""

    type = 107

    def serialize(self):
        return b""

    @classmethod
    def deserialize(cls, data, offset):
        (count,) = int_struct.unpack_from(data, offset)
        offset += 4
        known = []
        for _ in range(count):
            scheme, offset = read_string(data, offset)
            user, offset = read_string(data, offset)
            known.append((scheme, user))
        return known


IS_REFERENCE = os.environ.get("RINGKEEPER_TEST_SERVER") == "java"
# An Apache ZooKeeper older than 3.9, which answered some things in another way.
IS_BEFORE_3_9 = os.environ.get("RINGKEEPER_TEST_BEFORE_3_9") == "true"
