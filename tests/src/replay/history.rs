//! `paramedic replay --prometheus`: a real Prometheus with a month that was written into it.

use std::fmt::Write as _;
use std::process::Command;

use paramedic::clock::Time;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::components::component;
use crate::crash::binary;
use crate::programs::start_with_blocks;

const MINUTE: i64 = 60_000;

/// `ALERTS` and `ALERTS_FOR_STATE` of these alerts, each with the minutes (after `base`) in which it fires, once a minute.
fn openmetrics(base: Time, alerts: &[(&str, &[(i64, i64)])]) -> String {
    let mut samples: Vec<(i64, String, String)> = Vec::new();
    for (labels, times) in alerts {
        for (from, to) in *times {
            for minute in *from..*to {
                let at = (base.0 + minute * MINUTE) / 1_000;
                samples.push((0, format!("ALERTS{{{labels},alertstate=\"firing\"}} 1 {at}"), labels.to_string()));
                let since = (base.0 + from * MINUTE) / 1_000;
                samples.push((1, format!("ALERTS_FOR_STATE{{{labels}}} {since} {at}"), labels.to_string()));
            }
        }
    }
    let mut text = String::new();
    for (family, name) in [(0, "ALERTS"), (1, "ALERTS_FOR_STATE")] {
        let _ = writeln!(text, "# TYPE {name} gauge");
        samples.iter().filter(|(of, ..)| *of == family).for_each(|(_, line, _)| {
            let _ = writeln!(text, "{line}");
        });
    }
    // A deployment of nine minutes, as somebody's own metric tells it.
    let _ = writeln!(text, "# TYPE deploying gauge");
    for minute in 150..=158 {
        let _ = writeln!(text, "deploying{{service=\"db\"}} 1 {}", (base.0 + minute * MINUTE) / 1_000);
    }
    text + "# EOF\n"
}

fn run(folder: &TempDir, url: &str, base: Time, more: &[&str]) -> Value {
    let until = base.plus(std::time::Duration::from_secs(6 * 3_600)).to_string();
    let mut command = Command::new(binary());
    let part = |name: &str| folder.path().join(name);
    command.args(["replay", "--prometheus", url, "--since", &base.minus(std::time::Duration::from_secs(3_600)).to_string()]);
    command.args(["--until", &until, "--policies"]).arg(part("policies")).arg("--plugins").arg(part("plugins"));
    command.args(more).args(["--output", "json"]).env("PARAMEDIC_LOG", "warn").env("PARAMEDIC_CONFIG", part("none.yaml"));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rule<'a>(found: &'a Value, word: &str) -> &'a Value {
    found["outcome"]["rules"].as_array().unwrap().iter().find(|said| said["rule"] == word).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_alerts_says_what_would_have_been_done_and_what_would_have_held_it() {
    // A whole hour, so that blocks and steps are even.
    let hour = 3_600_000;
    let base = Time((Time::now().0 / hour - 12) * hour);
    let flaps: Vec<(i64, i64)> = (0..8).map(|n| (n * 3, n * 3 + 2)).collect();
    let alerts: [(&str, &[(i64, i64)]); 3] = [
        // Fires eight times within half an hour, each time for two minutes.
        ("alertname=\"WebDown\",container=\"web\"", &flaps),
        // Two hours later, once, for twenty minutes.
        ("alertname=\"WebDown\",container=\"db\"", &[(150, 170)]),
        // Nobody's.
        ("alertname=\"Other\"", &[(10, 20), (40, 50)]),
    ];
    let prometheus = start_with_blocks(&openmetrics(base, &alerts)).await.unwrap();
    let folder = TempDir::new().unwrap();
    for part in ["policies", "plugins"] {
        std::fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    std::fs::write(folder.path().join("plugins/guests.wasm"), component("guests")).unwrap();
    let policy = |target: &str| {
        format!(
            "name: heal-{target}\nplugin: guests.wasm\nmatch: ['alertname=\"WebDown\"', 'container=\"{target}\"']\n\
             settings: {{do: 'act:local/{target}'}}\ngrants: {{docker: {{restart: ['local/{target}']}}}}\n\
             brakes: {{attempts: 3 per 30m, actions: 20 per 1h}}\nverify: {{within: 5m, stable: 30s}}\n"
        )
    };
    for target in ["web", "db"] {
        std::fs::write(folder.path().join(format!("policies/{target}.yaml")), policy(target)).unwrap();
    }

    // Each flap is one restart, which the series says helped, until three are spent; the fourth is refused and goes to a person, and so do the
    // following ones: the target stays with the incident that was refused while it is open, two minutes, and the next is refused anew.
    let found = run(&folder, &prometheus.url, base, &[]);
    let outcome = &found["outcome"];
    assert_eq!((&outcome["alerts"], &outcome["cut"]), (&json!(11), &json!(0)), "{found:#}");
    let web = &outcome["policies"]["heal-web"];
    assert_eq!(
        [&web["incidents"], &web["acted"], &web["healed"], &web["refused"], &web["to_people"]],
        [8, 3, 3, 5, 5],
        "{found:#}"
    );
    assert_eq!((&rule(&found, "attempts-spent")["count"], &rule(&found, "attempts-spent")["incidents"]), (&json!(5), &json!(5)));
    assert_eq!(outcome["people"][0]["calls"], 5);
    // It ends after twenty minutes and nothing before that: attempts at 0, 5 and 10 minutes (each takes 10 s, is looked at for 5) do not
    // help; what is refused then is the fourth.
    let db = &outcome["policies"]["heal-db"];
    assert_eq!([&db["incidents"], &db["attempts"], &db["healed"], &db["to_people"]], [1, 3, 0, 1], "{found:#}");
    assert_eq!([&outcome["policies"]["-"]["incidents"], &outcome["policies"]["-"]["left"]], [2, 2]);

    // If it always helps, one restart is enough for the long one.
    let found = run(&folder, &prometheus.url, base, &["--assume", "healed"]);
    let db = &found["outcome"]["policies"]["heal-db"];
    assert_eq!([&db["attempts"], &db["healed"], &db["to_people"]], [1, 1, 0], "{found:#}");
    assert!(found["lacking"].as_array().unwrap().iter().any(|text| text.as_str().unwrap().contains("annotations")));

    // What the policy's own `unless` would have held: while somebody deployed, and as long as Prometheus takes a value for the present, 5 minutes.
    let unless = "unless: ['deploying{service=\"db\"} == 1']\n";
    std::fs::write(folder.path().join("policies/db.yaml"), policy("db") + unless).unwrap();
    let found = run(&folder, &prometheus.url, base, &["--assume", "healed"]);
    let (db, held) = (&found["outcome"]["policies"]["heal-db"], rule(&found, "unless"));
    assert_eq!([&db["attempts"], &db["healed"], &db["held"], &held["incidents"]], [1, 1, 1, 1], "{found:#}");
    assert!(held["message"].as_str().unwrap().contains("and that has a result: {"), "{held}");
    // All the time that it fired.
    let longer = unless.replace("deploying", "max_over_time(deploying").replace(" == 1", "[30m]) == 1");
    std::fs::write(folder.path().join("policies/db.yaml"), policy("db") + &longer).unwrap();
    let found = run(&folder, &prometheus.url, base, &["--assume", "healed"]);
    let db = &found["outcome"]["policies"]["heal-db"];
    assert_eq!([&db["attempts"], &db["healed"], &db["held"]], [0, 0, 1], "{found:#}");
}
