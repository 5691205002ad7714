//! Scrubbing in the running server: what decays on the disk is found and named, and the server goes on.

use crate::on_one_and_four_shards;
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig, four_letter};
use crate::support::session::Session;
use crate::support::{only_ringkeeper, wait_for};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

on_one_and_four_shards!(a_sound_server_finds_nothing, a_flipped_bit_is_found_and_named);

const LIMIT: Duration = Duration::from_secs(120);
/// Nodes that a checkpoint holds, and nodes that are only in the write-ahead log.
const COLD: usize = 300;
const LOGGED: usize = 60;

fn cold(n: usize) -> Vec<u8> {
    format!("cold node {n}, ").into_bytes().repeat(40)
}

fn logged(n: usize) -> Vec<u8> {
    format!("logged node {n}, ").into_bytes().repeat(4000)
}

/// A server that scrubs all the time, with nodes in a checkpoint and some full segments of the write-ahead log.
fn start(shards: usize) -> Option<Server> {
    if only_ringkeeper("scrubbing") {
        return None;
    }
    let config = ServerConfig::new(shards).set("scrubRate", "1000000000").set("scrubIntervalMs", "50");
    let mut server = config.set("walSegmentBytes", "1048576").set("snapCount", "1000000").start();
    let mut session = Session::open(server.address());
    create(&mut session, COLD, |n| (format!("/cold{n}"), cold(n)));
    // The stop makes the checkpoint.
    assert_eq!(server.stop().code(), Some(0));
    server.restart();
    let mut session = Session::open(server.address());
    create(&mut session, LOGGED, |n| (format!("/logged{n}"), logged(n)));
    Some(server)
}

fn create(session: &mut Session, count: usize, node: impl Fn(usize) -> (String, Vec<u8>)) {
    for n in 0..count {
        let (path, data) = node(n);
        session.send(op::CREATE, &record::plain(&path, &data));
    }
    for _ in 0..count {
        assert_eq!(session.reply().err, 0);
    }
}

fn figure(server: &Server, name: &str) -> u64 {
    let answer = four_letter(server.address(), b"mntr").unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}\t")));
    line.unwrap_or_else(|| panic!("no {name} in\n{answer}")).trim().parse().unwrap()
}

/// Waits for two more passes, of which the second has begun after the call.
fn until_passed(server: &Server) {
    let before = figure(server, "zk_scrub_passes");
    wait_for("two passes", LIMIT, || (figure(server, "zk_scrub_passes") >= before + 2).then_some(()));
}

/// The first file of `folder` (by name) with `pattern` in it, and where.
fn find(folder: &Path, pattern: &[u8]) -> (PathBuf, u64) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let found = files.into_iter().find_map(|file| {
        let content = std::fs::read(&file).unwrap();
        let at = content.windows(pattern.len()).position(|bytes| bytes == pattern)?;
        Some((file, at as u64))
    });
    found.expect("the pattern is in some file")
}

/// Flips a bit of a file, as a disk might.
fn flip(file: &Path, at: u64) {
    let open = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).unwrap();
    open.write_all_at(&[byte[0] ^ 1], at).unwrap();
    open.sync_all().unwrap();
}

fn a_sound_server_finds_nothing(shards: usize) {
    let Some(mut server) = start(shards) else { return };
    until_passed(&server);
    assert_eq!(figure(&server, "zk_scrub_damage"), 0, "{}", server.process().log());
    // More than the write-ahead log alone could be, and more than the logs alone.
    let bytes = figure(&server, "zk_scrub_bytes");
    assert!(bytes > (COLD * cold(0).len() + LOGGED * logged(0).len() / 2) as u64, "{bytes}");
    assert!(server.process().log().contains("were read again"));
    assert_eq!(server.stop().code(), Some(0));
}

fn a_flipped_bit_is_found_and_named(shards: usize) {
    let Some(mut server) = start(shards) else { return };
    until_passed(&server);
    assert_eq!(figure(&server, "zk_scrub_damage"), 0);
    let mut session = Session::open(server.address());

    let (file, at) = find(&server.data().join("partitions"), b"cold node 17, ");
    flip(&file, at);
    wait_for("the find in a partition's log", LIMIT, || (figure(&server, "zk_scrub_damage") > 0).then_some(()));
    let log = server.process().log();
    let line = log.lines().find(|line| line.contains("scrubbing found damage")).unwrap();
    assert!(line.contains(file.to_str().unwrap()) && line.contains("backup"), "{line}");
    let name = file.file_name().unwrap().to_str().unwrap();
    let partition: u32 = name[1..6].parse().unwrap();
    assert!(line.contains(&format!("partition {partition}: a record fails its checksum")), "{line}");
    let offset = line.split("offset ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let offset: u64 = offset.parse().unwrap();
    assert!(offset < at && at - offset < 1000, "the record at {offset} holds byte {at}: {line}");

    let wal = server.data().join("wal");
    let (file, at) = find(&wal, b"logged node 3, ");
    flip(&file, at);
    let file = file.to_str().unwrap().to_owned();
    let log = wait_for("the find in the write-ahead log", LIMIT, || {
        let log = server.process().log();
        log.lines().any(|line| line.contains("scrubbing found damage") && line.contains(&file)).then_some(log)
    });
    assert!(log.contains(&format!("damage in {file}, offset {}", at / 4096 * 4096)), "{log}");

    // It goes on.
    session.set("/cold1", b"new");
    assert_eq!(session.get("/cold2").0, Some(cold(2)));
    assert_eq!(session.get("/logged3").0, Some(logged(3)));
}
