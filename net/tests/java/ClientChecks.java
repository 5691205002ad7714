import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/** Apache ZooKeeper's own Java client. Arguments: host:port, and optionally part of a test's name. */
public final class ClientChecks extends Checks {
    private final List<ZooKeeper> clients = new ArrayList<>();
    private Proxy proxy;
    private ZooKeeper zk;

    public static void main(String[] arguments) throws Exception {
        run(ClientChecks.class, arguments);
    }

    @Override
    void begin() throws Exception {
        proxy = new Proxy(hosts);
        zk = connect();
        zk.create(base, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    @Override
    void end() throws Exception {
        proxy.mend();
        for (ZooKeeper client : clients) {
            client.close();
        }
        proxy.close();
    }

    /** Collects events; session events apart from those of nodes. */
    private static final class Events implements Watcher {
        final BlockingQueue<String> nodes = new LinkedBlockingQueue<>();
        final BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() == EventType.None) {
                states.add(event.getState());
            } else {
                nodes.add(event.getType() + " " + event.getPath());
            }
        }

        void expect(String... expected) throws Exception {
            for (String one : expected) {
                equal(one, nodes.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
            }
            that(nodes.isEmpty(), "unexpected " + nodes);
        }

        void expectInAnyOrder(String... expected) throws Exception {
            Set<String> seen = new HashSet<>();
            for (int i = 0; i < expected.length; i++) {
                seen.add(nodes.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
            }
            equal(new HashSet<>(Arrays.asList(expected)), seen);
            that(nodes.isEmpty(), "unexpected " + nodes);
        }

        void await(KeeperState state) throws Exception {
            long until = System.nanoTime() + PATIENCE_MS * 1_000_000;
            KeeperState seen = null;
            while (seen != state) {
                that(System.nanoTime() < until, "no state " + state);
                seen = states.poll(PATIENCE_MS, TimeUnit.MILLISECONDS);
            }
        }
    }

    private ZooKeeper connect() throws Exception {
        return connect(hosts, new Events(), 10_000);
    }

    private ZooKeeper connect(String server, Events events, int timeout) throws Exception {
        ZooKeeper client = new ZooKeeper(server, timeout, events);
        clients.add(client);
        events.await(KeeperState.SyncConnected);
        return client;
    }

    private String path(String name) {
        return base + "/" + name;
    }

    private String create(String path, CreateMode mode) throws Exception {
        return zk.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, mode);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Everything on the way to the client has been handed to its watchers. */
    private static void fence(ZooKeeper client) throws Exception {
        CompletableFuture<Void> done = new CompletableFuture<>();
        client.sync("/", (code, path, context) -> done.complete(null), null);
        done.get(PATIENCE_MS, TimeUnit.MILLISECONDS);
    }

    void testCreateModes() throws Exception {
        Stat stat = new Stat();
        equal(path("p"), zk.create(path("p"), bytes("v"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat));
        equal(0L, stat.getEphemeralOwner());
        equal(1, stat.getDataLength());
        equal(stat, zk.exists(path("p"), false));
        equal(path("e"), zk.create(path("e"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL, stat));
        equal(zk.getSessionId(), stat.getEphemeralOwner());
        equal(path("s-0000000002"), create(path("s-"), CreateMode.PERSISTENT_SEQUENTIAL));
        equal(path("s-0000000003"), create(path("s-"), CreateMode.EPHEMERAL_SEQUENTIAL));
        equal(path("c"), zk.create(path("c"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER, stat));
        equal(0L, stat.getEphemeralOwner());
        equal(path("t"), zk.create(path("t"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, stat, 600_000));
        equal(0L, stat.getEphemeralOwner());
        equal(path("t-0000000006"), zk.create(path("t-"), null, Ids.OPEN_ACL_UNSAFE,
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 600_000));
        Stat parent = zk.exists(base, false);
        equal(7, parent.getNumChildren());
        equal(7, parent.getCversion());
        equal(stat.getCzxid(), parent.getPzxid());
    }

    void testContainersAndTtlNodesAreReaped() throws Exception {
        create(path("c"), CreateMode.CONTAINER);
        create(path("c/x"), CreateMode.PERSISTENT);
        zk.create(path("t"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 50);
        Events events = new Events();
        that(zk.exists(path("c"), events) != null, "the container stays while it has a child");
        zk.delete(path("c/x"), -1);
        waitFor("the reaping", () -> zk.exists(path("c"), false) == null && zk.exists(path("t"), false) == null);
        events.expect("NodeDeleted " + path("c"));
    }

    void testErrorsOfSingleOperations() throws Exception {
        create(path("a"), CreateMode.PERSISTENT);
        create(path("e"), CreateMode.EPHEMERAL);
        raises(KeeperException.NodeExistsException.class, () -> create(path("a"), CreateMode.PERSISTENT));
        raises(KeeperException.NoNodeException.class, () -> create(path("no/a"), CreateMode.PERSISTENT));
        raises(KeeperException.NoChildrenForEphemeralsException.class, () -> create(path("e/x"), CreateMode.PERSISTENT));
        raises(KeeperException.BadVersionException.class, () -> zk.setData(path("a"), null, 7));
        raises(KeeperException.NoNodeException.class, () -> zk.setData(path("no"), null, -1));
        raises(KeeperException.NoNodeException.class, () -> zk.getData(path("no"), false, null));
        raises(KeeperException.NoNodeException.class, () -> zk.getChildren(path("no"), false));
        raises(KeeperException.NotEmptyException.class, () -> {
            zk.delete(base, -1);
            return null;
        });
        raises(KeeperException.BadVersionException.class, () -> {
            zk.delete(path("a"), 3);
            return null;
        });
        raises(KeeperException.InvalidACLException.class,
            () -> zk.create(path("x"), null, Collections.emptyList(), CreateMode.PERSISTENT));
        raises(KeeperException.BadArgumentsException.class, () -> {
            zk.delete("/zookeeper", -1);
            return null;
        });
    }

    void testNullAndEmptyData() throws Exception {
        zk.create(path("null"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create(path("empty"), new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        equal(null, zk.getData(path("null"), false, null));
        equal(0, zk.getData(path("empty"), false, null).length);
        zk.setData(path("empty"), null, -1);
        equal(null, zk.getData(path("empty"), false, null));
    }

    void testMultiSucceeds() throws Exception {
        create(path("old"), CreateMode.PERSISTENT);
        List<OpResult> results = zk.multi(Arrays.asList(
            Op.create(path("a"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.create(path("s-"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL),
            Op.create(path("c"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
            Op.create(path("t"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 600_000),
            Op.setData(path("a"), bytes("22"), 0),
            Op.check(path("a"), 1),
            Op.delete(path("old"), -1)));
        equal(path("a"), ((OpResult.CreateResult) results.get(0)).getPath());
        equal(path("s-0000000002"), ((OpResult.CreateResult) results.get(1)).getPath());
        OpResult.CreateResult container = (OpResult.CreateResult) results.get(2);
        equal(path("c"), container.getPath());
        equal(0L, container.getStat().getEphemeralOwner());
        OpResult.CreateResult ttl = (OpResult.CreateResult) results.get(3);
        equal(container.getStat().getCzxid(), ttl.getStat().getCzxid());
        Stat set = ((OpResult.SetDataResult) results.get(4)).getStat();
        equal(1, set.getVersion());
        equal(2, set.getDataLength());
        equal(set, zk.exists(path("a"), false));
        that(results.get(5) instanceof OpResult.CheckResult, "a check result");
        that(results.get(6) instanceof OpResult.DeleteResult, "a delete result");
        equal(null, zk.exists(path("old"), false));
    }

    void testMultiFailsAsAWhole() throws Exception {
        create(path("x"), CreateMode.PERSISTENT);
        KeeperException failure = raises(KeeperException.NoNodeException.class, () -> zk.multi(Arrays.asList(
            Op.create(path("a"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.check(path("x"), 0),
            Op.delete(path("missing"), -1),
            Op.setData(path("x"), bytes("new"), -1))));
        List<Integer> codes = new ArrayList<>();
        for (OpResult result : failure.getResults()) {
            codes.add(((OpResult.ErrorResult) result).getErr());
        }
        equal(Arrays.asList(0, 0, Code.NONODE.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()), codes);
        equal(Collections.singletonList("x"), zk.getChildren(base, false));
        equal(0, zk.exists(path("x"), false).getVersion());
    }

    void testMultiRollsSequencesBack() throws Exception {
        raises(KeeperException.NoNodeException.class, () -> zk.multi(Arrays.asList(
            Op.create(path("s-"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create(path("s-"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.delete(path("missing"), -1))));
        equal(path("s-0000000000"), create(path("s-"), CreateMode.PERSISTENT_SEQUENTIAL));
    }

    void testMultiRead() throws Exception {
        zk.create(path("a"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        List<OpResult> results = zk.multi(Arrays.asList(
            Op.getData(path("a")), Op.getData(path("missing")), Op.getChildren(base), Op.getChildren(path("missing"))));
        equal("1", new String(((OpResult.GetDataResult) results.get(0)).getData(), StandardCharsets.UTF_8));
        equal(zk.exists(path("a"), false), ((OpResult.GetDataResult) results.get(0)).getStat());
        equal(Code.NONODE.intValue(), ((OpResult.ErrorResult) results.get(1)).getErr());
        equal(Collections.singletonList("a"), ((OpResult.GetChildrenResult) results.get(2)).getChildren());
        equal(Code.NONODE.intValue(), ((OpResult.ErrorResult) results.get(3)).getErr());
    }

    void testTransactionBuilderAndAsyncMulti() throws Exception {
        Transaction transaction = zk.transaction();
        transaction.create(path("a"), bytes("1"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        transaction.setData(path("a"), bytes("2"), 0).check(path("a"), 1).delete(path("a"), 1);
        equal(4, transaction.commit().size());
        CompletableFuture<Integer> code = new CompletableFuture<>();
        zk.multi(Arrays.asList(Op.check(path("a"), 0)), (rc, path, context, results) -> code.complete(rc), null);
        equal(Code.NONODE.intValue(), code.get(PATIENCE_MS, TimeUnit.MILLISECONDS));
        equal(0, zk.multi(Collections.emptyList()).size());
    }

    void testAsyncCallbacksComeInOrder() throws Exception {
        int rounds = 500;
        List<String> order = Collections.synchronizedList(new ArrayList<>());
        List<String> expected = new ArrayList<>();
        CountDownLatch left = new CountDownLatch(rounds * 5);
        for (int i = 0; i < rounds; i++) {
            String node = path("n" + i);
            int round = i;
            zk.create(node, bytes("0"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, (rc, path, context, name, stat) -> {
                order.add("create " + round + " " + rc + " " + stat.getVersion());
                left.countDown();
            }, null);
            zk.setData(node, bytes("1"), 0, (rc, path, context, stat) -> {
                order.add("set " + round + " " + rc + " " + stat.getVersion());
                left.countDown();
            }, null);
            zk.getData(node, false, (rc, path, context, data, stat) -> {
                order.add("get " + round + " " + rc + " " + new String(data, StandardCharsets.UTF_8));
                left.countDown();
            }, null);
            zk.exists(path("missing"), false, (rc, path, context, stat) -> {
                order.add("exists " + round + " " + rc);
                left.countDown();
            }, null);
            zk.delete(node, 1, (rc, path, context) -> {
                order.add("delete " + round + " " + rc);
                left.countDown();
            }, null);
            expected.addAll(Arrays.asList("create " + i + " 0 0", "set " + i + " 0 1", "get " + i + " 0 1",
                "exists " + i + " -101", "delete " + i + " 0"));
        }
        that(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "all callbacks");
        equal(expected, order);
        equal(0, zk.exists(base, false).getNumChildren());
        equal(2 * rounds, zk.exists(base, false).getCversion());
    }

    void testCountsOfChildrenAndEphemerals() throws Exception {
        create(path("a"), CreateMode.PERSISTENT);
        create(path("a/b"), CreateMode.PERSISTENT);
        create(path("a/b/c"), CreateMode.EPHEMERAL);
        create(path("a/b/cd"), CreateMode.EPHEMERAL);
        create(path("e"), CreateMode.EPHEMERAL);
        equal(5, zk.getAllChildrenNumber(base));
        equal(3, zk.getAllChildrenNumber(path("a")));
        equal(new HashSet<>(Arrays.asList(path("a/b/c"), path("a/b/cd"), path("e"))), new HashSet<>(zk.getEphemerals()));
        equal(2, zk.getEphemerals(path("a/b/c")).size());
        equal(0, connect().getEphemerals().size());
        raises(KeeperException.NoNodeException.class, () -> zk.getAllChildrenNumber(path("missing")));
    }

    void testWatchesOfReads() throws Exception {
        ZooKeeper other = connect();
        Events events = new Events();
        equal(null, zk.exists(path("a"), events));
        other.create(path("a"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        events.expect("NodeCreated " + path("a"));
        zk.getData(path("a"), events, null);
        other.setData(path("a"), bytes("1"), -1);
        events.expect("NodeDataChanged " + path("a"));
        zk.getChildren(path("a"), events);
        other.create(path("a/b"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        events.expect("NodeChildrenChanged " + path("a"));
        zk.getChildren(path("a/b"), events);
        zk.getData(path("a/b"), events, null);
        other.delete(path("a/b"), -1);
        // One event, though two watches were set with the same watcher.
        events.expect("NodeDeleted " + path("a/b"));
        other.setData(path("a"), bytes("2"), -1);
        fence(zk);
        that(events.nodes.isEmpty(), "a watch fires once");
    }

    void testPersistentAndRecursiveWatches() throws Exception {
        ZooKeeper other = connect();
        Events persistent = new Events();
        Events recursive = new Events();
        zk.addWatch(path("a"), persistent, AddWatchMode.PERSISTENT);
        // On a connection of its own: the client of 3.8 hands every event of a path to all watchers above it.
        ZooKeeper third = connect();
        third.addWatch(base, recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int i = 0; i < 2; i++) {
            other.create(path("a"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.create(path("a/b"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            other.setData(path("a/b"), null, -1);
            other.delete(path("a/b"), -1);
            other.setData(path("a"), null, -1);
            other.delete(path("a"), -1);
        }
        fence(zk);
        fence(third);
        String[] one = {"NodeCreated", "NodeChildrenChanged", "NodeChildrenChanged", "NodeDataChanged", "NodeDeleted"};
        for (int i = 0; i < 2; i++) {
            for (String kind : one) {
                equal(kind + " " + path("a"), persistent.nodes.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
            }
        }
        String a = " " + path("a");
        String b = " " + path("a/b");
        String[] all = {"NodeCreated" + a, "NodeCreated" + b, "NodeDataChanged" + b, "NodeDeleted" + b,
            "NodeDataChanged" + a, "NodeDeleted" + a};
        for (int i = 0; i < 2; i++) {
            for (String event : all) {
                equal(event, recursive.nodes.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
            }
        }
        that(persistent.nodes.isEmpty() && recursive.nodes.isEmpty(), "no further events");
    }

    void testRemoveWatches() throws Exception {
        create(path("a"), CreateMode.PERSISTENT);
        Events data = new Events();
        Events children = new Events();
        Events persistent = new Events();
        zk.getData(path("a"), data, null);
        zk.getChildren(path("a"), children);
        zk.addWatch(base, persistent, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.removeWatches(path("a"), data, WatcherType.Data, false);
        data.expect("DataWatchRemoved " + path("a"));
        zk.removeWatches(path("a"), children, WatcherType.Any, false);
        children.expect("ChildWatchRemoved " + path("a"));
        zk.removeAllWatches(base, WatcherType.Any, false);
        persistent.expect("PersistentWatchRemoved " + base);
        raises(KeeperException.NoWatcherException.class, () -> {
            zk.removeWatches(path("a"), data, WatcherType.Any, false);
            return null;
        });
        raises(KeeperException.NoWatcherException.class, () -> {
            zk.removeAllWatches(path("a"), WatcherType.Any, false);
            return null;
        });
        zk.setData(path("a"), null, -1);
        create(path("a/b"), CreateMode.PERSISTENT);
        fence(zk);
        that(data.nodes.isEmpty() && children.nodes.isEmpty() && persistent.nodes.isEmpty(), "removed is removed");
    }

    void testSetWatchesAfterALostConnection() throws Exception {
        Events session = new Events();
        ZooKeeper far = connect(proxy.address(), session, 20_000);
        for (String name : new String[] {"changed", "same", "deleted", "parent", "again"}) {
            create(path(name), CreateMode.PERSISTENT);
        }
        Events events = new Events();
        for (String name : new String[] {"changed", "same", "deleted"}) {
            far.getData(path(name), events, null);
        }
        far.getChildren(path("parent"), events);
        far.exists(path("created"), events);
        far.exists(path("never"), events);
        Events persistent = new Events();
        far.addWatch(path("again"), persistent, AddWatchMode.PERSISTENT);
        proxy.cut();
        session.await(KeeperState.Disconnected);
        zk.setData(path("changed"), null, -1);
        zk.delete(path("deleted"), -1);
        create(path("parent/child"), CreateMode.PERSISTENT);
        create(path("created"), CreateMode.PERSISTENT);
        zk.setData(path("again"), bytes("missed"), -1);
        proxy.mend();
        session.await(KeeperState.SyncConnected);
        events.expectInAnyOrder("NodeDataChanged " + path("changed"), "NodeDeleted " + path("deleted"),
            "NodeChildrenChanged " + path("parent"), "NodeCreated " + path("created"));
        // What did not change is watched on; what fired is not; persistent watches are there again.
        zk.setData(path("same"), null, -1);
        zk.setData(path("changed"), null, -1);
        create(path("never"), CreateMode.PERSISTENT);
        events.expect("NodeDataChanged " + path("same"), "NodeCreated " + path("never"));
        zk.setData(path("again"), bytes("seen"), -1);
        persistent.expect("NodeDataChanged " + path("again"));
    }

    void testSetWatchesInSeveralFrames() throws Exception {
        // The client splits at 128 KiB of paths.
        Events session = new Events();
        ZooKeeper far = connect(proxy.address(), session, 20_000);
        Events events = new Events();
        String filler = String.join("", Collections.nCopies(60, "long-"));
        int count = 1200;
        CountDownLatch left = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            far.exists(path(filler + i), events, (rc, path, context, stat) -> left.countDown(), null);
        }
        that(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "all watches");
        proxy.cut();
        session.await(KeeperState.Disconnected);
        create(path(filler + 7), CreateMode.PERSISTENT);
        proxy.mend();
        session.await(KeeperState.SyncConnected);
        events.expect("NodeCreated " + path(filler + 7));
        create(path(filler + (count - 1)), CreateMode.PERSISTENT);
        create(path(filler + 0), CreateMode.PERSISTENT);
        events.expect("NodeCreated " + path(filler + (count - 1)), "NodeCreated " + path(filler + 0));
    }

    void testTheSessionOutlivesItsConnection() throws Exception {
        Events session = new Events();
        ZooKeeper far = connect(proxy.address(), session, 20_000);
        far.addAuthInfo("digest", bytes("bob:pw"));
        far.create(path("e"), null, Ids.CREATOR_ALL_ACL, CreateMode.EPHEMERAL);
        long id = far.getSessionId();
        for (int i = 0; i < 3; i++) {
            proxy.cut();
            session.await(KeeperState.Disconnected);
            proxy.mend();
            session.await(KeeperState.SyncConnected);
            equal(id, far.getSessionId());
            equal(id, far.exists(path("e"), false).getEphemeralOwner());
        }
    }

    void testReconnectWithIdAndPassword() throws Exception {
        ZooKeeper first = connect();
        first.create(path("e"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events events = new Events();
        ZooKeeper second = new ZooKeeper(hosts, 10_000, events, first.getSessionId(), first.getSessionPasswd());
        events.await(KeeperState.SyncConnected);
        equal(first.getSessionId(), second.getSessionId());
        second.close();
        equal(null, zk.exists(path("e"), false));
    }

    void testAClosedSessionExpiresItsOtherConnection() throws Exception {
        Events events = new Events();
        ZooKeeper first = connect(hosts, events, 10_000);
        Events other = new Events();
        ZooKeeper second = new ZooKeeper(hosts, 10_000, other, first.getSessionId(), first.getSessionPasswd());
        other.await(KeeperState.SyncConnected);
        second.close();
        events.await(KeeperState.Expired);
        raises(KeeperException.SessionExpiredException.class, () -> first.exists("/", false));
    }

    void testAWrongPasswordIsAnExpiredSession() throws Exception {
        ZooKeeper first = connect();
        Events events = new Events();
        ZooKeeper second = new ZooKeeper(hosts, 10_000, events, first.getSessionId(), new byte[16]);
        events.await(KeeperState.Expired);
        second.close();
    }

    void testExpiryOfASilentClient() throws Exception {
        Events session = new Events();
        ZooKeeper far = connect(proxy.address(), session, 2_000);
        far.create(path("e"), null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events events = new Events();
        zk.exists(path("e"), events);
        zk.getChildren(base, events);
        proxy.cut();
        events.expect("NodeDeleted " + path("e"), "NodeChildrenChanged " + base);
        proxy.mend();
        session.await(KeeperState.Expired);
    }

    void testTheTimeoutIsNegotiated() throws Exception {
        equal(2_000, connect(hosts, new Events(), 1_000).getSessionTimeout());
        equal(7_000, connect(hosts, new Events(), 7_000).getSessionTimeout());
        equal(20_000, connect(hosts, new Events(), 3_600_000).getSessionTimeout());
    }

    void testNothingBehindCloseTakesEffect() throws Exception {
        ZooKeeper first = connect();
        for (int i = 0; i < 200; i++) {
            first.create(path("n" + i), null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL,
                (rc, path, context, name) -> { }, null);
        }
        first.close();
        equal(Collections.emptyList(), zk.getChildren(base, false));
    }

    void testAcls() throws Exception {
        Id bob = new Id("digest", DigestAuthenticationProvider.generateDigest("bob:pw"));
        List<ACL> acls = Arrays.asList(new ACL(Perms.ALL, bob), new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE));
        zk.create(path("a"), bytes("s"), acls, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        List<ACL> seen = zk.getACL(path("a"), stat);
        equal("bob:x", seen.get(0).getId().getId());
        equal(Perms.ALL, seen.get(0).getPerms());
        raises(KeeperException.NoAuthException.class, () -> zk.setData(path("a"), null, -1));
        raises(KeeperException.NoAuthException.class, () -> zk.setACL(path("a"), Ids.OPEN_ACL_UNSAFE, -1));
        zk.addAuthInfo("digest", bytes("bob:pw"));
        equal(acls, zk.getACL(path("a"), stat));
        equal(0, stat.getAversion());
        equal(1, zk.setACL(path("a"), Ids.CREATOR_ALL_ACL, 0).getAversion());
        equal(Collections.singletonList(new ACL(Perms.ALL, bob)), zk.getACL(path("a"), stat));
        raises(KeeperException.BadVersionException.class, () -> zk.setACL(path("a"), Ids.OPEN_ACL_UNSAFE, 0));
        raises(KeeperException.NoAuthException.class, () -> connect().getData(path("a"), false, null));
        raises(KeeperException.InvalidACLException.class,
            () -> connect().create(path("b"), null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
    }

    void testWhoAmI() throws Exception {
        ZooKeeper client = connect();
        client.addAuthInfo("digest", bytes("bob:pw"));
        Set<String> known = new HashSet<>();
        for (ClientInfo info : client.whoAmI()) {
            known.add(info.getAuthScheme() + " " + info.getUser());
        }
        equal(new HashSet<>(Arrays.asList("ip 127.0.0.1", "digest bob")), known);
    }

    void testAnUnknownAuthSchemeFailsTheClient() throws Exception {
        Events events = new Events();
        ZooKeeper client = connect(hosts, events, 10_000);
        client.addAuthInfo("no-such-scheme", bytes("x"));
        events.await(KeeperState.AuthFailed);
        raises(KeeperException.AuthFailedException.class, () -> client.exists("/", false));
    }

    void testReconfigIsRefused() throws Exception {
        Events events = new Events();
        ZooKeeperAdmin admin = new ZooKeeperAdmin(hosts, 10_000, events);
        clients.add(admin);
        events.await(KeeperState.SyncConnected);
        raises(KeeperException.ReconfigDisabledException.class,
            () -> admin.reconfigure((String) null, "3", null, -1, new Stat()));
    }

    void testConfigNode() throws Exception {
        Stat stat = new Stat();
        equal(0, zk.getConfig(false, stat).length);
        equal(-1, stat.getAversion());
    }

    void testChrootedClient() throws Exception {
        Events session = new Events();
        ZooKeeper inside = connect(hosts + base, session, 10_000);
        Events events = new Events();
        inside.exists("/x", events);
        equal("/x", inside.create("/x", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        events.expect("NodeCreated /x");
        equal(Collections.singletonList("x"), zk.getChildren(base, false));
        equal("/s-0000000001", inside.create("/s-", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL));
        // The chroot is the client's affair, and the Java client leaves it on here.
        equal(Collections.singletonList(path("s-0000000001")), inside.getEphemerals());
    }

    void testLargeData() throws Exception {
        byte[] value = new byte[1_000_000];
        for (int i = 0; i < value.length; i++) {
            value[i] = (byte) (i * 31);
        }
        zk.create(path("big"), value, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        that(Arrays.equals(value, zk.getData(path("big"), false, null)), "the value comes back");
        raises(KeeperException.ConnectionLossException.class,
            () -> connect().setData(path("big"), new byte[1_048_600], -1));
        equal(0, zk.exists(path("big"), false).getVersion());
    }

    void testManyChildrenInOneAnswer() throws Exception {
        int count = 5_000;
        CountDownLatch left = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            zk.create(path(String.format("child-%06d", i)), null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                (rc, path, context, name) -> left.countDown(), null);
        }
        that(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "all created");
        Stat stat = new Stat();
        List<String> children = zk.getChildren(base, false, stat);
        Collections.sort(children);
        equal(count, children.size());
        equal("child-000000", children.get(0));
        equal("child-004999", children.get(count - 1));
        equal(count, stat.getNumChildren());
    }
}
