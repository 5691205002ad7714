//! The members of the ensemble in files beside `zoo.cfg`, as Apache ZooKeeper keeps them (`QuorumPeerConfig`).
//!
//! | file | content |
//! |---|---|
//! | `zoo.cfg` | everything else, and `dynamicConfigFile=` with the path of the members in force |
//! | `zoo.cfg.dynamic.<version>` | the members in force; the version is in the name alone |
//! | `zoo.cfg.dynamic.next` | the members last proposed, while they are not in force |
//! | `zoo.cfg.bak` | `zoo.cfg` as it was when it still held the members |
//!
//! Each is replaced as a whole and durably, the one that is pointed to before the one that points.

use hardware::data_dir::{remove_file, replace_file};
use replication::peer::ensemble::{Ensemble, ServerId};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use tracing::warn;
use tuning::zoo_cfg;

/// The files.
#[derive(Debug)]
pub struct ConfigFiles {
    file: PathBuf,
    own: ServerId,
    /// Version of the members in force.
    version: i64,
}

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {source}; a server whose ensemble may change (reconfigEnabled) keeps its members beside its configuration \
     file: let it read and write there"
)]
pub struct ConfigFileError {
    path: PathBuf,
    source: io::Error,
}

impl ConfigFiles {
    /// Beside this `zoo.cfg`, of the server with this number, whose members are of this version.
    pub fn new(file: &Path, own: ServerId, version: i64) -> ConfigFiles {
        ConfigFiles { file: file.to_path_buf(), own, version }
    }

    /// Keeps `zoo.cfg` as its author wrote it.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn back_up(&self) -> Result<(), ConfigFileError> {
        let bytes = named(&self.file, std::fs::read(&self.file))?;
        replace(&self.beside(".bak"), &bytes)
    }

    /// The members that were proposed last, if they are not in force. What cannot be read counts as absent: the next
    /// leader names them again.
    pub fn last_seen(&self) -> Option<Ensemble> {
        let path = self.next();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return None,
            Err(problem) => {
                warn!("{}: {problem}", path.display());
                return None;
            }
        };
        Ensemble::parse(&text).inspect_err(|problem| warn!("{}: {problem}", path.display())).ok()
    }

    /// These members are the last that were proposed, or those in force, if nothing else is proposed any more.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn keep_last_seen(&self, ensemble: &Ensemble) -> Result<(), ConfigFileError> {
        let path = self.next();
        if ensemble.version() > self.version {
            let mut text = lines(ensemble);
            text.push_str(&format!("\nversion={:x}", ensemble.version()));
            replace(&path, text.as_bytes())
        } else {
            named(&path, remove_file(&path))
        }
    }

    /// These members are in force.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn activate(&mut self, ensemble: &Ensemble) -> Result<(), ConfigFileError> {
        let path = self.beside(&format!(".dynamic.{:x}", ensemble.version()));
        replace(&path, lines(ensemble).as_bytes())?;
        let path = named(&path, std::fs::canonicalize(&path))?;
        let text = zoo_cfg::text_of(&named(&self.file, std::fs::read(&self.file))?);
        let names_client = ensemble.member(self.own).is_some_and(|own| own.client.is_some());
        replace(&self.file, pointing_to(&text, &path, names_client).as_bytes())?;
        self.version = ensemble.version();
        if self.last_seen().is_some_and(|last| last.version() <= ensemble.version()) {
            let next = self.next();
            named(&next, remove_file(&next))?;
        }
        Ok(())
    }

    fn next(&self) -> PathBuf {
        self.beside(".dynamic.next")
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut name = OsString::from(&self.file);
        name.push(end);
        name.into()
    }
}

