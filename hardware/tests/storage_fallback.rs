//! Falling back to plain threads. In a process of its own, as the limit holds for all of it.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc;

use hardware::storage::{Shutdown, StorageBackend, StorageConfig, StorageExecutor, StorageJob};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn where_glommio_cannot_start_plain_threads_do_the_work() {
    let hard = getrlimit(Resource::Memlock).maximum;
    setrlimit(Resource::Memlock, Rlimit { current: Some(4096), maximum: hard }).unwrap();
    let insist = StorageConfig { backend: Some(StorageBackend::Glommio), ..StorageConfig::default() };
    let error = StorageExecutor::start(insist).unwrap_err();
    assert!(error.to_string().contains("locked memory"), "{error}");
    let executor = StorageExecutor::start(StorageConfig::default()).unwrap();
    assert_eq!(executor.backend(), StorageBackend::Threads);
    let (out, result) = mpsc::channel();
    let job = StorageJob::Compute { step: Box::new(|| false) };
    executor.submit(job, Box::new(move |outcome| out.send(outcome).unwrap())).unwrap();
    result.recv().unwrap().unwrap();
    executor.shutdown(Shutdown::Drain);
}
