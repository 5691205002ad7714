//! Costs from measurements: each measured figure is a sum of counts, which the simulation knows, times costs.

/// Rounds of going through all unknowns.
const ROUNDS: usize = 20_000;

/// The costs, none negative, with which `sum(counts * costs)` comes closest to each measured figure, by shares of that
/// figure (least squares). `rows` are the counts of one measurement and its figure, above 0.
pub(super) fn non_negative<const N: usize>(rows: &[([f64; N], f64)]) -> [f64; N] {
    let scaled: Vec<[f64; N]> = rows.iter().map(|(counts, figure)| counts.map(|count| count / figure)).collect();
    let (mut costs, mut left) = ([0.0; N], vec![1.0; rows.len()]);
    for _ in 0..ROUNDS {
        for at in 0..N {
            let square: f64 = scaled.iter().map(|row| row[at] * row[at]).sum();
            if square == 0.0 {
                continue;
            }
            let along: f64 = scaled.iter().zip(&left).map(|(row, left)| row[at] * left).sum();
            let better = (costs[at] + along / square).max(0.0);
            for (row, left) in scaled.iter().zip(&mut left) {
                *left -= row[at] * (better - costs[at]);
            }
            costs[at] = better;
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_behind_exact_figures_are_found() {
        let costs = [1.5, 20.0, 0.0, 4.0];
        let counts = [
            [1.0, 1.0, 1.0, 0.0],
            [0.1, 0.0, 1.0, 0.3],
            [0.5, 0.2, 0.1, 1.0],
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 1.0, 2.0],
        ];
        let figure = |counts: [f64; 4]| counts.iter().zip(costs).map(|(count, cost)| count * cost).sum::<f64>();
        let found = non_negative(&counts.map(|counts| (counts, figure(counts))));
        for (found, cost) in found.into_iter().zip(costs) {
            assert!((found - cost).abs() < 0.01, "{found} is not {cost}");
        }
    }

    #[test]
    fn no_cost_is_negative() {
        assert_eq!(non_negative(&[([1.0, 1.0], 1.0), ([1.0, 0.0], 2.0)])[1], 0.0);
    }
}
