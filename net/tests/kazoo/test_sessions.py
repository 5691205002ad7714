"""Sessions through kazoo: close, loss of the connection, expiry, taking over by id and password."""

import queue
import threading
import time
import unittest

from common import PATIENCE, ServerTest, wait_for
from kazoo.client import KazooState
from kazoo.exceptions import ConnectionDropped
from kazoo.protocol.states import EventType, KeeperState
from kazoo.security import CREATOR_ALL_ACL


class Sessions(ServerTest):
    def drop_connection(self, client):
        """Cuts the socket, as a network would."""
        client._connection._socket.shutdown(2)

    def test_closing_removes_ephemerals(self):
        owner = self.connect()
        path = owner.create(self.path("e"), ephemeral=True)
        self.assertIsNotNone(self.client.exists(path))
        owner.stop()
        self.assertIsNone(self.client.exists(path))

    def test_a_lost_connection_keeps_session_ephemerals_and_credentials(self):
        client = self.connect(auth_data=[("digest", "bob:pw")])
        path = client.create(self.path("e"), ephemeral=True)
        before = client.client_id
        states = queue.Queue()
        client.add_listener(states.put)
        self.drop_connection(client)
        self.assertEqual(states.get(timeout=PATIENCE), KazooState.SUSPENDED)
        self.assertEqual(states.get(timeout=PATIENCE), KazooState.CONNECTED)
        self.assertEqual(client.client_id, before)
        self.assertEqual(client.exists(path).ephemeralOwner, before[0])
        client.create(self.path("mine"), acl=CREATOR_ALL_ACL)

    def test_an_expired_session_loses_its_ephemerals_and_a_new_one_begins(self):
        client = self.connect(timeout=2.0)
        path = client.create(self.path("e"), ephemeral=True)
        deleted = threading.Event()
        self.client.exists(path, watch=lambda event: event.type == EventType.DELETED and deleted.set())
        before = client.client_id[0]
        states = queue.Queue()
        client.add_listener(states.put)
        self.cut_off(client)
        self.assertTrue(deleted.wait(PATIENCE))
        self.assertIsNone(self.client.exists(path))
        self.reachable.set()
        wait_for(lambda: KazooState.LOST in self.drain(states), "the loss of the session")
        wait_for(lambda: client.connected and client.client_id and client.client_id[0] != before, "a new session")
        client.create(path, ephemeral=True)

    def cut_off(self, client):
        """The client loses its connection and gets no other before `reachable` is set."""
        self.reachable = threading.Event()
        connect = client._connection._connect

        def only_when_reachable(*arguments, **named):
            if not self.reachable.is_set():
                raise ConnectionDropped("cut off by the test")
            return connect(*arguments, **named)

        client._connection._connect = only_when_reachable
        self.drop_connection(client)

    def drain(self, states):
        seen = self.__dict__.setdefault("seen", [])
        while not states.empty():
            seen.append(states.get_nowait())
        return seen

    def test_a_session_is_taken_over_with_id_and_password(self):
        owner = self.connect()
        path = owner.create(self.path("e"), ephemeral=True)
        session = owner.client_id
        lost = threading.Event()
        owner.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
        # kazoo would come back at once and take the session over in its turn.
        self.cut_off(owner)
        thief = self.connect(client_id=session)
        self.assertEqual(thief.client_id, session)
        self.assertEqual(thief.exists(path).ephemeralOwner, session[0])
        # Closing it ends the session for both.
        thief.stop()
        self.assertIsNone(self.client.exists(path))
        self.reachable.set()
        self.assertTrue(lost.wait(PATIENCE))

    def test_taking_over_cuts_the_older_connection(self):
        owner = self.connect()
        session = owner.client_id
        states = queue.Queue()
        owner.add_listener(states.put)
        reachable = threading.Event()
        connect = owner._connection._connect
        owner._connection._connect = lambda *arguments: connect(*arguments) if reachable.wait(PATIENCE) else None
        thief = self.connect(client_id=session)
        self.assertEqual(states.get(timeout=PATIENCE), KazooState.SUSPENDED)
        self.assertEqual(thief.client_id, session)
        thief._connection._connect = self.never
        reachable.set()
        self.assertEqual(states.get(timeout=PATIENCE), KazooState.CONNECTED)
        self.assertEqual(owner.client_id, session)

    def never(self, *_):
        raise ConnectionDropped("cut off by the test")

    def test_a_wrong_password_gives_a_new_session(self):
        owner = self.connect()
        path = owner.create(self.path("e"), ephemeral=True)
        before = owner.client_id[0]
        other = self.connect(client_id=(before, b"x" * 16))
        self.assertNotEqual(other.client_id[0], before)
        self.assertEqual(self.client.exists(path).ephemeralOwner, before)

    def test_the_timeout_is_negotiated(self):
        # A tick is one second, so the bounds are 2 and 20.
        for asked, given in ((0.1, 2000), (5.0, 5000), (300.0, 20000)):
            client = self.unstarted(timeout=asked)
            connect, seen = client._connection._connect, []
            client._connection._connect = lambda *arguments: seen.append(connect(*arguments)) or seen[-1]
            client.start(timeout=PATIENCE)
            # (2/3 of the negotiated timeout, the negotiated timeout) with one server
            self.assertEqual(seen[0][1], given)

    def test_an_idle_session_lives_on_pings(self):
        client = self.connect(timeout=2.0)
        path = client.create(self.path("e"), ephemeral=True)
        before = client.client_id
        until = time.monotonic() + 6
        wait_for(lambda: time.monotonic() > until)
        self.assertEqual(client.client_id, before)
        self.assertIsNotNone(client.exists(path))

    def test_watches_of_recipes_survive_a_lost_connection(self):
        path = self.client.create(self.path("w"), b"0")
        client = self.connect()
        seen = queue.Queue()
        client.DataWatch(path)(lambda data, stat: seen.put(data) or True)
        self.assertEqual(seen.get(timeout=PATIENCE), b"0")
        self.drop_connection(client)
        wait_for(lambda: client.client_state == KeeperState.CONNECTED)
        self.client.set(path, b"1")
        wait_for(lambda: seen.get(timeout=PATIENCE) == b"1")

    def test_requests_of_a_restarted_client(self):
        client = self.connect()
        path = client.create(self.path("e"), ephemeral=True)
        client.restart()
        self.assertIsNone(client.exists(path))
        client.create(path, ephemeral=True)

    def test_many_clients_at_once(self):
        clients = [self.unstarted() for _ in range(30)]
        for event in [client.start_async() for client in clients]:
            self.assertTrue(event.wait(PATIENCE))
        ids = {client.client_id[0] for client in clients}
        self.assertEqual(len(ids), 30)
        for n, client in enumerate(clients):
            client.create(self.path("c%d" % n), ephemeral=True)
        self.assertEqual(len(self.client.get_children(self.base)), 30)
        for client in clients:
            client.stop()
        self.assertEqual(self.client.get_children(self.base), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
