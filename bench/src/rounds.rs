//! Figures of several rounds: the median and the spread.

use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Series {
    pub(crate) rounds: Vec<f64>,
    /// In the rounds with a load generator: the share of one core that it took. Its single thread cannot send more than
    /// with all of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) load: Vec<f64>,
}

/// The figure of one turn, and the load generator's share of one core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) figure: f64,
    pub(crate) load: Option<f64>,
}

impl From<f64> for Turn {
    fn from(figure: f64) -> Self {
        Self { figure, load: None }
    }
}

/// The order of the turns of a round, from 0 on. It rotates, so that none always runs behind the same other one.
pub(crate) fn order(round: usize, turns: usize) -> impl Iterator<Item = usize> {
    (0..turns).map(move |step| (round + step) % turns)
}

impl Series {
    /// A figure that is measured once.
    pub(crate) fn once(figure: f64) -> Self {
        Self::of(vec![figure])
    }

    pub(crate) fn of(rounds: Vec<f64>) -> Self {
        Self { rounds, load: Vec::new() }
    }

    pub(crate) fn push(&mut self, turn: impl Into<Turn>) {
        let Turn { figure, load } = turn.into();
        self.rounds.push(figure);
        self.load.extend(load);
    }

    /// The median of the load generator's shares, if there was one.
    pub(crate) fn load(&self) -> Option<f64> {
        (!self.load.is_empty()).then(|| Self::of(self.load.clone()).median())
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
        self.with(other, |one, other| one / other)
    }

    /// The difference to another figure, round by round likewise.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, |one, other| one - other)
    }

    fn with(&self, other: &Self, both: fn(f64, f64) -> f64) -> Self {
        Self::of(self.rounds.iter().zip(&other.rounds).map(|(one, other)| both(*one, *other)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_even_and_none() {
        let median = |rounds: &[f64]| Series::of(rounds.to_vec()).median();
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let (one, two) = (Series::of(vec![1.0, 6.0]), Series::of(vec![2.0, 3.0]));
        assert_eq!(one.over(&two).rounds, [0.5, 2.0]);
        assert_eq!(one.minus(&two).rounds, [-1.0, 3.0]);
    }

    #[test]
    fn each_has_its_turn_in_each_round_and_each_place_in_as_many_rounds() {
        for turns in 1..6 {
            let rounds: Vec<Vec<usize>> = (0..turns).map(|round| order(round, turns).collect()).collect();
            for turn in 0..turns {
                assert!(rounds.iter().all(|round| round.iter().filter(|one| **one == turn).count() == 1));
                let mut places: Vec<_> = rounds.iter().map(|round| round.iter().position(|one| *one == turn)).collect();
                places.sort_unstable();
                assert_eq!(places, (0..turns).map(Some).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_share_of_the_load_generator_is_kept_where_there_is_one() {
        let mut series = Series::default();
        series.push(5.0);
        assert_eq!(series.load(), None);
        for load in [0.2, 0.9, 0.3] {
            series.push(Turn { figure: 5.0, load: Some(load) });
        }
        assert_eq!((series.load(), series.rounds.len()), (Some(0.3), 4));
    }
}
