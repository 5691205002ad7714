"""Watches through kazoo, its own and the frames as they arrive."""

import queue
import unittest

from common import (
    CHANGED,
    CHILD,
    CREATED,
    DELETED,
    IS_BEFORE_3_9,
    PATIENCE,
    AddWatch,
    CheckWatches,
    RemoveWatches,
    ServerTest,
    expect_events,
    record_events,
)
from kazoo.exceptions import MarshallingError, NoNodeError, NoWatcherError
from kazoo.protocol.states import Callback, EventType
from kazoo.security import make_digest_acl


class OneShot(ServerTest):
    def setUp(self):
        super().setUp()
        self.events = queue.Queue()
        self.other = self.connect()

    def watch(self, event):
        self.events.put((event.type, event.path))

    def next(self):
        return self.events.get(timeout=PATIENCE)

    def fence(self):
        """Everything that was on the way has arrived: a reply follows every earlier event."""
        self.client.sync("/")
        done = queue.Queue()
        self.client.handler.dispatch_callback(Callback("watch", done.put, (1,)))
        done.get(timeout=PATIENCE)

    def test_data_watch_fires_once(self):
        path = self.path("a")
        self.client.create(path, b"")
        self.client.get(path, watch=self.watch)
        self.other.set(path, b"1")
        self.other.set(path, b"2")
        self.assertEqual(self.next(), (EventType.CHANGED, path))
        self.fence()
        self.assertTrue(self.events.empty())

    def test_data_watch_sees_the_deletion(self):
        path = self.path("a")
        self.client.create(path, b"")
        self.client.get(path, watch=self.watch)
        self.other.delete(path)
        self.assertEqual(self.next(), (EventType.DELETED, path))

    def test_exists_watch_sees_the_creation(self):
        path = self.path("a")
        self.assertIsNone(self.client.exists(path, watch=self.watch))
        self.other.create(path, b"")
        self.assertEqual(self.next(), (EventType.CREATED, path))

    def test_exists_watch_on_a_present_node(self):
        path = self.path("a")
        self.client.create(path, b"")
        self.client.exists(path, watch=self.watch)
        self.other.create(path + "/child")
        self.other.set(path, b"1")
        self.assertEqual(self.next(), (EventType.CHANGED, path))

    def test_children_watch(self):
        self.client.get_children(self.base, watch=self.watch)
        self.other.set(self.base, b"no matter")
        self.other.create(self.path("a"))
        self.assertEqual(self.next(), (EventType.CHILD, self.base))
        self.client.get_children(self.base, watch=self.watch)
        self.other.set(self.path("a"), b"no matter")
        self.other.create(self.path("a/grandchild"))
        self.other.delete(self.path("a/grandchild"))
        self.other.delete(self.path("a"))
        self.assertEqual(self.next(), (EventType.CHILD, self.base))
        self.client.get_children(self.base, watch=self.watch)
        self.other.delete(self.base)
        self.assertEqual(self.next(), (EventType.DELETED, self.base))

    def test_reads_of_missing_nodes_leave_no_watch(self):
        path = self.path("missing")
        for call in (self.client.get, self.client.get_children):
            with self.assertRaises(NoNodeError):
                call(path, watch=self.watch)
        self.other.create(path, b"")
        self.other.delete(path)
        self.fence()
        self.assertTrue(self.events.empty())

    def test_a_watch_fires_for_ones_own_change_before_its_reply(self):
        path = self.path("a")
        self.client.create(path, b"")
        events = record_events(self.client)
        self.client.get(path, watch=self.watch)
        self.client.set(path, b"1")
        self.assertEqual(events.get_nowait(), (CHANGED, path))

    def test_watches_fire_for_transactions_in_order(self):
        events = record_events(self.client)
        for name in ("a", "b", "c"):
            self.client.exists(self.path(name), watch=self.watch)
        self.client.get_children(self.base, watch=self.watch)
        t = self.other.transaction()
        t.create(self.path("a"))
        t.create(self.path("b"))
        t.set_data(self.path("a"), b"x")
        t.create(self.path("c"))
        t.commit()
        expect_events(self, events, [(CREATED, self.path("a")), (CHILD, self.base), (CREATED, self.path("b")),
                                     (CREATED, self.path("c"))])
        self.client.get_children(self.base, watch=self.watch)
        t = self.other.transaction()
        t.create(self.path("d"))
        t.check(self.path("nope"), 0)
        t.commit()
        self.client.sync("/")
        self.assertTrue(events.empty())

    def test_the_end_of_a_session_fires_watches(self):
        path = self.path("e")
        owner = self.connect()
        owner.create(path, ephemeral=True)
        self.client.exists(path, watch=self.watch)
        self.client.get_children(self.base, watch=self.watch)
        owner.stop()
        self.assertEqual(self.next(), (EventType.DELETED, path))
        self.assertEqual(self.next(), (EventType.CHILD, self.base))

    def test_events_keep_the_order_of_changes(self):
        paths = [self.path("n%03d" % n) for n in range(200)]
        events = record_events(self.client)
        for path in paths:
            self.client.exists(path, watch=self.watch)
        for result in [self.other.create_async(path) for path in paths]:
            result.get(timeout=PATIENCE)
        expect_events(self, events, [(CREATED, path) for path in paths])

    def test_no_event_for_a_node_that_may_not_be_read(self):
        path = self.path("hidden")
        self.client.exists(path, watch=self.watch)
        self.other.create(path, acl=[make_digest_acl("u", "p", all=True)])
        self.fence()
        self.assertTrue(self.events.empty())


