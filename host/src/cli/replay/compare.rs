//! `paramedic replay --compare OBSERVED LIVE`: where do they not agree?

use anyhow::bail;
use serde_json::json as value;

use super::{Replay, report};
use crate::cli::output::{Progress, json, line};
use crate::cli::{End, Output};
use crate::replay::backtest;
use crate::replay::compare::Compared;
use crate::telemetry::clean;

pub(super) fn run(replay: &Replay, names: &[String]) -> anyhow::Result<End> {
    let [observed, live] = names else { bail!("--compare takes two policies: the observing one and the followed one") };
    anyhow::ensure!(observed != live, "--compare takes two policies, and these are one");
    let (journal, span) = (replay.data.journal()?, replay.span()?);
    let mut compared = Compared::default();
    let progress = Progress::of("Reading the journal");
    backtest::questions(
        &journal,
        span,
        |done, of| progress.tell(done, of),
        |asked| {
            compared.add(&asked, observed, live);
            true
        },
    )?;
    drop(progress);
    let both = &compared.both;
    if both.questions == 0 {
        let alone: Vec<String> =
            compared.alone.iter().map(|(who, found)| format!("{} answered {} alone", clean(who, 120), found.count)).collect();
        let alone = if alone.is_empty() { "neither answered any".to_owned() } else { alone.join(", ") };
        bail!(
            "between {} and {} there is no first question that both {} and {} answered ({alone}): are the names those of the policies, and does \
             one of them observe?",
            span.since,
            span.until,
            clean(observed, 120),
            clean(live, 120)
        );
    }
    let differences = both.differences();
    let disagree: u64 = differences.iter().map(|one| one.found.count).sum();
    if replay.output == Output::Json {
        json(&value!({
            "observed": observed, "live": live, "since": span.since.to_string(), "until": span.until.to_string(),
            "questions": both.questions, "agree": both.same + both.reworded, "reworded": both.reworded, "disagree": disagree,
            "differences": differences, "alone": compared.alone,
        }))?;
    } else {
        line(format!(
            "{} (observing) beside {} (followed), {} to {}",
            clean(observed, 120),
            clean(live, 120),
            span.since,
            span.until
        ));
        line(format!("  first questions that both answered: {}", both.questions));
        line(format!("  agree:    {} ({} of them in other words)", both.same + both.reworded, both.reworded));
        line(format!("  disagree: {disagree}"));
        compared.alone.iter().for_each(|(who, found)| report::times(&format!("answered by {} alone", clean(who, 120)), found));
        report::differences(&differences);
        line("");
        line("Left is what the followed policy decided, right what the observing one would have.");
    }
    Ok(if disagree == 0 { End::Fine } else { End::Findings })
}
