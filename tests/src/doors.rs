//! The doors as senders meet them: over HTTP, with messages that real programs sent and with messages nobody should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use paramedic::alert::{Alert, Family, Key, Status, Via};
use paramedic::clock::Time;
use paramedic::receive::auth::Settings;
use paramedic::receive::http::{Doors, Hear, HearError, Patience, Ready};
use paramedic::receive::{post, webhook};
use paramedic::shutdown::Shutdown;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Doors that are open, and what was heard through them.
struct Open {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<(Via, Alert)>>>,
    broken: Arc<AtomicBool>,
    shutdown: Shutdown,
    served: JoinHandle<std::io::Result<()>>,
    client: Client,
}

const QUICK: Patience = Patience {
    head: Duration::from_millis(400),
    body: Duration::from_millis(800),
    hear: Duration::from_millis(400),
    stop: Duration::from_millis(600),
};

impl Open {
    async fn new() -> Self {
        Self::with(Settings::default(), Patience::default()).await
    }

    async fn with(settings: Settings, patience: Patience) -> Self {
        let (heard, broken) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let hear: Hear = {
            let (heard, broken) = (Arc::clone(&heard), Arc::clone(&broken));
            Arc::new(move |via, alerts| {
                let (heard, broken) = (Arc::clone(&heard), broken.load(Ordering::SeqCst));
                Box::pin(async move {
                    if broken {
                        return Err(HearError("the disk is full at /secret/path".to_owned()));
                    }
                    if alerts.iter().any(|alert| alert.name() == "Slow") {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    heard.lock().unwrap().extend(alerts.into_iter().map(|alert| (via, alert)));
                    Ok(())
                })
            })
        };
        let ready = Arc::clone(&broken);
        let ready: Ready = Arc::new(move || {
            let broken = ready.load(Ordering::SeqCst);
            Box::pin(async move { if broken { Err("the journal is gone".to_owned()) } else { Ok(Vec::new()) } })
        });
        let doors = Doors::new(&settings, hear).unwrap().ready(ready).patience(patience);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let served = tokio::spawn(doors.serve(listener, shutdown.clone()));
        // reqwest is built without a TLS provider; losing the race to install one is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { address, heard, broken, shutdown, served, client }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> (StatusCode, String) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, location) = (response.status(), response.headers().get("location").cloned());
        assert!(!status.is_redirection() && location.is_none(), "a redirect loses the alert: {status} {location:?}");
        let text = response.text().await.unwrap();
        assert!(text.len() < 700, "it all ends up in the sender's log: {text}");
        (status, text)
    }

    async fn alert(&self, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
        self.send(Method::POST, "/alert", &[("content-type", "application/json")], body).await
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
        self.send(Method::POST, "/api/v2/alerts", &[("content-type", "application/json")], body).await
    }

    fn heard(&self) -> Vec<(Via, Alert)> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// Writes raw bytes and reads whatever comes back until the connection ends.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // Whoever is refused may find the connection closed before everything is written.
        stream.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        read.expect("the connection has to end").ok();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/alerts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap())).collect()
}

fn firing(name: &str) -> Value {
    json!({"status": "firing", "labels": {"alertname": name}, "startsAt": "2026-11-22T10:24:36Z"})
}

fn message(alerts: &[Value]) -> String {
    json!({"version": "4", "alerts": alerts}).to_string()
}

