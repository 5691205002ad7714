"""Every operation through kazoo: results, Stat fields, errors."""

import threading
import unittest

from common import (
    CreateContainer,
    CreateTTL,
    GetAllChildrenNumber,
    GetEphemerals,
    ServerTest,
    wait_for,
)
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ReconfigDisabledError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.serialization import Create as CreateRequest
from kazoo.security import OPEN_ACL_UNSAFE


class Create(ServerTest):
    def test_create_returns_the_path_and_the_stat(self):
        path, stat = self.client.create(self.path("a"), b"value", include_data=True)
        self.assertEqual(path, self.path("a"))
        self.assertEqual((stat.version, stat.cversion, stat.aversion), (0, 0, 0))
        self.assertEqual((stat.dataLength, stat.numChildren, stat.ephemeralOwner), (5, 0, 0))
        self.assertEqual(stat.czxid, stat.mzxid)
        self.assertEqual(stat.czxid, stat.pzxid)
        self.assertEqual(stat.ctime, stat.mtime)
        self.assertEqual(self.client.get(self.path("a")), (b"value", stat))

    def test_an_existing_node_is_not_created_again(self):
        with self.assertRaises(NodeExistsError):
            self.client.create(self.base, b"")

    def test_the_parent_must_exist(self):
        with self.assertRaises(NoNodeError):
            self.client.create(self.path("no/child"), b"")

    def test_makepath_creates_the_ancestors(self):
        self.client.create(self.path("x/y/z"), b"deep", makepath=True)
        self.assertEqual(self.client.get(self.path("x/y/z"))[0], b"deep")
        self.assertEqual(self.client.get(self.path("x/y"))[0], b"")
        self.client.ensure_path(self.path("x/y/w"))
        self.assertEqual(sorted(self.client.get_children(self.path("x/y"))), ["w", "z"])

    def test_sequential_names_count_creations_of_the_parent(self):
        q = self.path("q")
        self.client.create(q)
        names = [self.client.create(q + "/n-", sequence=True) for _ in range(3)]
        self.assertEqual(names, [q + "/n-%010d" % n for n in range(3)])
        self.client.create(q + "/plain")
        self.client.delete(names[2])
        self.assertEqual(self.client.create(q + "/other-", sequence=True), q + "/other-0000000004")
        with self.assertRaises(NodeExistsError):
            self.client.create(q + "/plain")
        self.assertEqual(self.client.create(q + "/", sequence=True), q + "/0000000005")

    def test_sequential_names_from_many_clients_never_repeat(self):
        q = self.path("many")
        self.client.create(q)
        clients = [self.connect() for _ in range(4)]
        names, lock = [], threading.Lock()

        def work(client):
            results = [client.create_async(q + "/n-", sequence=True) for _ in range(100)]
            mine = [result.get(timeout=60) for result in results]
            self.assertEqual(mine, sorted(mine))
            with lock:
                names.extend(mine)

        workers = [threading.Thread(target=work, args=(client,)) for client in clients]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(sorted(names), [q + "/n-%010d" % n for n in range(400)])

    def test_ephemerals_have_an_owner_and_no_children(self):
        path, stat = self.client.create(self.path("e"), ephemeral=True, include_data=True)
        self.assertEqual(stat.ephemeralOwner, self.client.client_id[0])
        with self.assertRaises(NoChildrenForEphemeralsError):
            self.client.create(path + "/child")
        sequential = self.client.create(self.path("e-"), ephemeral=True, sequence=True)
        self.assertEqual(sequential, self.path("e-0000000001"))
        self.assertEqual(sorted(self.call(self.client, GetEphemerals(""))), [path, sequential])
        self.assertEqual(self.call(self.client, GetEphemerals(path + "-")), [sequential])
        self.assertEqual(self.call(self.connect(), GetEphemerals("/")), [])

    def test_containers_vanish_when_their_last_child_does(self):
        path, stat = self.call(self.client, CreateContainer(self.path("c"), b"", OPEN_ACL_UNSAFE))
        self.assertEqual((path, stat.ephemeralOwner), (self.path("c"), 0))
        self.client.create(path + "/child")
        self.client.delete(path + "/child")
        wait_for(lambda: self.client.exists(path) is None, "the reaping of the container")

    def test_ttl_nodes_vanish_when_their_time_is_over(self):
        path, stat = self.call(self.client, CreateTTL(self.path("t"), b"x", OPEN_ACL_UNSAFE, 5, 100))
        self.assertEqual((path, stat.ephemeralOwner), (self.path("t"), 0))
        name, _ = self.call(self.client, CreateTTL(self.path("s-"), b"", OPEN_ACL_UNSAFE, 6, 1 << 30))
        self.assertEqual(name, self.path("s-0000000001"))
        wait_for(lambda: self.client.exists(path) is None, "the reaping of the TTL node")
        self.assertIsNotNone(self.client.exists(name))
        for ttl in (0, -1, 1 << 40):
            with self.assertRaises(BadArgumentsError):
                self.call(self.client, CreateTTL(self.path("bad"), b"", OPEN_ACL_UNSAFE, 5, ttl))

    def test_unicode_paths_and_names(self):
        for name in ["é", "日本語", "Ω≈ç√", "узел", "a b", "...", "a:b", "%2f", "ｆｕｌｌ"]:
            path = self.client.create(self.path(name), name.encode())
            self.assertEqual(path, self.path(name))
            self.assertEqual(self.client.get(path)[0], name.encode())
        self.assertIn("日本語", self.client.get_children(self.base))

    def test_bad_paths(self):
        # kazoo normalises paths on its own, so these go out as requests.
        for path in ["x", self.base + "//y", self.base + "/.", self.base + "/..", self.base + "/z/",
                     self.base + "/\x00", self.base + "/\x1f", self.base + "/\x7f", self.base + "/\ue000",
                     self.base + "/\U0001f600", self.base + "/\ufff0"]:
            with self.subTest(path=ascii(path)), self.assertRaises((BadArgumentsError, NoNodeError)):
                self.call(self.client, CreateRequest(path, b"", OPEN_ACL_UNSAFE, 0))
        self.assertEqual(self.client.get_children(self.base), [])

    def test_bad_flags(self):
        for flags in (-1, 7, 100):
            with self.assertRaises(BadArgumentsError):
                self.call(self.client, CreateRequest(self.path("f"), b"", OPEN_ACL_UNSAFE, flags))