class Persistent(ServerTest):
    def setUp(self):
        super().setUp()
        self.other = self.connect()
        self.events = record_events(self.client)

    def test_persistent_watches_stay(self):
        path = self.path("p")
        self.assertEqual(self.call(self.client, AddWatch(path, 0)), 0)
        self.other.create(path, b"")
        self.other.set(path, b"1")
        self.other.set(path, b"2")
        self.other.create(path + "/c")
        self.other.set(path + "/c", b"not seen")
        self.other.delete(path + "/c")
        self.other.delete(path)
        self.other.create(path)
        expect_events(self, self.events, [(CREATED, path), (CHANGED, path), (CHANGED, path), (CHILD, path),
                                          (CHILD, path), (DELETED, path), (CREATED, path)])

    def test_recursive_watches_see_the_subtree(self):
        path = self.path("r")
        self.call(self.client, AddWatch(path, 1))
        self.other.create(path)
        self.other.create(self.path("rx"))
        self.other.create(path + "/a")
        self.other.create(path + "/a/b")
        self.other.set(path + "/a/b", b"1")
        self.other.delete(path + "/a/b")
        self.other.delete(path + "/a")
        self.other.delete(path)
        expect_events(self, self.events, [(CREATED, path), (CREATED, path + "/a"), (CREATED, path + "/a/b"),
                                          (CHANGED, path + "/a/b"), (DELETED, path + "/a/b"),
                                          (DELETED, path + "/a"), (DELETED, path)])

    def test_a_recursive_watch_on_the_root_sees_all(self):
        self.call(self.client, AddWatch("/", 1))
        self.other.create(self.path("a"))
        self.other.set("/", b"")
        self.other.delete(self.path("a"))
        expect_events(self, self.events, [(CREATED, self.path("a")), (CHANGED, "/"), (DELETED, self.path("a"))])

    def test_one_event_for_many_watches(self):
        path = self.path("m")
        self.client.create(path)
        self.call(self.client, AddWatch(path, 0))
        self.call(self.client, AddWatch(path, 0))
        self.call(self.client, AddWatch(self.base, 1))
        self.client.get(path, watch=lambda _: None)
        self.other.set(path, b"1")
        expect_events(self, self.events, [(CHANGED, path)])
        self.other.set(path, b"2")
        expect_events(self, self.events, [(CHANGED, path)])

    def test_check_and_remove(self):
        path = self.path("c")
        self.client.create(path)
        self.call(self.client, AddWatch(path, 0))
        self.call(self.client, AddWatch(path, 1))
        self.client.get(path, watch=lambda _: None)
        self.client.get_children(path, watch=lambda _: None)
        # The persistent kinds (4, 5) came with 3.9.
        kinds = (1, 2, 3) if IS_BEFORE_3_9 else (1, 2, 3, 4, 5)
        for kind in kinds:
            with self.subTest(kind=kind):
                self.assertTrue(self.call(self.client, CheckWatches(path, kind)))
        removed = (1, 2) if IS_BEFORE_3_9 else (1, 2, 4, 5)
        for kind in removed:
            with self.subTest(kind=kind):
                self.call(self.client, RemoveWatches(path, kind))
                self.no_watch(path, kind)
        self.no_watch(path, 3)
        self.other.set(path, b"1")
        self.other.create(path + "/x")
        self.client.sync("/")
        self.assertTrue(self.events.empty())

    def no_watch(self, path, kind):
        for request in (CheckWatches(path, kind), RemoveWatches(path, kind)):
            with self.assertRaises(NoWatcherError):
                self.call(self.client, request)

    def test_bad_modes(self):
        for request in (AddWatch("/x", 2), AddWatch("/x", -1), CheckWatches("/x", 9), RemoveWatches("/x", 0)):
            with self.assertRaises(MarshallingError):
                self.call(self.client, request)


if __name__ == "__main__":
    unittest.main(verbosity=2)
