//! Which policies could take the same alert, and which can take none: for `paramedic check`. Neither is an error.
//!
//! Absent on purpose: whether a later policy is ever asked. An earlier one may pass, and only its plugin knows.

use super::LoadedPolicy;
use crate::alert::overlap::{Fit, together};

/// So many are told; the rest is counted.
const MOST: usize = 20;

/// One sentence for each; `policies` in the order in which they are asked.
pub fn overlaps(policies: &[LoadedPolicy]) -> Vec<String> {
    let fits = |one: &&LoadedPolicy| together(&[&one.policy.matchers]) != Fit::Never;
    let never = policies.iter().filter(|one| !fits(one));
    let mut told: Vec<String> = never
        .map(|one| {
            let (file, matchers) = (one.file.display(), &one.policy.matchers);
            format!("{file}: no alert can fit {matchers}: policy {} is never asked", one.policy.name)
        })
        .collect();
    let takes: Vec<&LoadedPolicy> = policies.iter().filter(|one| one.policy.mode.takes()).filter(fits).collect();
    let mut left = 0;
    for (i, first) in takes.iter().enumerate() {
        for second in &takes[i + 1..] {
            let how = match together(&[&first.policy.matchers, &second.policy.matchers]) {
                Fit::Never => continue,
                Fit::Perhaps => "may fit the same alert",
                Fit::Surely => "fit the same alert",
            };
            if told.len() >= MOST {
                left += 1;
                continue;
            }
            let name = |one: &LoadedPolicy| one.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (a, b) = (&first.policy.name, &second.policy.name);
            told.push(format!(
                "{a} and {b} {how}: {a} is asked first ({} before {}), and {b} only if that passes",
                name(first),
                name(second)
            ));
        }
    }
    if left > 0 {
        told.push(format!("and {left} more pairs of policies that fit, or may fit, the same alert"));
    }
    told
}