class ReadAndWrite(ServerTest):
    def test_set_moves_version_mzxid_mtime_and_length(self):
        _, before = self.client.create(self.path("a"), b"1", include_data=True)
        after = self.client.set(self.path("a"), b"four")
        self.assertEqual((after.version, after.dataLength), (1, 4))
        self.assertGreater(after.mzxid, before.mzxid)
        self.assertEqual((after.czxid, after.pzxid, after.ctime), (before.czxid, before.pzxid, before.ctime))
        self.assertEqual(self.client.get(self.path("a")), (b"four", after))
        self.assertEqual(self.client.exists(self.path("a")), after)

    def test_versions_are_checked(self):
        self.client.create(self.path("a"), b"")
        self.client.set(self.path("a"), b"1", version=0)
        for version in (0, 2, -2):
            with self.assertRaises(BadVersionError):
                self.client.set(self.path("a"), b"2", version=version)
            with self.assertRaises(BadVersionError):
                self.client.delete(self.path("a"), version=version)
        self.client.set(self.path("a"), b"2", version=-1)
        self.client.delete(self.path("a"), version=2)

    def test_missing_nodes(self):
        missing = self.path("missing")
        self.assertIsNone(self.client.exists(missing))
        for call in (self.client.get, self.client.get_children, self.client.delete, self.client.get_acls):
            with self.assertRaises(NoNodeError):
                call(missing)
        with self.assertRaises(NoNodeError):
            self.client.set(missing, b"")
        with self.assertRaises(NoNodeError):
            self.client.set_acls(missing, OPEN_ACL_UNSAFE)

    def test_null_and_empty_data_stay_apart(self):
        self.client.create(self.path("null"), None)
        self.client.create(self.path("empty"), b"")
        data, stat = self.client.get(self.path("null"))
        self.assertEqual((data, stat.dataLength), (None, 0))
        data, stat = self.client.get(self.path("empty"))
        self.assertEqual((data, stat.dataLength), (b"", 0))
        self.client.set(self.path("empty"), None)
        self.assertIsNone(self.client.get(self.path("empty"))[0])

    def test_children_and_the_parents_stat(self):
        parent = self.path("p")
        _, fresh = self.client.create(parent, include_data=True)
        for name in ("a", "b", "c"):
            self.client.create(parent + "/" + name, b"")
        _, child = self.client.create(parent + "/d", include_data=True)
        children, stat = self.client.get_children(parent, include_data=True)
        self.assertEqual(sorted(children), ["a", "b", "c", "d"])
        self.assertEqual((stat.cversion, stat.numChildren, stat.version), (4, 4, 0))
        self.assertEqual(stat.pzxid, child.czxid)
        self.client.delete(parent + "/d")
        after = self.client.exists(parent)
        self.assertEqual((after.cversion, after.numChildren), (5, 3))
        self.assertGreater(after.pzxid, stat.pzxid)
        self.assertEqual((after.mzxid, after.czxid), (fresh.mzxid, fresh.czxid))
        self.client.set(parent + "/a", b"new")
        self.client.set_acls(parent + "/a", OPEN_ACL_UNSAFE)
        self.assertEqual(self.client.exists(parent), after)

    def test_delete_refuses_a_node_with_children(self):
        self.client.create(self.path("p/c"), makepath=True)
        with self.assertRaises(NotEmptyError):
            self.client.delete(self.path("p"))
        self.client.delete(self.path("p"), recursive=True)
        self.assertIsNone(self.client.exists(self.path("p")))

    def test_reserved_nodes_cannot_be_deleted(self):
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
            with self.assertRaises(BadArgumentsError):
                self.client.delete(path)

    def test_all_children_number(self):
        self.client.create(self.path("a/b/c"), makepath=True)
        self.client.create(self.path("a/d"))
        self.assertEqual(self.call(self.client, GetAllChildrenNumber(self.base)), 4)
        self.assertEqual(self.call(self.client, GetAllChildrenNumber(self.path("a"))), 3)
        self.assertEqual(self.call(self.client, GetAllChildrenNumber(self.path("a/d"))), 0)

    def test_sync_and_chroot(self):
        self.assertEqual(self.client.sync(self.base), self.base)
        inside = self.connect(chroot=self.base)
        inside.create("/in", b"1")
        self.assertEqual(self.client.get(self.path("in"))[0], b"1")
        self.assertEqual(inside.get_children("/"), ["in"])
        self.assertEqual(inside.sync("/in"), "/in")

    def test_a_thousand_children(self):
        parent = self.path("wide")
        self.client.create(parent)
        for result in [self.client.create_async(parent + "/n%05d" % n) for n in range(1000)]:
            result.get(timeout=60)
        self.assertEqual(sorted(self.client.get_children(parent)), ["n%05d" % n for n in range(1000)])
        self.assertEqual(self.client.exists(parent).numChildren, 1000)

    def test_data_near_one_megabyte(self):
        # The frame is the ceiling (1048575 bytes), and the rest of the request takes its share.
        value = bytes(range(256)) * 4090
        self.client.create(self.path("big"), value)
        self.assertEqual(self.client.get(self.path("big"))[0], value)
        longer = value[::-1]
        self.assertEqual(self.client.set(self.path("big"), longer).dataLength, len(longer))
        self.assertEqual(self.connect().get(self.path("big"))[0], longer)

    def test_reconfig_is_disabled(self):
        with self.assertRaises(ReconfigDisabledError):
            self.client.reconfig(joining=None, leaving="2", new_members=None)

    def test_the_config_node(self):
        data, stat = self.client.get("/zookeeper/config")
        self.assertEqual((data, stat.aversion), (b"", -1))
        with self.assertRaises(NoAuthError):
            self.client.set("/zookeeper/config", b"x")


