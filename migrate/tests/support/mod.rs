//! Nodes of one process with runtimes of their own, and clients that check what they are told.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use whimbrel_migrate::{
    AccessKind, CasOp, CasOutcome, Error, MemMap, MemoryCheck, NodeId, NodeInfo, NotServed,
    ServerOptions, Slot, SlotMap, SlotRecord, SlotServer, StartReport, slot_of,
};
use whimbrel_mvcc::Clock;

pub(crate) const TAG: &str = "{t}";

pub(crate) fn the_slot() -> Slot {
    slot_of(TAG.as_bytes())
}

pub(crate) fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a valid name")
}

/// One node: dropping or killing it ends all its tasks, as the end of its process would.
pub(crate) struct Node {
    pub(crate) server: SlotServer,
    pub(crate) started: StartReport,
    runtime: Option<Runtime>,
}

impl Node {
    /// Starts a node whose bus listens on a free port; `advertised` may name a proxy instead.
    pub(crate) fn start(name: &str, map: Arc<dyn SlotMap>, dir: &Path) -> Self {
        Self::start_behind(name, map, dir, None)
    }

    pub(crate) fn start_behind(
        name: &str,
        map: Arc<dyn SlotMap>,
        dir: &Path,
        proxy: Option<&Proxy>,
    ) -> Self {
        Self::start_with(name, map, dir, proxy, MemoryCheck::System)
    }

    pub(crate) fn start_with(
        name: &str,
        map: Arc<dyn SlotMap>,
        dir: &Path,
        proxy: Option<&Proxy>,
        memory: MemoryCheck,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        let real = listener.local_addr().expect("an address").to_string();
        let bus = proxy.map_or(real.clone(), |p| {
            p.set_goal(&real);
            p.address.clone()
        });
        let info = NodeInfo { id: id(name), bus: id(&bus) };
        let options = ServerOptions::new(info, dir.join(name.replace(':', "-")))
            .io_timeout(Duration::from_secs(3))
            .freeze_timeout(Duration::from_millis(700))
            .park_timeout(Duration::from_millis(500))
            .probe_interval(Duration::from_millis(50))
            .lineage(Duration::from_millis(100))
            .memory(memory);
        let server = SlotServer::new(Clock::new(), map, options).expect("a server");
        let started = runtime.block_on(server.start()).expect("the node starts");
        let bus = server.clone();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            bus.run_bus(listener).await
        });
        Self { server, started, runtime: Some(runtime) }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the node is alive")
    }

    pub(crate) fn claim(&self) {
        self.runtime().block_on(self.server.claim_unassigned()).expect("the map is free");
    }

    /// The process dies: no task of it takes another step, and its memory is out of reach.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.runtime.is_some()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn key(n: usize) -> Vec<u8> {
    format!("{TAG}{n:08}").into_bytes()
}

pub(crate) fn fill(server: &SlotServer, keys: usize) {
    for n in 0..keys {
        let access = server.access(the_slot(), AccessKind::Write).expect("served");
        access.store().put(&key(n), &0u64.to_be_bytes()).expect("put");
    }
}

pub(crate) fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().expect("eight bytes"))
}

/// Clients over a set of keys: writers write increasing numbers, readers check what they read.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub(crate) acked: Arc<Vec<AtomicU64>>,
    pub(crate) writes: Arc<AtomicU64>,
    pub(crate) reads: Arc<AtomicU64>,
    pub(crate) stale: Arc<AtomicU64>,
}

