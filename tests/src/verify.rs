//! Everything that is no proof of health, and the policy's own probe, against a real Prometheus and real connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use paramedic::alert::{Alert, Via};
use paramedic::clock::Time;
use paramedic::config;
use paramedic::incident::Verdict;

use paramedic::look::sight::Sources;
use paramedic::policy::{HttpProbe, Policy, Probe, ProbeUrl, Verify};
use paramedic::receive::poll::Poller;
use paramedic::verify::answers::doubts;
use paramedic::verify::{Attempt, Seen, Verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::engine::Patient;
use crate::host::{Host, Setup};
use crate::monitors::{alert, eye, firing, healthy, liar, never_healthy, sources, unclear};
use crate::programs::{Exporter, Program, reqwest_client, start_prometheus, within};

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
    verifier.verify(&attempt, &settings, || async { None }, |_| None).await
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

#[tokio::test]
async fn a_rule_is_not_well_because_one_of_the_series_it_compares_has_vanished() -> Result<()> {
    let metrics = |healthy: &str| format!("{healthy}app_running{{zone=\"z\"}} 1\n");
    let exporter = Exporter::start(&metrics("app_healthy 0\n")).await?;
    let rules = "  - {alert: Sick, expr: app_healthy == 0 and on(instance) up == 1}\n\
                 \x20 - {alert: Left, expr: app_running * on(instance) group_left() (app_healthy == bool 0) == 1}\n\
                 \x20 - {alert: Made, expr: 'label_replace(app_healthy == 0 and on(instance) up == 1, \"host\", \"h\", \"\", \"\")'}\n\
                 \x20 - {alert: Excused, expr: app_healthy == 0 unless on(instance) maintenance == 1}";
    let prom = start_prometheus(rules, &[&exporter], None, "").await?;
    let sources = sources(&[&prom.url], &[])?;
    let (poller, verifier) = (Poller::new(&sources, Duration::from_secs(1)), Verifier::new(sources));
    let mut alerts = Vec::new();
    for name in ["Sick", "Left", "Made", "Excused"] {
        alerts.push(firing(&poller, Via::Prometheus, name).await?);
    }
    // After its restart the exporter is up, and does not show the metric any more: every one of these rules is quiet.
    exporter.set(&metrics(""));
    tokio::time::sleep(Duration::from_secs(3)).await;
    for alert in &alerts {
        says(&verifier, alert, Time::now(), "has no samples any more of").await?;
    }
    let (vanished, text) = verdict(&verifier, &alerts[0], None).await;
    assert_eq!(vanished, Verdict::Unclear, "{text}");
    // What was never there (`maintenance`) is no reason to doubt.
    exporter.set(&metrics("app_healthy 1\n"));
    for alert in &alerts {
        healthy(&verifier, alert, Time::now()).await?;
    }
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
    Ok(Verifier::new(sources.clone()).verify(&attempt, &settings, || async { None }, |_| None).await)
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
    until(&sources, &old, frozen.minus(Duration::from_millis(1)), Verdict::Healed).await?;
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
        // That nothing is absent but the metric itself, while its neighbour is well; and a comparison with what was before the action.
        ("absent(demo_down) and on() demo_up{name=\"a\"} == 1", "has no samples of the series `demo_down{}`"),
        ("demo_up{name=\"a\"} == 1 unless on() demo_down", "has no samples of the series `demo_down{}`"),
        ("demo_up{name=\"a\"} == 1 and demo_up offset 1s", "another time"),
        ("demo_up{name=\"a\"} == 1 and demo_up @ end()", "another time"),
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

/// A policy with these lines, as it is read from a file.
fn policy(lines: &str) -> Result<(PathBuf, Arc<Policy>)> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("10-x.yaml"), format!("name: p\nplugin: p.wasm\n{lines}"))?;
    let loaded = config::load_policies(folder.path())?.pop().context("one policy")?;
    Ok((loaded.file, loaded.policy))
}

