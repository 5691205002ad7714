//! What cannot be imported is refused, and nothing is taken for more than it is. Made by Ringkeeper's own export.

use crate::support::only_ringkeeper;
use crate::support::server::{ServerConfig, free_port, temporary_directory};
use crate::{tree, verbs};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn config() -> ServerConfig {
    ServerConfig::new(1).set("maxSessionTimeout", &tree::TIMEOUT_MS.to_string())
}

/// The one file whose name begins like this.
fn file(folder: &Path, beginning: &str) -> PathBuf {
    let names = fs::read_dir(folder.join("version-2")).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> =
        names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(beginning)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn change(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_refused_and_an_import_can_be_repeated() {
    if only_ringkeeper("its verbs") {
        return;
    }
    let directory = temporary_directory();
    let [first, files, second] = ["first", "files", "second"].map(|name| directory.path().join(name));
    let mut server = config().start_in(&first);
    drop(tree::fill(server.address(), "/a", 20));
    let before = tree::read(server.address());

    // A directory in use is left alone.
    let locked = verbs::export(&first, &files);
    assert_eq!(locked.code, 3, "{}", locked.text);
    assert!(server.stop().success());
    verbs::export(&first, &files).ok();

    // Nothing goes into a directory that is not empty, and nothing comes from one that holds nothing.
    let refused = verbs::import(&files, &first, &[]);
    assert_eq!(refused.code, 2, "{}", refused.text);
    assert_eq!(verbs::export(&first, &files).code, 2);
    assert_eq!(verbs::export(&files, &second).code, 2);
    assert_eq!(verbs::import(&directory.path().join("none"), &second, &[]).code, 2);
    assert!(!second.exists());

    // A changed byte anywhere in the only snapshot: there is none then.
    let snapshot = file(&files, "snapshot.");
    change(&snapshot, |length| length / 2);
    let refused = verbs::import(&files, &second, &[]);
    assert_eq!(refused.code, 4, "{}", refused.text);
    assert!(refused.text.contains("passed over") && refused.text.contains("no usable snapshot"), "{}", refused.text);

    // The half-filled directory is not served.
    let mut process = config().spawn(&second, free_port());
    let status = process.wait_for_exit(Duration::from_secs(60));
    assert_eq!(status.code(), Some(3), "{}", process.log());
    assert!(process.log().contains("did not come to its end"), "{}", process.log());

    // Repaired, the same import goes through, with the promises and the number that a member of an ensemble has.
    change(&snapshot, |length| length / 2);
    let member = [("version-2/acceptedEpoch", "6"), ("version-2/currentEpoch", "5"), ("myid", "3")];
    for (name, text) in member {
        fs::write(files.join(name), text).unwrap();
    }
    let text = verbs::import(&files, &second, &[]).ok();
    assert!(text.contains("the digest of the tree as of"), "{text}");
    let unserved = directory.path().join("unserved");
    verbs::export(&second, &unserved).ok();
    for (name, text) in member {
        assert_eq!(fs::read_to_string(unserved.join(name)).unwrap(), text, "{name}");
    }
    let mut server = config().start_in(&second);
    assert_eq!(tree::read(server.address()), before);
    server.kill();
    server.restart();
    assert_eq!(tree::read(server.address()), before);
    assert!(server.stop().success());
    // And what was imported can be started again, and exported again.
    server.restart();
    assert_eq!(tree::read(server.address()), before);
    assert!(server.stop().success());
    let files = directory.path().join("files2");
    verbs::export(&second, &files).ok();

    // Epochs that contradict each other are not this server's.
    let third = directory.path().join("third");
    fs::write(files.join("version-2/acceptedEpoch"), "4").unwrap();
    let refused = verbs::import(&files, &third, &[]);
    assert_eq!(refused.code, 4, "{}", refused.text);
    assert!(refused.text.contains("acceptedEpoch is 4, below currentEpoch"), "{}", refused.text);
}
