//! Disks that are full or read-only: a clear end, and nothing acknowledged is lost.
//!
//! The disk is a small tmpfs in a mount namespace of the test's own.

use crate::support::is_reference;
use crate::support::raw::Raw;
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig, free_port, temporary_directory};
use crate::support::session::{Hello, Message, Session};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A namespace whose holder waits for its input to end, with a tmpfs at `mount`.
struct SmallDisk {
    holder: Child,
    mount: PathBuf,
    user_namespace: bool,
    _directory: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn new(mebibytes: u32) -> Option<SmallDisk> {
        let directory = temporary_directory();
        let mount = directory.path().join("disk");
        std::fs::create_dir(&mount).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs '{}' && echo ready && exec cat >/dev/null",
            mount.display()
        );
        for arguments in [&["-m"][..], &["-r", "-m"]] {
            let mut command = Command::new("unshare");
            command.args(arguments).args(["sh", "-c", &script]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut holder) = command.spawn() else { continue };
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line == "ready\n" {
                let user_namespace = arguments.len() == 2;
                return Some(SmallDisk { holder, mount, user_namespace, _directory: directory });
            }
            holder.wait().unwrap();
        }
        println!("mounting a tmpfs is not permitted here; the limit on file sizes stands in for it");
        None
    }

    /// What runs a command inside.
    fn inside(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), "-t".to_owned(), self.holder.id().to_string(), "-m".to_owned()];
        if self.user_namespace {
            words.extend(["-U".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.push("--".to_owned());
        words
    }

    fn config(&self) -> ServerConfig {
        let words = self.inside();
        ServerConfig::new(2).wrapped(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn remount(&self, options: &str) {
        let words = self.inside();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["mount", "-o", &format!("remount,{options}")]).arg(&self.mount);
        assert!(command.status().unwrap().success(), "remount {options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
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
    let Some(disk) = SmallDisk::new(160) else { return };
    let size = 400_000;
    let mut server = disk.config().start_in(&disk.mount);
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
    let Some(disk) = SmallDisk::new(400) else { return };
    let data = disk.mount.clone();
    let mut server = disk.config().start_in(&data);
    let mut session = Session::open(server.address());
    let answered = write_until_refused(&mut session, 0, 20, 1_000);
    assert_eq!(answered, 20);
    server.stop();
    disk.remount("ro");
    let mut refused = disk.config().spawn(&data, free_port());
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
