//! From received bytes to a request: cutting frames, decoding records.

#![allow(clippy::unwrap_used)]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::jute::{Reader, Writer};
use net::frame::{FrameDecoder, Peek};
use net::proto::{OpCode, read};
use replication::request::codec;
use std::hint::black_box;
use support::{data, request};

const FRAME_BYTES_MAX: usize = 0xF_FFFF;
const PATH: &str = "/bench/00001234";

fn get_data() -> Vec<u8> {
    request(1, OpCode::GetData as i32, |w| {
        w.string(PATH);
        w.boolean(false);
    })
}

/// With the list that nearly every client sends, `world:anyone` with all permissions.
fn create(bytes: usize) -> Vec<u8> {
    let acl = |w: &mut Writer<'_>| {
        w.int(1);
        w.int(31);
        w.string("world");
        w.string("anyone");
    };
    request(1, OpCode::Create as i32, |w| {
        w.string(PATH);
        w.buffer(Some(&data(bytes)));
        acl(w);
        w.int(0);
    })
}

/// Takes the next frame, decodes what `decode` makes of its record.
fn decode_frame<T>(decoder: &mut FrameDecoder, mut chunk: &[u8], decode: impl FnOnce(&mut Reader<'_>) -> T) -> T {
    let Peek::Frame(frame) = decoder.peek(&mut chunk) else { panic!("the frame is whole") };
    let bytes = frame.len();
    let mut reader = Reader::with_length_max(&frame[8..], FRAME_BYTES_MAX);
    let decoded = decode(&mut reader);
    decoder.consume(&mut chunk, bytes);
    decoded
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let frame = get_data();
    group.throughput(Throughput::Bytes(frame.len() as u64));
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    group.bench_function("frame", |b| b.iter(|| decode_frame(&mut decoder, black_box(&frame), |_| ())));
    let (begin, end) = frame.split_at(20);
    group.bench_function("frame in two chunks", |b| {
        b.iter(|| {
            decoder.keep(black_box(begin));
            decode_frame(&mut decoder, black_box(end), |_| ());
        });
    });
    group.bench_function("getData", |b| {
        b.iter(|| {
            decode_frame(&mut decoder, black_box(&frame), |r| {
                black_box(read::decode(OpCode::GetData, r).unwrap().unwrap());
            });
        });
    });
    for bytes in [100, 1024] {
        let frame = create(bytes);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(format!("create of {bytes} bytes"), |b| {
            b.iter(|| {
                decode_frame(&mut decoder, black_box(&frame), |r| {
                    codec::decode(OpCode::Create as i32, r).unwrap().unwrap()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
