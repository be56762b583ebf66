//! The metrics of this process, which all tests share under `cargo test`, and injected defects in them.

use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::prelude::*;

pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(WithDefects(recorder)).unwrap();
        handle
    })
}

impl Kit {
    /// The sum of a metric's samples for the group of this test.
    pub(crate) fn sample(&self, metric: &str) -> Option<f64> {
        sample(&metrics().render(), &format!(r#"{metric}{{group="{}"}}"#, self.scope.group))
    }
}

/// A metric whose update panics, this many times.
struct Defect {
    metric: &'static str,
    labels: Vec<(&'static str, String)>,
    left: usize,
}

static DEFECTS: Mutex<Vec<Defect>> = Mutex::new(Vec::new());

/// Makes the code panic that updates this metric with these labels.
pub(crate) fn panic_over(metric: &'static str, labels: &[(&'static str, &str)], times: usize) {
    metrics();
    let mut defects = DEFECTS.lock().unwrap_or_else(PoisonError::into_inner);
    defects.retain(|defect| defect.metric != metric);
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    defects.push(Defect { metric, labels, left: times });
}

/// How often it will still panic.
pub(crate) fn panics_left(metric: &str) -> usize {
    let defects = DEFECTS.lock().unwrap_or_else(PoisonError::into_inner);
    defects.iter().find(|defect| defect.metric == metric).map_or(0, |defect| defect.left)
}

struct WithDefects(PrometheusRecorder);

impl WithDefects {
    fn meet(&self, key: &Key) -> &PrometheusRecorder {
        let mut defects = DEFECTS.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |defect: &&mut Defect| {
            let has = |name: &str, value: &str| key.labels().any(|label| (label.key(), label.value()) == (name, value));
            let has_all = defect.labels.iter().all(|(name, value)| has(name, value));
            defect.left > 0 && key.name() == defect.metric && has_all
        };
        let met = defects.iter_mut().find(is_it).map(|defect| defect.left -= 1);
        drop(defects);
        assert!(met.is_none(), "a defect");
        &self.0
    }
}

impl Recorder for WithDefects {
    // No test reads descriptions.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.meet(key).register_counter(key, metadata)
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.meet(key).register_gauge(key, metadata)
    }
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.meet(key).register_histogram(key, metadata)
    }
}
