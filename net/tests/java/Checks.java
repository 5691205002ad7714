import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;

/** Runs every method whose name begins with "test" on a fresh instance, prints each, and exits with 1 if one failed. */
abstract class Checks {
    /** A wait that only a broken server lets run out. */
    static final long PATIENCE_MS = 60_000;

    static String hosts;

    /** A path for this test alone. */
    final String base = "/java-" + UUID.randomUUID().toString().substring(0, 12);

    abstract void begin() throws Exception;

    abstract void end() throws Exception;

    static void run(Class<? extends Checks> type, String[] arguments) throws Exception {
        hosts = arguments[0];
        String only = arguments.length > 1 ? arguments[1] : "";
        int failed = 0;
        int ran = 0;
        Method[] methods = type.getDeclaredMethods();
        Arrays.sort(methods, Comparator.comparing(Method::getName));
        for (Method method : methods) {
            if (!method.getName().startsWith("test") || !method.getName().contains(only)) {
                continue;
            }
            ran++;
            long start = System.nanoTime();
            Throwable failure = runOne(type, method);
            long took = (System.nanoTime() - start) / 1_000_000;
            System.out.println(method.getName() + " ... " + (failure == null ? "ok" : "FAILED") + " (" + took + " ms)");
            if (failure != null) {
                failed++;
                failure.printStackTrace(System.out);
            }
        }
        System.out.println("Ran " + ran + ", failed " + failed);
        System.out.flush();
        Runtime.getRuntime().halt(failed == 0 && ran > 0 ? 0 : 1);
    }

    private static Throwable runOne(Class<? extends Checks> type, Method method) {
        try {
            Checks checks = type.getDeclaredConstructor().newInstance();
            checks.begin();
            try {
                method.setAccessible(true);
                method.invoke(checks);
            } catch (InvocationTargetException failure) {
                return failure.getCause();
            } finally {
                checks.end();
            }
            return null;
        } catch (Throwable failure) {
            return failure;
        }
    }

    static void equal(Object expected, Object seen) {
        if (!Objects.equals(expected, seen)) {
            throw new AssertionError("expected " + expected + ", saw " + seen);
        }
    }

    static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    /** The call throws exactly this. */
    static <E extends Exception> E raises(Class<E> expected, Callable<?> call) throws Exception {
        Object result;
        try {
            result = call.call();
        } catch (Exception thrown) {
            if (thrown.getClass() == expected) {
                return expected.cast(thrown);
            }
            throw thrown;
        }
        throw new AssertionError("expected " + expected.getName() + ", got " + result);
    }

    /** Polls until the condition holds. */
    static void waitFor(String what, Callable<Boolean> condition) throws Exception {
        long until = System.nanoTime() + PATIENCE_MS * 1_000_000;
        while (!condition.call()) {
            that(System.nanoTime() < until, what + ": not within " + PATIENCE_MS + " ms");
            java.util.concurrent.locks.LockSupport.parkNanos(10_000_000);
        }
    }
}
