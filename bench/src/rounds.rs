//! Figures of several rounds: the median and the spread.

use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Series {
    pub(crate) rounds: Vec<f64>,
}

impl Series {
    /// A figure that is measured once.
    pub(crate) fn once(figure: f64) -> Self {
        Self { rounds: vec![figure] }
    }

    pub(crate) fn push(&mut self, figure: f64) {
        self.rounds.push(figure);
    }

    /// The median; 0 without rounds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
            (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
            (_, Some(one)) => *one,
            (_, None) => 0.0,
        }
    }

    pub(crate) fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The ratio to another figure, round by round, because within a round the machine was in the same state.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self { rounds: self.rounds.iter().zip(&other.rounds).map(|(one, other)| one / other).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_even_and_none() {
        let median = |rounds: &[f64]| Series { rounds: rounds.to_vec() }.median();
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let (one, two) = (Series { rounds: vec![1.0, 6.0] }, Series { rounds: vec![2.0, 3.0] });
        assert_eq!(one.over(&two).rounds, [0.5, 2.0]);
    }
}