#[tokio::test]
async fn a_policy_that_does_not_wait_for_its_rules_is_warned_of() -> Result<()> {
    let exporter = Exporter::start(&series(1)).await?;
    let rules = "  - {alert: Quick, expr: demo_up == 0, for: 10m, labels: {severity: page}}\n\
                 \x20 - {alert: Keeps, expr: demo_up == 0, keep_firing_for: 5m, labels: {severity: page}}\n\
                 \x20 - {alert: Rate, expr: 'rate(demo_errors_total[10m]) > 0', labels: {severity: info}}\n\
                 \x20 - {record: 'demo:errors:rate5m', expr: 'rate(demo_errors_total[5m])'}\n\
                 - name: slow\n  interval: 30s\n  rules:\n\
                 \x20 - {alert: Recorded, expr: 'demo:errors:rate5m > 0', labels: {severity: info}}";
    let prom = start_prometheus(rules, &[&exporter], None, "").await?;
    within(20, "a scrape", || async { Ok((!eye(&prom.url)?.query("demo_up", None).await?.is_empty()).then_some(())) }).await?;
    for (lines, words) in [
        // A rule's `for` says nothing about how soon it goes quiet.
        ("match: ['alertname=\"Quick\"']\nverify: {within: 10s, stable: 5s}\n", &[][..]),
        ("match: ['alertname=\"Keeps\"']\nverify: {within: 6m}\n", &[]),
        (
            "match: ['alertname=\"Keeps\"']\n",
            &[
                "10-x.yaml: `verify.within` is 3 min 0 s, but rule Keeps of Prometheus at",
                "5 min 4 s",
                "5 min 0 s keep_firing_for",
                "1.0 s until the next scrape",
                "1.0 s until the next evaluation",
                "write `within: 6m`",
            ],
        ),
        ("match: ['alertname=\"Rate\"']\nverify: {within: 5m}\n", &["10 min 0 s looking back", "write `within: 11m`"]),
        (
            "match: ['alertname=\"Recorded\"']\n",
            &["5 min 0 s looking back", "31.0 s until the next evaluation", "write `within: 6m`"],
        ),
        // All that can match are looked at, and the slowest is named.
        ("match: ['severity=~\"page|info\"', 'instance=\"x\"']\n", &["rule Rate of", "and 2 more rules"]),
        ("match: ['alertname=\"Other\"']\n", &["none of the 4 rules loaded in Prometheus at", "correct `match`"]),
        ("match: ['severity=\"critical\"']\n", &["none of the 4 rules"]),
    ] {
        let found = doubts(&*eye(&prom.url)?, &[policy(lines)?]).await?;
        assert_eq!(found.len(), usize::from(!words.is_empty()), "{lines}: {found:?}");
        for word in words {
            assert!(found.iter().all(|text| text.contains(word)), "{lines}: `{word}` is not in {found:?}");
        }
    }
    Ok(())
}

