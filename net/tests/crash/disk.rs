//! Disks that are full or read-only: a clear end, and nothing acknowledged is lost.

use crate::support::disk::SmallDisk;
use crate::support::is_reference;
use crate::support::raw::Raw;
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig, free_port};
use crate::support::session::{Hello, Message, Session};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn config(disk: &SmallDisk) -> ServerConfig {
    let words = disk.inside();
    ServerConfig::new(2).wrapped(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The disk, unless mounting is not permitted: the limit on file sizes stands in for it then.
fn small_disk(mebibytes: u32) -> Option<SmallDisk> {
    let disk = SmallDisk::new(mebibytes);
    if disk.is_none() {
        println!("mounting a tmpfs is not permitted here; the limit on file sizes stands in for it");
    }
    disk
}

/// Writes nodes of `size` bytes until the connection ends, or answers stay out, or `most` are answered: how many were.
fn write_until_refused(session: &mut Session, from: usize, most: usize, size: usize) -> usize {
    session.raw.expect_to_stall(Duration::from_secs(10));
    for n in from..from + most {
        let data = vec![n as u8; size];
        session.send(op::CREATE, &record::plain(&format!("/n{n}"), &data));
        match session.try_receive() {
            Some(Message::Reply(reply)) if reply.err == 0 => {}
            _ => return n - from,
        }
    }
    most
}

fn verify(server: &Server, answered: usize, size: usize) {
    let mut session = Session::open(server.address());
    for n in 0..answered {
        let (data, stat) = session.get(&format!("/n{n}"));
        assert_eq!(stat.version, 0);
        assert!(data.as_deref() == Some(&vec![n as u8; size][..]), "/n{n} has other data");
    }
}

#[test]
fn a_full_disk_ends_the_server_and_loses_nothing() {
    let Some(disk) = small_disk(160) else { return };
    let size = 400_000;
    let mut server = config(&disk).start_in(disk.path());
    let mut session = Session::open(server.address());
    let answered = write_until_refused(&mut session, 0, 2_000, size);
    assert!(answered > 0, "the disk must hold something");
    assert!(answered < 2_000, "800 MB cannot fit");
    if !is_reference() {
        let status = server.process().wait_for_exit(LIMIT);
        let log = server.process().log();
        assert!(status.code().is_some_and(|code| code != 0), "{status}\n{log}");
        assert!(log.to_lowercase().contains("space"), "the message does not say what is missing:\n{log}");
    }
    server.kill();
    // While the disk is still full the server may start or refuse, but what it says must not change what is there.
    if !is_reference() {
        server.start_and_kill(&[Duration::from_secs(3)]);
    }
    disk.remount("size=1000m");
    server.restart();
    verify(&server, answered, size);
    let mut session = Session::open(server.address());
    session.create("/after", b"");
}

#[test]
fn a_read_only_directory_is_refused() {
    let Some(disk) = small_disk(400) else { return };
    let data = disk.path().to_owned();
    let mut server = config(&disk).start_in(&data);
    let mut session = Session::open(server.address());
    let answered = write_until_refused(&mut session, 0, 20, 1_000);
    assert_eq!(answered, 20);
    server.stop();
    disk.remount("ro");
    let mut refused = config(&disk).spawn(&data, free_port());
    let status = refused.wait_for_exit(LIMIT);
    let log = refused.log();
    if is_reference() {
        assert!(!status.success());
    } else {
        assert_eq!(status.code(), Some(3), "{log}");
        assert!(log.contains(&data.display().to_string()), "the message does not name the directory:\n{log}");
    }
    disk.remount("rw");
    server.restart();
    verify(&server, answered, 1_000);
}

#[test]
fn a_limit_on_file_sizes_loses_nothing() {
    if crate::support::only_ringkeeper("a JVM does not get far under such a limit") {
        return;
    }
    let mut server = Server::start(2);
    let mut session = Session::open(server.address());
    let size = 100_000;
    let mut answered = write_until_refused(&mut session, 0, 20, size);
    assert_eq!(answered, 20);
    server.kill();
    // 4 MiB per file, and the signal ignored: writes beyond fail with an error, as on a full disk.
    let limited = ServerConfig::new(2).wrapped(&["sh", "-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"]);
    let mut process = limited.spawn(server.data(), free_port());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], process.port()));
    let serving = crate::support::wait_for("an end or a server", LIMIT, || match process.exited() {
        Some(_) => Some(false),
        None => crate::support::server::four_letter(address, b"ruok").is_ok_and(|text| text == "imok").then_some(true),
    });
    if serving {
        let mut raw = Raw::connect(address);
        raw.expect_to_stall(Duration::from_secs(10));
        raw.send_frame(&Hello::default().bytes());
        if let Some(mut session) = raw.read_frame().and_then(|answer| Session::answered(raw, &answer)) {
            answered += write_until_refused(&mut session, answered, 1_000, size);
        }
    }
    if answered < 1_020 {
        // It ends, or lives on and waits for the limit to be lifted; either way it says why, and can be stopped.
        process.terminate();
        let status = process.wait_for_exit(LIMIT);
        assert!(status.code().is_some(), "{status}\n{}", process.log());
        assert!(process.log().contains("File too large"), "{}", process.log());
    }
    process.kill();
    server.restart();
    verify(&server, answered, size);
}
