//! A host on which nothing needs to change, for tests to spoil.

use hardware::limits::Limit;
use hardware::probe::{
    Append, AppendMethod, Device, DeviceKind, Durability, FileSystem, Host, Kernel, Memory, Network, Place,
    ProcessLimits, Processors, Report, SCHEMA, Timing, Verdict,
};

pub fn disk(name: &str) -> Device {
    Device {
        name: name.to_owned(),
        partition: None,
        kind: DeviceKind::Nvme,
        model: Some("Quick 9000".to_owned()),
        bytes: 1 << 40,
        rotational: false,
        scheduler: Some("none".to_owned()),
        schedulers: vec!["none".to_owned(), "mq-deadline".to_owned()],
        queue_requests: Some(1023),
        hardware_queues: 8,
        physical_block_bytes: Some(4096),
        write_back: false,
        fua: true,
        discard: true,
        beneath: Vec::new(),
    }
}

pub fn place(dir: &str, disk: Device) -> Place {
    let file_system = FileSystem {
        kind: "ext4".to_owned(),
        mount_point: dir.into(),
        source: format!("/dev/{}", disk.name),
        options: vec!["rw".to_owned(), "noatime".to_owned()],
        total_bytes: 1 << 40,
        free_bytes: 1 << 39,
    };
    Place { dir: dir.into(), file_system, device: Some(disk), device_unknown: None }
}

pub fn append(method: AppendMethod, bytes: u64, p50_us: f64) -> Append {
    let timing = Timing {
        count: 10_000,
        mean_us: p50_us,
        p50_us,
        p90_us: p50_us * 1.5,
        p99_us: p50_us * 2.0,
        p999_us: p50_us * 3.0,
        max_us: p50_us * 10.0,
    };
    Append { method, bytes, direct: true, fell_back: false, timing, per_second: timing.per_second(), error: None }
}

/// Eight cores, plenty of memory, a quick disk for the log and another for the data.
pub fn good_host() -> Report {
    let limit = |value| Limit { soft: value, hard: value };
    let host = Host {
        kernel: Kernel {
            release: "6.12.0".to_owned(),
            architecture: "x86_64".to_owned(),
            io_uring: true,
            io_uring_disabled: Some(0),
            ..Kernel::default()
        },
        processors: Processors {
            model: Some("Fast One".to_owned()),
            online: (0..8).collect(),
            usable: (0..8).collect(),
            cores: 8,
            packages: 1,
            governors: vec!["performance".to_owned()],
            ..Processors::default()
        },
        memory: Memory {
            total_bytes: 8 << 30,
            available_bytes: 7 << 30,
            swappiness: Some(60),
            huge_pages: Some("madvise".to_owned()),
            maps_max: Some(65_530),
            dirty_background_percent: Some(10),
            dirty_percent: Some(20),
            ..Memory::default()
        },
        limits: ProcessLimits {
            open_files: limit(Some(1 << 20)),
            locked_memory_bytes: limit(None),
            open_files_per_process_max: Some(1 << 20),
            open_files_system_max: Some(1 << 24),
        },
        network: Network {
            accept_backlog_max: Some(4096),
            half_open_max: Some(4096),
            device_backlog_max: Some(1000),
            local_ports: Some((32_768, 60_999)),
        },
        ..Host::default()
    };
    Report {
        schema: SCHEMA.to_owned(),
        version: "1".to_owned(),
        taken_unix_s: 1_700_000_000,
        seconds: 10.0,
        interrupted: false,
        host,
        data: place("/data", disk("nvme0n1")),
        log: Some(place("/log", disk("nvme1n1"))),
        appends: vec![append(AppendMethod::IoUringDsync, 4096, 30.0), append(AppendMethod::IoUringDsync, 65_536, 60.0)],
        stream: None,
        loopback: Vec::new(),
        failures: Vec::new(),
        verdict: Verdict { durability: Durability::Plausible, reasons: Vec::new() },
    }
}