/// The parsed alerts say what the file says, read by other means.
#[tokio::test]
async fn what_real_programs_sent_is_heard_as_they_meant_it() {
    let open = Open::new().await;
    let files = fixtures();
    assert_eq!(files.len(), 14);
    for (name, body) in files {
        let json: Value = serde_json::from_slice(&body).unwrap();
        let webhook = json.is_object();
        let (status, text) = if webhook { open.alert(body).await } else { open.post(body).await };
        assert_eq!((status, text.as_str()), (StatusCode::OK, ""), "{name}");
        let said = if webhook { json["alerts"].as_array().unwrap() } else { json.as_array().unwrap() };
        let heard = open.heard();
        assert_eq!(heard.len(), said.len(), "{name}");
        for ((via, alert), said) in heard.iter().zip(said) {
            assert_eq!(*via, if webhook { Via::Webhook } else { Via::Post });
            assert_eq!(alert.family, Family::Prometheus);
            assert_eq!(serde_json::to_value(&alert.labels).unwrap(), said["labels"], "{name}");
            assert_eq!(serde_json::to_value(&alert.annotations).unwrap(), said["annotations"], "{name}");
            assert_eq!(alert.generator_url, said["generatorURL"], "{name}");
            assert_eq!(alert.starts_at, Time::parse(said["startsAt"].as_str().unwrap()).unwrap());
            let end = said["endsAt"].as_str().unwrap();
            assert_eq!(alert.ends_at, if end.starts_with("0001") { None } else { Time::parse(end) }, "{name}");
            assert_eq!(alert.fingerprint.as_deref(), said["fingerprint"].as_str(), "{name}");
            // Prometheus says no status; both captured posts have ended by now.
            let status = said["status"].as_str().unwrap_or("resolved");
            assert_eq!(serde_json::to_value(alert.status).unwrap(), status, "{name}");
        }
    }
}

#[test]
fn one_alert_keeps_its_key_from_firing_to_resolved_and_through_both_doors() {
    let all: Vec<Alert> = fixtures()
        .into_iter()
        .filter(|(name, _)| name.contains("v0.25.0") && name.contains("mix"))
        .flat_map(|(_, body)| webhook::parse_all(&body).unwrap())
        .collect();
    let key = |alert: &Alert| Key::of(alert.family, &alert.labels, &[]);
    let of_b: Vec<&Alert> = all.iter().filter(|alert| alert.labels["instance"] == "http://b:80/").collect();
    assert!(of_b.iter().any(|alert| alert.status == Status::Firing) && of_b.iter().any(|alert| alert.status == Status::Resolved));
    assert!(of_b.iter().all(|alert| key(alert) == key(of_b[0])));
    assert!(all.iter().any(|alert| key(alert) != key(of_b[0])));
    let posted = json!([{"labels": of_b[0].labels}]).to_string();
    assert_eq!(key(&post::parse(posted.as_bytes(), Time::now()).unwrap().alerts[0]), key(of_b[0]));
}

