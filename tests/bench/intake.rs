//! Durable intake over HTTP: one sender and 64, beside what the disk and the parsing alone would allow.
//!
//! No policy matches, so that what is measured is taking in; each alert still gets its story (asked, nobody wants it), as always.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paramedic::receive::auth;
use paramedic::receive::http::{Doors, Hear};
use paramedic::shutdown::Shutdown;

use crate::row;
use crate::sender::{Took, load};
use crate::server::Server;

/// So many senders, so many alerts of all of them together.
const LOADS: [(usize, usize); 2] = [(1, 3_000), (64, 12_000)];

pub async fn measure(binary: &Path, folder: &Path) {
    let folder = folder.join("intake");
    std::fs::create_dir_all(&folder).unwrap();
    row("raw fsync rate of this disk (append 600 bytes, fdatasync)", &format!("{:.0} /s", fsyncs(&folder)));
    for (senders, count) in LOADS {
        row(&format!("alerts parsed and kept nowhere, {senders} at once"), &shown(&parse_only(senders, count).await));
    }
    let mut rates = Vec::new();
    for (senders, count) in LOADS {
        let (took, micros) = durable(binary, &folder, senders, count).await;
        row(&format!("alerts made durable, {senders} at once"), &format!("{}, {micros:.0} us of CPU each", shown(&took)));
        rates.push(took.per_second);
    }
    row("made durable: many senders to one", &format!("{:.1} times", rates[1] / rates[0]));
    row("raw fsync rate of this disk, once more", &format!("{:.0} /s", fsyncs(&folder)));
}

fn shown(took: &Took) -> String {
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    format!("{:.0} /s, p50 {:.2} ms, p99 {:.2} ms", took.per_second, ms(took.p50), ms(took.p99))
}

/// How often a second the disk confirms that a small append is on it.
fn fsyncs(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("raw")).unwrap();
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(2) {
        file.write_all(&[b'x'; 600]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// The real doors, in this process, before somebody who keeps nothing.
async fn parse_only(senders: usize, count: usize) -> Took {
    let hear: Hear = Arc::new(|_, _| Box::pin(async { Ok(()) }));
    let doors = Doors::new(&auth::Settings::default(), hear).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(doors.serve(listener, shutdown.clone()));
    let took = load(port, senders, count, "parse").await;
    shutdown.request();
    serving.await.unwrap().unwrap();
    took
}

/// The real server, with a new journal.
async fn durable(binary: &Path, folder: &Path, senders: usize, count: usize) -> (Took, f64) {
    let folder = folder.join(format!("{senders}-senders"));
    Server::prepare(&folder);
    let server = Server::start(binary, &folder).await;
    let took = load(server.port(), senders, count, "kept").await;
    let micros = server.cpu().as_micros() as f64 / count as f64;
    (took, micros)
}
