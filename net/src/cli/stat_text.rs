//! Stats and data as zkCli prints them (`StatPrinter`, `HexDumpOutputFormatter`).

use super::date::TimeZone;
use zookeeper_client::Stat;

/// The block of eleven lines, without a newline at its end.
pub(super) fn stat_block(stat: &Stat, zone: &TimeZone) -> String {
    [
        format!("cZxid = {:#x}", stat.czxid),
        format!("ctime = {}", zone.format(stat.ctime)),
        format!("mZxid = {:#x}", stat.mzxid),
        format!("mtime = {}", zone.format(stat.mtime)),
        format!("pZxid = {:#x}", stat.pzxid),
        format!("cversion = {}", stat.cversion),
        format!("dataVersion = {}", stat.version),
        format!("aclVersion = {}", stat.aversion),
        format!("ephemeralOwner = {:#x}", stat.ephemeral_owner),
        format!("dataLength = {}", stat.data_length),
        format!("numChildren = {}", stat.num_children),
    ]
    .join("\n")
}

/// A table of sixteen bytes a row, as Netty's `ByteBufUtil.prettyHexDump` draws it; nothing for no bytes.
pub(super) fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "         +-------------------------------------------------+\n         |  0  1  2  3  4  5  6  7  8  9  a  b  c  \
         d  e  f |\n+--------+-------------------------------------------------+----------------+",
    );
    for (number, row) in data.chunks(16).enumerate() {
        let hex: String = row.iter().map(|byte| format!(" {byte:02x}")).collect();
        let text: String =
            row.iter().map(|byte| if (0x20..0x7F).contains(byte) { char::from(*byte) } else { '.' }).collect();
        table.push_str(&format!("\n|{:08x}|{hex:<48} |{text:<16}|", number * 16));
    }
    table + "\n+--------+-------------------------------------------------+----------------+"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_block_is_zkclis() {
        let stat = Stat {
            czxid: 2,
            mzxid: 0x1a,
            pzxid: 2,
            ctime: 1_795_250_511_000,
            mtime: 0,
            version: 2,
            cversion: -1,
            aversion: 0,
            ephemeral_owner: -2,
            data_length: 6,
            num_children: 3,
        };
        let expected = "cZxid = 0x2\nctime = Sat Nov 21 08:41:51 UTC 2026\nmZxid = 0x1a\nmtime = Thu Jan 01 00:00:00 \
                        UTC 1970\npZxid = 0x2\ncversion = -1\ndataVersion = 2\naclVersion = 0\nephemeralOwner = \
                        0xfffffffffffffffe\ndataLength = 6\nnumChildren = 3";
        assert_eq!(stat_block(&stat, &TimeZone::utc()), expected);
    }

    #[test]
    fn the_dump_is_nettys() {
        assert_eq!(hex_dump(b""), "");
        let expected = "         +-------------------------------------------------+\n\
                        \x20        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n\
                        +--------+-------------------------------------------------+----------------+\n\
                        |00000000| 68 65 6c 6c 6f 00 ff 30 31 32 33 34 35 36 37 38 |hello..012345678|\n\
                        |00000010| 39                                              |9               |\n\
                        +--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"hello\x00\xff0123456789"), expected);
    }
}
