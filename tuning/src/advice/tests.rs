#![allow(clippy::unwrap_used)]

use super::sample::{append, disk, good_host, place};
use super::*;
use crate::RawConfig;
use hardware::probe::{Append, AppendMethod, Device, DeviceKind, Durability, FileSystem, Interrupt, NumaNode, Timing};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn found(report: &Report, wishes: &Wishes) -> Vec<&'static str> {
    advise(report, wishes).findings.iter().map(|finding| finding.id).collect()
}

#[test]
fn a_good_host_needs_nothing() {
    assert_eq!(found(&good_host(), &Wishes::default()), [""; 0]);
}

/// What is spoiled on a good host, and what must be found then; nothing else may be.
type Case = (&'static str, &'static [&'static str], fn(&mut Report, &mut Wishes));

fn log(report: &mut Report) -> &mut hardware::probe::Place {
    report.log.as_mut().unwrap()
}

fn log_disk(report: &mut Report) -> &mut Device {
    log(report).device.as_mut().unwrap()
}

fn options(report: &mut Report, all: &[&str]) {
    log(report).file_system.options = all.iter().map(|option| (*option).to_owned()).collect();
}

fn first(report: &mut Report) -> &mut Append {
    &mut report.appends[0]
}

fn interrupt(name: &str, count: u64, busiest: usize) -> Interrupt {
    let affinity = (0..8).collect();
    Interrupt { number: 33, name: name.to_owned(), count, affinity, busiest, busiest_count: count }
}

const CASES: &[Case] = &[
    ("no io_uring", &["io-uring"], |r, _| r.host.kernel.io_uring = false),
    ("few files", &["open-files"], |r, _| r.host.limits.open_files.hard = Some(1500)),
    ("many sessions", &["open-files", "accept-backlog", "half-open"], |r, w| {
        r.host.limits.open_files.hard = Some(20_000);
        w.sessions = 30_000;
    }),
    ("unlimited files", &[], |r, _| r.host.limits.open_files.hard = None),
    ("little locked memory", &["locked-memory"], |r, _| r.host.limits.locked_memory_bytes.hard = Some(64 << 10)),
    ("busy processors", &["busy-host"], |r, _| r.host.load = Some(5.0)),
    ("a quiet host", &[], |r, _| r.host.load = Some(0.3)),
    ("powersave", &["governor"], |r, _| r.host.processors.governors.push("powersave".to_owned())),
    ("no governor visible", &[], |r, _| r.host.processors.governors.clear()),
    ("a quota", &["processor-quota"], |r, _| r.host.control_group.processor_quota = Some(2.5)),
    ("interrupts on the replication core", &["interrupts"], |r, _| {
        r.host.interrupts = vec![interrupt("eth0-rx", 1_000_000, 7), interrupt("nvme0q1", 900_000, 3)];
    }),
    ("interrupts elsewhere or rare", &[], |r, _| {
        r.host.interrupts = vec![interrupt("eth0-rx", 1_000_000, 0), interrupt("i8042", 12_000, 7)];
    }),
    ("a small machine shares the replication core anyway", &[], |r, _| {
        r.host.processors.usable = vec![0, 1];
        r.host.interrupts = vec![interrupt("eth0-rx", 1_000_000, 0)];
    }),
    ("a tree too large for memory", &["memory", "disk-space"], |r, w| {
        w.znodes = 100_000_000;
        r.data.file_system.free_bytes = 1 << 30;
    }),
    ("a tree too large for the control group", &["memory"], |r, w| {
        w.znodes = 10_000_000;
        r.host.control_group.memory_bytes_max = Some(1 << 30);
    }),
    ("values too large for the page cache", &["page-cache"], |_, w| {
        w.znodes = 10_000_000;
        w.value_bytes = 4096;
    }),
    ("few mappings", &["mappings"], |r, _| r.host.memory.maps_max = Some(2000)),
    ("huge pages for all", &["huge-pages"], |r, _| r.host.memory.huge_pages = Some("always".to_owned())),
    ("huge pages for none", &[], |r, _| r.host.memory.huge_pages = Some("never".to_owned())),
    ("swap", &["swap"], |r, _| r.host.memory.swap_bytes = 1 << 30),
    ("swap that is hardly used", &[], |r, _| {
        r.host.memory.swap_bytes = 1 << 30;
        r.host.memory.swappiness = Some(1);
    }),
    ("swap in use", &["swap"], |r, _| {
        r.host.memory.swap_bytes = 1 << 30;
        r.host.memory.swap_used_bytes = 1 << 20;
        r.host.memory.swappiness = Some(1);
    }),
    ("much write-back at once", &["write-back"], |r, _| r.host.memory.dirty_background_percent = Some(40)),
    ("a doubtful disk", &["not-durable"], |r, _| r.verdict.durability = Durability::Doubtful),
    ("a disk that was not judged", &[], |r, _| r.verdict.durability = Durability::Unknown),
    ("no barriers", &["barriers"], |r, _| options(r, &["rw", "noatime", "nobarrier"])),
    ("a full disk", &["disk-space"], |r, _| r.data.file_system.free_bytes = 100 << 20),
    ("a network file system", &["remote-files"], |r, _| log(r).file_system.kind = "nfs4".to_owned()),
    ("a container's layer", &["overlay"], |r, _| log(r).file_system.kind = "overlay".to_owned()),
    ("a slow disk", &["slow-flush"], |r, _| *first(r) = append(AppendMethod::IoUringDsync, 4096, 6000.0)),
    ("an uneven disk", &["uneven-flush"], |r, _| first(r).timing.p99_us = 20_000.0),
    ("nothing measured", &[], |r, _| r.appends.clear()),
    ("data=journal", &["data-journal"], |r, _| options(r, &["rw", "noatime", "data=journal"])),
    ("data=ordered", &[], |r, _| options(r, &["rw", "noatime", "data=ordered"])),
    ("sync", &["sync-mount"], |r, _| options(r, &["rw", "noatime", "sync"])),
    ("no direct I/O", &["no-direct"], |r, _| first(r).direct = false),
    ("one disk for both", &["shared-disk"], |r, _| r.log = None),
    ("two directories of one disk", &["shared-disk"], |r, _| r.log = Some(place("/log", disk("nvme0n1")))),
    ("a turning disk", &["turning-disk"], |r, _| log_disk(r).rotational = true),
    ("a volatile cache without FUA", &["no-fua"], |r, _| {
        log_disk(r).write_back = true;
        log_disk(r).fua = false;
    }),
    ("a volatile cache with FUA", &[], |r, _| log_disk(r).write_back = true),
    ("a virtual disk, which may say that it turns", &["virtual-disk"], |r, _| {
        log_disk(r).kind = DeviceKind::Virtual;
        log_disk(r).rotational = true;
    }),
    ("a scheduler", &["scheduler"], |r, _| log_disk(r).scheduler = Some("mq-deadline".to_owned())),
    ("a scheduler without a choice", &[], |r, _| {
        log_disk(r).scheduler = Some("mq-deadline".to_owned());
        log_disk(r).schedulers.clear();
    }),
    ("discard", &["discard"], |r, _| options(r, &["rw", "noatime", "discard"])),
    ("access times", &["access-times"], |r, _| options(r, &["rw", "relatime"])),
    ("a short queue of connections", &["accept-backlog"], |r, _| r.host.network.accept_backlog_max = Some(128)),
    ("few half-open connections", &["half-open"], |r, _| r.host.network.half_open_max = Some(128)),
    ("outgoing connections from the client port", &["local-ports"], |r, _| {
        r.host.network.local_ports = Some((1024, 65_535))
    }),
];

#[test]
fn each_finding_is_found_where_it_should_be_and_nowhere_else() {
    let mut seen = BTreeSet::new();
    for (what, expected, spoil) in CASES {
        let (mut report, mut wishes) = (good_host(), Wishes::default());
        spoil(&mut report, &mut wishes);
        let mut found = found(&report, &wishes);
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        // What a bad disk implies is another case's business.
        let implied: &[&str] = match *what {
            "a turning disk" => &["scheduler"],
            _ => &[],
        };
        found.retain(|id| !implied.contains(id));
        assert_eq!(found, expected, "{what}");
        seen.extend(found);
    }
    assert_eq!(seen.len(), 33, "{seen:?}");
}

#[test]
fn memory_file_systems_are_called_not_durable_and_nothing_besides() {
    let mut report = good_host();
    report.log = None;
    report.data.device = None;
    report.data.file_system = FileSystem { kind: "tmpfs".to_owned(), free_bytes: 1 << 40, ..FileSystem::default() };
    report.verdict.durability = Durability::NotDurable;
    report.appends.iter_mut().for_each(|append| append.direct = false);
    let advice = advise(&report, &Wishes::default());
    assert_eq!(
        advice.findings.iter().map(|finding| (finding.id, finding.impact)).collect::<Vec<_>>(),
        [("not-durable", Impact::Critical)]
    );
}

#[test]
fn what_matters_most_comes_first() {
    let mut report = good_host();
    report.host.kernel.io_uring = false;
    report.host.memory.huge_pages = Some("always".to_owned());
    options(&mut report, &["rw"]);
    assert_eq!(found(&report, &Wishes::default()), ["io-uring", "huge-pages", "access-times"]);
}

#[test]
fn the_script_is_a_shell_script_of_comments_and_commands() {
    let (mut report, mut wishes) = (good_host(), Wishes::default());
    for (what, _, spoil) in CASES {
        spoil(&mut report, &mut wishes);
        match *what {
            "nothing measured" => report.appends = good_host().appends,
            "one disk for both" => report.log = good_host().log,
            _ => {}
        }
    }
    // Facts of a host may hold anything.
    log(&mut report).file_system.mount_point = "/mnt/a b\nrm -rf $HOME".into();
    options(&mut report, &["rw", "discard", "nobarrier"]);
    report.verdict.reasons = vec!["one\nreboot".to_owned()];
    let findings = advise(&report, &wishes).findings;
    let script = script(&findings);
    assert!(script.starts_with("#!/bin/sh\n"));
    for finding in &findings {
        assert!(script.contains(&format!("# {} (", finding.id)), "{}", finding.id);
        assert!(finding.commands.iter().all(|command| script.contains(command.as_str())));
    }
    assert!(!script.lines().any(|line| line == "reboot"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.sh");
    std::fs::write(&path, &script).unwrap();
    let checked = std::process::Command::new("sh").arg("-n").arg(&path).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(super::script(&[]).contains("Nothing was found"));
}

fn loaded(recommendation: &Recommendation) -> crate::Config {
    let mut raw = RawConfig::new();
    raw.add_file("zoo.cfg", recommendation.zoo_cfg().as_bytes());
    for value in &recommendation.arguments {
        raw.add_system_property(&format!("{}={}", value.key, value.value));
    }
    let (config, warnings) =
        crate::load(&raw).unwrap_or_else(|errors| panic!("{errors:?}\n{}", recommendation.zoo_cfg()));
    assert!(warnings.is_empty(), "{warnings:?}");
    config
}

fn value<'a>(recommendation: &'a Recommendation, key: &str) -> &'a str {
    &recommendation.values.iter().find(|value| value.key == key).unwrap().value
}

#[test]
fn the_configuration_says_what_it_recommends() {
    let report = good_host();
    let recommendation = advise(&report, &Wishes { sessions: 5000, ..Wishes::default() }).recommendation;
    let config = loaded(&recommendation);
    assert_eq!(config.local.storage.data_dir, report.data.dir);
    assert_eq!(config.local.storage.data_log_dir, report.log.unwrap().dir);
    assert_eq!((config.local.host.shard_cores, config.local.host.partitions), (Some(7), 64));
    assert_eq!((recommendation.replication_processor, recommendation.replication_alone), (Some(7), true));
    assert_eq!(recommendation.shard_processors, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(config.local.host.pin_cores, crate::Pinning::Always);
    assert_eq!(config.local.storage.wal_segment_bytes, 64 << 20);
    assert_eq!(config.local.client.listen_backlog, Some(8192));
    assert_eq!(config.local.throttle.global_outstanding_limit, 20_000);
    assert_eq!(config.local.client.max_client_cnxns, 0);
    assert!(recommendation.values.iter().all(|value| value.reason.len() > 15), "{:?}", recommendation.values);
    let text = recommendation.zoo_cfg();
    for words in
        ["#   replication core: processor 7; alone", "#   receive buffers: ", "#   mailboxes: ", "#   log batch: "]
    {
        assert!(text.contains(words), "{text}");
    }
    // The sizes that are told are those that the server derives from this configuration.
    let limits = crate::Limits::of(&config, 7);
    assert!(text.contains(&format!("mailboxes: {} messages", limits.mailbox_slots)), "{text}");
    assert!(text.contains(&format!("receive buffers: {} of", limits.receive_buffers_per_core)), "{text}");
    // The plan of the server agrees with the one that was shown.
    let plan =
        crate::CorePlan::new(&(0..8).collect::<Vec<_>>(), config.local.host.shard_cores, 64, crate::Pinning::Always);
    assert_eq!(plan.threads()[plan.replication_thread()].cpu, Some(7));
}

#[test]
fn cores_follow_threads_and_quota() {
    let recommend = |change: fn(&mut Report)| {
        let mut report = good_host();
        change(&mut report);
        advise(&report, &Wishes::default()).recommendation
    };
    let smt = recommend(|report| report.host.processors.siblings = (0..4).map(|core| vec![core, core + 4]).collect());
    assert_eq!((value(&smt, "shardCores"), smt.shard_processors.as_slice()), ("3", &[0, 1, 2][..]));
    let quota = recommend(|report| report.host.control_group.processor_quota = Some(2.5));
    assert_eq!((value(&quota, "shardCores"), value(&quota, "pinCores")), ("2", "false"));
    assert_eq!((value(&quota, "spinMicros"), quota.replication_processor), ("0", None));
    let single = recommend(|report| report.host.processors.usable = vec![3]);
    assert_eq!((value(&single, "shardCores"), value(&single, "spinMicros")), ("1", "0"));
    assert_eq!((single.replication_processor, single.replication_alone), (Some(3), false));
    let large = recommend(|report| report.host.processors.usable = (0..200).collect());
    assert_eq!((value(&large, "shardCores"), value(&large, "partitions")), ("199", "512"));
    let nothing = recommend(|report| report.host.processors.usable.clear());
    assert_eq!(value(&nothing, "shardCores"), "1");
}

#[test]
fn large_values_need_an_argument_that_the_file_cannot_hold() {
    let wishes = Wishes { value_bytes: 3 << 20, znodes: 1000, ..Wishes::default() };
    let recommendation = advise(&good_host(), &wishes).recommendation;
    assert_eq!(loaded(&recommendation).local.frame.jute_max_buffer, 6 << 20);
    assert!(recommendation.zoo_cfg().contains("-Djute.maxbuffer=6291456"));
}

#[test]
fn odd_directories_stay_what_they_are() {
    let mut report = good_host();
    report.data.dir = "/srv/a b\\new\nclientPort=1".into();
    let recommendation = advise(&report, &Wishes::default()).recommendation;
    let config = loaded(&recommendation);
    assert_eq!(config.local.storage.data_dir, report.data.dir);
    assert_eq!(config.local.client.port, 2181);
}

#[test]
fn an_advice_is_json() {
    let mut report = good_host();
    report.host.processors.nodes = vec![NumaNode { node: 0, processors: vec![0], memory_bytes: None }];
    first(&mut report).timing = Timing { count: 10, p50_us: 9000.0, p99_us: 9000.0, ..Timing::default() };
    let json = serde_json::to_value(advise(&report, &Wishes::default())).unwrap();
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(json["findings"][0]["id"], "slow-flush");
    assert_eq!(json["findings"][0]["impact"], "high");
    assert!(json["demand"]["anonymous_bytes"].as_u64().unwrap() > 200_000_000);
}

proptest! {
    #[test]
    fn any_wish_and_any_number_of_cores_give_a_configuration_that_holds(
        znodes in any::<u64>(), value_bytes in any::<u64>(), sessions in any::<u64>(), watches in any::<u64>(),
        cores in 0usize..300, quota in proptest::option::of(0.01f64..400.0), p999_us in 0.0f64..1e9,
    ) {
        let mut report = good_host();
        report.host.processors.usable = (0..cores).collect();
        report.host.control_group.processor_quota = quota;
        report.appends[0].timing.p999_us = p999_us;
        let advice = advise(&report, &Wishes { znodes, value_bytes, sessions, watches });
        loaded(&advice.recommendation);
    }
}
