//! stub
use crate::shutdown::Shutdown;
use super::intake::Intake;
use std::sync::Arc;
pub struct Doors(Arc<Intake>);
impl Doors {
 pub fn new(_a: &super::auth::Settings, i: Arc<Intake>) -> anyhow::Result<Self> { Ok(Self(i)) }
 pub async fn serve(self, l: tokio::net::TcpListener, s: Shutdown) -> anyhow::Result<()> {
  let i = self.0;
  let app = axum::Router::new().route("/alert", axum::routing::post(move |b: axum::body::Bytes| { let i = i.clone(); async move {
    match super::webhook::parse_all(&b) { Ok(a) => match i.hear(crate::alert::Via::Webhook, a).await { Ok(()) => (axum::http::StatusCode::OK, String::new()), Err(e) => (axum::http::StatusCode::SERVICE_UNAVAILABLE, e.to_string()) }, Err(e) => (axum::http::StatusCode::BAD_REQUEST, e.to_string()) }
  }})).layer(axum::extract::DefaultBodyLimit::max(32<<20));
  axum::serve(l, app).with_graceful_shutdown(async move { s.requested().await }).await?; Ok(()) }
}
