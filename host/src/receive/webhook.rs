//! stub
use crate::alert::*;
use crate::clock::Time;
#[derive(serde::Deserialize)] struct M { alerts: Vec<A> }
#[derive(serde::Deserialize)] struct A { status: Status, labels: Labels, #[serde(default)] annotations: Labels, #[serde(rename="startsAt")] starts_at: String }
pub fn parse_all(b: &[u8]) -> anyhow::Result<Vec<Alert>> {
 let m: M = serde_json::from_slice(b)?;
 Ok(m.alerts.into_iter().map(|a| Alert { family: Family::Prometheus, status: a.status, labels: a.labels, annotations: a.annotations, starts_at: Time::parse(&a.starts_at).unwrap_or(Time::now()), ends_at: None, generator_url: String::new(), fingerprint: None }).collect())
}
