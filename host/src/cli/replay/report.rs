//! What the forms of `replay` print alike.

use crate::cli::output::{line, table};
use crate::replay::found::{Difference, Named, Times};

/// Groups that are shown; programs are given all.
const SHOWN: usize = 40;

/// What differs, grouped.
pub(super) fn differences(all: &[Difference]) {
    let rows: Vec<Vec<String>> = all
        .iter()
        .take(SHOWN)
        .map(|one| {
            vec![
                one.found.count.to_string(),
                format!("{} -> {}", one.from, one.to),
                one.alert.clone(),
                one.found.examples.join(" "),
            ]
        })
        .collect();
    if !rows.is_empty() {
        line("");
        table(&["TIMES", "THEN -> NOW", "ALERT", "FOR INSTANCE"], &rows);
    }
    more(all.len());
}

/// Named things with their counts, under a title.
pub(super) fn named(title: &str, all: &[Named]) {
    if all.is_empty() {
        return;
    }
    line("");
    line(title);
    for one in all.iter().take(SHOWN) {
        line(format!("  {} times  {}: {}", one.found.count, one.kind, one.text));
        line(format!("           for instance {}", one.found.examples.join(" ")));
    }
    more(all.len());
}

/// A count with its examples.
pub(super) fn times(what: &str, times: &Times) {
    line(format!("  {what}: {} (for instance {})", times.count, times.examples.join(" ")));
}

fn more(all: usize) {
    if all > SHOWN {
        line(format!("and {} more, which --output json tells", all - SHOWN));
    }
}