impl Clients {
    /// Two writers and a reader over the first `keys` keys.
    pub(crate) fn start(servers: &[SlotServer], keys: usize) -> Self {
        let acked: Arc<Vec<AtomicU64>> = Arc::new((0..keys).map(|_| AtomicU64::new(0)).collect());
        let mut clients = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            acked,
            writes: Arc::default(),
            reads: Arc::default(),
            stale: Arc::default(),
        };
        for client in 0..3 {
            let servers = servers.to_vec();
            let (stop, acked) = (clients.stop.clone(), clients.acked.clone());
            let (writes, reads, stale) =
                (clients.writes.clone(), clients.reads.clone(), clients.stale.clone());
            clients.threads.push(thread::spawn(move || {
                let mut random = 0x9e37_79b9_u64 + client as u64;
                while !stop.load(Ordering::SeqCst) {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let n = usize::try_from(random >> 33).expect("small") % acked.len();
                    if client < 2 {
                        // Each key has one writer, so its numbers rise.
                        let n = n / 2 * 2 + client;
                        let Some(last) = acked.get(n) else { continue };
                        let next = last.load(Ordering::SeqCst) + 1;
                        if write(&servers, n, next, &stop) {
                            last.store(next, Ordering::SeqCst);
                            writes.fetch_add(1, Ordering::SeqCst);
                        }
                    } else {
                        let least = acked[n].load(Ordering::SeqCst);
                        if let Some(read) = read(&servers, n, &stop) {
                            reads.fetch_add(1, Ordering::SeqCst);
                            stale.fetch_add(u64::from(read < least), Ordering::SeqCst);
                        }
                    }
                }
            }));
        }
        clients
    }

    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no client panics");
        }
    }

    /// Keys whose acknowledged number the servers do not return.
    pub(crate) fn lost(&self, servers: &[SlotServer]) -> usize {
        let never = AtomicBool::new(false);
        let lost = |&n: &usize| {
            let least = self.acked[n].load(Ordering::SeqCst);
            read(servers, n, &never).is_none_or(|read| read < least)
        };
        (0..self.acked.len()).filter(lost).count()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn write(servers: &[SlotServer], n: usize, value: u64, stop: &AtomicBool) -> bool {
    let put = |s: &SlotServer| {
        let access = s.access(the_slot(), AccessKind::Write)?;
        access.store().put(&key(n), &value.to_be_bytes()).expect("put");
        Ok(())
    };
    follow(servers, stop, put).is_some()
}

fn read(servers: &[SlotServer], n: usize, stop: &AtomicBool) -> Option<u64> {
    let get = |s: &SlotServer| {
        let access = s.access(the_slot(), AccessKind::Read)?;
        Ok(access.store().get(&key(n)).map_or(0, |v| number(&v)))
    };
    follow(servers, stop, get)
}

/// Asks the first node, follows redirections, waits where it must; gives up after 10 s.
fn follow<T>(
    servers: &[SlotServer],
    stop: &AtomicBool,
    ask: impl Fn(&SlotServer) -> Result<T, NotServed>,
) -> Option<T> {
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) && !stop.load(Ordering::SeqCst) {
        match ask(&servers[at]) {
            Ok(answer) => return Some(answer),
            Err(NotServed::Moved { owner }) => {
                at = servers.iter().position(|s| s.node().id == owner).unwrap_or(at);
            }
            Err(NotServed::Wait(parked)) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let _ = runtime.expect("a runtime").block_on(parked.wait());
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
    None
}

/// A TCP proxy in front of a node's bus that can cut what goes through it.
pub(crate) struct Proxy {
    pub(crate) address: String,
    goal: Arc<Mutex<String>>,
    /// Bytes that may still pass from the node behind the proxy.
    left: Arc<AtomicU64>,
    pub(crate) passed: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let goal = Arc::new(Mutex::new(String::new()));
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let passed = Arc::new(AtomicU64::new(0));
        let (to, budget, sum) = (goal.clone(), left.clone(), passed.clone());
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let goal = to.lock().expect("not poisoned").clone();
                tokio::spawn(relay(near, goal, budget.clone(), sum.clone()));
            }
        });
        Self { address, goal, left, passed, _runtime: runtime }
    }

    fn set_goal(&self, goal: &str) {
        goal.clone_into(&mut self.goal.lock().expect("not poisoned"));
    }

    /// Every connection is cut once `bytes` more have passed from the node.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
    }
}

async fn relay(
    near: tokio::net::TcpStream,
    goal: String,
    left: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(far) = tokio::net::TcpStream::connect(goal).await else { return };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let out = async {
        let _ = tokio::io::copy(&mut near_read, &mut far_write).await;
    };
    let back = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = far_read.read(&mut buffer).await {
            let n64 = n as u64;
            let take = |l: u64| if l == u64::MAX { Some(l) } else { l.checked_sub(n64) };
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
                return;
            }
            passed.fetch_add(n64, Ordering::SeqCst);
            if near_write.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = out => {}, () = back => {} }
}

/// A map that holds up the swaps of one node until told to go on.
#[derive(Debug)]
pub(crate) struct StallingMap {
    pub(crate) inner: Arc<MemMap>,
    pub(crate) node: NodeId,
    pub(crate) stalled: AtomicBool,
    pub(crate) waiting: AtomicBool,
}

impl StallingMap {
    pub(crate) fn new(inner: Arc<MemMap>, node: &str) -> Arc<Self> {
        let (stalled, waiting) = (AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Self { inner, node: id(node), stalled, waiting })
    }
}

impl SlotMap for StallingMap {
    fn get(&self, slot: Slot) -> Result<Option<SlotRecord>, Error> {
        self.inner.get(slot)
    }

    fn all(&self) -> Result<Vec<(Slot, SlotRecord)>, Error> {
        self.inner.all()
    }

    fn cas_many(&self, ops: &[CasOp]) -> Result<Vec<CasOutcome>, Error> {
        let takes = |op: &CasOp| {
            op.new.owner == self.node && op.expected.as_ref().is_some_and(|e| e.owner != self.node)
        };
        if ops.iter().any(takes) {
            self.waiting.store(true, Ordering::SeqCst);
            let began = Instant::now();
            while self.stalled.load(Ordering::SeqCst) && began.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.inner.cas_many(ops)
    }

    fn put_node(&self, node: &NodeInfo) -> Result<(), Error> {
        self.inner.put_node(node)
    }

    fn refresh(&self) -> Result<(), Error> {
        self.inner.refresh()
    }

    fn peek(&self, slot: Slot) -> Option<SlotRecord> {
        self.inner.peek(slot)
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.inner.nodes()
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch()
    }
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
