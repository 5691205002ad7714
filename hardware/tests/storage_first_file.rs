//! The first file that a process streams. In a process of its own, as glommio draws its conclusions from that one.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use hardware::storage::{Shutdown, StorageConfig, StorageExecutor, StorageJob, StorageOutcome};

fn run(executor: &StorageExecutor, job: StorageJob) -> u64 {
    let (out, result) = mpsc::channel();
    executor.submit(job, Box::new(move |outcome| out.send(outcome).unwrap())).unwrap();
    let StorageOutcome::Streamed(bytes) = result.recv().unwrap().unwrap() else { panic!() };
    bytes
}

fn read(executor: &StorageExecutor, path: &Path) -> Vec<u8> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&got);
    let each = Box::new(move |_: u64, bytes: &[u8]| {
        into.lock().unwrap().extend_from_slice(bytes);
        true
    });
    run(executor, StorageJob::ReadStream { path: path.to_path_buf(), from: 0, to: u64::MAX, chunk: 1 << 20, each });
    std::mem::take(&mut *got.lock().unwrap())
}

#[test]
fn an_empty_first_file_spoils_nothing() {
    let place = tempfile::tempdir().unwrap();
    let executor = StorageExecutor::start(StorageConfig::default()).unwrap();
    for len in [0, 10, 4096, 3_000_000] {
        let path = place.path().join("f");
        let bytes = vec![7; len];
        let content = bytes.clone();
        let source = Box::new(move |into: &mut Vec<u8>| {
            into.extend_from_slice(&content);
            false
        });
        assert_eq!(run(&executor, StorageJob::WriteStream { path: path.clone(), source }), len as u64);
        assert!(std::fs::read(&path).unwrap() == bytes, "{len}");
        assert!(read(&executor, &path) == bytes, "{len}");
    }
    // A hole at the beginning gives bytes without the device.
    let path = place.path().join("hole");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(read(&executor, &path) == vec![0; 1 << 20]);
    executor.shutdown(Shutdown::Drain);
}

#[test]
fn a_hole_first_spoils_nothing() {
    let place = tempfile::tempdir().unwrap();
    let executor = StorageExecutor::start(StorageConfig::default()).unwrap();
    let path = place.path().join("hole");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    assert!(read(&executor, &path) == vec![0; 1 << 20]);
    let path = place.path().join("full");
    std::fs::write(&path, vec![9; 2 << 20]).unwrap();
    assert!(read(&executor, &path) == vec![9; 2 << 20]);
}
