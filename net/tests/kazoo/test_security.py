"""ACLs and authentication through kazoo."""

import base64
import hashlib
import unittest

from common import IS_BEFORE_3_9, IS_REFERENCE, ServerTest, WhoAmI
from kazoo.exceptions import AuthFailedError, BadVersionError, InvalidACLError, NoAuthError
from kazoo.protocol.serialization import Create as CreateRequest, SetACL
from kazoo.security import (
    ACL,
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Id,
    Permissions,
    make_acl,
    make_digest_acl,
)

SUPER = "super:test"


def digest(user, password):
    both = ("%s:%s" % (user, password)).encode()
    return "%s:%s" % (user, base64.b64encode(hashlib.sha1(both).digest()).decode())


class Digest(ServerTest):
    def test_only_the_owner_gets_in(self):
        owner = self.connect(auth_data=[("digest", "bob:pw")])
        path = owner.create(self.path("secret"), b"s", acl=[make_digest_acl("bob", "pw", all=True)])
        self.assertEqual(owner.get(path)[0], b"s")
        calls = [
            lambda c: c.get(path),
            lambda c: c.exists(path),
            lambda c: c.get_children(path),
            lambda c: c.set(path, b"x"),
            lambda c: c.create(path + "/c"),
            lambda c: c.get_acls(path),
            lambda c: c.set_acls(path, OPEN_ACL_UNSAFE),
        ]
        for stranger in (self.client, self.connect(auth_data=[("digest", "bob:other")])):
            for n, call in enumerate(calls):
                if IS_BEFORE_3_9 and n == 1:
                    continue  # exists is checked since 3.9
                with self.subTest(n=n), self.assertRaises(NoAuthError):
                    call(stranger)
        # Deleting needs a right on the parent alone.
        self.client.delete(path)

    def test_add_auth_counts_for_what_follows(self):
        path = self.path("later")
        self.client.create(path, b"s", acl=[make_digest_acl("joe", "pw", read=True, admin=True)])
        with self.assertRaises(NoAuthError):
            self.client.get(path)
        if IS_REFERENCE:
            # Its answer to the auth packet overtakes earlier ones, which upsets kazoo's queue.
            self.client.add_auth("digest", "joe:pw")
            self.assertEqual(self.client.get(path)[0], b"s")
            return
        before = self.client.get_async(path)
        auth = self.client.add_auth_async("digest", "joe:pw")
        after = self.client.get_async(path)
        with self.assertRaises(NoAuthError):
            before.get(timeout=60)
        auth.get(timeout=60)
        self.assertEqual(after.get(timeout=60)[0], b"s")

    def test_a_second_credential_adds_to_the_first(self):
        client = self.connect(auth_data=[("digest", "a:1"), ("digest", "b:2")])
        first = client.create(self.path("first"), b"", acl=[make_digest_acl("a", "1", all=True)])
        second = client.create(self.path("second"), b"", acl=[make_digest_acl("b", "2", all=True)])
        client.set(first, b"x")
        client.set(second, b"x")

    def test_the_auth_scheme_expands_to_the_creators_credentials(self):
        client = self.connect(auth_data=[("digest", "a:1"), ("digest", "b:2")])
        path = client.create(self.path("mine"), b"", acl=CREATOR_ALL_ACL)
        acls, _ = client.get_acls(path)
        self.assertEqual({(acl.perms, acl.id.scheme, acl.id.id) for acl in acls},
                         {(31, "digest", digest("a", "1")), (31, "digest", digest("b", "2"))})
        with self.assertRaises(NoAuthError):
            self.client.get(path)
        with self.assertRaises(InvalidACLError):
            self.client.create(self.path("not-mine"), b"", acl=CREATOR_ALL_ACL)

    def test_a_wrong_scheme_fails_and_ends_the_connection(self):
        client = self.connect()
        with self.assertRaises(AuthFailedError):
            client.add_auth("no-such-scheme", "x")

    def test_the_super_user_may_do_everything(self):
        path = self.client.create(self.path("locked"), b"s", acl=[make_digest_acl("x", "y", all=True)])
        root = self.connect(auth_data=[("digest", SUPER)])
        self.assertEqual(root.get(path)[0], b"s")
        root.set_acls(path, OPEN_ACL_UNSAFE)
        self.assertEqual(self.client.get(path)[0], b"s")

    def test_who_am_i(self):
        client = self.connect(auth_data=[("digest", "bob:pw"), ("digest", SUPER)])
        self.assertEqual(set(self.call(client, WhoAmI(True))),
                         {("ip", "127.0.0.1"), ("digest", "bob"), ("digest", "super"), ("super", "")})


