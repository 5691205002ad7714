//! The write-ahead log without its disk: gathering and sealing what is written, and judging what is read back.

#![allow(clippy::unwrap_used)]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::zxid::Zxid;
use replication::wal::{
    BLOCK_BYTES, Checkpoint, DirectoryId, Prepare, Recovered, SegmentHandle, SegmentHeader, SegmentIdentity,
    SegmentSeq, SegmentSource, Verdict, WalConfig, WalWriter, recover,
};
use std::hint::black_box;
use support::{NODES, data};

const DIRECTORY: DirectoryId = DirectoryId(7);

/// A segment's file in memory.
struct Segment {
    sequence: SegmentSeq,
    bytes: Vec<u8>,
}

impl SegmentSource for Segment {
    fn sequence(&self) -> SegmentSeq {
        self.sequence
    }

    fn blocks(&self) -> u32 {
        (self.bytes.len() / BLOCK_BYTES) as u32
    }

    fn read(&mut self, first: u32, into: &mut [u8]) -> std::io::Result<()> {
        let from = first as usize * BLOCK_BYTES;
        into.copy_from_slice(&self.bytes[from..from + into.len()]);
        Ok(())
    }
}

/// A log on a disk that takes no time, and forgets what it is given unless it `keeps` it.
struct Log {
    writer: WalWriter,
    last: Zxid,
    keeps: bool,
    segments: Vec<Segment>,
}

impl Log {
    fn new(keeps: bool) -> Log {
        let config = WalConfig { keep_records: 0, keep_bytes: 0, ..WalConfig::new(DIRECTORY) };
        let writer = WalWriter::resume(config, Recovered::default());
        let mut log = Log { writer, last: Zxid::ZERO, keeps, segments: Vec::new() };
        log.prepare();
        log
    }

    /// Appends so many records, and writes the batch that they make.
    fn write(&mut self, records: usize, record: &[u8]) {
        for _ in 0..records {
            self.last = Zxid(self.last.0 + 1);
            self.writer.append(self.last, record).unwrap();
        }
        let write = self.writer.poll_write(self.last).unwrap();
        if self.keeps {
            let segment = self.segments.iter_mut().find(|segment| segment.sequence == write.segment).unwrap();
            segment.bytes[write.offset as usize..][..write.buf.len()].copy_from_slice(write.buf.as_slice());
        }
        let durable = self.writer.written(write.token, Ok(write.buf.len())).unwrap();
        assert_eq!(durable.get(), self.last);
        self.writer.recycle(write.buf);
        self.prepare();
    }

    fn prepare(&mut self) {
        let Some(Prepare { sequence, bytes }) = self.writer.poll_prepare() else { return };
        let identity = SegmentIdentity(sequence.0 + 1_000);
        if self.keeps {
            let mut file = vec![0; bytes as usize];
            let header = SegmentHeader { directory: DIRECTORY, server: 1, sequence, identity, bytes }.encode();
            file[..header.len()].copy_from_slice(header.as_slice());
            self.segments.push(Segment { sequence, bytes: file });
        } else {
            self.writer.retire(self.writer.durable().get());
        }
        self.writer.prepared(SegmentHandle { sequence, identity, bytes }).unwrap();
    }
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    for bytes in [100, 1024] {
        let record = data(bytes);
        for records in [1, 64] {
            let mut log = Log::new(false);
            group.throughput(Throughput::Elements(records as u64));
            group.bench_function(format!("batch of {records} x {bytes} bytes"), |b| {
                b.iter(|| log.write(records, black_box(&record)));
            });
        }
    }
    group.finish();
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recover");
    group.sample_size(10);
    for (bytes, batch, records) in [(100, 1, NODES / 10), (100, 64, NODES), (1024, 64, NODES / 4)] {
        let (mut log, record) = (Log::new(true), data(bytes));
        let records = records / batch * batch;
        for _ in 0..records / batch {
            log.write(batch, &record);
        }
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("{records} x {bytes} bytes in batches of {batch}"), |b| {
            b.iter(|| {
                let mut found = 0;
                let mut each = |_: Zxid, record: &[u8]| found += usize::from(record.len() == bytes);
                let verdict = recover(&mut log.segments, DIRECTORY, Checkpoint::Local(Zxid::ZERO), &mut each);
                assert!(matches!(verdict, Verdict::Clean(_)) && found == records, "{verdict:?}");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, writing, recovery);
criterion_main!(benches);
