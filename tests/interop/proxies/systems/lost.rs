//! Systems that are lost under calls, and come back.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;

/// Calls a second.
const RATE: u64 = 500;
/// Calls a second where a system that has come back must be used although there are few.
const SLOWLY: u64 = 50;

/// The longest that something may take which waits for no timer of seconds, on a busy machine as well.
const PROMPT: Duration = support::PROMPT;

/// sipp that places calls until it is told to end.
struct Load {
    process: Sipp,
    name: String,
}

impl Load {
    fn start(to: SocketAddr, transport: &str, rate: u64, dir: &Path) -> Self {
        let name = format!("caller-{transport}");
        let mut command = sipp(dir, &name, &scenario::patient_caller());
        command.arg(to.to_string()).args(["-t", transport, "-i", &own_address().to_string()]);
        command.args(["-r", &rate.to_string(), "-timeout", &PATIENCE.as_secs().to_string(), "-timeout_error"]);
        Load { process: Sipp(command.spawn().unwrap()), name }
    }

    /// Waits until all its calls have come to their end: each request has been answered, and each INVITE by one final
    /// response. Returns how many calls there were, and how many of their INVITEs got 503.
    fn end(mut self, dir: &Path) -> [usize; 2] {
        assert!(support::proc::signal(self.process.0.id(), Signal::SIGUSR1), "it has ended");
        let status = self.process.0.wait().unwrap();
        assert!(status.success(), "sipp: {status}\n{}", errors(dir, &self.name));
        let mut finals: BTreeMap<String, String> = BTreeMap::new();
        for Received { call, cseq, line } in trace(&dir.join(format!("{}.messages", self.name))) {
            if cseq == "1 INVITE" && !line.starts_with("SIP/2.0 1") {
                let first = finals.entry(call).or_insert_with(|| line.clone());
                assert_eq!(*first, line, "a second answer");
            }
        }
        [finals.len(), finals.values().filter(|line| line.contains(" 503 ")).count()]
    }
}

fn calls(front: &Pointsman) -> Vec<u64> {
    let rows = front.stats("proxies")["proxies"].clone();
    rows.as_array().unwrap().iter().map(|row| row["calls"].as_u64().unwrap()).collect()
}

/// Waits until so many more calls have been placed.
fn more(front: &Pointsman, count: u64) {
    let sum = || calls(front).iter().sum::<u64>();
    let before = sum();
    support::wait_for("more calls", support::DEADLINE, || (sum() >= before + count).then_some(()));
}

/// Has the first of four systems be lost under calls and come back.
fn one_is_lost(front: &Pointsman, (transport, rate): (&str, u64), dir: &Path, mut lose: impl FnMut(bool)) {
    let load = Load::start(front.address(), transport, rate, dir);
    more(front, rate);
    lose(true);
    let lost = Instant::now();
    front.wait_until("it to get nothing new", |_| front.stats("proxies")["proxies"][0]["weight"] == 0);
    let alone = lost.elapsed();
    // The other lane hears of it a moment later.
    more(front, rate / 10);
    let before = calls(front)[0];
    more(front, rate / 2);
    assert_eq!(calls(front)[0], before, "it is lost and gets calls");
    lose(false);
    let back = Instant::now();
    support::wait_for("it to get calls again", support::DEADLINE, || (calls(front)[0] > before).then_some(()));
    let again = back.elapsed();
    more(front, rate / 2);
    let [count, refused] = load.end(dir);
    println!(
        "{transport}: passed by {alone:?} after its loss, used {again:?} after its return; {refused} of {count} got 503"
    );
    assert!(alone < PROMPT && again < PROMPT);
    // Those that rang when it was lost.
    assert!(refused < 50, "{refused} of {count}");
}

#[test]
fn each_call_of_sipp_is_answered_while_a_system_is_killed_and_started_again() {
    let latency = "policy = \"latency\"";
    for (transport, pool, rate) in [("u1", ROUND_ROBIN, RATE), ("t1", ROUND_ROBIN, RATE), ("u1", latency, SLOWLY)] {
        let mut rig = Rig::with_pool(pool, By::Routes, "");
        let (dir, front) = (rig.dir.path(), &rig.front);
        let first = &mut rig.systems[0];
        let address = first.address;
        one_is_lost(front, (transport, rate), dir, |is_lost| {
            if is_lost {
                first.process.0.kill().unwrap();
                first.process.0.wait().unwrap();
            } else {
                *first = System::start(dir, address, &scenario::system(By::Routes, front.address()));
            }
        });
    }
}

#[test]
fn each_call_of_sipp_is_answered_while_a_system_stands_still() {
    for transport in ["u1", "t1"] {
        let dir = dir();
        // sipp ends when it answers a probe whose connection is closed.
        let (servers, addresses) = four_of_sofia(dir.path());
        let front =
            in_front_of(&addresses, ROUND_ROBIN, "probe-interval = \"250ms\"", Setup::new(0).lanes(2), dir.path());
        one_is_lost(&front, (transport, RATE), dir.path(), |is_lost| {
            let signal = if is_lost { Signal::SIGSTOP } else { Signal::SIGCONT };
            assert!(support::proc::signal(servers[0].0.id(), signal));
        });
    }
}

/// A way to a server that can be cut. It ends with this value.
struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_cut: AtomicBool,
    ends: Mutex<Vec<TcpStream>>,
}

impl Relay {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut relay = Relay { address, server, shared: Arc::default(), accepts: None };
        relay.accept(listener);
        relay
    }

    fn accept(&mut self, listener: TcpListener) {
        let (shared, server) = (Arc::clone(&self.shared), self.server);
        shared.is_cut.store(false, Ordering::Relaxed);
        self.accepts = Some(std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if shared.is_cut.load(Ordering::Relaxed) {
                    return;
                }
                let far = TcpStream::connect(server).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let [mut from, mut to] = [from, to].map(|end| end.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // A connection may end at any time.
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                shared.ends.lock().unwrap().extend([near, far]);
            }
        }));
    }

    fn cut(&mut self) {
        self.shared.is_cut.store(true, Ordering::Relaxed);
        // It accepts one more connection, and sees that it is cut.
        let _ = TcpStream::connect(self.address);
        self.accepts.take().map(JoinHandle::join);
        for end in self.shared.ends.lock().unwrap().drain(..) {
            // The other end may have closed it.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn mend(&mut self) {
        self.accept(TcpListener::bind(self.address).unwrap());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

#[test]
fn each_call_of_sipp_is_answered_while_the_connections_with_a_system_are_cut_that_lives() {
    for transport in ["u1", "t1"] {
        let dir = dir();
        let (_servers, mut addresses) = four_of_sofia(dir.path());
        let mut relay = Relay::start(addresses[0]);
        addresses[0] = relay.address;
        let front = in_front_of(&addresses, ROUND_ROBIN, "", Setup::new(0).lanes(2), dir.path());
        one_is_lost(&front, (transport, RATE), dir.path(), |is_lost| if is_lost { relay.cut() } else { relay.mend() });
    }
}
