//! A disk that is small: a tmpfs in a mount namespace of the test's own.

use super::server::temporary_directory;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A namespace whose holder waits for its input to end, with a tmpfs at `mount`.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    mount: PathBuf,
    user_namespace: bool,
    _directory: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub fn new(mebibytes: u32) -> Option<SmallDisk> {
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
        None
    }

    /// The disk, as those inside see it; others see an empty folder there.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// What runs a command inside.
    pub fn inside(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), "-t".to_owned(), self.holder.id().to_string(), "-m".to_owned()];
        if self.user_namespace {
            words.extend(["-U".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.push("--".to_owned());
        words
    }

    /// Mounts it anew with other options.
    pub fn remount(&self, options: &str) {
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
