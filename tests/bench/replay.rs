//! A new version of a plugin tried on a long history, on one core: reading the journal included.

use std::path::Path;
use std::process::Command;

use crate::row;
use crate::server::Server;
use crate::start::history;

const INCIDENTS: usize = 50_000;
const POLICY: &str = "name: heal-web\nplugin: restart-container.wasm\nmatch: ['alertname=\"WebDown\"']\nsettings: {grace_seconds: 3}\n\
                      grants: {docker: {restart: ['local/web-*']}}\n";

pub async fn measure(binary: &Path, folder: &Path) {
    let folder = folder.join("replay");
    let data = Server::prepare(&folder);
    let entries = history(&data, INCIDENTS).await;
    let policy = folder.join("heal-web.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    // Beside `release`, where `make plugins` puts it.
    let target = binary.parent().and_then(Path::parent).unwrap();
    let plugin = target.join("plugins/restart-container.wasm").canonicalize().unwrap();
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(binary).args(["replay", "--output", "json", "--settings", "recorded", "--plugin"]).arg(plugin);
    command.arg("--policy").arg(policy).env("PARAMEDIC_DATA", &data);
    let output = command.output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("it could not run: {}", String::from_utf8_lossy(&output.stderr)));
    let (questions, seconds) = (found["questions"].as_f64().unwrap(), found["seconds"].as_f64().unwrap());
    assert!(questions >= INCIDENTS as f64, "{found:#}");
    row("replay: a new version on the journal, one core", &format!("{:.0} decisions a second", questions / seconds));
    row("", &format!("({questions} decisions out of {entries} entries in {seconds:.1} s)"));
    std::fs::remove_dir_all(&folder).unwrap();
}