class Transactions(ServerTest):
    def test_all_or_nothing_success(self):
        self.client.create(self.path("old"), b"x")
        t = self.client.transaction()
        t.create(self.path("a"), b"1")
        t.create(self.path("s-"), sequence=True)
        t.create(self.path("e"), ephemeral=True)
        t.set_data(self.path("a"), b"2", version=0)
        t.check(self.path("a"), version=1)
        t.delete(self.path("old"))
        results = t.commit()
        self.assertEqual(results[0], self.path("a"))
        self.assertEqual(results[1], self.path("s-0000000002"))
        self.assertEqual(results[2], self.path("e"))
        self.assertEqual((results[3].version, results[3].dataLength), (1, 1))
        self.assertEqual(results[4:], [True, True])
        stats = [self.client.exists(self.path(name)) for name in ("a", "s-0000000002", "e")]
        self.assertEqual(len({stat.czxid for stat in stats}), 1)
        self.assertEqual(stats[2].ephemeralOwner, self.client.client_id[0])
        self.assertIsNone(self.client.exists(self.path("old")))

    def test_a_failing_op_undoes_all(self):
        self.client.create(self.path("x"), b"")
        t = self.client.transaction()
        t.create(self.path("a"), b"1")
        t.create(self.path("n-"), sequence=True)
        t.delete(self.path("missing"))
        t.set_data(self.path("x"), b"changed")
        results = t.commit()
        self.assertIsInstance(results[0], RolledBackError)
        self.assertIsInstance(results[1], RolledBackError)
        self.assertIsInstance(results[2], NoNodeError)
        self.assertIsInstance(results[3], RuntimeInconsistency)
        self.assertEqual(self.client.get_children(self.base), ["x"])
        self.assertEqual(self.client.get(self.path("x"))[1].version, 0)
        # The sequence counter goes back too.
        self.assertEqual(self.client.create(self.path("n-"), sequence=True), self.path("n-0000000001"))

    def test_each_kind_of_failure(self):
        self.client.create(self.path("x/child"), b"", makepath=True)
        failures = [
            (lambda t: t.create(self.path("x")), NodeExistsError),
            (lambda t: t.create(self.path("no/x")), NoNodeError),
            (lambda t: t.delete(self.path("x")), NotEmptyError),
            (lambda t: t.delete(self.path("x/child"), version=4), BadVersionError),
            (lambda t: t.set_data(self.path("no"), b""), NoNodeError),
            (lambda t: t.set_data(self.path("x"), b"", version=3), BadVersionError),
            (lambda t: t.check(self.path("x"), version=9), BadVersionError),
            (lambda t: t.check(self.path("no"), version=0), NoNodeError),
        ]
        for n, (add, error) in enumerate(failures):
            with self.subTest(n=n):
                t = self.client.transaction()
                t.set_data(self.path("x"), b"no")
                add(t)
                results = t.commit()
                self.assertIsInstance(results[0], RolledBackError)
                self.assertIsInstance(results[1], error)
        self.assertEqual(self.client.get(self.path("x"))[1].version, 0)

    def test_later_ops_see_earlier_ones(self):
        t = self.client.transaction()
        t.create(self.path("a"), b"1")
        t.create(self.path("a/b"), b"1")
        t.delete(self.path("a/b"))
        t.create(self.path("a/b"), b"2")
        t.set_data(self.path("a/b"), b"3", version=0)
        results = t.commit()
        self.assertEqual(results[4].version, 1)
        data, stat = self.client.get(self.path("a/b"))
        self.assertEqual((data, stat.version), (b"3", 1))
        parent = self.client.exists(self.path("a"))
        self.assertEqual((parent.cversion, parent.numChildren, parent.pzxid), (3, 1, stat.czxid))

    def test_an_empty_transaction_succeeds(self):
        self.assertEqual(self.client.transaction().commit(), [])


