"""A client that can do with reads, on a server that has lost its quorum and finds it again."""

import os
import unittest

from common import HOSTS, PATIENCE, wait_for
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NotReadOnlyCallError
from kazoo.protocol.states import KeeperState


class ReadOnly(unittest.TestCase):
    def test_reads_then_writes(self):
        client = KazooClient(hosts=HOSTS, read_only=True, timeout=10.0)
        self.addCleanup(client.close)
        self.addCleanup(client.stop)
        client.start(timeout=PATIENCE)
        self.assertEqual(client.client_state, KeeperState.CONNECTED_RO)
        self.assertEqual(client.get("/kept")[0], b"what there was")
        self.assertIn("kept", client.get_children("/"))
        for write in [
            lambda: client.set("/kept", b""),
            lambda: client.create("/more"),
            lambda: client.delete("/kept"),
        ]:
            with self.assertRaises(NotReadOnlyCallError):
                write()

        with open(os.environ["HAS_READ"], "w"):
            pass
        wait_for(lambda: client.client_state == KeeperState.CONNECTED, "a server with a quorum")

        def writes():
            try:
                return client.set("/kept", b"written")
            except KazooException:
                return None

        wait_for(writes, "a write")
        self.assertEqual(client.get("/kept")[0], b"written")


if __name__ == "__main__":
    unittest.main()
