//! `paramedic serve`

use clap::Args;
use sd_notify::NotifyState;

use super::{ConfigArg, End};
use crate::config;
use crate::server::Server;
use crate::shutdown::Shutdown;

const EXAMPLES: &str = "Examples:
  paramedic serve
  paramedic serve --config /etc/paramedic/paramedic.yaml --log-format json";

/// Run the server: take alerts in, decide, act within the grants, verify
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    #[command(flatten)]
    config: ConfigArg,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<End> {
        let (config, policies) = match config::load_all(&self.config.config) {
            Ok(read) => read,
            Err(problems) => {
                super::output::note(problems.to_string());
                return Ok(End::BadConfig);
            }
        };
        let server = Server::open(config, policies, Shutdown::on_signals()?).await?;
        // To a service manager that waits for it (`Type=notify`): the doors are open. Without one nothing is sent.
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            tracing::warn!(%error, "The service manager could not be told that the doors are open");
        }
        server.run().await?;
        Ok(End::Fine)
    }
}