async fn detectors(host: &Host, token: Option<&str>) -> Result<(u16, serde_json::Value)> {
    let mut request = reqwest_client().get(format!("{}/api/v1/detectors", host.url));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

#[tokio::test]
async fn what_cannot_be_reached_is_shown_to_those_who_may_see_it() -> Result<()> {
    let exporter = Exporter::start(&series(1)).await?;
    let mut prom = start_prometheus("", &[&exporter], None, "").await?;
    let secrets = tempfile::tempdir()?;
    let token = "a-token-of-enough-letters";
    std::fs::write(secrets.path().join("token"), token)?;
    let mut setup = Setup::restarts("nothing").prometheus(&prom.url).alertmanager("http://127.0.0.1:1");
    setup.config += &format!("auth: {{token_file: {}}}\n", secrets.path().join("token").display());
    setup.config += "docker: {hosts: {local: 'unix:///var/run/docker.sock', edge: 'unix:///nowhere/docker.sock'}}\n";
    let host = Host::start(&setup).await;
    for wrong in [None, Some("another-token-of-letters")] {
        let (status, body) = detectors(&host, wrong).await?;
        assert_eq!((status, body.is_array()), (401, false), "{body}");
    }
    let shown = async |name: &'static str, reachable: bool| {
        within(30, &format!("{name} reachable: {reachable}"), || async {
            let (status, body) = detectors(&host, Some(token)).await?;
            ensure!(status == 200, "{status} {body}");
            let all = body.as_array().context("a list")?.clone();
            ensure!(all.len() == 4, "{body}");
            let found = all.into_iter().find(|d| d["name"].as_str().is_some_and(|n| n.contains(name))).context(name)?;
            Ok((found["reachable"] == reachable).then_some(found))
        })
        .await
    };
    let prometheus = shown("Prometheus", true).await?;
    assert_eq!((prometheus["kind"].as_str(), &prometheus["last_error"]), (Some("prometheus"), &serde_json::Value::Null));
    let alertmanager = shown("Alertmanager", false).await?;
    assert_eq!(alertmanager["kind"], "alertmanager");
    assert!(alertmanager["last_error"]["message"].as_str().is_some_and(|m| m.contains("cannot be reached")), "{alertmanager}");
    assert_eq!(shown("`local`", true).await?["kind"], "docker");
    let edge = shown("`edge`", false).await?;
    assert!(edge["last_error"]["message"].as_str().is_some_and(|m| m.contains("no socket")), "{edge}");
    let before = Time::parse(prometheus["since"].as_str().context("a time")?).context("a time")?;
    prom.kill().await?;
    let lost = shown("Prometheus", false).await?;
    assert!(Time::parse(lost["since"].as_str().context("a time")?).context("a time")? > before, "{lost}");
    // Taking alerts in needs none of them.
    let ready = reqwest_client().get(format!("{}/-/ready", host.url)).send().await?;
    assert_eq!(ready.status().as_u16(), 200);
    let refused = reqwest_client().post(format!("{}/api/v1/detectors", host.url)).send().await?;
    assert_eq!(refused.status().as_u16(), 405);
    Ok(())
}

/// One whole incident that only its policy's own probe can verify: nothing else is configured to be looked at.
#[tokio::test]
async fn an_incident_is_healed_by_its_policy_s_own_probe() -> Result<()> {
    let patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    let well = Arc::new(AtomicUsize::new(503));
    let answers = Arc::clone(&well);
    let url = liar(move |_| StatusCode::from_u16(u16::try_from(answers.load(Ordering::SeqCst)).unwrap()).unwrap()).await?;
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace(
        "verify: {within: 40s, stable: 2s}",
        &format!("verify: {{within: 40s, stable: 2s, settle: 1s, probe: {{http: '{url}/health'}}}}"),
    );
    let host = Host::start(&setup).await;
    let labels = serde_json::json!({ "alertname": "Down", "container": patient.name });
    assert_eq!(host.send("firing", labels, &Time::now().to_string()).await, 200);
    within(30, "a look after the restart", || async { Ok((host.incidents()[0].0 == "verifying").then_some(())) }).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(host.incidents()[0].0, "verifying");
    well.store(200, Ordering::SeqCst);
    let story = host.until("healed", 30).await;
    assert!(story.contains("the policy's probe of http://127.0.0.1") && story.contains("answers 200"), "{story}");
    Ok(())
}

