//! The storage executor: every job on both backends, on the default file system and on tmpfs.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hardware::block_file::{PreferDirect, WriteSync};
use hardware::storage::{
    Pace, RefusedReason, Shutdown, StorageBackend, StorageConfig, StorageExecutor, StorageJob, StorageOutcome,
    StorageResult,
};
use support::pattern;

fn each_backend(test: impl Fn(&StorageExecutor, &Path)) {
    for backend in [StorageBackend::Glommio, StorageBackend::Threads] {
        for place in [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
            let config = StorageConfig { backend: Some(backend), ..StorageConfig::default() };
            let executor = StorageExecutor::start(config).unwrap();
            assert_eq!(executor.backend(), backend);
            test(&executor, place.path());
            executor.shutdown(Shutdown::Drain);
        }
    }
}

fn run(executor: &StorageExecutor, job: StorageJob) -> StorageResult {
    let (out, result) = mpsc::channel();
    executor.submit(job, Box::new(move |outcome| out.send(outcome).unwrap())).unwrap();
    result.recv().unwrap()
}

fn files_in(place: &Path) -> usize {
    std::fs::read_dir(place).unwrap().count()
}

#[test]
fn prepared_files_are_there_zeroed_and_writable() {
    each_backend(|executor, place| {
        for (index, (bytes, zero)) in
            [(1 << 20, true), (3 << 20, false), (5000, true), (0, true)].into_iter().enumerate()
        {
            let path = place.join(format!("segment{index}"));
            let job = |path: &Path| StorageJob::PrepareFile {
                path: path.to_path_buf(),
                bytes,
                zero,
                direct: PreferDirect::Yes,
            };
            let StorageOutcome::File(file) = run(executor, job(&path)).unwrap() else { panic!() };
            assert_eq!(file.len().unwrap(), bytes);
            let mut content = vec![1; bytes as usize];
            assert_eq!(file.read_at(0, &mut content).unwrap() as u64, bytes);
            let first = content.iter().position(|byte| *byte != 0);
            assert_eq!(
                first,
                None,
                "{} of {bytes} bytes (zeroed: {zero}) with {:?}",
                path.display(),
                executor.backend()
            );
            let block = hardware::aligned::AlignedBuf::zeroed(4096);
            file.write_at(0, &block, WriteSync::Data).unwrap();
            let error = run(executor, job(&path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(path.exists());
        }
    });
}

#[test]
fn prepared_maps_are_empty_until_published() {
    each_backend(|executor, place| {
        let path = place.join("log");
        let job = || StorageJob::PrepareMapped { path: path.clone(), bytes: 64 << 10, instead_of: None };
        let StorageOutcome::Mapped(file, map) = run(executor, job()).unwrap() else { panic!() };
        assert_eq!((map.len(), map.published()), (64 << 10, 0));
        file.write_at(0, b"record", WriteSync::None).unwrap();
        map.publish(6);
        assert_eq!(map.bytes(0..6).unwrap(), b"record");
        let paced = Pace { times: 9, all_at_most: Duration::from_millis(50) };
        for (pace, in_haste) in [(Pace::AT_ONCE, false), (paced, false), (paced, true)] {
            let files = vec![file.clone(), file.clone()];
            let job = StorageJob::SyncFiles { files, pace, hurry: Box::new(move || in_haste) };
            let StorageOutcome::Synced { paused } = run(executor, job).unwrap() else { panic!() };
            let allowed = if in_haste { Duration::ZERO } else { pace.all_at_most };
            assert!(paused <= allowed, "{paused:?} of {pace:?}");
        }
        assert_eq!(run(executor, job()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(map.bytes(0..6).unwrap(), b"record");
    });
}

#[test]
fn a_file_becomes_another_one_if_it_is_as_long() {
    each_backend(|executor, place| {
        let (old, new) = (place.join("old"), place.join("new"));
        let content = pattern(8192, 1);
        for (there, is_used) in [(Some(8192), true), (Some(4096), false), (None, false)] {
            if let Some(len) = there {
                std::fs::write(&old, &content[..len]).unwrap();
            }
            let job = StorageJob::PrepareMapped { path: new.clone(), bytes: 8192, instead_of: Some(old.clone()) };
            let StorageOutcome::Mapped(file, map) = run(executor, job).unwrap() else { panic!() };
            assert_eq!((map.len(), map.published(), file.path()), (8192, 0, &*new));
            let expected = if is_used { content.clone() } else { vec![0; 8192] };
            assert!(std::fs::read(&new).unwrap() == expected, "{there:?}");
            assert_eq!(files_in(place), 1, "{there:?}");
            std::fs::remove_file(&new).unwrap();
        }
    });
}

#[test]
fn replaced_and_removed() {
    each_backend(|executor, place| {
        let path = place.join("manifest");
        for content in [&b"one"[..], b"two"] {
            run(executor, StorageJob::ReplaceFile { path: path.clone(), bytes: content.to_vec() }).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        for unread in [true, false] {
            // More than one step.
            std::fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
            let job = || StorageJob::Remove { paths: vec![path.clone(), place.join("never was")], unread };
            run(executor, job()).unwrap();
            assert_eq!(files_in(place), 0);
            run(executor, job()).unwrap();
        }
        let missing = place.join("no such directory/f");
        let error = run(executor, StorageJob::ReplaceFile { path: missing, bytes: Vec::new() }).unwrap_err();
        assert!(error.to_string().contains("no such directory"), "{error}");
    });
}

/// Streams `bytes` out in pieces of odd sizes and returns the result.
fn write_out(executor: &StorageExecutor, path: &Path, bytes: &Arc<Vec<u8>>, piece: usize) -> StorageResult {
    let (bytes, mut at) = (Arc::clone(bytes), 0);
    let source = Box::new(move |into: &mut Vec<u8>| {
        assert!(into.is_empty());
        let end = (at + piece).min(bytes.len());
        into.extend_from_slice(&bytes[at..end]);
        at = end;
        at < bytes.len()
    });
    run(executor, StorageJob::WriteStream { path: path.to_path_buf(), source })
}

/// Streams a range in and checks that it comes in order, without gaps, in chunks no longer than asked.
fn read_in(executor: &StorageExecutor, path: &Path, from: u64, to: u64, chunk: usize) -> (StorageResult, Vec<u8>) {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&collected);
    let each = Box::new(move |offset: u64, bytes: &[u8]| {
        let mut into = into.lock().unwrap();
        assert_eq!(offset, from + into.len() as u64);
        assert!(!bytes.is_empty() && bytes.len() <= chunk);
        into.extend_from_slice(bytes);
        true
    });
    let result = run(executor, StorageJob::ReadStream { path: path.to_path_buf(), from, to, chunk, each });
    let bytes = std::mem::take(&mut *collected.lock().unwrap());
    (result, bytes)
}

#[test]
fn streams_carry_every_byte() {
    each_backend(|executor, place| {
        let path = place.join("stream");
        for (len, piece) in
            [(0, 1), (1, 10), (4096, 4096), (512 << 10, 100_000), ((5 << 20) + 77, 777_777), (3 << 20, 4 << 20)]
        {
            let bytes = Arc::new(pattern(len, len as u64));
            let StorageOutcome::Streamed(total) = write_out(executor, &path, &bytes, piece).unwrap() else { panic!() };
            assert_eq!(total, len as u64);
            assert!(std::fs::read(&path).unwrap() == *bytes);
            let end = len as u64;
            for (from, to, chunk) in
                [(0, u64::MAX, 65_536), (0, end, 1 << 20), (end / 3, end - end / 5, 5000), (end, end + 9, 10)]
            {
                let (result, got) = read_in(executor, &path, from, to, chunk);
                let StorageOutcome::Streamed(count) = result.unwrap() else { panic!() };
                assert_eq!(count, got.len() as u64);
                assert!(got == bytes[from.min(end) as usize..to.min(end) as usize], "{len} {from} {to} {chunk}");
            }
        }
        assert_eq!(files_in(place), 1);
    });
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_stream() {
    each_backend(|executor, place| {
        let path = place.join("stream");
        std::fs::write(&path, pattern(8 << 20, 3)).unwrap();
        let mut calls = 0;
        let each = Box::new(move |_: u64, _: &[u8]| {
            calls += 1;
            calls < 3
        });
        let job = StorageJob::ReadStream { path: path.clone(), from: 10, to: u64::MAX, chunk: 1000, each };
        let StorageOutcome::Streamed(count) = run(executor, job).unwrap() else { panic!() };
        assert_eq!(count, 3000);
        let (error, _) = read_in(executor, &place.join("missing"), 0, 1, 1);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing"), "{error}");
    });
}

/// Transfers that a stream gave up on must not reach memory that has another owner by now.
#[test]
fn streams_that_end_early_leave_memory_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stream");
    std::fs::write(&path, vec![0xff; 8 << 20]).unwrap();
    for _ in 0..50 {
        let executor = StorageExecutor::start(StorageConfig::default()).unwrap();
        let job = StorageJob::ReadStream {
            path: path.clone(),
            from: 0,
            to: u64::MAX,
            chunk: 1,
            each: Box::new(|_, _| false),
        };
        run(&executor, job).unwrap();
        executor.shutdown(Shutdown::Cancel);
        let memory = vec![0u8; 4 << 20];
        std::thread::yield_now();
        assert!(std::hint::black_box(&memory).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn reading_sees_what_was_written_through_the_cache() {
    each_backend(|executor, place| {
        let path = place.join("log");
        let job = StorageJob::PrepareMapped { path: path.clone(), bytes: 1 << 20, instead_of: None };
        let StorageOutcome::Mapped(file, _) = run(executor, job).unwrap() else { panic!() };
        let bytes = pattern(100_001, 8);
        file.write_at(12_345, &bytes, WriteSync::None).unwrap();
        let (result, got) = read_in(executor, &path, 12_345, 12_345 + 100_001, 4096);
        result.unwrap();
        assert!(got == bytes);
    });
}

#[test]
fn a_failed_stream_leaves_nothing_behind() {
    each_backend(|executor, place| {
        let path = place.join("no such directory/f");
        let error = write_out(executor, &path, &Arc::new(vec![1]), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let job =
            StorageJob::PrepareFile { path: place.join("huge"), bytes: 1 << 60, zero: true, direct: PreferDirect::Yes };
        run(executor, job).unwrap_err();
        assert_eq!(files_in(place), 0);
    });
}

#[test]
fn computations_run_step_by_step_beside_other_jobs() {
    each_backend(|executor, place| {
        let (finish, finished) = mpsc::channel::<()>();
        let (out, results) = mpsc::channel();
        let done = out.clone();
        // Goes on until a job submitted after it has ended.
        let step = Box::new(move || finished.try_recv().is_err());
        executor
            .submit(StorageJob::Compute { step }, Box::new(move |result| done.send(("compute", result)).unwrap()))
            .unwrap();
        let job = StorageJob::ReplaceFile { path: place.join("f"), bytes: vec![1] };
        executor.submit(job, Box::new(move |result| out.send(("replace", result)).unwrap())).unwrap();
        let (first, result) = results.recv().unwrap();
        result.unwrap();
        assert_eq!(first, "replace");
        finish.send(()).unwrap();
        let (second, result) = results.recv().unwrap();
        result.unwrap();
        assert_eq!(second, "compute");
    });
}

#[test]
fn every_job_of_many_threads_is_answered_once() {
    each_backend(|executor, place| {
        let path = place.join("f");
        std::fs::write(&path, pattern(10_000, 1)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (handle, path) = (executor.handle(), path.clone());
                scope.spawn(move || {
                    for round in 0..300 {
                        let (out, result) = mpsc::channel();
                        let job = match round % 3 {
                            0 => StorageJob::Compute { step: Box::new(|| false) },
                            1 => StorageJob::ReadStream {
                                path: path.clone(),
                                from: 0,
                                to: u64::MAX,
                                chunk: 4096,
                                each: Box::new(|_, _| true),
                            },
                            _ => StorageJob::Remove { paths: Vec::new(), unread: true },
                        };
                        handle.submit(job, Box::new(move |outcome| out.send(outcome).unwrap())).unwrap();
                        // Each round waits, so that the executor falls asleep and has to be woken again and again.
                        result.recv().unwrap().unwrap();
                    }
                });
            }
        });
    });
}

#[test]
fn a_full_queue_hands_the_job_back() {
    for backend in [StorageBackend::Glommio, StorageBackend::Threads] {
        let config =
            StorageConfig { queue_max: 2, foreground_max: 1, backend: Some(backend), ..StorageConfig::default() };
        let executor = StorageExecutor::start(config).unwrap();
        let (finish, finished) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let step = Box::new(move || {
            let _ = started.send(());
            finished.try_recv().is_err()
        });
        executor.submit(StorageJob::Compute { step }, Box::new(|_| ())).unwrap();
        has_started.recv().unwrap();
        let submit = || executor.submit(StorageJob::Compute { step: Box::new(|| false) }, Box::new(|_| ()));
        submit().unwrap();
        submit().unwrap();
        let refused = submit().unwrap_err();
        assert_eq!(refused.reason, RefusedReason::Full);
        assert!(matches!(refused.job, StorageJob::Compute { .. }));
        finish.send(()).unwrap();
        executor.shutdown(Shutdown::Drain);
    }
}

#[test]
fn shutting_down_drains_or_cancels_and_answers_all() {
    for backend in [StorageBackend::Glommio, StorageBackend::Threads] {
        for how in [Shutdown::Drain, Shutdown::Cancel] {
            let config = StorageConfig { foreground_max: 1, backend: Some(backend), ..StorageConfig::default() };
            let executor = StorageExecutor::start(config).unwrap();
            let handle = executor.handle();
            let (out, results) = mpsc::channel();
            let (started, has_started) = mpsc::channel();
            let mut steps = 0u64;
            let endless = how == Shutdown::Cancel;
            let step = Box::new(move || {
                steps += 1;
                let _ = started.send(());
                endless || steps < 1000
            });
            for step in [step as Box<dyn FnMut() -> bool + Send>, Box::new(|| false)] {
                let out = out.clone();
                executor
                    .submit(StorageJob::Compute { step }, Box::new(move |result| out.send(result).unwrap()))
                    .unwrap();
            }
            drop(out);
            has_started.recv().unwrap();
            executor.shutdown(how);
            let results: Vec<_> = results.iter().collect();
            assert_eq!(results.len(), 2);
            for result in results {
                match how {
                    Shutdown::Drain => assert!(result.is_ok()),
                    Shutdown::Cancel => assert_eq!(result.unwrap_err().kind(), ErrorKind::Interrupted),
                }
            }
            let job = StorageJob::Remove { paths: Vec::new(), unread: true };
            assert_eq!(handle.submit(job, Box::new(|_| ())).unwrap_err().reason, RefusedReason::Stopped);
        }
    }
}
