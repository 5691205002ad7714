//! The password of a session: derived from its id, so that any server can check it.

use engine::ids::SessionId;

const SECRET: u64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// The 16 bytes that belong to a session: four draws of `java.util.Random` seeded with its id, little-endian.
pub fn password(session: SessionId) -> [u8; 16] {
    let mut state = (session.0 as u64 ^ SECRET ^ MULTIPLIER) & MASK;
    let mut bytes = [0; 16];
    for word in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from Apache ZooKeeper 3.9.4.
    #[test]
    fn matches_the_reference_server() {
        let expected = 0x69ac_6aca_42f0_b2d1_ef63_e46d_5b8f_fdf3_u128.to_be_bytes();
        assert_eq!(password(SessionId(0x0100_0027_3b0d_0000)), expected);
    }
}
