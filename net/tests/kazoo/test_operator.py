"""The four-letter words as kazoo asks them, and the version that it parses."""

import re
import unittest

from common import HOSTS, ServerTest


class Words(ServerTest):
    def test_ruok_and_isro(self):
        self.assertEqual(self.client.command(b"ruok"), "imok")
        self.assertEqual(self.client.command(b"isro"), "rw")

    def test_the_version_is_parsed(self):
        version = self.client.server_version()
        self.assertEqual(len(version), 3)
        self.assertGreaterEqual(version, (3, 5, 0))

    def test_srvr_and_stat(self):
        for word in (b"srvr", b"stat"):
            answer = self.client.command(word)
            self.assertRegex(answer, r"^Zookeeper version: \d+\.\d+\.\d+-")
            self.assertRegex(answer, r"\nLatency min/avg/max: \d+/\d+\.\d+/\d+\n")
            self.assertRegex(answer, r"\nZxid: 0x[0-9a-f]+\n")
            self.assertIn("\nMode: standalone\n", answer)
        self.assertRegex(self.client.command(b"stat"), r"Clients:\n( /127\.0\.0\.1:\d+\[\d\]\(queued=\d+,recved=\d+,sent=\d+\)\n)+\n")

    def test_mntr(self):
        lines = dict(line.split("\t", 1) for line in self.client.command(b"mntr").splitlines() if "\t" in line)
        self.assertEqual(lines["zk_server_state"], "standalone")
        self.assertGreaterEqual(int(lines["zk_num_alive_connections"]), 1)
        self.assertGreaterEqual(int(lines["zk_znode_count"]), 6)
        for key in ("zk_version", "zk_avg_latency", "zk_packets_received", "zk_watch_count", "zk_ephemerals_count",
                    "zk_approximate_data_size", "zk_open_file_descriptor_count"):
            self.assertIn(key, lines)

    def test_cons_names_the_session(self):
        self.assertIn("sid=0x%x," % self.client.client_id[0], self.client.command(b"cons"))

    def test_dump_and_wchs(self):
        path = self.client.create(self.path("e"), ephemeral=True)
        self.client.get(path, watch=lambda _: None)
        dump = self.client.command(b"dump")
        self.assertIn("0x%x:\n\t%s\n" % (self.client.client_id[0], path), dump)
        self.assertRegex(self.client.command(b"wchs"), r"^\d+ connections watching \d+ paths\nTotal watches:\d+")
        self.assertIn(path, self.client.command(b"wchp"))
        self.assertIn("0x%x\n\t%s\n" % (self.client.client_id[0], path), self.client.command(b"wchc"))

    def test_conf_and_envi(self):
        port = HOSTS.rsplit(":", 1)[1]
        self.assertIn("clientPort=%s\n" % port, self.client.command(b"conf"))
        self.assertTrue(re.search(r"^zookeeper\.version=\d+\.\d+\.\d+", self.client.command(b"envi"), re.M))


if __name__ == "__main__":
    unittest.main(verbosity=2)