#[tokio::test]
async fn good_alerts_are_heard_although_their_neighbours_are_wrong() {
    let open = Open::new().await;
    let (status, text) = open.alert(message(&[firing("A"), json!({"status": "firing", "labels": {"x": 1}}), firing("B")])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"error": "alert 2: its label `x` is a number, not a text"}));
    let names: Vec<String> = open.heard().iter().map(|(_, alert)| alert.name().to_owned()).collect();
    assert_eq!(names, ["A", "B"]);
    let (status, text) = open.post(json!([firing("C"), {"labels": {}}, 7]).to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let said: String = serde_json::from_str(&text).expect("Alertmanager answers with a JSON text");
    assert_eq!(said, "alert 2: at least one label with a value is required; 1 more are wrong");
    assert_eq!(open.heard().len(), 1);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_is_not_durable() {
    let open = Open::with(Settings::default(), QUICK).await;
    open.broken.store(true, Ordering::SeqCst);
    for (status, text) in [open.alert(message(&[firing("A")])).await, open.post(json!([firing("A")]).to_string()).await] {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!text.contains("/secret/path"), "the inside of an error is for the log: {text}");
    }
    // Also when some of it can never be right: what could have been heard has to come again.
    assert_eq!(open.alert(message(&[firing("A"), json!(1)])).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(open.send(Method::GET, "/-/ready", &[], "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    open.broken.store(false, Ordering::SeqCst);
    assert_eq!(open.send(Method::GET, "/-/ready", &[], "").await.0, StatusCode::OK);
    let begun = Instant::now();
    assert_eq!(open.alert(message(&[firing("Slow")])).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(open.heard().is_empty());
    assert_eq!(open.alert(message(&[firing("A")])).await.0, StatusCode::OK);
}

#[tokio::test]
async fn hostile_text_is_heard_as_text_or_refused_with_a_short_reason() {
    let open = Open::new().await;
    let evil = "\" ' \n\r\t\u{0}\u{1b}[31m {{ lookup('pipe','id') }} $(reboot) `x` ../../etc ; rm -rf / \u{202e}";
    let mut alert = firing(evil);
    alert["labels"][evil] = json!(evil);
    alert["annotations"] = json!({"summary": evil});
    assert_eq!(open.alert(message(&[alert])).await.0, StatusCode::OK);
    let heard = open.heard();
    assert_eq!((heard[0].1.labels["alertname"].as_str(), heard[0].1.labels[evil].as_str()), (evil, evil));
    for body in [
        Vec::new(),
        b"{".to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"{\"alerts\":[{\"status\":\"firing\",\"labels\":{\"a\":\"\xc3\x28\"}}]}".to_vec(),
        b"<xml/>".to_vec(),
        br#"{"alerts":"all"}"#.to_vec(),
        br#"{"alerts":[null]}"#.to_vec(),
        message(&[json!({"status": evil, "labels": {"a": "b"}})]).into_bytes(),
        message(&[json!({"status": "firing", "labels": {evil: 1}})]).into_bytes(),
        message(&[json!({"status": "firing", "labels": {"a": "b"}, "startsAt": evil})]).into_bytes(),
        "[".repeat(1 << 20).into_bytes(),
        format!(r#"{{"alerts":[{{"labels":{}"#, "{\"a\":".repeat(1 << 18)).into_bytes(),
    ] {
        for (status, text) in [open.alert(body.clone()).await, open.post(body.clone()).await] {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&body[..body.len().min(200)]));
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{0}']), "{text:?}");
            serde_json::from_str::<Value>(&text).expect("every refusal is JSON");
        }
    }
    assert!(open.heard().is_empty());
}

#[tokio::test]
async fn a_storm_in_one_message_is_accepted_and_a_flood_is_not() {
    let open = Open::new().await;
    let filler = "x".repeat(1_900);
    let alerts: Vec<Value> = (0..5_000)
        .map(|i| json!({"status": "firing", "labels": {"alertname": "Storm", "instance": format!("web-{i}")}, "annotations": {"description": filler}}))
        .collect();
    let body = message(&alerts);
    assert!(body.len() > 10_000_000);
    assert_eq!(open.alert(body).await, (StatusCode::OK, String::new()));
    assert_eq!(open.heard().len(), 5_000);
    let flood = vec![b' '; 33 << 20];
    let (status, text) = open.alert(flood.clone()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("32 MiB"), "{text}");
    // The same without saying so beforehand.
    let mut chunked =
        b"POST /alert HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2100000\r\n".to_vec();
    chunked.extend(flood);
    chunked.extend(b"\r\n0\r\n\r\n");
    assert!(open.raw(&chunked).await.starts_with("HTTP/1.1 413"));
    assert_eq!(open.alert(message(&vec![json!(1); 60_000])).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(open.heard().is_empty());
}

#[tokio::test]
async fn with_a_token_only_who_knows_it_may_send() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "a-token-of-some-length\n").unwrap();
    let open = Open::with(Settings { token_file: Some(file.clone()), allow_unauthenticated: false }, Patience::default()).await;
    let good = message(&[firing("A")]);
    for headers in [vec![], vec![("authorization", "Bearer wrong-wrong-wrong-wrong")], vec![("authorization", "Basic eDp4")]] {
        for path in ["/alert", "/api/v2/alerts"] {
            let (status, text) = open.send(Method::POST, path, &headers, good.clone()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(text.contains("token_file") && !text.contains("a-token-of"), "{text}");
        }
    }
    // A large body is not read into memory for somebody unknown, and the answer still arrives.
    assert_eq!(open.send(Method::POST, "/alert", &[], vec![b' '; 20 << 20]).await.0, StatusCode::UNAUTHORIZED);
    assert!(open.heard().is_empty());
    let bearer = [("authorization", "Bearer a-token-of-some-length")];
    assert_eq!(open.send(Method::POST, "/alert", &bearer, good.clone()).await.0, StatusCode::OK);
    // printf 'alertmanager:a-token-of-some-length' | base64
    let basic = [("authorization", "Basic YWxlcnRtYW5hZ2VyOmEtdG9rZW4tb2Ytc29tZS1sZW5ndGg=")];
    assert_eq!(open.send(Method::POST, "/alert", &basic, good.clone()).await.0, StatusCode::OK);
    assert_eq!(open.heard().len(), 2);
    // Health is no secret; whoever watches over Paramedic needs no token.
    assert_eq!(open.send(Method::GET, "/-/healthy", &[], "").await, (StatusCode::OK, "OK".to_owned()));
    fs::write(&file, "another-token-of-some-length").unwrap();
    assert_eq!(open.send(Method::POST, "/alert", &bearer, good.clone()).await.0, StatusCode::UNAUTHORIZED);
    fs::remove_file(&file).unwrap();
    assert_eq!(open.send(Method::POST, "/alert", &bearer, good).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(open.heard().is_empty());
}

#[tokio::test]
async fn there_is_nothing_but_the_doors() {
    let open = Open::new().await;
    for (method, path, status) in [
        (Method::GET, "/alert", 405),
        (Method::PUT, "/alert", 405),
        (Method::DELETE, "/api/v2/alerts", 405),
        (Method::GET, "/api/v2/alerts", 405),
        (Method::POST, "/-/healthy", 405),
        (Method::POST, "/alert/", 404),
        (Method::POST, "//alert", 404),
        (Method::POST, "/ALERT", 404),
        (Method::POST, "/api/v1/alerts", 404),
        (Method::GET, "/../etc/passwd", 404),
        (Method::GET, "/", 404),
    ] {
        let (got, text) = open.send(method.clone(), path, &[], message(&[firing("A")])).await;
        assert_eq!(got.as_u16(), status, "{method} {path}");
        assert!(serde_json::from_str::<Value>(&text).unwrap()["error"].is_string(), "{text}");
    }
    assert_eq!(open.send(Method::HEAD, "/-/healthy", &[], "").await.0, StatusCode::OK);
    assert_eq!(open.send(Method::HEAD, "/-/ready", &[], "").await.0, StatusCode::OK);
    assert!(open.heard().is_empty());
    // A page in a browser on this machine must not raise alerts.
    let page = [("origin", "https://example.org"), ("content-type", "text/plain")];
    assert_eq!(open.send(Method::POST, "/alert", &page, message(&[firing("A")])).await.0, StatusCode::FORBIDDEN);
    let zipped = [("content-encoding", "gzip")];
    assert_eq!(open.send(Method::POST, "/alert", &zipped, message(&[firing("A")])).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(open.heard().is_empty());
    // What a body is called does not matter as long as it is one.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "nonsense"] {
        assert_eq!(
            open.send(Method::POST, "/alert", &[("content-type", kind)], message(&[firing("A")])).await.0,
            StatusCode::OK,
            "{kind}"
        );
    }
    assert_eq!(open.heard().len(), 4);
}

#[tokio::test]
async fn slow_senders_are_let_go_and_hinder_nobody() {
    let open = Open::with(Settings::default(), QUICK).await;
    let begun = Instant::now();
    let (head, body, idle, huge, other) = tokio::join!(
        open.raw(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-"),
        open.raw(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"alerts\":"),
        open.raw(b""),
        async { open.raw(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2_000_000)).as_bytes()).await },
        open.alert(message(&[firing("A")])),
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(head.is_empty() || head.contains("408"), "{head}");
    assert!(body.starts_with("HTTP/1.1 408") && body.contains("did not arrive in time"), "{body}");
    assert!(idle.is_empty() || idle.contains("408"), "{idle}");
    assert!(huge.is_empty() || huge.starts_with("HTTP/1.1 431"), "{huge}");
    assert_eq!(other.0, StatusCode::OK);
    assert!(open.raw(b"\x16\x03\x01\x02\x00not http at all\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert_eq!(open.heard().len(), 1);
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_does_not_wait_for_the_rest() {
    let open = Open::with(Settings::default(), QUICK).await;
    let mut idle = TcpStream::connect(open.address).await.unwrap();
    let mut half = TcpStream::connect(open.address).await.unwrap();
    let body = message(&[firing("A")]);
    let head = format!("POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    half.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    open.shutdown.request();
    half.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let begun = Instant::now();
    tokio::time::timeout(Duration::from_secs(5), open.served).await.expect("serving has to end").unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(open.heard.lock().unwrap().len(), 1);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.ok();
    assert!(TcpStream::connect(open.address).await.is_err(), "the door is shut");
}
