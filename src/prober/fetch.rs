//! Loads that are asked for over TCP: documents and agent lines. A thread of its own, so that a slow server of these
//! makes no delay of a probe longer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::http;
use crate::config::{LoadSource, Proxy};
use crate::dispatch::probed::{Finding, Found};
use crate::net::clock;
use crate::wire::load;
use crate::words::LoadReport;

/// Time that a source has in all.
const WITHIN: Duration = Duration::from_secs(1);
/// Longest agent line.
const LINE: usize = 1024;
/// Threads that look names of sources up at the same time.
const LOOKUPS: usize = 4;

/// A source of a proxy's load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    proxy: Arc<str>,
    host: String,
    port: u16,
    /// The path of a document; `None`: an agent line.
    path: Option<String>,
    keys: load::Keys,
    interval: Duration,
}

/// Asks sources. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Fetcher {
    sources: UnboundedSender<Vec<Source>>,
}

impl Source {
    /// The source of a proxy that is asked over TCP.
    pub(super) fn of(proxy: &Proxy) -> Option<Self> {
        let (host, port, path) = proxy.load.place()?;
        Some(Source {
            proxy: Arc::from(proxy.name.as_str()),
            host,
            port,
            path: matches!(proxy.load, LoadSource::Http(_)).then(|| path.to_owned()),
            keys: load::Keys { used: proxy.load_used.clone(), total: proxy.load_total.clone() },
            interval: proxy.probe_interval,
        })
    }
}

impl Fetcher {
    /// Starts the thread. It sends its findings to `found`, and wakes the prober for each.
    ///
    /// # Errors
    /// The system refuses the thread or its poll.
    pub(super) fn start(found: Sender<Finding>, waker: Arc<Waker>) -> io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().enable_time().max_blocking_threads(LOOKUPS).build()?;
        let (sources, lists) = unbounded_channel();
        let serve = move || {
            runtime.block_on(serve(lists, found, waker));
            // A look-up that hangs must not keep the thread.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("load".to_owned()).spawn(serve)?;
        Ok(Fetcher { sources })
    }

    /// Asks these from now on, and no others.
    pub(super) fn set(&self, sources: Vec<Source>) {
        // The thread ends only with this value.
        let _ = self.sources.send(sources);
    }
}

async fn serve(mut lists: UnboundedReceiver<Vec<Source>>, found: Sender<Finding>, waker: Arc<Waker>) {
    let mut tasks = JoinSet::new();
    while let Some(list) = lists.recv().await {
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        let count = u32::try_from(list.len()).unwrap_or(u32::MAX).max(1);
        for (at, source) in (0_u32..).zip(list) {
            // Starts are spread over the interval.
            let begin = source.interval * at / count;
            tasks.spawn(follow(source, begin, found.clone(), Arc::clone(&waker)));
        }
    }
}

/// Asks one source again and again.
async fn follow(source: Source, begin: Duration, found: Sender<Finding>, waker: Arc<Waker>) {
    sleep(begin).await;
    loop {
        let asked = clock::now();
        match timeout(WITHIN, ask(&source)).await {
            Ok(Ok(Some(report))) => {
                let finding = Finding { proxy: Arc::clone(&source.proxy), at: clock::now(), what: Found::Load(report) };
                if found.send(finding).is_err() {
                    return;
                }
                // A prober that is gone hears of nothing.
                let _ = waker.wake();
            }
            // Without a report the load is unknown after a while.
            Ok(Ok(None)) => debug!("{} reports no load that can be read", source.proxy),
            Ok(Err(error)) => debug!("{} reports no load: {error}", source.proxy),
            Err(_) => debug!("{} reports no load in time", source.proxy),
        }
        sleep(source.interval.saturating_sub(clock::now().since(asked))).await;
    }
}

async fn ask(source: &Source) -> io::Result<Option<LoadReport>> {
    let mut stream = TcpStream::connect((source.host.as_str(), source.port)).await?;
    let mut came = Vec::new();
    let Some(path) = &source.path else {
        let is_line = |came: &[u8]| memchr::memchr(b'\n', came).is_some();
        while came.len() < LINE && !is_line(&came) && stream.read_buf(&mut came).await? > 0 {}
        came.truncate(LINE);
        return Ok(load::read_line(&came));
    };
    stream.write_all(http::request(&source.host, source.port, path).as_bytes()).await?;
    loop {
        let is_end = stream.read_buf(&mut came).await? == 0;
        match http::read(&came, is_end) {
            http::Read::More => {}
            http::Read::Whole(document) => return Ok(load::read_document(&document, &source.keys)),
            http::Read::Bad => return Ok(None),
        }
    }
}
