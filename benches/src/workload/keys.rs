//! Which keys are chosen how often.

use super::Dice;
use serde::{Deserialize, Serialize};

/// How often the keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// The key of rank `r` in proportion to `1 / r^exponent`.
    Zipf,
    /// As zipf, with the youngest node first: those that the connection created, then the keys from the last to the first.
    Latest,
}

impl std::str::FromStr for Distribution {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Distribution> {
        match name {
            "uniform" => Ok(Distribution::Uniform),
            "zipf" => Ok(Distribution::Zipf),
            "latest" => Ok(Distribution::Latest),
            other => anyhow::bail!("no distribution is called {other:?}: uniform, zipf or latest"),
        }
    }
}

/// Draws ranks below a count.
#[derive(Clone, Debug)]
pub enum Ranks {
    /// All alike.
    Uniform(u64),
    /// By Zipf's law.
    Zipf(Zipf),
}

impl Ranks {
    /// Ranks from 0 to `count - 1`; `count` is at least 1 and `exponent` above 0.
    pub fn new(distribution: Distribution, count: u64, exponent: f64) -> Ranks {
        match distribution {
            Distribution::Uniform => Ranks::Uniform(count),
            Distribution::Zipf | Distribution::Latest => Ranks::Zipf(Zipf::new(count, exponent)),
        }
    }

    /// Draws one.
    pub fn draw(&self, dice: &mut Dice) -> u64 {
        match self {
            Ranks::Uniform(count) => dice.below(*count),
            Ranks::Zipf(zipf) => zipf.draw(dice) - 1,
        }
    }
}

/// Zipf's law over `1..=count` by rejection-inversion (W. Hörmann and G. Derflinger, 1996): no table, and less than two
/// tries a draw whatever the count.
#[derive(Clone, Debug)]
pub struct Zipf {
    count: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Zipf {
        let mut zipf = Zipf { count: count as f64, exponent, integral_first: 0.0, integral_last: 0.0, shortcut: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.count + 0.5);
        zipf.shortcut = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn draw(&self, dice: &mut Dice) -> u64 {
        loop {
            let area = self.integral_last + dice.unit() * (self.integral_first - self.integral_last);
            let place = self.inverse(area);
            let rank = place.round().clamp(1.0, self.count);
            if rank - place <= self.shortcut || area >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// Antiderivative of the density, continuous in the exponent where that is 1.
    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { x.ln() } else { (power * x.ln()).exp_m1() / power }
    }

    fn inverse(&self, y: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { y.exp() } else { ((power * y).max(-1.0).ln_1p() / power).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(ranks: &Ranks, count: usize, draws: u32) -> Vec<f64> {
        let (mut dice, mut seen) = (Dice::new(3, 0), vec![0.0; count]);
        for _ in 0..draws {
            seen[ranks.draw(&mut dice) as usize] += 1.0 / f64::from(draws);
        }
        seen
    }

    #[test]
    fn uniform_ranks_are_even() {
        let seen = frequencies(&Ranks::new(Distribution::Uniform, 50, 0.0), 50, 500_000);
        assert!(seen.iter().all(|share| (0.018..0.022).contains(share)), "{seen:?}");
    }

    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let seen = frequencies(&Ranks::new(Distribution::Zipf, 100, exponent), 100, 1_000_000);
            let weight = |rank: usize| ((rank + 1) as f64).powf(-exponent);
            let total: f64 = (0..100).map(weight).sum();
            for (rank, share) in seen.iter().enumerate() {
                let expected = weight(rank) / total;
                // Five standard deviations of a share out of a million draws.
                let allowed = 5.0 * (expected / 1e6).sqrt();
                assert!((share - expected).abs() < allowed, "exponent {exponent}, rank {rank}: {share} of {expected}");
            }
        }
    }

    #[test]
    fn one_key_is_always_chosen() {
        let mut dice = Dice::new(1, 0);
        for distribution in [Distribution::Uniform, Distribution::Zipf, Distribution::Latest] {
            let ranks = Ranks::new(distribution, 1, 0.99);
            assert!((0..100).all(|_| ranks.draw(&mut dice) == 0));
        }
    }
}
