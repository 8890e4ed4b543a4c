//! What one poll costs, byte for byte: one node asks through a relay that counts what a connection carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_integration::Nginx;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::node::{Node, Pace, World};
use crate::publisher::Publisher;

/// How often a poll is repeated where its cost is the same each time.
const REPEATED: u32 = 100;
/// Time passes on into another second, whatever the two clocks say.
const SECOND: Duration = Duration::from_millis(1_100);
/// How long a connection may take to be gone after it was closed.
const CLOSING: Duration = Duration::from_millis(3);

/// What a poll costs, in the mean.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) what: &'static str,
    pub(crate) requests: f64,
    pub(crate) not_modified: f64,
    pub(crate) connections: f64,
    /// Bytes that TCP carries to the server and back: heads, bodies, and TLS where there is any.
    pub(crate) up: f64,
    pub(crate) down: f64,
    /// Processor time of the server.
    pub(crate) server_microseconds: f64,
}

/// Counts what goes through.
struct Relay {
    address: SocketAddr,
    counted: Arc<Counted>,
    close: Arc<watch::Sender<()>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counted {
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl Relay {
    async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counted = Arc::<Counted>::default();
        let close = Arc::new(watch::channel(()).0);
        let (counting, closing) = (Arc::clone(&counted), Arc::clone(&close));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (counted, mut closed) = (Arc::clone(&counting), closing.subscribe());
                counted.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = closed.changed() => {}
                        // A connection that ends is no failure.
                        _ = carry(client, server, &counted) => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            counted,
            close,
            accepting,
        })
    }

    /// Closes all connections.
    async fn close(&self) {
        // Nobody listens where there is no connection.
        let _ = self.close.send(());
        sleep(CLOSING).await;
    }

    fn counted(&self) -> [u64; 3] {
        let Counted { connections, up, down } = &*self.counted;
        [connections, up, down].map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = self.close.send(());
    }
}

async fn carry(client: TcpStream, server: SocketAddr, counted: &Counted) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            counted.up.fetch_add(count as u64, Ordering::Relaxed);
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            counted.down.fetch_add(count as u64, Ordering::Relaxed);
            to_client.write_all(&buffer[..count]).await?;
        }
    };
    tokio::try_join!(up, down).map(drop)
}

/// One node, its relay, and the server behind that.
struct Bench<'a> {
    world: &'a Arc<World>,
    nginx: &'a Nginx,
    relay: Relay,
    number: usize,
    lives: usize,
    node: Node,
    costs: Vec<Cost>,
}

/// Measures each kind of poll. `number` is a node that nobody else uses.
pub(crate) async fn measure(
    world: &Arc<World>,
    nginx: &Nginx,
    publisher: &mut Publisher,
    number: usize,
) -> Result<Vec<Cost>> {
    let relay = Relay::to(nginx.address(0)).await?;
    let node = world.open(number, 0, nginx.scheme(), relay.address)?;
    let mut bench = Bench {
        world,
        nginx,
        relay,
        number,
        lives: 0,
        node,
        costs: Vec::new(),
    };
    bench.once("first start: all files").await?;
    // In the second of a publication, a validator does not count.
    sleep(SECOND).await;
    bench.once("the second poll").await?;
    bench.repeat("unchanged, connection kept", async |_| Ok(())).await?;
    bench
        .repeat("unchanged, new connection", async |bench| {
            bench.relay.close().await;
            Ok(())
        })
        .await?;
    bench
        .repeat("unchanged, new process", async |bench| {
            bench.lives += 1;
            bench.node = bench
                .world
                .open(bench.number, bench.lives, bench.nginx.scheme(), bench.relay.address)?;
            bench.relay.close().await;
            Ok(())
        })
        .await?;
    sleep(SECOND).await;
    publisher.sign_again()?;
    bench.once("timestamp signed anew").await?;
    publisher.revoke()?;
    bench.once("revocation").await?;
    publisher.change_policy()?;
    bench.once("another policy").await?;
    Ok(bench.costs)
}

impl Bench<'_> {
    /// A poll after something was published. The connections of the one before are kept.
    async fn once(&mut self, what: &'static str) -> Result<()> {
        self.measured(what, 1, async |_| Ok(())).await
    }

    async fn repeat(&mut self, what: &'static str, prepare: impl AsyncFn(&mut Self) -> Result<()>) -> Result<()> {
        self.measured(what, REPEATED, prepare).await
    }

    async fn measured(
        &mut self,
        what: &'static str,
        times: u32,
        prepare: impl AsyncFn(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut sum = Cost {
            what,
            requests: 0.0,
            not_modified: 0.0,
            connections: 0.0,
            up: 0.0,
            down: 0.0,
            server_microseconds: 0.0,
        };
        let spent = self.nginx.processor_time()?;
        let before = self.relay.counted();
        for _ in 0..times {
            prepare(self).await?;
            let asked = self.node.poller.transport().traffic();
            let polled = self.node.poll(Instant::now(), Pace::Naive).await;
            polled.outcome.with_context(|| format!("{what}: the poll failed"))?;
            let now = self.node.poller.transport().traffic();
            sum.requests += (now.requests - asked.requests) as f64;
            sum.not_modified += (now.not_modified - asked.not_modified) as f64;
        }
        // What ends a connection is counted, too; the rest has come before the answer was read.
        let after = self.relay.counted();
        let [connections, up, down] = [0, 1, 2].map(|at| (after[at] - before[at]) as f64);
        sum.server_microseconds = (self.nginx.processor_time()? - spent).as_secs_f64() * 1e6;
        (sum.connections, sum.up, sum.down) = (connections, up, down);
        let times = f64::from(times);
        for field in [
            &mut sum.requests,
            &mut sum.not_modified,
            &mut sum.connections,
            &mut sum.up,
            &mut sum.down,
            &mut sum.server_microseconds,
        ] {
            *field /= times;
        }
        ensure!(sum.requests > 0.0, "{what}: nothing was asked");
        self.costs.push(sum);
        Ok(())
    }
}
