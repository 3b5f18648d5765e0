//! `paramedic alert`: send a test alert.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::output::line;
use super::{End, Output};
use crate::clock::Time;

/// Send a test alert to a running server, as Alertmanager's webhook would
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SendAlert {
    /// Labels, such as alertname=NginxDown container=nginx-demo
    #[arg(required = true, value_parser = label)]
    labels: Vec<(String, String)>,
    /// Say that it is over
    #[arg(long)]
    resolved: bool,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:5001")]
    url: String,
    /// File with the token that senders use
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

const EXAMPLES: &str = "Examples:
  paramedic alert alertname=NginxDown container=web
  paramedic alert alertname=NginxDown container=web --resolved
  paramedic alert alertname=Test --url http://paramedic.example:5001 --token-file sender-token";

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| format!("`{text}` is no label: write name=value"))
}

impl SendAlert {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let labels: BTreeMap<_, _> = self.labels.into_iter().collect();
        let status = if self.resolved { "resolved" } else { "firing" };
        let alert = json!({ "status": status, "labels": labels, "annotations": {}, "startsAt": Time::now().to_string(), "endsAt": "0001-01-01T00:00:00Z" });
        let message = json!({ "version": "4", "status": status, "receiver": "paramedic-alert", "alerts": [alert] });
        let url = format!("{}/alert", self.url.trim_end_matches('/'));
        let mut request = crate::look::http::client()?.post(&url).timeout(Duration::from_secs(10)).json(&message);
        if let Some(file) = &self.token_file {
            let token =
                std::fs::read_to_string(file).with_context(|| format!("the token cannot be read from {}", file.display()))?;
            request = request.bearer_auth(token.trim());
        }
        let answer =
            request.send().await.with_context(|| format!("no server answers at {url}; start it with `paramedic serve`"))?;
        let code = answer.status();
        if !code.is_success() {
            let text = crate::telemetry::clean(&answer.text().await.unwrap_or_default(), 500);
            bail!("the server refused the alert: {code} {text}");
        }
        if self.output == Output::Json {
            super::output::json(&json!({ "accepted": true, "status": status, "labels": message["alerts"][0]["labels"] }))?;
        } else {
            line("Accepted: it is on disk. `paramedic incident list` shows what comes of it.");
        }
        Ok(End::Fine)
    }
}