class Lists(ServerTest):
    def test_acls_come_back_as_they_were_set(self):
        acls = [
            ACL(Permissions.READ, Id("world", "anyone")),
            ACL(Permissions.ALL, Id("digest", digest("bob", "pw"))),
            ACL(Permissions.WRITE, Id("ip", "127.0.0.1")),
            ACL(Permissions.CREATE | Permissions.ADMIN, Id("ip", "127.0.0.0/8")),
        ]
        self.client.create(self.path("a"), b"", acl=acls)
        seen, stat = self.client.get_acls(self.path("a"))
        self.assertEqual(seen, acls)
        self.assertEqual((stat.aversion, stat.version), (0, 0))

    def test_set_acls_moves_aversion_alone(self):
        _, before = self.client.create(self.path("a"), b"x", include_data=True)
        after = self.client.set_acls(self.path("a"), READ_ACL_UNSAFE + [make_acl("ip", "127.0.0.1", all=True)])
        self.assertEqual(after._replace(aversion=0), before)
        self.assertEqual(after.aversion, 1)
        with self.assertRaises(BadVersionError):
            self.client.set_acls(self.path("a"), OPEN_ACL_UNSAFE, version=0)
        self.client.set_acls(self.path("a"), OPEN_ACL_UNSAFE, version=1)

    def test_bad_acls(self):
        bad = [
            [],
            [make_acl("world", "somebody", all=True)],
            [make_acl("no-such-scheme", "x", all=True)],
            [make_acl("digest", "no-colon", all=True)],
            [make_acl("ip", "localhost", all=True)],
            [make_acl("ip", "127.0.0.1/33", all=True)],
            [make_acl("super", "x", all=True)],
        ]
        for acls in bad:
            with self.subTest(acls=acls):
                with self.assertRaises(InvalidACLError):
                    self.call(self.client, CreateRequest(self.path("bad"), b"", acls, 0))
                with self.assertRaises(InvalidACLError):
                    self.call(self.client, SetACL(self.base, acls, -1))

    def test_ip_entries(self):
        here = self.client.create(self.path("here"), b"1", acl=[make_acl("ip", "127.0.0.1", read=True)])
        near = self.client.create(self.path("near"), b"2", acl=[make_acl("ip", "127.9.9.9/8", read=True)])
        far = self.client.create(self.path("far"), b"3", acl=[make_acl("ip", "10.0.0.0/8", read=True)])
        self.assertEqual(self.client.get(here)[0], b"1")
        self.assertEqual(self.client.get(near)[0], b"2")
        with self.assertRaises(NoAuthError):
            self.client.get(far)
        with self.assertRaises(NoAuthError):
            self.client.set(here, b"")

    def test_each_permission_alone(self):
        for name, permission in (("r", Permissions.READ), ("w", Permissions.WRITE), ("c", Permissions.CREATE),
                                 ("d", Permissions.DELETE), ("a", Permissions.ADMIN)):
            path = self.path(name)
            self.client.create(path, b"")
            self.client.create(path + "/child")
            self.client.set_acls(path, [ACL(permission, Id("world", "anyone"))])
            calls = {
                "r": lambda: self.client.get(path),
                "w": lambda: self.client.set(path, b""),
                "c": lambda: self.client.create(path + "/new"),
                "d": lambda: self.client.delete(path + "/child"),
                "a": lambda: self.client.set_acls(path, [ACL(permission, Id("world", "anyone"))]),
            }
            for right, call in calls.items():
                with self.subTest(given=name, asked=right):
                    if right == name:
                        call()
                    else:
                        with self.assertRaises(NoAuthError):
                            call()

    def test_hashes_are_hidden_without_admin(self):
        acls = [ACL(Permissions.READ, Id("world", "anyone")), make_digest_acl("bob", "pw", all=True)]
        path = self.client.create(self.path("h"), b"", acl=acls)
        self.assertEqual([acl.id.id for acl in self.client.get_acls(path)[0]], ["anyone", "bob:x"])
        owner = self.connect(auth_data=[("digest", "bob:pw")])
        self.assertEqual([acl.id.id for acl in owner.get_acls(path)[0]], ["anyone", digest("bob", "pw")])

    def test_acls_inside_transactions(self):
        path = self.client.create(self.path("ro"), b"", acl=READ_ACL_UNSAFE)
        t = self.client.transaction()
        t.create(self.path("x"))
        t.create(path + "/child")
        results = t.commit()
        self.assertIsInstance(results[1], NoAuthError)
        self.assertIsNone(self.client.exists(self.path("x")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
