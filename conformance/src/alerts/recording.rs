//! What members showed, tick by tick, as Prometheus' tool reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Context;

/// Series by name, labels included.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Only these families are kept; the others are many.
    families: BTreeSet<String>,
    series: BTreeMap<String, Vec<Option<f64>>>,
    ticks: usize,
}

/// What a series is given instead of what it was.
type Change = fn(minute: f64, value: f64) -> f64;

impl Recording {
    /// Of the families that rules are about.
    #[must_use]
    pub fn of(rules: &str) -> Self {
        let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Self { families: words.map(str::to_owned).collect(), ..Self::default() }
    }

    /// Notes the pages of all members; none from those that do not answer.
    pub fn tick(&mut self, pages: &[(String, Option<String>)]) -> anyhow::Result<()> {
        for (instance, page) in pages {
            let own = format!("job=\"synod\",instance=\"{instance}\"");
            self.note(format!("up{{{own}}}"), if page.is_some() { 1.0 } else { 0.0 });
            let lines = page.iter().flat_map(|page| page.lines());
            for line in lines.filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').context("a line has a value")?;
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                if self.families.contains(name) {
                    let comma = if labels == "}" { "" } else { "," };
                    self.note(format!("{name}{{{own}{comma}{labels}"), value.parse()?);
                }
            }
        }
        self.ticks += 1;
        Ok(())
    }

    fn note(&mut self, series: String, value: f64) {
        let values = self.series.entry(series).or_default();
        values.resize(self.ticks, None);
        values.push(Some(value));
    }

    /// The same, with all that cannot be made to happen written over it: everything takes seconds,
    /// the store is nearly full and mostly empty inside, writes fail and leaders change.
    #[must_use]
    pub fn overwritten(&self) -> Self {
        let changes: [(&str, Change); 4] = [
            ("etcd_mvcc_db_total_size_in_bytes", |minute, _| 2.05e9 + 2e6 * minute),
            ("etcd_mvcc_db_total_size_in_use_in_bytes", |_, _| 3e8),
            ("etcd_server_proposals_failed_total", |minute, _| 600.0 * minute),
            ("etcd_server_leader_changes_seen_total", |minute, _| minute),
        ];
        let mut changed = self.clone();
        for (series, values) in &mut changed.series {
            let name = series.split('{').next().unwrap_or_default();
            let change = changes.iter().find(|(changed, _)| *changed == name);
            let fast = upper_bound(series).is_some_and(|bound| bound < 2.0);
            let mut minute = 0.0;
            for value in values.iter_mut().flatten() {
                match change {
                    Some((_, change)) => *value = change(minute, *value),
                    None if fast => *value = 0.0,
                    None => {}
                }
                minute += 1.0;
            }
        }
        changed
    }

    /// The series of a test, in its notation: what is no more there is stale at once.
    #[must_use]
    pub fn series(&self) -> String {
        let mut text = String::new();
        for (series, values) in &self.series {
            let mut known = false;
            let mut words = Vec::with_capacity(self.ticks);
            for at in 0..self.ticks {
                let value = values.get(at).copied().flatten();
                words.push(match value {
                    Some(value) => value.to_string(),
                    None if known => "stale".to_owned(),
                    None => "_".to_owned(),
                });
                known = value.is_some();
            }
            let values = words.join(" ");
            writeln!(text, "  - series: '{series}'\n    values: '{values}'")
                .expect("a string takes all that memory holds");
        }
        text
    }
}

/// Where the bucket of a histogram ends, if the series is one.
fn upper_bound(series: &str) -> Option<f64> {
    series.split_once("le=\"")?.1.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_gone_is_stale_at_once() {
        let mut recording = Recording::of("a_total > 1 and c");
        let page = "# HELP a_total x\na_total 1\nb_total 2\nc{d=\"e\"} 3\n";
        recording.tick(&[("m1".to_owned(), None)]).unwrap();
        recording.tick(&[("m1".to_owned(), Some(page.to_owned()))]).unwrap();
        recording.tick(&[("m1".to_owned(), None)]).unwrap();
        recording.tick(&[("m1".to_owned(), None)]).unwrap();
        let own = "job=\"synod\",instance=\"m1\"";
        let expected = [
            (format!("a_total{{{own}}}"), "_ 1 stale _"),
            (format!("c{{{own},d=\"e\"}}"), "_ 3 stale _"),
            (format!("up{{{own}}}"), "0 1 0 0"),
        ];
        let expected: String = expected
            .iter()
            .map(|(series, values)| format!("  - series: '{series}'\n    values: '{values}'\n"))
            .collect();
        assert_eq!(recording.series(), expected);
    }

    #[test]
    fn what_is_written_over_leaves_the_rest() {
        let mut recording = Recording::of("x_bucket up");
        let page = "x_bucket{le=\"1\"} 5\nx_bucket{le=\"4\"} 6\nx_bucket{le=\"+Inf\"} 7\n";
        recording.tick(&[("m1".to_owned(), Some(page.to_owned()))]).unwrap();
        let series = recording.overwritten().series();
        let values: Vec<&str> = series.lines().skip(1).step_by(2).map(str::trim).collect();
        assert_eq!(values, ["values: '1'", "values: '7'", "values: '0'", "values: '6'"]);
    }
}
