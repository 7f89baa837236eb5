//! The text that Prometheus reads, as it grows.

use std::fmt::{Arguments, Display, Write};

use crate::metrics::{Buckets, Histogram};

/// The page.
pub(crate) struct Page(String);

impl Page {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self(String::with_capacity(128 << 10))
    }

    /// All of it.
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Begins a family: what its lines mean, and whether they may go down.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// A line of the family that was begun last.
    pub(crate) fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        self.push(format_args!("{name}{{{labels}}} {value}\n"));
    }

    /// A family of one line that may go down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.push(format_args!("{name} {value}\n"));
    }

    /// A family of one line that only rises.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.push(format_args!("{name} {value}\n"));
    }

    /// A family of one histogram.
    pub(crate) fn histogram<B: Buckets>(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram<B>,
    ) {
        self.head(name, "histogram", help);
        self.buckets(name, "", histogram);
    }

    /// A family of one histogram, in milliseconds.
    pub(crate) fn histogram_ms<B: Buckets>(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram<B>,
    ) {
        self.head(name, "histogram", help);
        self.buckets_in(1e3, name, "", histogram);
    }

    /// A histogram of the family that was begun last; `labels` are its own.
    pub(crate) fn buckets<B: Buckets>(
        &mut self,
        name: &str,
        labels: &str,
        histogram: &Histogram<B>,
    ) {
        self.buckets_in(1.0, name, labels, histogram);
    }

    /// The same in a unit of which a second has so many.
    fn buckets_in<B: Buckets>(
        &mut self,
        units: f64,
        name: &str,
        labels: &str,
        histogram: &Histogram<B>,
    ) {
        let read = histogram.read();
        let comma = if labels.is_empty() { "" } else { "," };
        for (seconds, count) in read.up_to {
            let end = seconds * units;
            self.push(format_args!("{name}_bucket{{{labels}{comma}le=\"{end}\"}} {count}\n"));
        }
        let (count, sum) = (read.count, read.sum.as_secs_f64() * units);
        self.push(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n"));
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.push(format_args!("{name}_sum{braces} {sum}\n{name}_count{braces} {count}\n"));
    }

    fn push(&mut self, text: Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all that memory holds");
    }
}
