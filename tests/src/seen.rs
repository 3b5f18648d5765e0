//! Paramedic seen from outside: what real Prometheus scrapes, what the API answers, and that neither costs the others anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash::binary;
use crate::flow::{DOWN, WELL, labels, rule, service, until_restarted};
use crate::host::{Host, Setup};
use crate::programs::{Exporter, reqwest_client, start_prometheus, start_scraping, within};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Nothing can be done about what fires here: no such container is there.
fn nothing_there() -> Setup {
    Setup::restarts("seen-no-such-container").policy_line("when_unsure: act")
}

async fn get(host: &Host, path: &str) -> (StatusCode, Value) {
    ask(host, Method::GET, path, None).await
}

async fn ask(host: &Host, method: Method, path: &str, token: Option<&str>) -> (StatusCode, Value) {
    let request = reqwest_client().request(method, format!("{}{path}", host.url));
    let answer = token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn metrics(host: &Host) -> BTreeMap<String, f64> {
    // One look is good for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (status, text) = get(host, "/metrics").await;
    assert_eq!(status, 200);
    let lines = text.as_str().unwrap().lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

async fn command(host: &Host, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.args(arguments).env("PARAMEDIC_CONFIG", host.config()).env("PARAMEDIC_LOG", "warn");
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_that_a_service_was_healed_and_how_long_it_took() {
    let patient = service();
    let exporter = Exporter::start(WELL).await.unwrap();
    let prometheus = start_prometheus(&rule(&patient.name), &[&exporter], None, "").await.unwrap();
    let mut setup = Setup::restarts(&patient.name).prometheus(&prometheus.url);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    setup.config.push_str(&format!("auth: {{token_file: {}}}\n", token.display()));
    let host = Host::start(&setup).await;
    let scraper = start_scraping(host.url.trim_start_matches("http://"), &token).await.unwrap();

    exporter.set(DOWN);
    until_restarted(&patient, 1, 30).await;
    exporter.set(WELL);
    host.until("healed", 60).await;

    let value = async |query: &str| -> anyhow::Result<Option<f64>> {
        let request = reqwest_client().get(format!("{}/api/v1/query", scraper.url)).query(&[("query", query)]);
        let found: Value = request.send().await?.json().await?;
        Ok(found["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()))
    };
    for (query, expected) in [
        ("up{job=\"paramedic\"}", 1.0),
        ("paramedic_actions_total{kind=\"docker.restart\",outcome=\"succeeded\"}", 1.0),
        ("paramedic_verdicts_total{policy=\"heal\",verdict=\"healed\"}", 1.0),
        ("paramedic_incidents_closed_total{how=\"healed\"}", 1.0),
        ("paramedic_time_to_heal_seconds_count", 1.0),
        ("paramedic_first_response_seconds_count", 1.0),
        ("paramedic_first_response_seconds_bucket{le=\"5.0\"}", 1.0),
        ("sum(paramedic_incidents)", 0.0),
        ("paramedic_detector_up{kind=\"prometheus\"}", 1.0),
        ("paramedic_journal_ready", 1.0),
        ("paramedic_halted", 0.0),
        ("sum(paramedic_decisions_total{policy=\"heal\",decision=\"act\"})", 1.0),
    ] {
        within(20, query, async || Ok(value(query).await?.filter(|value| (*value - expected).abs() < f64::EPSILON)))
            .await
            .unwrap();
    }
    // Prometheus understood what each of them is.
    let request = reqwest_client().get(format!("{}/api/v1/targets/metadata", scraper.url));
    let known: Value = request.send().await.unwrap().json().await.unwrap();
    let kinds: BTreeSet<&str> = known["data"].as_array().unwrap().iter().filter_map(|one| one["type"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["counter", "gauge", "histogram"]), "{known}");
    assert_eq!(ask(&host, Method::GET, "/metrics", None).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_exactly_the_metrics_there_are() {
    let host = Host::start(&nothing_there()).await;
    host.send("firing", json!({ "alertname": "Down", "container": "seen-no-such-container" }), "2026-11-25T00:00:00Z").await;
    host.until("escalated", 20).await;
    let (_, text) = get(&host, "/metrics").await;
    let text = text.as_str().unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let type_of = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
    };
    let printed: BTreeSet<String> = text.lines().filter_map(type_of).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(here.join("../docs/operations.md")).unwrap();
    let listed: BTreeSet<&str> =
        docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    let unlisted: Vec<&String> = printed.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(unlisted.is_empty(), "docs/operations.md lacks {unlisted:?}");
    // What has no series yet is not printed, so what is listed is compared with what is registered.
    let source = std::fs::read_to_string(here.join("../host/src/api/metrics.rs")).unwrap();
    let registered: Vec<&str> =
        source.split('"').filter(|text| text.starts_with("paramedic_") || text.starts_with("process_")).collect();
    for name in listed.iter().filter(|name| name.starts_with("paramedic_") || name.starts_with("process_")) {
        let known = registered.iter().any(|known| *known == *name || format!("{known}_total") == **name);
        assert!(known, "docs/operations.md lists {name}, which nothing registers");
    }
    assert!(registered.len() > 25, "only {registered:?} were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_is_open_is_known_and_what_happened_is_counted_anew() {
    let mut host = Host::start(&nothing_there()).await;
    let starts = paramedic::clock::Time::now().to_string();
    host.send("firing", json!({ "alertname": "Down", "container": "seen-no-such-container" }), &starts).await;
    host.send("firing", json!({ "alertname": "Other" }), &starts).await;
    host.send("firing", json!({ "alertname": "Other" }), &starts).await;
    let shown = ["escalated", "watching", "held", "acting"].map(|state| format!("paramedic_incidents{{state=\"{state}\"}}"));
    let begun = Instant::now();
    let before = loop {
        let now = metrics(&host).await;
        if now[&shown[0]] + now[&shown[1]] == 2.0 {
            break now;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{now:#?}");
    };
    assert_eq!(shown.each_ref().map(|name| before[name]), [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(before["paramedic_alerts_heard_total{door=\"webhook\"}"], 3.0);
    assert_eq!(before["paramedic_incidents_opened_total{door=\"webhook\"}"], 2.0);
    assert_eq!(before["paramedic_journal_entries_total{kind=\"escalated\"}"], 1.0);
    assert!(before["process_resident_memory_bytes"] > 1e6 && before["paramedic_journal_bytes"] > 1e4);
    host.restart().await;
    let after = metrics(&host).await;
    assert_eq!(shown.each_ref().map(|name| after[name]), [1.0, 1.0, 0.0, 0.0]);
    assert!(!after.contains_key("paramedic_incidents_opened_total{door=\"webhook\"}"), "{after:#?}");
    // What is closed afterwards leaves the gauge, although this process never heard it open.
    let (code, _, error) = command(&host, &["incident", "list", "--state", "watching", "--output", "json"]).await;
    assert_eq!(code, Some(0), "{error}");
    let (_, list) = get(&host, "/api/v1/incidents?state=watching").await;
    let id = list["incidents"][0]["id"].as_str().unwrap().to_owned();
    let (code, _, error) = command(&host, &["incident", "close", &id, "--reason", "mine"]).await;
    assert_eq!(code, Some(0), "{error}");
    let closed = metrics(&host).await;
    assert_eq!((closed[&shown[1]], closed["paramedic_incidents_closed_total{how=\"person\"}"]), (0.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_what_is_there_page_by_page_and_refuses_the_rest_with_a_reason() {
    let host = Host::start(&nothing_there()).await;
    let starts = paramedic::clock::Time::now().to_string();
    for n in 0..5 {
        host.send("firing", json!({ "alertname": "Other", "n": n.to_string() }), &starts).await;
    }
    host.send(
        "firing",
        json!({ "alertname": "Down", "container": "seen-no-such-container", "evil": "\u{1b}[31m\u{202e}" }),
        &starts,
    )
    .await;
    host.until("escalated", 20).await;

    let mut seen = Vec::new();
    let mut path = "/api/v1/incidents?limit=2&since=1h".to_owned();
    for page in 0.. {
        let (status, list) = get(&host, &path).await;
        assert_eq!(status, 200, "{list}");
        seen.extend(list["incidents"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let Some(next) = list["next"].as_str() else { break };
        path = format!("/api/v1/incidents?limit=2&since=1h&cursor={next}");
        assert!(page < 10, "the pages do not end");
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 6, "each once: {seen:?}");

    let count =
        async |query: &str| get(&host, &format!("/api/v1/incidents?{query}")).await.1["incidents"].as_array().unwrap().len();
    assert_eq!(count("alertname=Other").await, 5);
    assert_eq!(count("match=n%3D~%220%7C1%22&open=true").await, 2);
    assert_eq!(count("policy=heal&state=escalated,held").await, 1);
    assert_eq!(count("state=closed").await, 0);
    assert_eq!(count("since=2099-01-01T00:00:00Z").await, 0);

    let newest = &seen[0];
    let (status, story) = get(&host, &format!("/api/v1/incidents/{newest}?limit=2")).await;
    assert_eq!(status, 200);
    assert_eq!(story["incident"]["policy"], "heal");
    assert_eq!(story["entries"][0]["event"]["kind"], "opened");
    assert_eq!((story["entries"].as_array().unwrap().len(), &story["next"]), (2, &json!(2)));
    let told = story["timeline"].to_string();
    assert!(!told.contains("\\u001b") && !told.contains('\u{202e}'), "{told}");
    let (_, rest) = get(&host, &format!("/api/v1/incidents/{}?after=2", &newest[..10])).await;
    assert_eq!((rest["entries"][0]["seq"].as_u64(), &rest["next"]), (Some(3), &Value::Null));

    let (_, policies) = get(&host, "/api/v1/policies").await;
    let policy = &policies["policies"][0];
    assert_eq!(
        (&policy["name"], &policy["mode"], &policy["brakes"]["cooldown"]),
        (&json!("heal"), &json!("enforce"), &json!("1s"))
    );
    assert_eq!(policy["brakes"]["attempts"], "5 per 30m");
    assert_eq!(policy["plugin"]["sha256"].as_str().unwrap().len(), 64);
    assert!(policy["file"].as_str().unwrap().ends_with("10-heal.yaml"));
    let (_, status) = get(&host, "/api/v1/status").await;
    assert_eq!((&status["ready"], &status["halted"], &status["policies"]["enforce"]), (&json!(true), &Value::Null, &json!(1)));
    assert_eq!(status["incidents"]["escalated"], 1);

    for (method, path, code, says) in [
        (Method::GET, "/api/v1/incidents?state=hold", 400, "awaiting-approval"),
        (Method::GET, "/api/v1/incidents?limit=1000", 400, "1 to 200"),
        (Method::GET, "/api/v1/incidents?colour=red", 400, "there are state, policy"),
        (Method::GET, "/api/v1/policies?x=1", 400, "not understood"),
        (Method::GET, "/api/v1/incidents/0000000000000000-1", 404, "there is no incident"),
        (Method::GET, "/api/v1/nothing", 404, "nothing here"),
        (Method::DELETE, "/api/v1/incidents", 405, "GET"),
        (Method::POST, "/metrics", 405, "GET"),
        (Method::POST, "/api/v1/incidents/0000000000000000-1", 403, "moves nothing"),
        (Method::POST, "/api/v1/incidents/0000000000000000-1/close", 403, "moves nothing"),
    ] {
        let (status, answer) = ask(&host, method.clone(), path, None).await;
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{method} {path}: no reason in {answer}"));
        assert!(status == code && error.contains(says), "{method} {path}: {status} {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_a_token_nobody_reads_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let mut setup = nothing_there();
    setup.config.push_str(&format!("auth: {{token_file: {}}}\n", token.display()));
    let host = Host::start(&setup).await;
    for path in
        ["/metrics", "/api/v1/incidents", "/api/v1/incidents/x", "/api/v1/policies", "/api/v1/status", "/api/v1/detectors"]
    {
        for wrong in [None, Some("wrong-wrong-wrong-wrong")] {
            let (status, answer) = ask(&host, Method::GET, path, wrong).await;
            assert!(status == 401 && answer["error"].is_string(), "{path}: {status} {answer}");
        }
        let (status, _) = ask(&host, Method::GET, path, Some(TOKEN)).await;
        assert_ne!(status, 401, "{path}");
    }
    // Health checks have no token to show, and say nothing that is secret.
    assert_eq!(ask(&host, Method::GET, "/-/ready", None).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_says_what_a_person_should_know_all_the_same() {
    let mut setup = nothing_there();
    setup.config.push_str("prometheus: http://127.0.0.1:1\n");
    let host = Host::start(&setup).await;
    let ready = async || get(&host, "/-/ready").await;
    let lost = within(20, "that Prometheus is lost", async || {
        let (_, text) = ready().await;
        Ok(text.as_str().filter(|text| text.contains("http://127.0.0.1:1 has not answered since")).map(str::to_owned))
    });
    assert!(lost.await.unwrap().starts_with("OK\n"));
    let (code, _, error) = command(&host, &["halt", "--reason", "moving storage"]).await;
    assert_eq!(code, Some(0), "{error}");
    let (status, text) = ready().await;
    assert_eq!(status, 200, "alerts are still taken in");
    assert!(text.as_str().unwrap().contains("moving storage") && text.as_str().unwrap().contains("paramedic resume"), "{text}");
    assert_eq!(metrics(&host).await["paramedic_halted"], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn careless_readers_starve_nobody() {
    let host = Host::start(&nothing_there()).await;
    let starts = paramedic::clock::Time::now().to_string();
    let alert = |n: usize| json!({ "status": "firing", "labels": { "alertname": "Storm", "n": n.to_string() }, "annotations": {}, "startsAt": starts });
    let message = json!({ "version": "4", "status": "firing", "alerts": (0..3_000).map(alert).collect::<Vec<_>>() });
    let sent = reqwest_client().post(format!("{}/alert", host.url)).timeout(Duration::from_secs(60)).json(&message).send().await;
    assert_eq!(sent.unwrap().status(), 200);

    // Each of them would read everything, and finds nothing.
    let careless = join_all((0..60).map(|_| get(&host, "/api/v1/incidents?policy=none-of-these")));
    let meanwhile = async {
        let mut slowest = Duration::ZERO;
        for n in 0..10 {
            let begun = Instant::now();
            assert_eq!(host.send("firing", json!({ "alertname": "Meanwhile", "n": n.to_string() }), &starts).await, 200);
            slowest = slowest.max(begun.elapsed());
        }
        let begun = Instant::now();
        assert_eq!(get(&host, "/metrics").await.0, 200);
        (slowest, begun.elapsed())
    };
    let (answers, (slowest, scraped)) = tokio::join!(careless, meanwhile);
    println!("careless readers: alerts were answered within {slowest:?}, a scrape within {scraped:?}");
    assert!(slowest < Duration::from_secs(3) && scraped < Duration::from_secs(5), "{slowest:?} {scraped:?}");
    for (status, answer) in answers {
        match status.as_u16() {
            200 => assert!(answer["next"].is_string(), "it is not read to its end at once: {answer}"),
            503 => assert!(answer["error"].as_str().unwrap().contains("ask again"), "{answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_on_the_command_line_is_what_the_api_lists() {
    let patient = service();
    let host = Host::start(&nothing_there()).await;
    let starts = paramedic::clock::Time::now().to_string();
    host.send("firing", labels(&patient), &starts).await;
    host.send("firing", json!({ "alertname": "Other\u{1b}[31m", "severity": "page" }), &starts).await;
    within(20, "both to rest", async || {
        Ok((get(&host, "/api/v1/incidents?state=escalated,watching").await.1["incidents"].as_array().unwrap().len() == 2)
            .then_some(()))
    })
    .await
    .unwrap();
    for (arguments, query) in [
        (vec!["--state", "escalated,held"], "state=escalated,held"),
        (vec!["--policy", "-"], "policy=-"),
        (vec!["--match", "severity=page", "--open"], "match=severity%3Dpage&open=true"),
        (vec!["--since", "1h", "--limit", "1"], "since=1h&limit=1"),
        (vec!["--all"], ""),
    ] {
        let all: Vec<&str> = ["incident", "list", "--output", "json"].into_iter().chain(arguments).collect();
        let (code, out, error) = command(&host, &all).await;
        assert_eq!(code, Some(0), "{error}");
        let (_, api) = get(&host, &format!("/api/v1/incidents?{query}")).await;
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), api["incidents"], "{all:?}");
    }
    let (_, text, _) = command(&host, &["incident", "list"]).await;
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let (code, _, error) = command(&host, &["incident", "list", "--state", "hold"]).await;
    assert!(code == Some(2) && error.contains("awaiting-approval"), "{error}");
    // Why nobody took it is in its story.
    let (_, story, _) = command(&host, &["incident", "list", "--policy", "-", "--output", "json"]).await;
    let id = serde_json::from_str::<Value>(&story).unwrap()[0]["id"].as_str().unwrap().to_owned();
    let (_, told, _) = command(&host, &["incident", "show", &id]).await;
    assert!(told.contains("no policy matches it: heal wants alertname=\"Down\", but it is \"Other"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ask_tells_for_every_policy_why_and_what_would_change_it() {
    let patient = service();
    let host = Host::start(&Setup::restarts(&patient.name)).await;
    let folder = host.config().parent().unwrap();
    let policy = |name: &str, rest: &str| format!("name: {name}\nplugin: restart-container.wasm\n{rest}\n");
    let write = |file: &str, text: String| std::fs::write(folder.join("policies").join(file), text).unwrap();
    write("05-watch.yaml", policy("watch", "match: ['alertname=\"Down\"']"));
    write("07-other.yaml", policy("other", "match: ['alertname=\"Up\"', 'severity=\"page\"']\nmode: enforce"));
    write("20-late.yaml", policy("late", "mode: enforce"));
    // Down for long enough for nothing to be somebody's repair.
    let starts = paramedic::clock::Time::now().to_string();
    let alert = json!({ "version": "4", "status": "firing", "alerts": [{ "status": "firing", "labels": labels(&patient), "annotations": {}, "startsAt": starts }] });
    let file = folder.join("alert.json");
    std::fs::write(&file, alert.to_string()).unwrap();
    let file = file.display().to_string();
    let (code, tree, error) = command(&host, &["ask", &file, "--tree"]).await;
    assert_eq!(code, Some(0), "{error}");
    for says in [
        "05-watch.yaml watch (observe): matches, and only observes",
        "REFUSED [not-granted]: policy watch has no grant to restart",
        "to change it: `mode: approve` or `mode: enforce` in 05-watch.yaml",
        "07-other.yaml other (enforce): does not match",
        "alertname=\"Up\", but it is \"Down\"",
        "severity=\"page\", but the alert has no such label",
        "10-heal.yaml heal (enforce): takes it",
        "20-late.yaml late (enforce): matches, but heal takes it first",
        "a file name that comes before",
        "=> would do docker.restart local/",
    ] {
        assert!(tree.contains(says), "no word of «{says}» in\n{tree}");
    }
    // The brakes are those of the journal: once it was restarted, it is too soon.
    write(
        "10-heal.yaml",
        std::fs::read_to_string(folder.join("policies/10-heal.yaml")).unwrap().replace("cooldown: 1s", "cooldown: 10m"),
    );
    host.send("firing", labels(&patient), &starts).await;
    until_restarted(&patient, 1, 30).await;
    let held = within(30, "that it is held", async || {
        let (_, out, _) = command(&host, &["ask", &file, "--output", "json"]).await;
        let verdict = serde_json::from_str::<Value>(&out)?[0]["verdict"].as_str().unwrap_or_default().to_owned();
        Ok(verdict.starts_with("HELD [").then_some(verdict))
    });
    let held = held.await.unwrap();
    assert!(held.contains(&patient.name) || held.contains("cooldown"), "{held}");
}

/// Sections of a unit file, with their settings as they stand there.
fn unit(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_service_unit_calls_commands_that_there_are_and_keeps_what_it_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stack/systemd");
    let text = std::fs::read_to_string(folder.join("paramedic.service")).unwrap();
    let unit = unit(&text);
    let all = |name: &str| unit.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    // Each command is typed as it stands, on a configuration that is not there: it must be understood, and not go further.
    for line in all("ExecStartPre").into_iter().chain(all("ExecStart")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "/usr/bin/paramedic");
        let missing = words[1..].iter().map(|word| word.replace("/etc/paramedic", "/nonexistent/paramedic"));
        let output = std::process::Command::new(binary()).args(missing).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/nonexistent/paramedic/paramedic.yaml") && said.contains("cannot be read"), "{line}: {said}");
        assert!(matches!(output.status.code(), Some(1 | 78)), "{line}: {:?}", output.status);
    }
    for (name, value, why) in [
        ("KillMode", "process", "a playbook outlives a restart"),
        ("Type", "notify", "the server says when its doors are open"),
        ("Restart", "always", ""),
        ("StateDirectory", "paramedic", ""),
        ("ProtectSystem", "strict", ""),
        ("NoNewPrivileges", "yes", ""),
    ] {
        assert_eq!(all(name), [value], "{name}: {why}");
    }
    assert!(all("MemoryDenyWriteExecute").is_empty(), "plugins could not be compiled");
    assert!(
        all("PrivateTmp").is_empty() && all("DynamicUser").is_empty(),
        "a playbook that lives on would lose its files or its user"
    );
    let user = std::fs::read_to_string(folder.join("sysusers.conf")).unwrap();
    assert!(user.contains(&format!("\nu {} ", all("User")[0])), "the user is made");
    // What stands in the documentation is what is shipped.
    let docs = std::fs::read_to_string(folder.join("../../docs/operations.md")).unwrap();
    for credential in all("LoadCredential") {
        let (name, _) = credential.split_once(':').unwrap();
        assert!(
            docs.contains(&format!("/run/credentials/paramedic.service/{name}")),
            "docs/operations.md does not say where {name} is"
        );
    }
    let seconds = |name: &str| all(name)[0].trim_end_matches('s').parse::<u64>().unwrap();
    let within = paramedic::config::Config::default().shutdown_within.as_secs();
    assert!(seconds("TimeoutStopSec") > within, "it is given the time that it takes for itself ({within} s)");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_the_doors_is_told_when_they_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let config = nothing_there().write(folder.path(), 0);
    let socket = folder.path().join("notify");
    let listener = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let mut server = Command::new(binary());
    server.arg("serve").arg("--config").arg(config).env("NOTIFY_SOCKET", &socket).kill_on_drop(true);
    let mut server = server.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut said = [0; 64];
    let told = tokio::time::timeout(Duration::from_secs(30), listener.recv(&mut said)).await;
    let length = told.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&said[..length]).trim(), "READY=1");
    server.kill().await.unwrap();
}

#[test]
fn the_rules_about_paramedic_itself_ring_when_they_should_and_name_what_there_is() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let output =
        std::process::Command::new("promtool").args(["test", "rules", "prometheus-rules.test.yml"]).current_dir(&docs).output();
    let output = output.expect("promtool comes with Debian's prometheus");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr));
    let (rules, tests) = ("prometheus-rules.yml", "prometheus-rules.test.yml");
    let [rules, tests] = [rules, tests].map(|file| std::fs::read_to_string(docs.join(file)).unwrap());
    let table = std::fs::read_to_string(docs.join("operations.md")).unwrap();
    for name in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("paramedic_")) {
        let listed = format!("| `{}`", name.trim_end_matches("_bucket"));
        assert!(table.contains(&listed), "{name} is no metric of Paramedic");
    }
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}")), "nobody tries {alert}");
    }
}
