//! What was measured.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::bench::load::Operation;

/// The outcome of one measurement.
pub(super) struct Report {
    pub(super) operation: Operation,
    pub(super) clients: u32,
    pub(super) elapsed: Duration,
    /// Of the requests that succeeded.
    pub(super) latency_us: Histogram<u64>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// Of the processes named, while it lasted.
    pub(super) server_cpu: Option<Duration>,
}

/// The quantiles told, with their names.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Report {
    /// How many requests succeeded.
    pub(super) fn succeeded(&self) -> u64 {
        self.latency_us.len()
    }

    fn per_second(&self) -> f64 {
        count(self.succeeded()) / self.elapsed.as_secs_f64()
    }

    fn server_cpu_us_per_op(&self) -> Option<f64> {
        let cpu = self.server_cpu?;
        (self.succeeded() > 0).then(|| cpu.as_secs_f64() * 1e6 / count(self.succeeded()))
    }

    const fn name(&self) -> &'static str {
        match self.operation {
            Operation::Put => "put",
            Operation::Login => "login",
            Operation::Get { serializable: false } => "get",
            Operation::Get { serializable: true } => "get, serializable",
        }
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let quantiles = QUANTILES
            .iter()
            .map(|(name, q)| ((*name).to_owned(), json!(self.latency_us.value_at_quantile(*q))));
        let mut latency: serde_json::Map<_, _> = quantiles.collect();
        latency.insert("mean".to_owned(), json!(self.latency_us.mean()));
        json!({
            "operation": self.name(),
            "clients": self.clients,
            "seconds": self.elapsed.as_secs_f64(),
            "succeeded": self.succeeded(),
            "errors": self.errors,
            "first_error": self.first_error,
            "ops_per_second": self.per_second(),
            "latency_us": latency,
            "server_cpu_us_per_op": self.server_cpu_us_per_op(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} clients", self.name(), self.clients)?;
        writeln!(
            f,
            "  {} in {:.2} s: {:.0} per second",
            self.succeeded(),
            self.elapsed.as_secs_f64(),
            self.per_second()
        )?;
        write!(f, "  latency in ms:")?;
        for (name, quantile) in QUANTILES {
            let ms = count(self.latency_us.value_at_quantile(quantile)) / 1000.0;
            write!(f, "  {name} {ms:.3}")?;
        }
        if let Some(cpu) = self.server_cpu_us_per_op() {
            write!(f, "\n  server CPU: {cpu:.1} µs per operation")?;
        }
        if let Some(error) = &self.first_error {
            write!(f, "\n  {} errors, the first: {error}", self.errors)?;
        }
        Ok(())
    }
}

/// A count as a number to divide by. Exact below 2^53, and more is never counted here.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        for us in 1..=1000 {
            latency_us.record(us).unwrap();
        }
        Report {
            operation: Operation::Put,
            clients: 4,
            elapsed: Duration::from_secs(2),
            latency_us,
            errors: 1,
            first_error: Some("etcdserver: no leader".to_owned()),
            server_cpu: Some(Duration::from_millis(100)),
        }
    }

    #[test]
    fn the_same_numbers_for_people_and_programs() {
        let expected = "put, 4 clients\n  1000 in 2.00 s: 500 per second\n  latency in ms:  \
            p50 0.500  p90 0.900  p99 0.990  p99.9 0.999  max 1.000\n  \
            server CPU: 100.0 µs per operation\n  1 errors, the first: etcdserver: no leader";
        assert_eq!(report().to_string(), expected);
        let json = report().to_json();
        assert_eq!(json["latency_us"]["p99"], 990);
        assert_eq!(json["ops_per_second"], 500.0);
        assert_eq!(json["server_cpu_us_per_op"], 100.0);
    }
}
