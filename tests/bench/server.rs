//! The server as it ships, in a folder of its own, on a free port.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sender::Connection;

/// How long a server may take to be ready before that is called broken.
const READY: Duration = Duration::from_secs(60);

/// A running server; killed with the value.
pub struct Server {
    child: Child,
    port: u16,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Server {
    /// A folder for a server without any policy.
    pub fn prepare(folder: &Path) -> PathBuf {
        std::fs::create_dir_all(folder.join("policies")).unwrap();
        std::fs::create_dir_all(folder.join("plugins")).unwrap();
        folder.join("data")
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(binary: &Path, folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("paramedic.yaml");
        std::fs::write(&config, format!("listen: 127.0.0.1:{port}\nplugins: plugins\n")).unwrap();
        let mut command = Command::new(binary);
        command.args(["--log", "error", "serve", "--config"]).arg(config).stdin(Stdio::null());
        let begun = Instant::now();
        let mut server = Self { child: command.spawn().unwrap(), port, ready_after: Duration::ZERO };
        while !server.is_ready().await {
            assert!(begun.elapsed() < READY, "the server is not ready after {} s", READY.as_secs());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.ready_after = begun.elapsed();
        server
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.port).await else { return false };
        connection.send(b"GET /-/ready HTTP/1.1\r\nhost: bench\r\n\r\n").await.is_ok_and(|status| status == 200)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the kernel says about its process.
    pub fn read(&self, what: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{what}", self.child.id())).unwrap()
    }

    /// Time on processors so far, its own and the system's for it.
    pub fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
