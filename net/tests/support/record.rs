//! Request records, built field by field as they stand in `zookeeper.jute`.

use engine::jute::Writer;

/// Opcodes (`ZooDefs.OpCode`).
pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
}

/// Error codes (`KeeperException.Code`).
pub mod err {
    pub const OK: i32 = 0;
    pub const RUNTIME_INCONSISTENCY: i32 = -2;
    pub const MARSHALLING: i32 = -5;
    pub const UNIMPLEMENTED: i32 = -6;
    pub const BAD_ARGUMENTS: i32 = -8;
    pub const NEW_CONFIG_NO_QUORUM: i32 = -13;
    pub const RECONFIG_IN_PROGRESS: i32 = -14;
    pub const NO_NODE: i32 = -101;
    pub const NO_AUTH: i32 = -102;
    pub const BAD_VERSION: i32 = -103;
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    pub const NODE_EXISTS: i32 = -110;
    pub const NOT_EMPTY: i32 = -111;
    pub const SESSION_EXPIRED: i32 = -112;
    pub const INVALID_ACL: i32 = -114;
    pub const AUTH_FAILED: i32 = -115;
    pub const NOT_READ_ONLY: i32 = -119;
    pub const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;
    pub const NO_WATCHER: i32 = -121;
    pub const RECONFIG_DISABLED: i32 = -123;
    pub const REQUIRES_AUTH: i32 = -124;
    pub const QUOTA_EXCEEDED: i32 = -125;
    pub const THROTTLED: i32 = -127;
}

/// One ACL entry: permissions, scheme, id.
pub type Entry<'a> = (i32, &'a str, &'a str);

/// Everybody may do everything.
pub const OPEN: &[Entry<'static>] = &[(31, "world", "anyone")];

/// Create flags.
pub mod mode {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub const CONTAINER: i32 = 4;
    pub const TTL: i32 = 5;
    pub const TTL_SEQUENTIAL: i32 = 6;
}

/// The bytes of a record.
pub fn record(build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    build(&mut Writer::new(&mut bytes));
    bytes
}

fn acl(out: &mut Writer<'_>, entries: &[Entry<'_>]) {
    out.count(Some(entries.len()));
    for (perms, scheme, id) in entries {
        out.int(*perms);
        out.string(scheme);
        out.string(id);
    }
}

/// CreateRequest.
pub fn create(path: &str, data: Option<&[u8]>, entries: &[Entry<'_>], flags: i32) -> Vec<u8> {
    record(|out| {
        out.string(path);
        out.buffer(data);
        acl(out, entries);
        out.int(flags);
    })
}

/// CreateRequest of a persistent node that is open to all.
pub fn plain(path: &str, data: &[u8]) -> Vec<u8> {
    create(path, Some(data), OPEN, mode::PERSISTENT)
}

/// CreateTTLRequest.
pub fn create_ttl(path: &str, flags: i32, ttl: i64) -> Vec<u8> {
    let mut bytes = create(path, Some(b""), OPEN, flags);
    Writer::new(&mut bytes).long(ttl);
    bytes
}

/// ReconfigRequest: joining servers, leaving servers, new members, expected version.
pub fn reconfig(joining: Option<&str>, leaving: Option<&str>, members: Option<&str>, version: i64) -> Vec<u8> {
    record(|out| {
        for text in [joining, leaving, members] {
            // A ustring is a buffer of UTF-8.
            out.buffer(text.map(str::as_bytes));
        }
        out.long(version);
    })
}

/// DeleteRequest, CheckVersionRequest, AddWatchRequest, CheckWatchesRequest, RemoveWatchesRequest: a path and an int.
pub fn path_int(path: &str, number: i32) -> Vec<u8> {
    record(|out| {
        out.string(path);
        out.int(number);
    })
}

/// ExistsRequest, GetDataRequest, GetChildrenRequest, GetChildren2Request: a path and whether to watch.
pub fn read(path: &str, watch: bool) -> Vec<u8> {
    record(|out| {
        out.string(path);
        out.boolean(watch);
    })
}

/// GetACLRequest, SyncRequest, GetEphemeralsRequest, GetAllChildrenNumberRequest: a path alone.
pub fn path(path: &str) -> Vec<u8> {
    record(|out| out.string(path))
}

/// SetDataRequest.
pub fn set_data(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    record(|out| {
        out.string(path);
        out.buffer(Some(data));
        out.int(version);
    })
}

/// SetACLRequest.
pub fn set_acl(path: &str, entries: &[Entry<'_>], version: i32) -> Vec<u8> {
    record(|out| {
        out.string(path);
        acl(out, entries);
        out.int(version);
    })
}

/// MultiTransactionRecord: each op between its headers, and the terminator.
pub fn multi(ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    record(|out| {
        for (code, body) in ops {
            out.int(*code);
            out.boolean(false);
            out.int(-1);
            out.raw(body);
        }
        out.int(-1);
        out.boolean(true);
        out.int(-1);
    })
}

/// AuthPacket.
pub fn auth(scheme: &str, credential: &[u8]) -> Vec<u8> {
    record(|out| {
        out.int(0);
        out.string(scheme);
        out.buffer(Some(credential));
    })
}

/// SetWatches (three lists) or SetWatches2 (five).
pub fn set_watches(relative_zxid: i64, lists: &[&[&str]]) -> Vec<u8> {
    record(|out| {
        out.long(relative_zxid);
        for list in lists {
            out.count(Some(list.len()));
            for path in *list {
                out.string(path);
            }
        }
    })
}
