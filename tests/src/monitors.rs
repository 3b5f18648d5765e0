//! The eyes on Prometheus and Alertmanager, and verification by them, against the real programs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::any;
use paramedic::alert::{Alert, Family, Key, Labels, Via};
use paramedic::clock::Time;
use paramedic::incident::{Rule, Verdict};
use paramedic::look::alertmanager::{self, Alertmanager};
use paramedic::look::http::{BaseUrl, LookError};
use paramedic::look::prometheus::{self, Prometheus, State};
use paramedic::look::sight::{Fires, Sources};
use paramedic::policy::Verify;
use paramedic::receive::poll::Poller;
use paramedic::verify::{Attempt, Seen, TargetState, Verifier};
use serde_json::json;

use crate::programs::{Exporter, Program, reqwest_client, start_alertmanager, start_prometheus, within};

/// A label value that tries to leave its quotes.
const HOSTILE: &str = "\"} or vector(0) #\\ \n{{ $labels }} '`";

pub fn base(url: &str) -> Result<BaseUrl> {
    BaseUrl::parse(url).map_err(anyhow::Error::msg)
}

pub fn eye(url: &str) -> Result<Arc<Prometheus>> {
    Ok(Arc::new(Prometheus::new(&prometheus::Settings::new(base(url)?))?))
}

fn manager(url: &str) -> Result<Arc<Alertmanager>> {
    Ok(Arc::new(Alertmanager::new(&alertmanager::Settings::new(base(url)?))?))
}

pub fn drop_replica() -> Arc<[String]> {
    Arc::new(["replica".to_owned()])
}

pub fn sources(prometheus: &[&str], alertmanager: &[&str]) -> Result<Sources> {
    Ok(Sources {
        prometheus: prometheus.iter().map(|url| eye(url)).collect::<Result<_>>()?,
        alertmanager: alertmanager.iter().map(|url| manager(url)).collect::<Result<_>>()?,
        drop: drop_replica(),
    })
}

fn key(alert: &Alert) -> Key {
    Key::of(alert.family, &alert.labels, &drop_replica())
}

/// The first alert of that name that this door lists as firing, once it does.
pub async fn firing(poller: &Poller, via: Via, name: &str) -> Result<Alert> {
    within(60, &format!("{name} firing at {via}"), || async {
        let listed = poller.once().await.into_iter().filter(|(_, v, _)| *v == via).filter_map(|(_, _, alerts)| alerts.ok());
        Ok(listed.flatten().find(|alert| alert.name() == name))
    })
    .await
}

pub async fn healthy(verifier: &Verifier, alert: &Alert, since: Time) -> Result<String> {
    within(30, &format!("a healthy {}", alert.name()), || async {
        Ok(if let Seen::Healthy(text) = verifier.look(alert, since).await { Some(text) } else { None })
    })
    .await
}

