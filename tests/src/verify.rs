//! Everything that is no proof of health, and the policy's own probe, against a real Prometheus and real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use paramedic::alert::{Alert, Via};
use paramedic::clock::Time;
use paramedic::incident::Verdict;

use paramedic::look::sight::Sources;
use paramedic::policy::{HttpProbe, Probe, ProbeUrl, Verify};
use paramedic::receive::poll::Poller;
use paramedic::verify::{Attempt, Seen, Verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::monitors::{alert, firing, healthy, liar, never_healthy, sources, unclear};
use crate::programs::{Exporter, Program, start_prometheus, within};

const DOWN: &str = "  - {alert: Down, expr: demo_up == 0}";

/// Rules that cannot tell, each for its own reason, beside one that can.
fn rules() -> String {
    format!(
        "{DOWN}\n  - {{alert: Waits, expr: demo_up == 0, for: 1h}}\n  - {{alert: Broken, expr: demo_up * on (job) demo_up > 5}}\n\
         - name: slow\n  interval: 15s\n  rules:\n  - {{alert: Slow, expr: demo_up == 0}}"
    )
}

fn series(a: u8) -> String {
    format!("demo_up{{name=\"a\"}} {a}\ndemo_up{{name=\"b\"}} 1\n")
}

fn named(alert: &Alert, name: &str) -> Alert {
    let mut alert = alert.clone();
    alert.labels.insert("alertname".to_owned(), name.to_owned());
    alert
}

/// What is seen for two seconds, which must never be health, and must hold these words at the end.
async fn says(verifier: &Verifier, alert: &Alert, since: Time, words: &str) -> Result<()> {
    let text = unclear(never_healthy(verifier, alert, since, Duration::from_secs(2)).await?)?;
    ensure!(text.contains(words), "`{words}` is not in: {text}");
    Ok(())
}

async fn verdict(verifier: &Verifier, alert: &Alert, probe: Option<Probe>) -> (Verdict, String) {
    let attempt = Attempt { alert, begun: Time::now(), ended: Time::now(), starts_target: false };
    let settings = Verify { within: Duration::from_secs(4), stable: Duration::from_secs(1), probe, ..Verify::default() };
    verifier.verify(&attempt, &settings, || async { None }).await
}

/// A Prometheus whose rule raised an alert about `a`, and the alert.
async fn fired(exporter: &Exporter) -> Result<(Program, Sources, Alert)> {
    let prom = start_prometheus(&rules(), &[exporter], None, "").await?;
    let sources = sources(&[&prom.url], &[])?;
    let down = firing(&Poller::new(&sources, Duration::from_secs(1)), Via::Prometheus, "Down").await?;
    Ok((prom, sources, down))
}

#[tokio::test]
async fn every_way_of_not_knowing_has_its_own_words_and_none_is_health() -> Result<()> {
    let exporter = Exporter::start(&series(0)).await?;
    let (mut prom, sources, down) = fired(&exporter).await?;
    let verifier = Verifier::new(sources);

    // Pending: its condition holds.
    let waits = named(&down, "Waits");
    says(&verifier, &waits, Time::now(), "says it is pending").await?;
    let (pending, text) = verdict(&verifier, &waits, None).await;
    assert_eq!(pending, Verdict::Unclear, "{text}");

    exporter.set(&series(1));
    healthy(&verifier, &down, Time::now()).await?;
    says(&verifier, &named(&down, "Broken"), Time::now(), "cannot be evaluated").await?;
    // Its group has its own interval, and was not evaluated since.
    let slow = named(&down, "Slow");
    healthy(&verifier, &slow, Time::now().minus(Duration::from_secs(60))).await?;
    let text = unclear(verifier.look(&slow, Time::now()).await)?;
    assert!(text.contains("was not evaluated since the action: last at"), "{text}");

    // The exporter does not show the metric any more, then it shows nothing that can be read.
    exporter.set("demo_up{name=\"b\"} 1\n");
    tokio::time::sleep(Duration::from_secs(3)).await;
    says(&verifier, &down, Time::now(), "has no samples any more").await?;
    let (vanished, text) = verdict(&verifier, &down, None).await;
    assert_eq!(vanished, Verdict::Unclear, "{text}");
    assert!(!text.contains("cannot be scraped"), "{text}");
    exporter.set("}{\n");
    tokio::time::sleep(Duration::from_secs(3)).await;
    says(&verifier, &down, Time::now(), "their target cannot be scraped (`up` is 0)").await?;

    // The rule is removed, and others come that were never evaluated.
    exporter.set(&series(1));
    healthy(&verifier, &down, Time::now()).await?;
    prom.reload(
        "  - {alert: Other, expr: demo_up == 0}\n- name: new\n  interval: 1h\n  rules:\n  - {alert: New, expr: demo_up == 0}",
    )
    .await?;
    let text = unclear(verifier.look(&named(&down, "New"), Time::now()).await)?;
    assert!(text.contains("was not evaluated yet"), "{text}");
    says(&verifier, &down, Time::now(), "has no rule Down").await?;

    prom.kill().await?;
    says(&verifier, &down, Time::now(), "cannot be reached").await?;
    Ok(())
}

#[tokio::test]
async fn a_prometheus_that_came_back_is_believed_only_about_what_it_saw_since() -> Result<()> {
    let exporter = Exporter::start(&series(0)).await?;
    let (mut prom, sources, down) = fired(&exporter).await?;
    let verifier = Verifier::new(sources);
    prom.kill().await?;
    let since = Time::now();
    let (started, watched) = tokio::join!(prom.start(), never_healthy(&verifier, &down, since, Duration::from_secs(6)));
    started?;
    assert!(matches!(watched?, Seen::Firing(_)), "it fires again");
    exporter.set(&series(1));
    healthy(&verifier, &down, Time::now()).await?;
    Ok(())
}

fn promql(text: &str) -> Probe {
    Probe::Promql(text.to_owned())
}

/// Asks a probe once, about an alert that nobody knows.
async fn asked(sources: &Sources, probe: &Probe, since: Time) -> Result<(Verdict, String)> {
    let nobody = alert(&[("alertname", "Elsewhere")]);
    let attempt = Attempt { alert: &nobody, begun: since, ended: since, starts_target: false };
    // At most one look: what it says is the verdict.
    let settings =
        Verify { within: Duration::from_millis(1), stable: Duration::ZERO, probe: Some(probe.clone()), ..Verify::default() };
    Ok(Verifier::new(sources.clone()).verify(&attempt, &settings, || async { None }).await)
}

async fn until(sources: &Sources, probe: &Probe, since: Time, wanted: Verdict) -> Result<String> {
    within(20, &format!("{wanted:?} by {probe:?}"), || async {
        let (verdict, text) = asked(sources, probe, since).await?;
        Ok((verdict == wanted).then_some(text))
    })
    .await
}

#[tokio::test]
async fn an_expression_is_believed_only_on_samples_from_after_the_action() -> Result<()> {
    let frozen = Time::now();
    let metrics = |a: u8| format!("{}frozen_ok 1 {}\n", series(a), frozen.0);
    let exporter = Exporter::start(&metrics(0)).await?;
    let mut prom = start_prometheus("", &[&exporter], None, "").await?;
    let sources = sources(&[&prom.url], &[])?;
    let probe = promql("demo_up{name=\"a\"} == 1");
    let text = until(&sources, &probe, Time::now(), Verdict::NotHealed).await?;
    assert!(text.contains("has no result at Prometheus"), "{text}");
    exporter.set(&metrics(1));
    let text = until(&sources, &probe, Time::now(), Verdict::Healed).await?;
    assert!(text.contains("has a result at Prometheus") && text.contains("no detector that can be asked"), "{text}");

    // The same result, of before the action: no proof.
    let since = Time::now().plus(Duration::from_secs(4));
    let (early, text) = asked(&sources, &probe, since).await?;
    assert_eq!(early, Verdict::Unclear, "{text}");
    until(&sources, &probe, since, Verdict::Healed).await?;
    assert!(Time::now() > since, "healed before the action ended");
    let old = promql("frozen_ok == 1");
    assert_eq!(until(&sources, &old, frozen.minus(Duration::from_millis(1)), Verdict::Healed).await?.is_empty(), false);
    let (verdict, text) = asked(&sources, &old, frozen).await?;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("still has samples of"), "{text}");

    // A range counts when all of it is from after the action.
    let since = Time::now();
    let range = promql("min_over_time(demo_up{name=\"a\"}[5s]) == 1");
    let (verdict, text) = asked(&sources, &range, since).await?;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("still looks at the 5.0 s"), "{text}");
    until(&sources, &range, since, Verdict::Healed).await?;
    assert!(Time::now().since(since) >= Duration::from_secs(5));

    // What is absent, refused or unreachable is not known.
    for (text, words) in [
        ("absent(demo_down)", "has no samples of the series"),
        ("demo_up{name=\"c\"} == 1", "has no samples of the series"),
        ("demo_up ==", "400"),
        ("vector(1)", "looks at no series"),
    ] {
        let (verdict, said) = asked(&sources, &promql(text), frozen).await?;
        assert_eq!(verdict, Verdict::Unclear, "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
    prom.kill().await?;
    let (verdict, text) = asked(&sources, &probe, frozen).await?;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("cannot be reached"), "{text}");
    let (verdict, text) = asked(&crate::monitors::sources(&[], &[])?, &probe, frozen).await?;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("no Prometheus to ask"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_probe_that_passes_does_not_outvote_what_fires_or_is_pending() -> Result<()> {
    let exporter = Exporter::start(&series(0)).await?;
    let (_prom, sources, down) = fired(&exporter).await?;
    let verifier = Verifier::new(sources);
    let passes = || Some(promql("demo_up{name=\"b\"} == 1"));
    let (firing, text) = verdict(&verifier, &down, passes()).await;
    assert_eq!(firing, Verdict::NotHealed, "{text}");
    assert!(text.contains("says it is firing"), "{text}");
    let (pending, text) = verdict(&verifier, &named(&down, "Waits"), passes()).await;
    assert_eq!(pending, Verdict::Unclear, "{text}");
    // And what is well for the detectors is not healed while the probe says no.
    exporter.set("demo_up{name=\"a\"} 1\ndemo_up{name=\"b\"} 0\n");
    healthy(&verifier, &down, Time::now()).await?;
    let (failing, text) = verdict(&verifier, &down, passes()).await;
    assert_eq!(failing, Verdict::NotHealed, "{text}");
    exporter.set(&series(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (well, text) = verdict(&verifier, &down, passes()).await;
    assert_eq!(well, Verdict::Healed, "{text}");
    assert!(text.contains("demo_up{name=\"b\"} == 1") && text.contains("evaluated Down"), "{text}");
    Ok(())
}

async fn http<F, R>(answer: F, status: Option<u16>) -> Result<(Verdict, String)>
where
    F: Fn(HeaderMap) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    let url = format!("{}/health?key=secret", liar(answer).await?);
    let url = ProbeUrl::parse(&url).map_err(anyhow::Error::msg)?;
    let probe = Probe::Http(HttpProbe { url, status, host: Some("shop.example".to_owned()) });
    let (verdict, text) = asked(&sources(&[], &[])?, &probe, Time::now().minus(Duration::from_secs(1))).await?;
    ensure!(!text.contains("secret"), "{text}");
    Ok((verdict, text))
}

#[tokio::test]
async fn an_address_is_well_when_it_gives_the_expected_answer() -> Result<()> {
    use Verdict::{Healed, NotHealed, Unclear};
    for (given, wanted, verdict) in [
        (200, None, Healed),
        (204, None, Healed),
        (500, None, NotHealed),
        (404, None, NotHealed),
        (204, Some(204), Healed),
        (200, Some(204), NotHealed),
        (503, Some(503), Healed),
    ] {
        let status = StatusCode::from_u16(given)?;
        let (said, text) = http(move |_| status, wanted).await?;
        assert_eq!(said, verdict, "{given} for {wanted:?}: {text}");
        assert!(text.contains(&given.to_string()), "{text}");
    }
    // Asked for by the name that the policy gives.
    let (said, text) = http(
        |headers: HeaderMap| {
            if headers.get("host").is_some_and(|h| h == "shop.example") { StatusCode::OK } else { StatusCode::GONE }
        },
        None,
    )
    .await?;
    assert_eq!(said, Healed, "{text}");
    // A redirect is an answer of its own.
    let well = liar(|_| "OK").await?;
    let (said, text) = http(move |_| Redirect::temporary(&well), None).await?;
    assert_eq!(said, NotHealed, "{text}");
    // An answer that goes on for ever is cut off, one that never comes is none.
    let endless = || Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4096])));
    let (said, text) = http(move |_| endless(), None).await?;
    assert_eq!(said, Healed, "{text}");
    let slow = || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let begun = Instant::now();
    let (said, text) = http(move |_| slow(), None).await?;
    assert_eq!(said, Unclear, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn every_question_to_an_address_makes_a_connection_of_its_own() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // One that would answer on the same connection for ever.
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    if answered.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let url = ProbeUrl::parse(&format!("http://{address}/")).map_err(anyhow::Error::msg)?;
    let probe = Probe::Http(HttpProbe { url, status: None, host: None });
    let (sources, since) = (sources(&[], &[])?, Time::now().minus(Duration::from_secs(1)));
    for asked_before in 0..3 {
        assert_eq!(connections.load(Ordering::SeqCst), asked_before);
        assert_eq!(asked(&sources, &probe, since).await?.0, Verdict::Healed);
    }
    server.abort();
    let _aborted = server.await;
    let (verdict, text) = asked(&sources, &probe, since).await?;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("cannot be reached"), "{text}");
    Ok(())
}
