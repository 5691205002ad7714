//! The frames of a short conversation, byte by byte.

use crate::on_one_and_four_shards;
use crate::support::is_before_3_9;
use crate::support::raw::{Raw, hex};
use crate::support::server::Server;

on_one_and_four_shards!(a_conversation_byte_by_byte);

/// What the server sends, digits and fields that are its own choice: `S` session id, `P` password, `T` a time, and the
/// zxid of an event, which servers before 3.9 did not tell (`E`, then its value).
fn expect(raw: &mut Raw, pattern: &str) -> Vec<u8> {
    let frame = raw.frame();
    let mut seen = (frame.len() as i32).to_be_bytes().to_vec();
    seen.extend_from_slice(&frame);
    let mut expected: Vec<Option<u8>> = Vec::new();
    for word in pattern.split_whitespace() {
        match word {
            "S" | "T" => expected.extend([None; 8]),
            "P" => expected.extend([None; 16]),
            _ if word.starts_with('E') && is_before_3_9() => expected.extend([Some(0xff); 8]),
            _ => expected.extend(hex(word.trim_start_matches('E')).into_iter().map(Some)),
        }
    }
    let matches =
        seen.len() == expected.len() && seen.iter().zip(&expected).all(|(a, b)| b.is_none_or(|byte| byte == *a));
    assert!(matches, "expected {pattern}\n     got {seen:02x?}");
    frame
}

fn a_conversation_byte_by_byte(shards: usize) {
    let server = Server::start(shards);
    let mut raw = Raw::connect(server.address());
    raw.send_bytes(&hex("0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010
        00000000000000000000000000000000 00"));
    expect(&mut raw, "00000025 00000000 00002710 S 00000010 P 00");
    // ping
    raw.send_bytes(&hex("00000008 fffffffe 0000000b"));
    expect(&mut raw, "00000010 fffffffe 0000000000000001 00000000");
    // create /g, and again
    let create = "00000001 00000002 2f67 00000002 7630 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65
        00000000";
    raw.send_bytes(&hex(&format!("00000033 00000001 {create}")));
    expect(&mut raw, "00000016 00000001 0000000000000002 00000000 00000002 2f67");
    raw.send_bytes(&hex(&format!("00000033 00000002 {create}")));
    expect(&mut raw, "00000010 00000002 0000000000000003 ffffff92");
    // getData with a watch
    raw.send_bytes(&hex("0000000f 00000003 00000004 00000002 2f67 01"));
    expect(
        &mut raw,
        "0000005a 00000003 0000000000000003 00000000 00000002 7630 0000000000000002 0000000000000002 T T 00000000
         00000000 00000000 0000000000000000 00000002 00000000 0000000000000002",
    );
    // setData: the event comes first
    raw.send_bytes(&hex("00000018 00000004 00000005 00000002 2f67 00000002 7631 00000000"));
    expect(&mut raw, "0000001e ffffffff E0000000000000004 00000000 00000003 00000003 00000002 2f67");
    expect(
        &mut raw,
        "00000054 00000004 0000000000000004 00000000 0000000000000002 0000000000000004 T T 00000001 00000000 00000000
         0000000000000000 00000002 00000000 0000000000000002",
    );
    // getData of a missing node, then a multi that fails in its second op
    raw.send_bytes(&hex("0000000f 00000005 00000004 00000002 2f78 01"));
    expect(&mut raw, "00000010 00000005 0000000000000004 ffffff9b");
    raw.send_bytes(&hex("00000052 00000007 0000000e
         0000000d 00 ffffffff 00000002 2f67 00000001
         00000002 00 ffffffff 00000005 2f6e6f7065 ffffffff
         00000005 00 ffffffff 00000002 2f67 00000001 78 ffffffff
         ffffffff 01 ffffffff"));
    expect(
        &mut raw,
        "00000040 00000007 0000000000000005 00000000 ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b
         ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff",
    );
    // setWatches with a zxid of long ago
    raw.send_bytes(&hex("00000022 fffffff8 00000065 0000000000000000 00000001 00000002 2f67 00000000 00000000"));
    expect(&mut raw, "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f67");
    expect(&mut raw, "00000010 fffffff8 0000000000000005 00000000");
    // addWatch, auth, close
    raw.send_bytes(&hex("00000012 00000008 0000006a 00000002 2f67 00000001"));
    expect(&mut raw, "00000014 00000008 0000000000000005 00000000 00000000");
    raw.send_bytes(&hex("0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70"));
    expect(&mut raw, "00000010 fffffffc 0000000000000000 00000000");
    raw.send_bytes(&hex("00000008 00000009 fffffff5"));
    expect(&mut raw, "00000010 00000009 0000000000000006 00000000");
    raw.expect_close();
}
