//! The rate at which half of the tries hold: all tries of a sweep together, not those alone that came last.
//!
//! The odds that a try holds fall with its rate, as `odds = (middle / rate) ^ steepness` (a logistic curve over the rate's
//! logarithm); [`LAPSE`] of the tries hold or fail whatever the rate, so that one bad second far from the middle does not bend
//! the curve. Of all middles and steepnesses the one under which what was seen is likeliest is the answer. The middles under
//! which it is not much less likely ([`PLAUSIBLE`]) are how far the tries leave it open.

/// Share of the tries that the load does not decide.
const LAPSE: f64 = 0.08;
/// Twice the logarithm of how much likelier the answer is than the ends of its interval: 90 of 100 such intervals hold the truth
/// (chi squared with one degree of freedom).
const PLAUSIBLE: f64 = 2.71;
/// At 10 a rate a tenth above the middle has 28 % of holding, at 100 none.
const STEEPNESS: [f64; 9] = [5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0, 60.0, 100.0];
/// Middles that are looked at, evenly over the logarithm.
const MIDDLES: u32 = 1000;

/// What tries say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// The rate at which half of them hold.
    pub(super) middle: f64,
    /// What it may as well be.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Fits rates and whether they held; `None` where none held, or none failed. The middle is never above all that held.
pub(super) fn fit(tries: &[(f64, bool)]) -> Option<Fit> {
    let of = |held: bool| tries.iter().filter(move |(_, is)| *is == held).map(|(rate, _)| *rate);
    let (best, worst) = (of(true).reduce(f64::max)?, of(false).reduce(f64::min)?);
    let least = of(true).reduce(f64::min)?.min(worst);
    let above = tries.iter().filter(|(rate, held)| !held && *rate > best).map(|(rate, _)| *rate).reduce(f64::min);
    let span = (above.unwrap_or(best) / least).ln();
    let profile: Vec<(f64, f64)> = (0..=MIDDLES)
        .map(|at| {
            let middle = least * (span * f64::from(at) / f64::from(MIDDLES)).exp();
            let likeliest = STEEPNESS.iter().map(|steep| log_likelihood(tries, middle, *steep)).reduce(f64::max);
            (middle, likeliest.unwrap_or(f64::NEG_INFINITY))
        })
        .collect();
    let most = profile.iter().map(|(_, likely)| *likely).reduce(f64::max)?;
    let within = |less: f64| {
        let mut near = profile.iter().filter(move |(_, likely)| most - likely <= less).map(|(middle, _)| *middle);
        let low = near.next()?;
        Some((low, near.next_back().unwrap_or(low)))
    };
    // Where tries leave a gap all of it is equally likely.
    let (from, to) = within(1e-6)?;
    let (low, high) = within(PLAUSIBLE / 2.0)?;
    Some(Fit { middle: (from * to).sqrt().min(best), low: low.min(best), high })
}

fn log_likelihood(tries: &[(f64, bool)], middle: f64, steepness: f64) -> f64 {
    let likely = |(rate, held): &(f64, bool)| {
        let holds = 1.0 / (1.0 + (steepness * (rate / middle).ln()).exp());
        let holds = LAPSE / 2.0 + (1.0 - LAPSE) * holds;
        if *held { holds.ln() } else { (1.0 - holds).ln() }
    };
    tries.iter().map(likely).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clean_edge_is_found_between_its_neighbours() {
        let tries: Vec<(f64, bool)> =
            (0..20).map(|at| 1_000.0 * 1.05_f64.powi(at)).map(|rate| (rate, rate < 1_700.0)).collect();
        let Fit { middle, low, high } = fit(&tries).unwrap();
        assert!((1_600.0..=1_715.0).contains(&middle), "{middle}");
        assert!(low <= middle && middle <= high && low > 1_400.0, "{low} {high}");
    }

    #[test]
    fn one_side_alone_is_no_answer() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(100.0, true), (200.0, true)]), None);
        assert_eq!(fit(&[(100.0, false), (200.0, false)]), None);
    }

    #[test]
    fn what_failed_far_below_hardly_moves_the_answer() {
        let mut tries: Vec<(f64, bool)> =
            (0..24).map(|at| 800.0 * 1.02_f64.powi(at)).map(|rate| (rate, rate < 1_000.0)).collect();
        let clean = fit(&tries).unwrap().middle;
        tries.push((300.0, false));
        let disturbed = fit(&tries).unwrap().middle;
        assert!((disturbed / clean - 1.0).abs() < 0.03, "{clean} became {disturbed}");
    }

    #[test]
    fn an_edge_upside_down_gives_some_rate_that_was_tried() {
        let Fit { middle, low, high } = fit(&[(100.0, false), (200.0, true)]).unwrap();
        assert!(low <= middle && middle <= high && (100.0..=200.0).contains(&middle), "{low} {middle} {high}");
    }
}
