//! Processors that this process may use, pinning, and processor time.

use std::io;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The numbers of the processors that the affinity mask of this thread allows, ascending.
///
/// # Errors
/// The system's.
pub fn available_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// How many threads can run at once: the affinity mask and the processor quota of the control group, whichever is less;
/// at least 1.
pub fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Confines the calling thread to one processor.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when there is no such processor or this process may not use it.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no processor {cpu}")));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Niceness of a thread that gives way: a third of the share of one that does not.
const GIVING_WAY: i32 = 5;

/// Has the calling thread, and those that it starts from now on, give way to others that want the same processors, as far
/// as the system lets it. For bulk work; without privileges there is no way back.
pub fn give_way() {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, now.max(GIVING_WAY));
}

/// User and system time of all threads of this process so far.
pub fn process_cpu_time() -> Duration {
    cpu_time(ClockId::ProcessCPUTime)
}

/// User and system time of the calling thread so far.
pub fn thread_cpu_time() -> Duration {
    cpu_time(ClockId::ThreadCPUTime)
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pinned_thread_is_left_with_one_processor() {
        let cpus = available_cpus().unwrap();
        assert!(!cpus.is_empty());
        assert!((1..=cpus.len()).contains(&core_count()));
        let last = *cpus.last().unwrap();
        std::thread::spawn(move || {
            pin_current_thread(last).unwrap();
            assert_eq!(available_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert_eq!(available_cpus().unwrap(), cpus);
        assert!(pin_current_thread(CpuSet::MAX_CPU).is_err());
        assert!(pin_current_thread(CpuSet::MAX_CPU - 1).is_err());
    }

    #[test]
    fn only_the_thread_that_gives_way_is_nicer() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let inherited = std::thread::spawn(|| {
            give_way();
            let inner = std::thread::spawn(|| rustix::process::getpriority_process(None).unwrap()).join().unwrap();
            assert_eq!(rustix::process::getpriority_process(None).unwrap(), inner);
            inner
        });
        assert_eq!(inherited.join().unwrap(), before.max(GIVING_WAY));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
    }

    #[test]
    fn work_costs_processor_time() {
        let (process, thread) = (process_cpu_time(), thread_cpu_time());
        let mut sum = 0u64;
        while thread_cpu_time() == thread {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(thread_cpu_time() > thread);
        assert!(process_cpu_time() > process);
    }
}
