//! The figures of each contender: rate, latency, memory and processor time, as medians of its rounds.

use crate::load::Latency;
use crate::report::number;
use crate::rounds::Series;
use crate::usage::Usage;

/// One round of one contender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    rate: f64,
    latency: Option<Latency>,
    /// Resident memory of all its processes at the end, in MiB.
    resident_mib: f64,
    /// Processor time of all its processes for a million requests or events, in seconds.
    cpu_per_million: f64,
}

impl Round {
    /// A round with this many requests or events; `used` has the contender's own processes.
    pub(super) fn new(rate: f64, latency: Option<Latency>, events: f64, used: &[Usage]) -> Self {
        let sum = |of: fn(&Usage) -> f64| used.iter().map(of).sum::<f64>();
        let cpu_per_million = sum(|usage| usage.cpu_seconds) / events * 1e6;
        Self { rate, latency, resident_mib: sum(|usage| usage.resident_mib), cpu_per_million }
    }
}

/// The rounds of one contender.
#[derive(Debug)]
pub(super) struct Score {
    name: &'static str,
    /// The first is the warm-up, which does not count.
    rounds: Vec<Round>,
}

impl Score {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// A table of these contenders, a note for each line.
    pub(super) fn table(unit: &str, scores: &[Self]) -> Vec<String> {
        let line = |name: &str, columns: [String; 5]| {
            let [rate, p50, p99, memory, cpu] = columns;
            format!("{name:<28} {rate:>11} {p50:>9} {p99:>9} {memory:>8} {cpu:>22}")
        };
        let head = [unit, "p50, ms", "p99, ms", "MiB", "CPU s for a million"].map(str::to_owned);
        let rows = scores.iter().map(|score| line(score.name, score.columns()));
        std::iter::once(line("", head)).chain(rows).collect()
    }

    fn columns(&self) -> [String; 5] {
        let median = |of: fn(&Round) -> Option<f64>| {
            let rounds: Vec<f64> = self.rounds.iter().skip(1).filter_map(of).collect();
            if rounds.is_empty() { "-".to_owned() } else { number(Series { rounds, ..Series::default() }.median()) }
        };
        [
            median(|round| Some(round.rate)),
            median(|round| Some(round.latency?.p50)),
            median(|round| Some(round.latency?.p99)),
            median(|round| Some(round.resident_mib)),
            median(|round| Some(round.cpu_per_million)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu_seconds: f64, resident_mib: f64) -> Usage {
        Usage { name: "a process".to_owned(), cpu_seconds, resident_mib, peak_mib: 0.0 }
    }

    #[test]
    fn all_processes_of_a_contender_count_and_its_warm_up_does_not() {
        let latency = Some(Latency { p50: 2.0, p99: 9.0, p999: 0.0, samples: 10_000 });
        let mut two = Score::new("two processes");
        two.add(Round::new(1.0, None, 1.0, &[usage(99.0, 99.0)]));
        for rate in [1_000.0, 3_000.0] {
            two.add(Round::new(rate, latency, 500_000.0, &[usage(1.5, 40.0), usage(2.5, 60.0)]));
        }
        let mut one = Score::new("no latency");
        for _ in 0..2 {
            one.add(Round::new(50.0, None, 1e6, &[usage(1.0, 10.0)]));
        }
        let told: Vec<String> = Score::table("events/s", &[two, one])
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            told,
            [
                "events/s p50, ms p99, ms MiB CPU s for a million",
                "two processes 2,000 2.00 9.00 100 8.00",
                "no latency 50.00 - - 10.00 1.00",
            ]
        );
    }
}
