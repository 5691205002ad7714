//! File systems of log and data, and the options that they are mounted with.

use super::{Finding, Rule, Situation, quoted};
use crate::advice::Impact;
use hardware::probe::Place;

pub(super) const RULES: &[Rule] = &[barriers, remote, overlay, journal, synchronous, discard, access_times];

fn barriers(situation: &Situation<'_>) -> Option<Finding> {
    let bare = mounts(situation, |place| place.file_system.has("nobarrier") || place.file_system.has("barrier=0"));
    if bare.is_empty() {
        return None;
    }
    Some(Finding {
        id: "barriers",
        impact: Impact::Critical,
        what: format!("{} is mounted without barriers", points(&bare)),
        why: "the file system then does not flush the cache of the disk when it is told to",
        effect: "acknowledged writes outlive a loss of power".to_owned(),
        advice: Some("take the option out of /etc/fstab, too".to_owned()),
        commands: remount(&bare, "barrier"),
    })
}

fn remote(situation: &Situation<'_>) -> Option<Finding> {
    let far = mounts(situation, |place| place.file_system.is_remote());
    let kind = &far.first()?.file_system.kind;
    Some(Finding {
        id: "remote-files",
        impact: Impact::High,
        what: format!("{} is a file system of another machine ({kind})", points(&far)),
        why: "each flush crosses the network, locks and flushes mean what the other side makes of them, and an outage there \
              stops this server",
        effect: "flushes take what the disk takes, and members fail apart from each other".to_owned(),
        advice: Some("use a disk of this host, or a block device".to_owned()),
        commands: Vec::new(),
    })
}

fn overlay(situation: &Situation<'_>) -> Option<Finding> {
    let layered = mounts(situation, |place| place.file_system.kind == "overlay");
    if layered.is_empty() {
        return None;
    }
    Some(Finding {
        id: "overlay",
        impact: Impact::High,
        what: format!("the directory lies on the container's own layer ({})", points(&layered)),
        why: "that layer goes when the container is removed, and its files take a detour",
        effect: "data outlives the container".to_owned(),
        advice: Some("mount a volume: docker run --volume ringkeeper-data:/var/lib/ringkeeper; Kubernetes: a volumeClaimTemplate".to_owned()),
        commands: Vec::new(),
    })
}

fn journal(situation: &Situation<'_>) -> Option<Finding> {
    let journalled = mounts(situation, |place| place.file_system.has("data=journal"));
    if journalled.is_empty() {
        return None;
    }
    let devices = journalled.iter().map(|place| quoted(&place.file_system.source));
    Some(Finding {
        id: "data-journal",
        impact: Impact::High,
        what: format!("{} is mounted with data=journal", points(&journalled)),
        why: "all data is written twice, and direct I/O is not possible",
        effect: "flushes take about half the time".to_owned(),
        advice: Some("it takes effect at the next mount; take data=journal out of /etc/fstab, too".to_owned()),
        commands: devices.map(|device| format!("tune2fs -o journal_data_ordered {device}")).collect(),
    })
}

fn synchronous(situation: &Situation<'_>) -> Option<Finding> {
    let slow = mounts(situation, |place| place.file_system.has("sync") || place.file_system.has("dirsync"));
    if slow.is_empty() {
        return None;
    }
    Some(Finding {
        id: "sync-mount",
        impact: Impact::Medium,
        what: format!("{} is mounted with sync or dirsync", points(&slow)),
        why: "work in the background, which is flushed once at the end, waits for the disk at each step",
        effect: "checkpoints and compaction take a fraction of the time".to_owned(),
        advice: Some("take the option out of /etc/fstab, too".to_owned()),
        commands: remount(&slow, "async"),
    })
}

fn discard(situation: &Situation<'_>) -> Option<Finding> {
    let online = |place: &Place| place.file_system.has("discard") || place.file_system.has("discard=sync");
    let trimmed = mounts(situation, |place| online(place) && place.file_system.kind != "btrfs");
    if trimmed.is_empty() {
        return None;
    }
    let mut commands = remount(&trimmed, "nodiscard");
    commands.push("systemctl enable --now fstrim.timer".to_owned());
    Some(Finding {
        id: "discard",
        impact: Impact::Medium,
        what: format!("{} is mounted with discard", points(&trimmed)),
        why: "when a segment is removed the file system trims its blocks at once, in the commit that flushes wait for",
        effect: "fewer slow flushes around checkpoints and compaction".to_owned(),
        advice: Some("a trim once a week does as well; take the option out of /etc/fstab, too".to_owned()),
        commands,
    })
}

fn access_times(situation: &Situation<'_>) -> Option<Finding> {
    let timed = mounts(situation, |place| !place.file_system.has("noatime") && !place.file_system.has("ro"));
    if timed.is_empty() {
        return None;
    }
    Some(Finding {
        id: "access-times",
        impact: Impact::Low,
        what: format!("{} is mounted without noatime", points(&timed)),
        why: "reading a segment marks its file as read, which writes metadata in front of flushes",
        effect: "a few writes of metadata less".to_owned(),
        advice: Some("put noatime into /etc/fstab, too".to_owned()),
        commands: remount(&timed, "noatime"),
    })
}

/// Mounts of log and data on which `holds`.
fn mounts<'a>(situation: &Situation<'a>, holds: impl Fn(&Place) -> bool) -> Vec<&'a Place> {
    let report = situation.report;
    let mut mounts: Vec<&Place> = Vec::new();
    for place in [report.log.as_ref(), Some(&report.data)].into_iter().flatten() {
        let known = mounts.iter().any(|known| known.file_system.mount_point == place.file_system.mount_point);
        if !known && !place.file_system.is_memory() && holds(place) {
            mounts.push(place);
        }
    }
    mounts
}

fn points(places: &[&Place]) -> String {
    places.iter().map(|place| place.file_system.mount_point.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn remount(places: &[&Place], option: &str) -> Vec<String> {
    let command = |place: &&Place| {
        let point = place.file_system.mount_point.display().to_string();
        format!("mount -o remount,{option} {}", quoted(&point))
    };
    places.iter().map(command).collect()
}
