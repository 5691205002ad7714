import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.api.transaction.OperationType;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.utils.ZKPaths;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** Curator's framework and recipes. Arguments: host:port, and optionally part of a test's name. */
public final class CuratorChecks extends Checks {
    private final List<CuratorFramework> clients = new ArrayList<>();
    private final ExecutorService workers = Executors.newCachedThreadPool();
    private Proxy proxy;
    private CuratorFramework curator;

    public static void main(String[] arguments) throws Exception {
        run(CuratorChecks.class, arguments);
    }

    @Override
    void begin() throws Exception {
        proxy = new Proxy(hosts);
        curator = connect();
    }

    @Override
    void end() throws Exception {
        proxy.mend();
        clients.forEach(CuratorFramework::close);
        workers.shutdownNow();
        proxy.close();
    }

    private CuratorFramework connect() throws Exception {
        return connect(hosts);
    }

    private CuratorFramework connect(String server) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
            .connectString(server).sessionTimeoutMs(15_000).connectionTimeoutMs(15_000)
            .retryPolicy(new ExponentialBackoffRetry(100, 10)).build();
        clients.add(client);
        client.start();
        that(client.blockUntilConnected(60, TimeUnit.SECONDS), "connected");
        return client;
    }

    private String path(String name) {
        return base + "/" + name;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** Runs the work once per client, all at a time. */
    private void together(int count, Work work) throws Exception {
        List<Future<?>> futures = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            CuratorFramework client = connect();
            futures.add(workers.submit(() -> {
                work.run(client);
                return null;
            }));
        }
        for (Future<?> future : futures) {
            future.get(PATIENCE_MS, TimeUnit.MILLISECONDS);
        }
    }

    private interface Work {
        void run(CuratorFramework client) throws Exception;
    }

    /** Counts how many are inside at a time. */
    private static final class Room {
        private final AtomicInteger inside = new AtomicInteger();
        private final AtomicInteger most = new AtomicInteger();
        private final AtomicInteger visits = new AtomicInteger();

        void visit(CuratorFramework client) throws Exception {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            visits.incrementAndGet();
            client.checkExists().forPath("/");
            inside.decrementAndGet();
        }
    }

    /** Ends the client's session as a second client with its id and password does. */
    private void killSession(CuratorFramework client) throws Exception {
        ZooKeeper zk = client.getZookeeperClient().getZooKeeper();
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper twin = new ZooKeeper(hosts, 10_000, event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                connected.countDown();
            }
        }, zk.getSessionId(), zk.getSessionPasswd());
        that(connected.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "the twin is connected");
        twin.close();
    }

    void testFrameworkOperations() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("a/b/c"), bytes("1"));
        equal("1", text(curator.getData().forPath(path("a/b/c"))));
        equal(1, curator.setData().withVersion(0).forPath(path("a/b/c"), bytes("2")).getVersion());
        raises(KeeperException.BadVersionException.class,
            () -> curator.setData().withVersion(0).forPath(path("a/b/c"), bytes("3")));
        equal(Collections.singletonList("c"), curator.getChildren().forPath(path("a/b")));
        String protectedPath = curator.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
            .forPath(path("p-"));
        that(protectedPath.contains("p-0000000001"), protectedPath);
        equal(path("o"), curator.create().orSetData().forPath(path("o"), bytes("1")));
        equal(path("o"), curator.create().orSetData().forPath(path("o"), bytes("2")));
        equal("2", text(curator.getData().forPath(path("o"))));
        curator.delete().guaranteed().deletingChildrenIfNeeded().forPath(base);
        equal(null, curator.checkExists().forPath(base));
        curator.delete().quietly().forPath(base);
    }

    void testContainersAsParents() throws Exception {
        curator.create().creatingParentContainersIfNeeded().forPath(path("c/leaf"));
        curator.delete().forPath(path("c/leaf"));
        waitFor("the reaping of the parents", () -> curator.checkExists().forPath(base) == null);
    }

    void testTtlNodes() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("x"));
        curator.create().withTtl(100).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath(path("t"));
        waitFor("the reaping", () -> curator.checkExists().forPath(path("t")) == null);
    }

    void testBackgroundOperations() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("x"));
        List<Integer> order = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch left = new CountDownLatch(200);
        List<Integer> expected = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            int n = i;
            expected.add(i);
            curator.create().inBackground((client, event) -> {
                order.add(n);
                left.countDown();
            }).forPath(path("n" + i));
        }
        that(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "all answers");
        equal(expected, order);
    }

    void testTransactions() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("old"), bytes("0"));
        List<CuratorTransactionResult> results = curator.transaction().forOperations(
            curator.transactionOp().create().forPath(path("a"), bytes("1")),
            curator.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath(path("s-")),
            curator.transactionOp().setData().withVersion(0).forPath(path("a"), bytes("2")),
            curator.transactionOp().check().withVersion(1).forPath(path("a")),
            curator.transactionOp().delete().forPath(path("old")));
        equal(path("s-0000000002"), results.get(1).getResultPath());
        equal(1, results.get(2).getResultStat().getVersion());
        equal(OperationType.DELETE, results.get(4).getType());
        raises(KeeperException.NodeExistsException.class, () -> curator.transaction().forOperations(
            curator.transactionOp().delete().forPath(path("a")),
            curator.transactionOp().create().forPath(path("s-0000000002"))));
        equal("2", text(curator.getData().forPath(path("a"))));
    }

    void testAuthorization() throws Exception {
        CuratorFramework owner = CuratorFrameworkFactory.builder().connectString(hosts)
            .retryPolicy(new ExponentialBackoffRetry(100, 10)).authorization("digest", bytes("bob:pw")).namespace(base.substring(1)).build();
        clients.add(owner);
        owner.start();
        owner.create().withACL(Ids.CREATOR_ALL_ACL).forPath("/secret", bytes("s"));
        equal("s", text(owner.getData().forPath("/secret")));
        raises(KeeperException.NoAuthException.class, () -> curator.getData().forPath(path("secret")));
    }

    void testWatchersAddAndRemove() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("w"));
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        org.apache.zookeeper.Watcher watcher = event -> events.add(event.getType() + " " + event.getPath());
        curator.getData().usingWatcher(watcher).forPath(path("w"));
        curator.watchers().remove(watcher).forPath(path("w"));
        equal("DataWatchRemoved " + path("w"), events.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
        curator.watchers().add().usingWatcher(watcher).forPath(path("w"));
        CuratorFramework other = connect();
        other.setData().forPath(path("w"), bytes("1"));
        equal("NodeDataChanged " + path("w"), events.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
        curator.watchers().removeAll().forPath(path("w"));
        equal("PersistentWatchRemoved " + path("w"), events.poll(PATIENCE_MS, TimeUnit.MILLISECONDS));
    }

    void testMutexAdmitsOne() throws Exception {
        Room room = new Room();
        together(4, client -> {
            InterProcessMutex mutex = new InterProcessMutex(client, path("lock"));
            for (int i = 0; i < 5; i++) {
                mutex.acquire();
                mutex.acquire();
                room.visit(client);
                mutex.release();
                mutex.release();
            }
        });
        equal(1, room.most.get());
        equal(20, room.visits.get());
    }

    void testMutexIsFreedByTheEndOfASession() throws Exception {
        CuratorFramework holder = connect();
        InterProcessMutex held = new InterProcessMutex(holder, path("lock"));
        held.acquire();
        InterProcessMutex wanted = new InterProcessMutex(curator, path("lock"));
        that(!wanted.acquire(200, TimeUnit.MILLISECONDS), "held by the other");
        killSession(holder);
        that(wanted.acquire(60, TimeUnit.SECONDS), "free again");
        wanted.release();
    }

    void testReadWriteLock() throws Exception {
        InterProcessReadWriteLock first = new InterProcessReadWriteLock(curator, path("rw"));
        InterProcessReadWriteLock second = new InterProcessReadWriteLock(connect(), path("rw"));
        first.readLock().acquire();
        second.readLock().acquire();
        that(!second.writeLock().acquire(100, TimeUnit.MILLISECONDS), "readers keep the writer out");
        first.readLock().release();
        second.readLock().release();
        that(second.writeLock().acquire(60, TimeUnit.SECONDS), "the writer gets in");
        that(!first.readLock().acquire(100, TimeUnit.MILLISECONDS), "the writer keeps readers out");
        second.writeLock().release();
    }

    void testSemaphoreMutexAndMultiLock() throws Exception {
        InterProcessMultiLock both = new InterProcessMultiLock(Arrays.asList(
            new InterProcessSemaphoreMutex(curator, path("one")), new InterProcessMutex(curator, path("two"))));
        both.acquire();
        that(!new InterProcessSemaphoreMutex(connect(), path("one")).acquire(100, TimeUnit.MILLISECONDS), "held");
        that(!new InterProcessMutex(connect(), path("two")).acquire(100, TimeUnit.MILLISECONDS), "held");
        both.release();
        that(new InterProcessSemaphoreMutex(connect(), path("one")).acquire(60, TimeUnit.SECONDS), "free");
    }

    void testSemaphore() throws Exception {
        Room room = new Room();
        together(4, client -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, path("semaphore"), 2);
            for (int i = 0; i < 3; i++) {
                Lease lease = semaphore.acquire();
                room.visit(client);
                semaphore.returnLease(lease);
            }
        });
        that(room.most.get() <= 2, "at most two leases");
        equal(12, room.visits.get());
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(curator, path("semaphore"), 2);
        equal(2, semaphore.acquire(2, 60, TimeUnit.SECONDS).size());
        equal(null, semaphore.acquire(1, 100, TimeUnit.MILLISECONDS));
    }

    void testLeaderLatch() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderLatch latch = new LeaderLatch(connect(), path("latch"), "candidate-" + i);
            latches.add(latch);
            latch.start();
        }
        for (int turn = 0; turn < 3; turn++) {
            waitFor("a leader", () -> latches.stream().anyMatch(LeaderLatch::hasLeadership));
            equal(1L, latches.stream().filter(LeaderLatch::hasLeadership).count());
            LeaderLatch leader = latches.stream().filter(LeaderLatch::hasLeadership).findFirst().get();
            waitFor("all see the same leader",
                () -> latches.stream().allMatch(latch -> named(latch).equals(leader.getId())));
            leader.close();
            latches.remove(leader);
        }
    }

    private static String named(LeaderLatch latch) {
        try {
            return latch.getLeader().getId();
        } catch (Exception failure) {
            return failure.toString();
        }
    }

    void testLeaderLatchSurvivesALostSession() throws Exception {
        // As a container it could be reaped between the two sessions, which the recipe does not expect.
        curator.create().creatingParentsIfNeeded().forPath(path("latch"));
        CuratorFramework client = connect();
        LeaderLatch latch = new LeaderLatch(client, path("latch"), "only");
        latch.start();
        that(latch.await(60, TimeUnit.SECONDS), "leads");
        CountDownLatch lost = new CountDownLatch(1);
        client.getConnectionStateListenable().addListener((c, state) -> {
            if (state == ConnectionState.LOST) {
                lost.countDown();
            }
        });
        killSession(client);
        that(lost.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "the session is lost");
        waitFor("leads again", latch::hasLeadership);
        latch.close();
    }

    void testLeaderSelector() throws Exception {
        Room room = new Room();
        CountDownLatch left = new CountDownLatch(6);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderSelector selector = new LeaderSelector(connect(), path("selector"), new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    room.visit(client);
                    left.countDown();
                }
            });
            selector.autoRequeue();
            selectors.add(selector);
            selector.start();
        }
        that(left.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "six turns");
        selectors.forEach(LeaderSelector::close);
        equal(1, room.most.get());
    }

    void testCuratorCache() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("a"), bytes("1"));
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        CuratorCache cache = CuratorCache.build(connect(), base);
        CountDownLatch ready = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
            .forAll((type, before, after) -> events.add(type + " " + (after == null ? before : after).getPath()))
            .forInitialized(ready::countDown).build());
        cache.start();
        that(ready.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "initialized");
        Set<String> first = new HashSet<>(Arrays.asList(events.poll(1, TimeUnit.MINUTES), events.poll(1, TimeUnit.MINUTES)));
        equal(new HashSet<>(Arrays.asList("NODE_CREATED " + base, "NODE_CREATED " + path("a"))), first);
        curator.setData().forPath(path("a"), bytes("2"));
        equal("NODE_CHANGED " + path("a"), events.poll(1, TimeUnit.MINUTES));
        curator.create().forPath(path("a/b"), bytes("3"));
        equal("NODE_CREATED " + path("a/b"), events.poll(1, TimeUnit.MINUTES));
        equal("3", text(cache.get(path("a/b")).get().getData()));
        curator.delete().forPath(path("a/b"));
        equal("NODE_DELETED " + path("a/b"), events.poll(1, TimeUnit.MINUTES));
        cache.close();
    }

    void testCuratorCacheAcrossALostConnection() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("a"), bytes("1"));
        CuratorFramework far = connect(proxy.address());
        CuratorCache cache = CuratorCache.build(far, base);
        cache.start();
        waitFor("filled", () -> cache.get(path("a")).isPresent());
        proxy.cut();
        curator.setData().forPath(path("a"), bytes("2"));
        curator.create().forPath(path("b"), bytes("3"));
        proxy.mend();
        waitFor("the cache has what it missed",
            () -> cache.get(path("b")).isPresent() && text(cache.get(path("a")).get().getData()).equals("2"));
        curator.delete().forPath(path("b"));
        waitFor("and goes on", () -> !cache.get(path("b")).isPresent());
        cache.close();
    }

    @SuppressWarnings("deprecation")
    void testOlderCaches() throws Exception {
        curator.create().creatingParentsIfNeeded().forPath(path("a"), bytes("1"));
        PathChildrenCache children = new PathChildrenCache(curator, base, true);
        children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        NodeCache node = new NodeCache(curator, path("a"));
        node.start(true);
        TreeCache tree = new TreeCache(curator, base);
        tree.start();
        CuratorFramework other = connect();
        for (int i = 0; i < 20; i++) {
            other.create().forPath(path("n" + i), bytes("" + i));
            other.setData().forPath(path("a"), bytes("v" + i));
        }
        other.delete().forPath(path("n3"));
        waitFor("children", () -> children.getCurrentData().size() == 20 && children.getCurrentData(path("n3")) == null);
        waitFor("node", () -> text(node.getCurrentData().getData()).equals("v19"));
        waitFor("tree", () -> tree.getCurrentChildren(base) != null && tree.getCurrentChildren(base).size() == 20);
        ChildData last = tree.getCurrentData(path("n19"));
        equal("19", text(last.getData()));
        tree.close();
        node.close();
        children.close();
    }

    void testPersistentWatcher() throws Exception {
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        CuratorFramework far = connect(proxy.address());
        PersistentWatcher watcher = new PersistentWatcher(far, base, true);
        watcher.getListenable().addListener(event -> {
            if (event.getPath() != null) {
                events.add(event.getType() + " " + event.getPath());
            }
        });
        CountDownLatch set = new CountDownLatch(1);
        watcher.getResetListenable().addListener(set::countDown);
        watcher.start();
        that(set.await(PATIENCE_MS, TimeUnit.MILLISECONDS), "the watch is set");
        curator.create().creatingParentsIfNeeded().forPath(path("a"));
        equal("NodeCreated " + base, events.poll(1, TimeUnit.MINUTES));
        equal("NodeCreated " + path("a"), events.poll(1, TimeUnit.MINUTES));
        proxy.cut();
        proxy.mend();
        waitFor("connected again", () -> {
            curator.setData().forPath(path("a"), bytes("x"));
            return events.poll(100, TimeUnit.MILLISECONDS) != null;
        });
        watcher.close();
    }

    void testPersistentNodeComesBack() throws Exception {
        CuratorFramework client = connect();
        PersistentNode node = new PersistentNode(client, CreateMode.EPHEMERAL, false, path("here"), bytes("1"));
        node.start();
        that(node.waitForInitialCreate(60, TimeUnit.SECONDS), "created");
        long owner = curator.checkExists().forPath(path("here")).getEphemeralOwner();
        curator.delete().forPath(path("here"));
        waitFor("created again", () -> curator.checkExists().forPath(path("here")) != null);
        killSession(client);
        waitFor("created by the next session", () -> {
            org.apache.zookeeper.data.Stat stat = curator.checkExists().forPath(path("here"));
            return stat != null && stat.getEphemeralOwner() != owner;
        });
        node.close();
        waitFor("gone", () -> curator.checkExists().forPath(path("here")) == null);
    }

    void testPersistentTtlNode() throws Exception {
        PersistentTtlNode node = new PersistentTtlNode(curator, path("ttl"), 500, bytes("1"));
        node.start();
        // A container that never had a child would stay.
        String touched = ZKPaths.makePath(path("ttl"), PersistentTtlNode.DEFAULT_CHILD_NODE_NAME);
        waitFor("touched", () -> curator.checkExists().forPath(touched) != null);
        node.close();
        waitFor("reaped", () -> curator.checkExists().forPath(path("ttl")) == null);
    }

    void testGroupMember() throws Exception {
        GroupMember one = new GroupMember(curator, path("group"), "one", bytes("1"));
        CuratorFramework second = connect();
        GroupMember two = new GroupMember(second, path("group"), "two", bytes("2"));
        one.start();
        two.start();
        waitFor("both", () -> one.getCurrentMembers().keySet().equals(new HashSet<>(Arrays.asList("one", "two")))
            && two.getCurrentMembers().size() == 2);
        equal("2", text(one.getCurrentMembers().get("two")));
        two.close();
        second.close();
        waitFor("one alone", () -> one.getCurrentMembers().size() == 1);
        one.close();
    }

    void testBarriers() throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(curator, path("barrier"));
        barrier.setBarrier();
        DistributedBarrier other = new DistributedBarrier(connect(), path("barrier"));
        that(!other.waitOnBarrier(100, TimeUnit.MILLISECONDS), "closed");
        Future<Boolean> through = workers.submit(() -> other.waitOnBarrier(60, TimeUnit.SECONDS));
        barrier.removeBarrier();
        that(through.get(PATIENCE_MS, TimeUnit.MILLISECONDS), "open");
        AtomicInteger inside = new AtomicInteger();
        together(3, client -> {
            DistributedDoubleBarrier twice = new DistributedDoubleBarrier(client, path("double"), 3);
            that(twice.enter(60, TimeUnit.SECONDS), "entered");
            inside.incrementAndGet();
            waitFor("all are in", () -> inside.get() == 3);
            that(twice.leave(60, TimeUnit.SECONDS), "left");
        });
    }

    void testSharedCountAndValue() throws Exception {
        SharedCount count = new SharedCount(curator, path("count"), 10);
        SharedCount other = new SharedCount(connect(), path("count"), 99);
        count.start();
        other.start();
        equal(10, other.getCount());
        count.setCount(20);
        waitFor("seen", () -> other.getCount() == 20);
        that(other.trySetCount(other.getVersionedValue(), 21), "set with the right version");
        waitFor("seen", () -> count.getCount() == 21);
        count.close();
        other.close();
        SharedValue value = new SharedValue(curator, path("value"), bytes("seed"));
        value.start();
        equal("seed", text(value.getValue()));
        value.close();
    }

    void testAtomicLong() throws Exception {
        together(3, client -> {
            DistributedAtomicLong number = new DistributedAtomicLong(client, path("number"), new RetryOneTime(10));
            for (int i = 0; i < 20; ) {
                if (number.increment().succeeded()) {
                    i++;
                }
            }
        });
        DistributedAtomicLong number = new DistributedAtomicLong(curator, path("number"), new RetryOneTime(10));
        equal(60L, number.get().postValue());
    }

    void testQueue() throws Exception {
        SimpleDistributedQueue queue = new SimpleDistributedQueue(curator, path("queue"));
        for (int i = 0; i < 30; i++) {
            queue.offer(bytes("" + i));
        }
        Set<String> taken = Collections.synchronizedSet(new HashSet<>());
        AtomicInteger count = new AtomicInteger();
        together(3, client -> {
            SimpleDistributedQueue mine = new SimpleDistributedQueue(client, path("queue"));
            for (byte[] value = mine.poll(); value != null; value = mine.poll()) {
                taken.add(text(value));
                count.incrementAndGet();
            }
        });
        equal(30, count.get());
        equal(30, taken.size());
        CompletableFuture<String> waited = new CompletableFuture<>();
        workers.submit((Callable<Void>) () -> {
            waited.complete(text(new SimpleDistributedQueue(connect(), path("queue")).take()));
            return null;
        });
        queue.offer(bytes("late"));
        equal("late", waited.get(PATIENCE_MS, TimeUnit.MILLISECONDS));
    }

    void testEnsembleTrackerReadsAnEmptyConfiguration() throws Exception {
        equal(0, curator.getConfig().forEnsemble().length);
        that(ZKPaths.getNodeFromPath(path("x")).equals("x"), "the framework goes on");
    }
}
