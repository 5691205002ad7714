//! What a container runtime does: a seccomp filter forbids io_uring. In a process of its own, as the filter stays.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc;

use hardware::kernel::{KernelError, require};
use hardware::reactor::{Reactor, ReactorConfig};
use hardware::storage::{Shutdown, StorageBackend, StorageConfig, StorageExecutor, StorageJob};

/// Answers io_uring_setup with EPERM in every thread of this process.
fn forbid_rings() {
    const fn statement(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
    }
    // The number of the system call is the first field of seccomp_data.
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let is_setup = libc::sock_filter {
        jf: 1,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32)
    };
    let refuse = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut filter = [load, is_setup, refuse, allow];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl takes numbers only; the program and its filter outlive the call that copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        assert_eq!(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program), 0);
    }
}

#[test]
fn the_filter_is_named_with_its_remedy_and_bulk_work_goes_on() {
    forbid_rings();
    let error = require().unwrap_err();
    assert_eq!(error, KernelError::Seccomp { errno: libc::EPERM });
    assert!(error.to_string().contains("--security-opt seccomp"), "{error}");
    let Err(error) = Reactor::new(ReactorConfig::default()) else { panic!("a ring in spite of the filter") };
    assert!(error.to_string().contains("seccomp"), "{error}");

    let executor = StorageExecutor::start(StorageConfig::default()).unwrap();
    assert_eq!(executor.backend(), StorageBackend::Threads);
    let (out, result) = mpsc::channel();
    let place = tempfile::tempdir().unwrap();
    let job = StorageJob::ReplaceFile { path: place.path().join("f"), bytes: b"kept".to_vec() };
    executor.submit(job, Box::new(move |outcome| out.send(outcome).unwrap())).unwrap();
    result.recv().unwrap().unwrap();
    executor.shutdown(Shutdown::Drain);
    assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"kept");
}
