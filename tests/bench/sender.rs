//! Senders with a connection each that is kept, as Alertmanager keeps it. Written by hand, so that on two cores most of the
//! time is the server's.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One kept connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(1024) })
    }

    /// Sends a whole request, and gives the status of its answer.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = answered(&self.buffer) {
                return Ok(status);
            }
        }
    }
}

/// The status, once the whole answer is there.
fn answered(bytes: &[u8]) -> Option<u16> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length: usize = text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    (bytes.len() >= head + length).then(|| text.get(9..12)?.parse().ok())?
}

/// What a load took.
pub struct Took {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// `count` distinct alerts by so many senders, each as a message of its own; all have to be answered 200.
pub async fn load(port: u16, senders: usize, count: usize, run: &str) -> Took {
    let mut shares = Vec::new();
    for sender in 0..senders {
        let requests: Vec<Vec<u8>> = (sender..count).step_by(senders).map(|number| request(&format!("{run}-{number}"))).collect();
        shares.push((Connection::open(port).await.unwrap(), requests));
    }
    let begun = Instant::now();
    let tasks: Vec<_> = shares
        .into_iter()
        .map(|(mut connection, requests)| {
            tokio::spawn(async move {
                let mut took = Vec::with_capacity(requests.len());
                for request in &requests {
                    let sent = Instant::now();
                    assert_eq!(connection.send(request).await.unwrap(), 200);
                    took.push(sent.elapsed());
                }
                took
            })
        })
        .collect();
    let mut all = Vec::with_capacity(count);
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.sort_unstable();
    Took { per_second: count as f64 / seconds, p50: all[count / 2], p99: all[count * 99 / 100] }
}

/// One alert as Alertmanager's webhook sends it.
fn request(number: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"receiver":"paramedic","status":"firing","alerts":[{{"status":"firing","labels":{{"alertname":"DiskFull","instance":"host-{number}:9100","job":"node","mountpoint":"/","severity":"critical"}},"annotations":{{"summary":"the disk of host-{number} is almost full","runbook":"https://example.org/runbooks/disk"}},"startsAt":"{}","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus:9090/graph?g0.expr=node_filesystem_avail_bytes","fingerprint":"0011223344556677"}}],"groupLabels":{{"alertname":"DiskFull"}},"commonLabels":{{}},"commonAnnotations":{{}},"externalURL":"http://alertmanager:9093","version":"4","groupKey":"{{}}:{{alertname=\"DiskFull\"}}","truncatedAlerts":0}}"#,
        paramedic::clock::Time::now()
    );
    webhook(&body)
}

/// This body as a request to Alertmanager's door.
pub fn webhook(body: &str) -> Vec<u8> {
    let head = format!(
        "POST /alert HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}
