"""kazoo's recipes, each with several clients."""

import queue
import threading
import unittest
from unittest import mock

from common import PATIENCE, ServerTest, wait_for
from kazoo.exceptions import LockTimeout
from kazoo.recipe.cache import TreeCache, TreeEvent, TreeNode
from kazoo.recipe.watchers import PatientChildrenWatch


class Mutual(ServerTest):
    def each_of(self, clients, work):
        """Runs work(client) in a thread per client; a failure in one fails the test."""
        failures = queue.Queue()

        def guarded(client):
            try:
                work(client)
            except BaseException as failure:  # noqa: B902 (handed to the test below)
                failures.put(failure)

        threads = [threading.Thread(target=guarded, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "a worker does not come to an end")
        if not failures.empty():
            raise failures.get()

    def test_lock_admits_one_at_a_time(self):
        path = self.path("lock")
        inside, most, turns = [0], [0], [0]

        def work(client):
            lock = client.Lock(path, "someone")
            for _ in range(5):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                    client.sync("/")
                    inside[0] -= 1

        self.each_of([self.connect() for _ in range(4)], work)
        self.assertEqual((most[0], turns[0]), (1, 20))

    def test_lock_is_freed_by_the_end_of_its_holder(self):
        path = self.path("lock")
        holder, waiter = self.connect(), self.connect()
        holder.Lock(path, "holder").acquire()
        lock = waiter.Lock(path, "waiter")
        self.assertFalse(lock.acquire(blocking=False))
        with self.assertRaises(LockTimeout):
            lock.acquire(timeout=0.2)
        self.assertEqual(waiter.Lock(path).contenders(), ["holder"])
        holder.stop()
        self.assertTrue(lock.acquire(timeout=PATIENCE))
        lock.release()

    def test_read_and_write_locks(self):
        path = self.path("rw")
        a, b = self.connect(), self.connect()
        first, second = a.ReadLock(path, "a"), b.ReadLock(path, "b")
        self.assertTrue(first.acquire(timeout=PATIENCE))
        self.assertTrue(second.acquire(timeout=PATIENCE))
        write = self.client.WriteLock(path, "w")
        self.assertFalse(write.acquire(blocking=False))
        first.release()
        second.release()
        self.assertTrue(write.acquire(timeout=PATIENCE))
        self.assertFalse(b.ReadLock(path, "b").acquire(blocking=False))
        write.release()

    def test_semaphore_admits_as_many_as_leases(self):
        path = self.path("semaphore")
        inside, most, guard = [0], [0], threading.Lock()
        both = threading.Barrier(2)

        def work(client):
            with client.Semaphore(path, max_leases=2):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                both.wait(PATIENCE)
                with guard:
                    inside[0] -= 1

        self.each_of([self.connect() for _ in range(4)], work)
        self.assertEqual(most[0], 2)

    def test_election_lets_each_lead_in_turn(self):
        path = self.path("election")
        leaders, leading = [], [0]

        def work(client):
            def lead():
                leading[0] += 1
                self.assertEqual(leading[0], 1)
                leaders.append(client)
                client.sync("/")
                leading[0] -= 1

            client.Election(path, "candidate").run(lead)

        clients = [self.connect() for _ in range(3)]
        self.each_of(clients, work)
        self.assertEqual(set(leaders), set(clients))

    def test_barrier(self):
        path = self.path("barrier")
        barrier = self.client.Barrier(path)
        barrier.create()
        other = self.connect().Barrier(path)
        self.assertFalse(other.wait(0.2))
        through = threading.Event()
        thread = threading.Thread(target=lambda: other.wait(PATIENCE) and through.set())
        thread.start()
        barrier.remove()
        self.assertTrue(through.wait(PATIENCE))
        thread.join()

    def test_double_barrier(self):
        path = self.path("double")
        inside, guard = [0], threading.Lock()

        def work(client):
            barrier = client.DoubleBarrier(path, 3)
            barrier.enter()
            with guard:
                inside[0] += 1
            wait_for(lambda: inside[0] == 3)
            barrier.leave()

        self.each_of([self.connect() for _ in range(3)], work)
        self.assertEqual(inside[0], 3)

    def test_counter(self):
        path = self.path("counter")

        def work(client):
            counter = client.Counter(path)
            for _ in range(10):
                counter += 2
                counter -= 1

        self.each_of([self.connect() for _ in range(3)], work)
        counter = self.client.Counter(path)
        self.assertEqual(counter.value, 30)

    def test_leases(self):
        from datetime import timedelta

        path = self.path("lease")
        self.assertTrue(self.client.NonBlockingLease(path, timedelta(seconds=60), identifier="a"))
        self.assertFalse(self.connect().NonBlockingLease(path, timedelta(seconds=60), identifier="b"))
        many = self.path("leases")
        granted = [bool(self.connect().MultiNonBlockingLease(2, many, timedelta(seconds=60), identifier=str(n)))
                   for n in range(3)]
        self.assertEqual(granted, [True, True, False])


class Queues(ServerTest):
    def test_queue_order_and_priority(self):
        q = self.client.Queue(self.path("q"))
        for value in (b"1", b"2", b"3"):
            q.put(value)
        q.put(b"first", priority=10)
        self.assertEqual(len(q), 4)
        other = self.connect().Queue(self.path("q"))
        self.assertEqual([other.get() for _ in range(5)], [b"first", b"1", b"2", b"3", None])

    def test_queue_hands_each_entry_out_once(self):
        q = self.client.Queue(self.path("q"))
        for n in range(60):
            q.put(b"%d" % n)
        taken, guard = [], threading.Lock()

        def work(client):
            mine = client.Queue(self.path("q"))
            while True:
                value = mine.get()
                if value is None:
                    return
                with guard:
                    taken.append(int(value))

        threads = [threading.Thread(target=work, args=(self.connect(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(sorted(taken), list(range(60)))

    def test_locking_queue(self):
        path = self.path("lq")
        producer = self.client.LockingQueue(path)
        producer.put(b"one")
        producer.put_all([b"two", b"three"])
        first, second = self.connect(), self.connect()
        a, b = first.LockingQueue(path), second.LockingQueue(path)
        self.assertEqual(a.get(PATIENCE), b"one")
        self.assertEqual(b.get(PATIENCE), b"two")
        self.assertTrue(a.holds_lock())
        self.assertTrue(a.consume())
        # What its taker did not consume comes back when the taker is gone.
        second.stop()
        self.assertEqual({a.get(PATIENCE), a.consume() and a.get(PATIENCE)}, {b"two", b"three"})
        self.assertTrue(a.consume())
        self.assertEqual(len(a), 0)
        # An entry that comes while one waits.
        got = queue.Queue()
        thread = threading.Thread(target=lambda: got.put(a.get(PATIENCE)))
        thread.start()
        producer.put(b"four")
        self.assertEqual(got.get(timeout=PATIENCE), b"four")
        thread.join()
        self.assertTrue(a.consume())


class Members(ServerTest):
    def test_party(self):
        path = self.path("party")
        one, two = self.connect(), self.connect()
        party, other = one.Party(path, "one"), two.Party(path, "two")
        party.join()
        other.join()
        self.assertEqual(sorted(party), ["one", "two"])
        other.leave()
        self.assertEqual(list(party), ["one"])
        other.join()
        two.stop()
        self.assertEqual(len(party), 1)

    def test_shallow_party(self):
        path = self.path("shallow")
        party, other = self.client.ShallowParty(path, "one"), self.connect().ShallowParty(path, "two")
        party.join()
        other.join()
        self.assertEqual(sorted(party), ["one", "two"])

    def test_set_partitioner(self):
        path = self.path("partitions")
        clients = [("one", self.connect()), ("two", self.connect())]
        shares, guard = [], threading.Lock()

        def work(name, client):
            partitioner = client.SetPartitioner(path, set=tuple(range(10)), identifier=name, time_boundary=0.5)
            while not (partitioner.acquired and len(list(partitioner)) == 5):
                if partitioner.release:
                    partitioner.release_set()
                elif partitioner.allocating:
                    partitioner.wait_for_acquire(PATIENCE)
                else:
                    self.assertFalse(partitioner.failed)
                    threading.Event().wait(0.02)
            with guard:
                shares.extend(partitioner)

        threads = [threading.Thread(target=work, args=client) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(sorted(shares), list(range(10)))


class Mirrors(ServerTest):
    def test_data_watch(self):
        path = self.path("d")
        seen = queue.Queue()
        self.connect().DataWatch(path)(lambda data, stat: seen.put((data, stat and stat.version)))
        self.assertEqual(seen.get(timeout=PATIENCE), (None, None))
        self.client.create(path, b"a")
        self.assertEqual(seen.get(timeout=PATIENCE), (b"a", 0))
        self.client.set(path, b"b")
        self.assertEqual(seen.get(timeout=PATIENCE), (b"b", 1))
        self.client.delete(path)
        self.assertEqual(seen.get(timeout=PATIENCE), (None, None))

    def test_data_watch_of_many_changes_ends_with_the_last(self):
        path = self.client.create(self.path("d"), b"")
        seen = []
        self.connect().DataWatch(path)(lambda data, stat: seen.append(stat.version))
        for n in range(100):
            self.client.set(path, b"%d" % n)
        wait_for(lambda: seen[-1] == 100)
        self.assertEqual(seen, sorted(set(seen)))

    def test_children_watch(self):
        seen = queue.Queue()
        self.connect().ChildrenWatch(self.base)(lambda children: seen.put(sorted(children)))
        self.assertEqual(seen.get(timeout=PATIENCE), [])
        self.client.create(self.path("a"))
        self.assertEqual(seen.get(timeout=PATIENCE), ["a"])
        self.client.create(self.path("b"))
        self.assertEqual(seen.get(timeout=PATIENCE), ["a", "b"])
        self.client.delete(self.path("a"))
        self.assertEqual(seen.get(timeout=PATIENCE), ["b"])

    def test_patient_children_watch(self):
        self.client.create(self.path("a"))
        watch = PatientChildrenWatch(self.connect(), self.base, time_boundary=0.3)
        children, changed = watch.start().get(timeout=PATIENCE)
        self.assertEqual(children, ["a"])
        self.client.create(self.path("b"))
        changed.get(timeout=PATIENCE)

    def tree_cache(self):
        """A TreeCache that takes replies in the order in which they come.

        kazoo's own does not: it sends a request by get_async, and says only then, by rawlink, what is to become of the
        reply. If its thread is put off between the two while a change of the node makes another thread ask again, the
        older reply is handed on behind the newer one, and the cache goes back to older data for good, whatever the server
        does. Here no reply is read from the connection between the two."""
        client = self.connect()
        lock = threading.RLock()
        read_response, call_client = client._connection._read_response, TreeNode._call_client

        def read_alone(*arguments):
            with lock:
                return read_response(*arguments)

        def call_alone(node, method_name, path):
            with lock:
                call_client(node, method_name, path)

        client._connection._read_response = read_alone
        patch = mock.patch.object(TreeNode, "_call_client", call_alone)
        patch.start()
        self.addCleanup(patch.stop)
        return TreeCache(client, self.base)

    def test_tree_cache(self):
        events = queue.Queue()
        self.client.create(self.path("a/b"), b"1", makepath=True)
        cache = self.tree_cache()
        cache.listen(lambda event: events.put((event.event_type, event.event_data and event.event_data.path)))
        cache.start()
        seen = [events.get(timeout=PATIENCE) for _ in range(4)]
        self.assertEqual(seen[-1][0], TreeEvent.INITIALIZED)
        self.assertEqual({path for kind, path in seen[:-1]}, {self.base, self.path("a"), self.path("a/b")})
        self.client.set(self.path("a/b"), b"2")
        self.assertEqual(events.get(timeout=PATIENCE), (TreeEvent.NODE_UPDATED, self.path("a/b")))
        self.assertEqual(cache.get_data(self.path("a/b")).data, b"2")
        self.client.create(self.path("c"), b"3")
        self.assertEqual(events.get(timeout=PATIENCE), (TreeEvent.NODE_ADDED, self.path("c")))
        self.assertEqual(cache.get_children(self.base), frozenset(["a", "c"]))
        self.client.delete(self.path("a/b"))
        self.assertEqual(events.get(timeout=PATIENCE), (TreeEvent.NODE_REMOVED, self.path("a/b")))
        self.assertIsNone(cache.get_data(self.path("a/b")))
        cache.close()

    def test_tree_cache_of_a_changing_tree_ends_equal_to_it(self):
        cache = self.tree_cache()
        cache.start()
        for n in range(60):
            self.client.create(self.path("n%d" % n), b"0")
            self.client.set(self.path("n%d" % n), b"%d" % n)
            if n % 3 == 0:
                self.client.delete(self.path("n%d" % n))
        expected = {"n%d" % n: b"%d" % n for n in range(60) if n % 3}
        wait_for(lambda: {
            name: cache.get_data(self.path(name)).data for name in cache.get_children(self.base, frozenset())
            if cache.get_data(self.path(name))
        } == expected, "the cache equals the tree")
        cache.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