/// Prometheus posts what fires straight to Paramedic, which cannot look at it; and what the policy probes is well all the time.
#[tokio::test]
async fn nothing_is_healed_while_prometheus_keeps_posting_that_it_fires() -> Result<()> {
    let patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    let url = liar(|_| StatusCode::OK).await?;
    let mut setup = Setup::restarts(&patient.name);
    setup.policy = setup.policy.replace("stable: 2s}", &format!("stable: 2s, probe: {{http: '{url}/health'}}}}"));
    let host = Host::start(&setup).await;
    let exporter = Exporter::start(crate::flow::DOWN).await?;
    let _prom = start_prometheus(&crate::flow::rule(&patient.name), &[&exporter], Some(&host.url), "").await?;
    within(60, "a look after the restart", || async {
        Ok(host.incidents().first().is_some_and(|(state, _)| state == "verifying").then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (state, story) = host.incidents().swap_remove(0);
    assert_eq!(state, "verifying", "{story}");
    // That it was repeated after the action does no harm to what is healed in time.
    exporter.set(crate::flow::WELL);
    let story = host.until("healed", 25).await;
    assert!(!story.contains("NOT HEALED"), "{story}");
    Ok(())
}

/// Alertmanager's webhook comes again after the action.
#[tokio::test]
async fn a_webhook_that_is_repeated_after_the_action_is_heard() -> Result<()> {
    let patient = Patient::run(&["--stop-timeout", "1"], &["wait"]);
    let url = liar(|_| StatusCode::OK).await?;
    let mut setup = Setup::restarts(&patient.name);
    let verify = format!("verify: {{within: 12s, stable: 5s, probe: {{http: '{url}/health'}}}}");
    setup.policy = setup.policy.replace("verify: {within: 40s, stable: 2s}", &verify);
    let host = Host::start(&setup).await;
    let since = Time::now().to_string();
    let verdict = within(60, "a verdict", || async {
        let labels = serde_json::json!({ "alertname": "Down", "container": patient.name });
        assert_eq!(host.send("firing", labels, &since).await, 200);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(host.incidents().first().map(|(_, story)| story.clone()).filter(|story| story.contains("HEALED")))
    })
    .await?;
    assert!(verdict.contains("NOT HEALED") && verdict.contains("Alertmanager's webhook says that it fires"), "{verdict}");
    Ok(())
}

/// What `paramedic check --output json` says of this configuration, with its exit code.
async fn check(config: &Path, more: &[&str]) -> Result<(Option<i32>, serde_json::Value)> {
    let mut command = tokio::process::Command::new(crate::crash::binary());
    command.args(["check", "--output", "json", "--config"]).arg(config).args(more);
    let done = command.output().await?;
    let said = serde_json::from_slice(&done.stdout).context(String::from_utf8_lossy(&done.stderr).into_owned())?;
    Ok((done.status.code(), said))
}

#[tokio::test]
async fn check_warns_of_a_probe_that_passes_at_any_value() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (promql, warns) in [("probe_success{instance=\"x\"}", true), ("probe_success{instance=\"x\"} == 1", false)] {
        let mut setup = Setup::restarts("nothing").prometheus("http://127.0.0.1:1");
        setup.policy = setup.policy.replace("stable: 2s}", &format!("stable: 2s, probe: {{promql: '{promql}'}}}}"));
        let (code, said) = check(&setup.write(folder.path(), 0), &[]).await?;
        assert_eq!(code, Some(0), "{said}");
        let warnings = said["warnings"].as_array().context("a list")?;
        assert_eq!(warnings.len(), usize::from(warns), "{said}");
        assert!(warnings.iter().all(|w| w.as_str().is_some_and(|w| w.contains("compares nothing"))), "{said}");
    }
    Ok(())
}

/// A Prometheus that says this when it is asked for its loaded rules, and that nothing fires.
async fn with_loaded(status: u16, loaded: serde_json::Value) -> Result<String> {
    let status = StatusCode::from_u16(status)?;
    let rules = move |uri: axum::http::Uri| {
        let loading = uri.query().is_some_and(|query| query.contains("exclude_alerts"));
        let nothing = serde_json::json!({"status": "success", "data": {"groups": []}});
        let answer = if loading { (status, loaded.to_string()) } else { (StatusCode::OK, nothing.to_string()) };
        std::future::ready(answer)
    };
    let shown = || std::future::ready(r#"{"status":"success","data":{"yaml":""}}"#);
    let values = || std::future::ready(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
    let app = axum::Router::new()
        .route("/api/v1/rules", axum::routing::get(rules))
        .route("/api/v1/status/config", axum::routing::get(shown))
        .route("/api/v1/query", axum::routing::post(values));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

#[tokio::test]
async fn check_online_says_what_it_could_not_find_out_about_the_rules() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = with_loaded(500, serde_json::json!("out of memory")).await?;
    let config = Setup::restarts("nothing").prometheus(&url).write(folder.path(), 0);
    let (code, said) = check(&config, &["--online"]).await?;
    assert_eq!((code, said["unreachable"].as_array().map(Vec::len)), (Some(0), Some(0)), "{said}");
    let warning = said["warnings"][0].as_str().context("a warning")?;
    assert!(warning.contains("was not found out") && warning.contains("500"), "{warning}");

    // What no Prometheus can mean is a warning, and not the end of whoever asks.
    let rule = serde_json::json!({"type": "alerting", "name": "Down", "query": "x == 0", "keepFiringFor": 1.5e19});
    let groups = serde_json::json!([{"interval": 1.5e19, "rules": [rule]}]);
    let url = with_loaded(200, serde_json::json!({"status": "success", "data": {"groups": groups}})).await?;
    let config = Setup::restarts("nothing").prometheus(&url).write(folder.path(), 0);
    let (code, said) = check(&config, &["--online"]).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said["warnings"][0].as_str().is_some_and(|text| text.contains("rule Down")), "{said}");
    Ok(())
}

#[tokio::test]
async fn check_online_says_what_does_not_answer_and_who_does_not_wait() -> Result<()> {
    let rules = "  - {alert: Down, expr: demo_up == 0, keep_firing_for: 5m}";
    let mut prom = start_prometheus(rules, &[], None, "").await?;
    let folder = tempfile::tempdir()?;
    let setup = Setup::restarts("nothing").prometheus(&prom.url);
    let config = setup.write(folder.path(), 0);
    let (code, said) = check(&config, &["--online"]).await?;
    assert_eq!(code, Some(0), "a warning is no error: {said}");
    let warning = said["warnings"][0].as_str().context("a warning")?;
    assert!(warning.contains("`verify.within` is 40.0 s, but rule Down") && warning.contains("write `within: "), "{warning}");
    prom.kill().await?;
    let (code, said) = check(&config, &["--online"]).await?;
    assert_eq!((code, said["ok"].as_bool()), (Some(1), Some(false)), "{said}");
    assert!(said["unreachable"][0].as_str().is_some_and(|text| text.contains("cannot be reached")), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_log_says_at_the_start_and_once_what_is_wrong_with_what_is_looked_at() -> Result<()> {
    let rules = "  - {alert: Down, expr: demo_up == 0, keep_firing_for: 5m}";
    let mut prom = start_prometheus(rules, &[], None, "").await?;
    let folder = tempfile::tempdir()?;
    let mut setup = Setup::restarts("nothing").prometheus(&prom.url);
    setup.config += "docker: {hosts: {local: 'unix:///var/run/docker.sock', edge: 'unix:///nowhere/docker.sock'}}\n";
    let config = setup.write(folder.path(), 0);
    let log = folder.path().join("log");
    let mut command = tokio::process::Command::new(crate::crash::binary());
    command.arg("serve").arg("--config").arg(config).stderr(std::fs::File::create(&log)?).kill_on_drop(true);
    let _server = command.spawn()?;
    let said = |words: &'static str| std::fs::read_to_string(&log).unwrap_or_default().matches(words).count();
    let until = async |words: &'static str| within(30, words, || async { Ok((said(words) > 0).then_some(())) }).await;
    until("`verify.within` is 40.0 s, but rule Down").await?;
    until("a Docker engine cannot be asked").await?;
    assert_eq!(said("a source cannot be asked"), 0);
    prom.kill().await?;
    until("a source cannot be asked").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(said("a source cannot be asked"), 1);
    prom.start().await?;
    until("the source answers again").await?;
    assert_eq!(said("a Docker engine cannot be asked"), 1);
    Ok(())
}