fn named<T>(path: &Path, result: io::Result<T>) -> Result<T, ConfigFileError> {
    result.map_err(|source| ConfigFileError { path: path.to_path_buf(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ConfigFileError> {
    named(path, replace_file(path, bytes))
}

/// The members without their version, sorted as texts (`QuorumPeerConfig.writeDynamicConfig`).
fn lines(ensemble: &Ensemble) -> String {
    let mut lines: Vec<&str> = ensemble.text().lines().filter(|line| !line.starts_with("version")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `zoo.cfg` with its members in that file (`QuorumPeerConfig.editStaticConfig`). Comments and order stay. The client
/// port goes too where the members name it.
fn pointing_to(text: &str, members: &Path, names_client: bool) -> String {
    let mut kept = zoo_cfg::without(text, |key| {
        let goes = ["server.", "group", "weight", "dynamicConfigFile", "peerType"];
        goes.iter().any(|start| key.starts_with(start))
            || (names_client && matches!(key, "clientPort" | "clientPortAddress"))
    });
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    kept.push_str(&format!("dynamicConfigFile={}\n", members.display().to_string().replace('\\', "\\\\")));
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    const MEMBERS: &str = "server.2=b:1:2:participant;0.0.0.0:3\nserver.10=c:1:2:observer;0.0.0.0:3\nserver.1=a:1:2:participant;0.0.0.0:3\nversion=100000000";

    fn ensemble(version: i64) -> Ensemble {
        Ensemble::parse(MEMBERS).unwrap().with_version(version)
    }

    #[test]
    fn the_members_move_out_of_the_configuration_file() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("zoo.cfg");
        let original = "# ours\ndataDir=/d\nserver.1=a:1:2;3\nserver.2=b:1:\\\n  2;3\nclientPort=3\npeerType=observer\n\
                        clientPortListenBacklog=7\n  # end";
        fs::write(&file, original).unwrap();
        let mut files = ConfigFiles::new(&file, ServerId(1), 0);
        files.back_up().unwrap();
        assert!(files.last_seen().is_none());
        files.keep_last_seen(&ensemble(0x1_0000_0000)).unwrap();
        assert!(files.last_seen().unwrap().same_membership(&ensemble(0)));
        assert_eq!(files.last_seen().unwrap().version(), 0x1_0000_0000);

        files.activate(&ensemble(0x1_0000_0000)).unwrap();
        assert!(files.last_seen().is_none());
        let dynamic = place.path().join("zoo.cfg.dynamic.100000000");
        let sorted = "server.10=c:1:2:observer;0.0.0.0:3\nserver.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3";
        assert_eq!(fs::read_to_string(&dynamic).unwrap(), sorted);
        let dynamic = fs::canonicalize(&dynamic).unwrap();
        let expected = format!(
            "# ours\ndataDir=/d\nclientPortListenBacklog=7\n  # end\ndynamicConfigFile={}\n",
            dynamic.display()
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
        assert_eq!(fs::read_to_string(place.path().join("zoo.cfg.bak")).unwrap(), original);

        // The next one: what was proposed and is newer stays.
        files.keep_last_seen(&ensemble(0x1_0000_0009)).unwrap();
        files.activate(&ensemble(0x1_0000_0005)).unwrap();
        assert_eq!(files.last_seen().unwrap().version(), 0x1_0000_0009);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with(".dynamic.100000005\n") && text.matches("dynamicConfigFile").count() == 1, "{text}");
        // A leader that knows nothing of it.
        files.keep_last_seen(&ensemble(0x1_0000_0005)).unwrap();
        assert!(files.last_seen().is_none());
    }

    #[test]
    fn a_client_port_that_no_member_names_stays() {
        let kept = pointing_to("clientPort=3\nserver.1=a:1:2", Path::new("/c/zoo.cfg.dynamic.5"), false);
        assert_eq!(kept, "clientPort=3\ndynamicConfigFile=/c/zoo.cfg.dynamic.5\n");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("gone/zoo.cfg");
        let problem = ConfigFiles::new(&file, ServerId(1), 0).keep_last_seen(&ensemble(5)).unwrap_err();
        assert!(problem.to_string().contains("zoo.cfg.dynamic.next"), "{problem}");
    }
}