class Order(ServerTest):
    def test_pipelined_requests_are_answered_in_order_and_see_each_other(self):
        path = self.path("p")
        self.client.create(path, b"-1")
        arrivals, pending = [], []
        for n in range(500):
            write = self.client.set_async(path, str(n).encode())
            read = self.client.get_async(path)
            write.rawlink(lambda _, n=n: arrivals.append(("set", n)))
            read.rawlink(lambda _, n=n: arrivals.append(("get", n)))
            pending.append((n, write, read))
        for n, write, read in pending:
            stat = write.get(timeout=60)
            self.assertEqual(stat.version, n + 1)
            data, seen = read.get(timeout=60)
            self.assertEqual((data, seen), (str(n).encode(), stat))
        wait_for(lambda: len(arrivals) == 1000)
        self.assertEqual(arrivals, [(what, n) for n in range(500) for what in ("set", "get")])

    def test_a_mixed_pipeline(self):
        results = []
        for n in range(300):
            path = self.path("m%d" % n)
            results.append((
                n,
                self.client.create_async(path, b"1"),
                self.client.exists_async(path),
                self.client.get_children_async(self.base),
                self.client.delete_async(self.path("missing")),
                self.client.set_async(path, b"2", version=0),
                self.client.delete_async(path, version=1) if n % 2 else self.client.get_async(path),
                self.client.sync_async(path),
            ))
        alive = set()
        for n, create, exists, children, missing, change, last, sync in results:
            path = self.path("m%d" % n)
            alive.add("m%d" % n)
            self.assertEqual(create.get(timeout=60), path)
            self.assertEqual(exists.get().version, 0)
            self.assertEqual(set(children.get()), alive)
            with self.assertRaises(NoNodeError):
                missing.get()
            self.assertEqual(change.get().version, 1)
            if n % 2:
                last.get()
                alive.discard("m%d" % n)
            else:
                self.assertEqual(last.get()[0], b"2")
            self.assertEqual(sync.get(), path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