/// Looks again and again for so long; fails as soon as anything is called healthy. Gives what was seen last.
pub async fn never_healthy(verifier: &Verifier, alert: &Alert, since: Time, length: Duration) -> Result<Seen> {
    let end = Instant::now() + length;
    loop {
        let seen = verifier.look(alert, since).await;
        ensure!(!matches!(seen, Seen::Healthy(_)), "falsely {seen:?}");
        if Instant::now() > end {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub fn unclear(seen: Seen) -> Result<String> {
    if let Seen::Unclear(text) | Seen::Suspect(text) | Seen::Unwatched(text) = seen {
        Ok(text)
    } else {
        bail!("not unclear but {seen:?}")
    }
}

const DOWN: &str = "  - {alert: Down, expr: demo_up == 0, labels: {severity: critical}, annotations: {summary: 'it is down'}}";

#[tokio::test]
async fn both_tell_the_same_alert_and_it_is_healed_by_new_samples_only() -> Result<()> {
    let escaped = HOSTILE.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let metrics = |value: u8| format!("demo_up{{name=\"{escaped}\"}} {value}\n");
    let exporter = Exporter::start(&metrics(0)).await?;
    let am = start_alertmanager("").await?;
    let prom = start_prometheus(DOWN, &[&exporter], Some(&am.url), "").await?;
    let sources = sources(&[&prom.url], &[&am.url])?;
    let (poller, verifier) = (Poller::new(&sources, Duration::from_secs(1)), Verifier::new(sources));

    let by_prometheus = firing(&poller, Via::Prometheus, "Down").await?;
    let by_alertmanager = firing(&poller, Via::Alertmanager, "Down").await?;
    assert_eq!(by_prometheus.labels, by_alertmanager.labels);
    assert_eq!(by_prometheus.labels.get("name").map(String::as_str), Some(HOSTILE));
    assert_eq!(by_prometheus.labels.get("cluster").map(String::as_str), Some("test"));
    let mut other_replica = by_prometheus.clone();
    other_replica.labels.insert("replica".to_owned(), "b".to_owned());
    assert_eq!(key(&other_replica), key(&by_alertmanager));
    assert!(matches!(poller.sight().fires(&key(&by_alertmanager)), Fires::Yes { .. }));

    let alert = other_replica;
    let seen = verifier.look(&alert, Time::now()).await;
    assert!(matches!(&seen, Seen::Firing(text) if text.contains("Prometheus")), "{seen:?}");

    exporter.set(&metrics(1));
    healthy(&verifier, &alert, Time::now().minus(Duration::from_secs(60))).await?;
    // It is quiet now. An action that ends only in five seconds cannot be the reason.
    let ended = Time::now().plus(Duration::from_secs(5));
    let text = unclear(verifier.look(&alert, ended).await)?;
    assert!(text.contains("was not evaluated since the action"), "{text}");
    healthy(&verifier, &alert, ended).await?;
    assert!(Time::now() > ended, "healthy before the action ended");

    let attempt = Attempt { alert: &alert, begun: Time::now(), ended: Time::now(), starts_target: true };
    let settings = Verify { within: Duration::from_secs(30), stable: Duration::from_secs(4), ..Verify::default() };
    let (verdict, text) = verifier.verify(&attempt, &settings, || async { None }, |_| None).await;
    assert_eq!(verdict, Verdict::Healed, "{text}");
    assert!(text.contains("Down on samples of"), "{text}");
    poller.once().await;
    let fires = poller.sight().fires(&key(&alert));
    assert!(matches!(fires, Fires::No { .. }) && !fires.cleared(), "{fires:?}");
    Ok(())
}

#[tokio::test]
async fn old_samples_prove_nothing_although_the_rule_is_evaluated() -> Result<()> {
    // The sample keeps its own time, as from a gateway whose jobs have ended: evaluated again and again, and never new.
    let frozen = Time::now();
    let exporter = Exporter::start(&format!("demo_up 1 {}\n", frozen.0)).await?;
    let prom = start_prometheus(DOWN, &[&exporter], None, "").await?;
    let verifier = Verifier::new(sources(&[&prom.url], &[])?);
    let labels =
        [("alertname", "Down"), ("severity", "critical"), ("job", "demo"), ("instance", &exporter.address), ("cluster", "test")];
    let alert = alert(&labels);
    healthy(&verifier, &alert, frozen.minus(Duration::from_millis(1))).await?;
    let seen = never_healthy(&verifier, &alert, frozen, Duration::from_secs(4)).await?;
    assert!(matches!(&seen, Seen::Unclear(text) if text.contains("still looks at samples of")), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn a_prometheus_that_was_restarted_is_not_believed_too_early() -> Result<()> {
    let exporter = Exporter::start("demo_up 0\n").await?;
    let rule = "  - {alert: Down, expr: demo_up == 0, for: 3s}";
    let mut prom = start_prometheus(rule, &[&exporter], None, "").await?;
    let sources = sources(&[&prom.url], &[])?;
    let (poller, verifier) = (Poller::new(&sources, Duration::from_secs(1)), Verifier::new(sources));
    let pending = within(60, "a pending alert", || async {
        let alerts = eye(&prom.url)?.alerts().await?;
        Ok(alerts.into_iter().find(|a| a.state == State::Pending).map(|a| a.alert))
    });
    let pending = pending.await?;
    poller.once().await;
    assert!(matches!(poller.sight().fires(&key(&pending)), Fires::Pending { .. } | Fires::Yes { .. }));
    let seen = verifier.look(&pending, Time::now()).await;
    assert!(matches!(&seen, Seen::Suspect(text) if text.contains("pending")) || matches!(seen, Seen::Firing(_)), "{seen:?}");
    let alert = firing(&poller, Via::Prometheus, "Down").await?;
    assert_eq!(alert.starts_at, pending.starts_at.plus(Duration::from_secs(3)), "while it was pending it did not fire");

    let since = Time::now();
    prom.kill().await?;
    let text = unclear(verifier.look(&alert, since).await)?;
    assert!(text.contains("cannot be reached"), "{text}");
    poller.once().await;
    assert!(matches!(poller.sight().fires(&key(&alert)), Fires::CannotTell { .. }));
    let (_, watched) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            prom.start().await
        },
        never_healthy(&verifier, &alert, since, Duration::from_secs(12))
    );
    assert!(matches!(watched?, Seen::Firing(_)), "it fires again after the restart");
    let attempt = Attempt { alert: &alert, begun: since, ended: Time::now(), starts_target: true };
    let settings = Verify { within: Duration::from_secs(1), stable: Duration::ZERO, ..Verify::default() };
    let (verdict, text) = verifier.verify(&attempt, &settings, || async { None }, |_| None).await;
    assert_eq!(verdict, Verdict::NotHealed, "{text}");
    // The target that was started is seen down: that is said long before time is up.
    let down = || async { Some(TargetState { state: "exited".to_owned(), health: None, started: None }) };
    let begun = Instant::now();
    let (verdict, text) = verifier.verify(&attempt, &Verify::default(), down, |_| None).await;
    assert_eq!(verdict, Verdict::NotHealed, "{text}");
    assert!(text.contains("exited") && begun.elapsed() < Duration::from_secs(30), "{text}");
    exporter.set("demo_up 1\n");
    healthy(&verifier, &alert, Time::now()).await?;
    Ok(())
}

#[tokio::test]
async fn a_series_that_vanished_is_not_healthy_although_its_neighbour_is() -> Result<()> {
    let exporter = Exporter::start("demo_up{name=\"a\"} 0\ndemo_up{name=\"b\"} 1\n").await?;
    // The second rule makes up a label, so that no series has all of its alert's labels.
    let rules =
        format!("{DOWN}\n  - {{alert: MadeUp, expr: 'label_replace(demo_up == 0, \"host\", \"h-$1\", \"name\", \"(.*)\")'}}");
    // The third one is told to others under more labels than Prometheus itself shows.
    let relabel = "  alert_relabel_configs:\n  - {source_labels: [alertname], target_label: team, replacement: web}";
    let am = start_alertmanager("").await?;
    let prom = start_prometheus(&rules, &[&exporter], Some(&am.url), relabel).await?;
    let sources = sources(&[&prom.url], &[&am.url])?;
    let (poller, verifier) = (Poller::new(&sources, Duration::from_secs(1)), Verifier::new(sources));
    let down = firing(&poller, Via::Prometheus, "Down").await?;
    let made_up = firing(&poller, Via::Prometheus, "MadeUp").await?;
    let relabelled = firing(&poller, Via::Alertmanager, "Down").await?;
    assert_eq!(relabelled.labels.get("team").map(String::as_str), Some("web"));
    assert!(!matches!(verifier.look(&relabelled, Time::now()).await, Seen::Healthy(_)));

    exporter.set("demo_up{name=\"b\"} 1\n");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let since = Time::now();
    for alert in [&down, &made_up, &relabelled] {
        let seen = never_healthy(&verifier, alert, since, Duration::from_secs(2)).await?;
        assert!(unclear(seen)?.contains("no samples any more"), "{alert:?}");
    }
    exporter.set("demo_up{name=\"a\"} 1\ndemo_up{name=\"b\"} 1\n");
    for alert in [&down, &made_up, &relabelled] {
        healthy(&verifier, alert, since).await?;
    }
    // A rule that is not there says nothing.
    let mut other = down;
    other.labels.insert("severity".to_owned(), "warning".to_owned());
    let text = unclear(verifier.look(&other, since).await)?;
    assert!(text.contains("has no rule Down"), "{text}");
    Ok(())
}

pub fn alert(labels: &[(&str, &str)]) -> Alert {
    let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Alert {
        family: Family::Prometheus,
        status: paramedic::alert::Status::Firing,
        labels,
        annotations: Labels::new(),
        starts_at: Time::now(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: None,
    }
}

/// Tells Alertmanager that it fires, as Prometheus would.
async fn post(am: &Program, alerts: &[&Alert]) -> Result<()> {
    let bodies: Vec<_> = alerts.iter().map(|a| json!({"labels": a.labels, "startsAt": a.starts_at.to_string()})).collect();
    let request = reqwest_client().post(format!("{}/api/v2/alerts", am.url)).json(&bodies);
    request.send().await?.error_for_status()?;
    Ok(())
}

async fn silence(am: &Program, by: &str, matcher: serde_json::Value) -> Result<String> {
    let end = Time::now().plus(Duration::from_secs(600)).to_string();
    let body = json!({"matchers": [matcher], "startsAt": Time::now().to_string(), "endsAt": end, "createdBy": by, "comment": "changing\nthe disk"});
    let answer = reqwest_client().post(format!("{}/api/v2/silences", am.url)).json(&body).send().await?.error_for_status()?;
    let answer: serde_json::Value = answer.json().await?;
    Ok(answer.get("silenceID").and_then(serde_json::Value::as_str).context("an id")?.to_owned())
}

async fn end_silence(am: &Program, id: &str) -> Result<()> {
    reqwest_client().delete(format!("{}/api/v2/silence/{id}", am.url)).send().await?.error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn a_person_s_silence_holds_and_our_own_does_not() -> Result<()> {
    let inhibit =
        "inhibit_rules: [{source_matchers: [alertname=Datacenter], target_matchers: [severity=critical], equal: [cluster]}]";
    let am = start_alertmanager(inhibit).await?;
    let eyes = manager(&am.url)?;
    let drop = drop_replica();
    let hostile = format!("Web {HOSTILE}");
    for name in ["Web_Down", hostile.as_str()] {
        let alert = alert(&[("alertname", name), ("severity", "critical"), ("cluster", "c"), ("replica", "a")]);
        let by_regex = json!({"name": "alertname", "value": "Web.(?s:.*)", "isRegex": true});
        // Not listed, as after a restart: the silences are matched here.
        let id = silence(&am, "eve", by_regex.clone()).await?;
        let hold = eyes.suppression(&alert.labels, &drop).await?.context("held although not listed")?;
        assert_eq!((hold.rule, hold.by.as_str(), hold.why.as_str()), (Rule::Silenced, "eve", "changing the disk"));
        assert!(hold.until.is_some_and(|until| until > Time::now()));
        end_silence(&am, &id).await?;
        assert_eq!(eyes.suppression(&alert.labels, &drop).await?, None);

        post(&am, &[&alert]).await?;
        assert_eq!(eyes.suppression(&alert.labels, &drop).await?, None);
        let own = silence(&am, "paramedic", by_regex.clone()).await?;
        let listed = eyes.same(&alert.labels, &drop).await?;
        assert!(listed.iter().all(|a| a.suppressed.as_ref().is_some_and(|s| s.silenced_by == [own.clone()])), "{listed:?}");
        assert_eq!(eyes.suppression(&alert.labels, &drop).await?, None, "our own silence holds nothing");
        let other = silence(&am, "eve", by_regex).await?;
        let hold = eyes.suppression(&alert.labels, &drop).await?.context("held beside our own")?;
        assert_eq!(hold.by, "eve");
        // Another replica's words about it, not listed in these words, are the same alert.
        let mut replica = alert.labels.clone();
        replica.insert("replica".to_owned(), "b".to_owned());
        assert!(eyes.suppression(&replica, &drop).await?.is_some());
        end_silence(&am, &other).await?;
        end_silence(&am, &own).await?;
        assert_eq!(eyes.suppression(&alert.labels, &drop).await?, None);
    }

    let web = alert(&[("alertname", "Web_Down"), ("severity", "critical"), ("cluster", "c"), ("replica", "a")]);
    let source = alert(&[("alertname", "Datacenter"), ("cluster", "c")]);
    post(&am, &[&source]).await?;
    let hold = within(10, "an inhibition", || async { Ok(eyes.suppression(&web.labels, &drop).await?) }).await?;
    assert_eq!((hold.rule, hold.by.as_str()), (Rule::Inhibited, "Datacenter"));
    assert_eq!(eyes.suppression(&source.labels, &drop).await?, None);
    Ok(())
}

#[tokio::test]
async fn an_alertmanager_that_was_restarted_is_not_quiet_and_never_says_well() -> Result<()> {
    let mut am = start_alertmanager("").await?;
    let sources = sources(&[], &[&am.url])?;
    let (poller, verifier) = (Poller::new(&sources, Duration::from_secs(1)), Verifier::new(sources));
    let before = Time::now().minus(Duration::from_secs(1));
    let web = alert(&[("alertname", "Web"), ("job", "w")]);
    post(&am, &[&web]).await?;
    firing(&poller, Via::Alertmanager, "Web").await?;
    assert!(matches!(poller.sight().fires(&key(&web)), Fires::Yes { by } if by.contains("Alertmanager")));
    assert!(matches!(verifier.look(&web, before).await, Seen::Firing(_)));
    // Listed, but nobody said so since the action.
    let since = Time::now().plus(Duration::from_secs(1));
    unclear(verifier.look(&web, since).await)?;

    am.kill().await?;
    poller.once().await;
    assert!(matches!(poller.sight().fires(&key(&web)), Fires::CannotTell { reason } if reason.contains("cannot be reached")));
    assert!(poller.sight().sources().iter().all(|s| !s.reachable && s.last_error.is_some() && s.last_success.is_some()));
    am.start().await?;
    poller.once().await;
    let fires = poller.sight().fires(&key(&web));
    assert!(matches!(fires, Fires::No { quiet, .. } if quiet < Duration::from_secs(30)), "{fires:?}");
    assert!(!fires.cleared());
    let attempt = Attempt { alert: &web, begun: before, ended: before, starts_target: true };
    let settings = Verify { within: Duration::from_secs(3), stable: Duration::ZERO, ..Verify::default() };
    let (verdict, text) = verifier.verify(&attempt, &settings, || async { None }, |_| None).await;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("was started") && text.contains("may not have been told yet"), "{text}");
    // So a container's own health check is not believed here either: the alert may fire unheard.
    let (verdict, text) = verifier.verify(&attempt, &settings, healthy_container(before), |_| None).await;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    Ok(())
}

/// A container whose own health check passes, and when it was started.
fn healthy_container(started: Time) -> impl Fn() -> std::future::Ready<Option<TargetState>> {
    let state = TargetState { state: "running".to_owned(), health: Some("healthy".to_owned()), started: Some(started) };
    move || std::future::ready(Some(state.clone()))
}

/// An Alertmanager that has been up since 2020, and lists this.
async fn old_alertmanager(alerts: serde_json::Value) -> Result<String> {
    let (alerts, status) = (alerts.to_string(), json!({"uptime": "2020-01-01T00:00:00Z"}).to_string());
    let app = Router::new()
        .route("/api/v2/alerts", any(move || std::future::ready(alerts.clone())))
        .route("/api/v2/status", any(move || std::future::ready(status.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

#[tokio::test]
async fn a_container_s_own_health_check_counts_where_nobody_else_could_know() -> Result<()> {
    let settings = Verify { within: Duration::from_secs(3), stable: Duration::ZERO, ..Verify::default() };
    let before = Time::now().minus(Duration::from_secs(1));
    let web = alert(&[("alertname", "Web"), ("job", "w")]);
    let docker = Alert { family: Family::Docker, ..web.clone() };
    let look = async |sources: Sources, alert: &Alert, started: Time| {
        let attempt = Attempt { alert, begun: before, ended: before, starts_target: true };
        Verifier::new(sources).verify(&attempt, &settings, healthy_container(started), |_| None).await
    };
    let quiet = old_alertmanager(json!([])).await?;
    let (verdict, text) = look(sources(&[], &[&quiet])?, &web, before).await;
    assert_eq!(verdict, Verdict::Healed, "{text}");
    let (verdict, text) = look(sources(&[], &[])?, &web, before).await;
    assert_eq!(verdict, Verdict::Healed, "{text}");
    // Healthy since before the action is no news.
    let (verdict, text) = look(sources(&[], &[&quiet])?, &web, before.minus(Duration::from_secs(9))).await;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    // Alertmanager has not been told that it is over.
    let told = before.minus(Duration::from_secs(30)).to_string();
    let listed =
        json!([{"labels": web.labels, "startsAt": told, "updatedAt": told, "endsAt": "2100-01-01T00:00:00Z", "status": {}}]);
    let (verdict, text) = look(sources(&[], &[&old_alertmanager(listed).await?])?, &web, before).await;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("still lists it, from before"), "{text}");
    // Prometheus' own alert whose rule it does not have: the rule may just have been removed. Another family's alert is not its business.
    let prom = start_prometheus(DOWN, &[], None, "").await?;
    let (verdict, text) = look(sources(&[&prom.url], &[&quiet])?, &web, before).await;
    assert_eq!(verdict, Verdict::Unclear, "{text}");
    assert!(text.contains("has no rule Web"), "{text}");
    let (verdict, text) = look(sources(&[&prom.url], &[&quiet])?, &docker, before).await;
    assert_eq!(verdict, Verdict::Healed, "{text}");
    assert!(text.contains("own health check passes since the action"), "{text}");
    Ok(())
}

/// A program that answers every request in the same wrong way.
pub async fn liar<F, R>(answer: F) -> Result<String>
where
    F: Fn(HeaderMap) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    let app = Router::new().fallback(any(move |headers: HeaderMap| async move { answer(headers) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

async fn error_of(url: &str) -> Result<LookError> {
    let settings = prometheus::Settings { external_labels: Some(Labels::new()), ..prometheus::Settings::new(base(url)?) };
    let by_prometheus = Prometheus::new(&settings)?.alerts().await;
    let by_alertmanager = manager(url)?.alerts().await;
    let (Err(error), Err(other)) = (by_prometheus, by_alertmanager) else { bail!("an answer was believed") };
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&other), "{error} / {other}");
    Ok(error)
}

#[tokio::test]
async fn answers_that_cannot_be_right_are_refused() -> Result<()> {
    for body in
        ["", "[1", "{}", "\"x\"", "[{\"labels\": {\"a\": 1}}]", "<html>", "{\"status\":\"success\",\"data\":{\"groups\":[{}]}}"]
    {
        let error = error_of(&liar(move |_| body).await?).await?;
        assert!(matches!(error, LookError::Invalid { .. }), "{body}: {error}");
    }
    let endless = || Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let error = error_of(&liar(move |_| endless()).await?).await?;
    assert!(matches!(error, LookError::TooLarge { .. }), "{error}");
    let error = error_of(&liar(|_| (StatusCode::BAD_GATEWAY, "\u{1b}[2J no backend".to_owned())).await?).await?;
    assert!(error.to_string().contains("no backend") && !error.to_string().contains('\u{1b}'), "{error}");
    let slow = || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let error = error_of(&liar(move |_| slow()).await?).await?;
    assert!(matches!(error, LookError::TimedOut { .. }), "{error}");
    let error = error_of("http://127.0.0.1:1").await?;
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_token_goes_where_it_belongs_and_nowhere_else() -> Result<()> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    let answer = move |headers: HeaderMap| {
        let token = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
        heard.lock().map(|mut heard| heard.push(token)).unwrap_or_default();
        "[]"
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n")?;
    let honest = liar(answer).await?;
    let settings =
        |url: &str| Ok::<_, anyhow::Error>(alertmanager::Settings { url: base(url)?, bearer_token_file: Some(file.clone()) });
    let eyes = Alertmanager::new(&settings(&honest)?)?;
    eyes.alerts().await?;
    std::fs::write(&file, "second\n")?;
    eyes.alerts().await?;
    let target = honest.clone();
    let redirecting = liar(move |_| Redirect::temporary(&target)).await?;
    let error = Alertmanager::new(&settings(&redirecting)?)?.alerts().await.err().context("a redirect was followed")?;
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    let said = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
    assert_eq!(said, [Some("Bearer first".to_owned()), Some("Bearer second".to_owned())]);
    std::fs::remove_file(&file)?;
    let error = eyes.alerts().await.err().context("no token, no question")?;
    assert!(matches!(error, LookError::Token { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn polling_hands_over_what_fires_and_a_source_that_hangs_delays_no_other() -> Result<()> {
    let am = start_alertmanager("").await?;
    let hanging = liar(|_| Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())).await?;
    let poller = Poller::new(&sources(&[&hanging], &[&am.url])?, Duration::from_millis(200));
    let web = alert(&[("alertname", "Web")]);
    post(&am, &[&web]).await?;
    let heard = Mutex::new(Vec::new());
    let hear = |via, alerts: Vec<Alert>| {
        heard.lock().map(|mut heard| heard.push((via, alerts))).unwrap_or_default();
        std::future::ready(())
    };
    tokio::time::timeout(Duration::from_secs(3), poller.run(hear)).await.err().context("it never ends by itself")?;
    let heard = heard.into_inner().unwrap_or_default();
    ensure!(heard.len() >= 3, "heard {} times in three seconds", heard.len());
    for (via, alerts) in heard {
        assert_eq!(via, Via::Alertmanager);
        assert_eq!(alerts.iter().map(key).collect::<Vec<_>>(), [key(&web)]);
    }
    assert!(matches!(poller.sight().fires(&key(&web)), Fires::Yes { .. }));
    Ok(())
}
