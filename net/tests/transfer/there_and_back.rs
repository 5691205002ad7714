//! From Apache ZooKeeper to Ringkeeper and back: everything that clients can see stays what it was.

use crate::support::server::{Server, ServerConfig, four_letter, temporary_directory};
use crate::support::{only_ringkeeper, tools::has_java};
use crate::{tree, verbs};

fn config(shards: usize) -> ServerConfig {
    ServerConfig::new(shards).set("maxSessionTimeout", &tree::TIMEOUT_MS.to_string()).set("snapCount", "100")
}

fn there_and_back(shards: usize, is_killed: bool) {
    if only_ringkeeper("its verbs") {
        return;
    }
    if !has_java() {
        return;
    }
    let directory = temporary_directory();
    let [java, ours, back] = ["java", "ours", "back"].map(|name| directory.path().join(name));

    // With logs in a directory of their own in one of the two.
    let logs = if is_killed { directory.path().join("java-logs") } else { java.clone() };
    let mut reference = config(1).reference().set("dataLogDir", logs.to_str().unwrap()).start_in(&java);
    let owner = tree::fill(reference.address(), "/first", 150);
    let before = tree::read(reference.address());
    assert!(before.len() > 150 && before["/first/ephemeral"].stat.owner != 0);
    end(&mut reference, is_killed);
    drop(owner);

    let text = verbs::import(&java, &ours, &["--from-log", logs.to_str().unwrap()]).ok();
    assert!(text.contains("the digest of the tree as of"), "{text}");
    let mut server = config(shards).start_in(&ours);
    assert_eq!(tree::read(server.address()), before, "after the import");
    let owner = tree::fill(server.address(), "/second", 50);
    let before = tree::read(server.address());
    assert!(before["/second"].stat.czxid > before["/first/ephemeral"].stat.czxid);
    end(&mut server, is_killed);
    drop(owner);

    verbs::export(&ours, &back).ok();
    let mut reference = config(1).reference().start_in(&back);
    assert_eq!(tree::read(reference.address()), before, "after the export");
    // The reference goes on, and finds every digest right.
    drop(tree::fill(reference.address(), "/third", 10));
    let figures = four_letter(reference.address(), b"mntr").unwrap();
    assert!(figures.contains("zk_digest_mismatches_count\t0"), "{figures}");
    let before = tree::read(reference.address());
    reference.kill();
    let again = directory.path().join("again");
    verbs::import(&back, &again, &[]).ok();
    let server = config(shards).start_in(&again);
    assert_eq!(tree::read(server.address()), before, "after the second import");
}

fn end(server: &mut Server, is_killed: bool) {
    if is_killed {
        server.kill();
    } else {
        server.stop();
    }
}

#[test]
fn after_clean_stops() {
    there_and_back(1, false);
}

#[test]
fn after_kills_on_four_shards() {
    there_and_back(4, true);
}
