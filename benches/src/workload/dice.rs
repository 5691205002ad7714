//! The choices of a run, repeatable from its seed.

/// splitmix64: small, fast, and good enough for choices.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A sequence of its own for every pair of seed and stream.
    pub fn new(seed: u64, stream: u64) -> Dice {
        let mut dice = Dice(seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95));
        dice.roll();
        dice
    }

    /// 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(limit)) >> 64) as u64
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An exponentially distributed number with mean 1: the gap between arrivals that know nothing of each other.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_streams_differ() {
        let rolls = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            (0..8).map(|_| dice.roll()).collect::<Vec<_>>()
        };
        assert_eq!(rolls(7, 0), rolls(7, 0));
        assert_ne!(rolls(7, 0), rolls(7, 1));
        assert_ne!(rolls(7, 0), rolls(8, 0));
    }

    #[test]
    fn numbers_keep_their_bounds_and_means() {
        let mut dice = Dice::new(1, 1);
        let (mut sum, mut gaps) = (0, 0.0);
        for _ in 0..100_000 {
            let number = dice.below(10);
            assert!(number < 10);
            sum += number;
            gaps += dice.exponential();
        }
        assert!((440_000..460_000).contains(&sum), "{sum}");
        assert!((98_000.0..102_000.0).contains(&gaps), "{gaps}");
    }
}
