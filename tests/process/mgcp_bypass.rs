//! The ways by which MGCP commands reach the worker that has the endpoint, past the dispatcher where they can; and
//! their fate when worker or dispatcher dies.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use crate::support::agent::{Agent, Command, Said};
use crate::support::own_address;
use crate::support::pointsman::{Pointsman, Setup};

/// A dispatcher with rules for MGCP in a file.
struct ByFile {
    pointsman: Pointsman,
    /// Each worker's own address; none where they share the dispatcher's.
    addresses: Vec<IpAddr>,
    file: tempfile::NamedTempFile,
}

impl ByFile {
    fn start(setup: Setup, text: &str, addresses: Vec<IpAddr>) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{text}").unwrap();
        let pointsman = setup.with(["--config", &file.path().display().to_string()]).start();
        ByFile { pointsman, addresses, file }
    }

    /// `workers` workers, each with an address of its own, under the domain `ms.example.net`.
    fn with_addresses(workers: usize) -> Self {
        let addresses: Vec<IpAddr> = (0..workers).map(|_| own_address().into()).collect();
        let list = addresses.iter().map(|ip| format!("\"{ip}\"")).collect::<Vec<_>>().join(", ");
        let text = format!("[[mgcp]]\nbypass = \"domain\"\ndomain = \"ms.example.net\"\naddresses = [{list}]\n");
        ByFile::start(gateway(workers), &text, addresses)
    }

    /// The address of an endpoint by the call agent's DNS and the port in its name.
    fn reached_at(&self, endpoint: &str) -> SocketAddr {
        let domain = endpoint.split_once('@').unwrap().1;
        let (host, port) = match domain.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().unwrap()),
            None => (domain, 2427),
        };
        let label = host.strip_suffix(".ms.example.net").and_then(|label| label.strip_prefix('w'));
        let ip = label.map_or(self.pointsman.address().ip(), |slot| self.addresses[slot.parse::<usize>().unwrap()]);
        SocketAddr::new(ip, port)
    }
}

/// Workers for MGCP alone that all take their share from the first moment.
fn gateway(workers: usize) -> Setup {
    Setup::gateway(workers).with(["--slow-start", "0s"])
}

/// A connection that stands.
struct Connection {
    call: String,
    endpoint: String,
    id: String,
}

impl Connection {
    fn create(agent: &Agent, to: SocketAddr, call: &str) -> Self {
        let made = agent.transact(&Command::create("ann/$@ms.example.net", call, "inactive"), to);
        assert_eq!(made.code(), 200, "{}", made.text);
        assert_eq!(made.from, to, "the answer leaves from where the command went");
        assert_eq!(made.media_address().ip(), to.ip());
        Connection { call: call.to_owned(), endpoint: made.need("Z").to_owned(), id: made.need("I").to_owned() }
    }

    fn command(&self, verb: &str) -> Command {
        let command = Command::new(verb, &self.endpoint);
        command.with(&format!("C: {}", self.call)).with(&format!("I: {}", self.id))
    }

    fn modify(&self, agent: &Agent, to: SocketAddr) -> Said {
        agent.transact(&self.command("MDCX").with("M: recvonly"), to)
    }

    fn delete(&self, agent: &Agent, to: SocketAddr) -> Said {
        agent.transact(&self.command("DLCX"), to)
    }
}

/// Forty calls of two call agents, each created at the well-known port, then changed and deleted where its name says.
fn forty_calls_past_the_dispatcher(by_file: &ByFile) {
    let pointsman = &by_file.pointsman;
    let agents = [Agent::new(pointsman.address().ip()), Agent::new(own_address().into())];
    let mut at_worker = std::collections::BTreeMap::<SocketAddr, u64>::new();
    for number in 0..40 {
        let agent = &agents[number % 2];
        let connection = Connection::create(agent, pointsman.address(), &format!("{:x}", 0xa000 + number));
        let worker = by_file.reached_at(&connection.endpoint);
        assert_ne!(worker, pointsman.address(), "{}", connection.endpoint);
        let modified = connection.modify(agent, worker);
        assert_eq!((modified.code(), modified.from), (200, worker), "{}", modified.text);
        if number % 4 != 0 {
            let deleted = connection.delete(agent, worker);
            assert_eq!((deleted.code(), deleted.from), (250, worker), "{}", deleted.text);
            assert!(deleted.need("P").starts_with("PS="), "{}", deleted.text);
        }
        *at_worker.entry(worker).or_default() += 1;
    }
    assert_eq!(at_worker.len(), 4, "{at_worker:?}");
    let sent: u64 = agents.iter().map(|agent| agent.sent_to(pointsman.address())).sum();
    assert_eq!(pointsman.dispatcher("received"), sent, "it has seen the CRCX alone");
    pointsman.wait_until("ten connections to be left", |load| sum(load, "sessions") == 10 && sum(load, "ledger") == 0);
    assert_eq!(sum(&pointsman.load(), "units_used"), 10);
}

fn sum(load: &Value, field: &str) -> u64 {
    let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    workers.iter().filter_map(|worker| worker[field].as_u64()).sum()
}

#[test]
fn with_an_address_for_each_worker_the_dispatcher_sees_the_crcx_alone() {
    let by_file = ByFile::with_addresses(4);
    forty_calls_past_the_dispatcher(&by_file);
    // A command that is sent to the well-known port all the same finds the worker by its endpoint name.
    let agent = Agent::new(own_address().into());
    let connection = Connection::create(&agent, by_file.pointsman.address(), "b1");
    let modified = connection.modify(&agent, by_file.pointsman.address());
    assert_eq!((modified.code(), modified.from), (200, by_file.pointsman.address()), "{}", modified.text);
    assert_eq!(connection.delete(&agent, by_file.pointsman.address()).code(), 250);
}

#[test]
fn with_the_port_behind_the_domain_the_dispatcher_sees_the_crcx_alone() {
    let by_file = ByFile::start(gateway(4), "[[mgcp]]\nbypass = \"port\"\n", Vec::new());
    forty_calls_past_the_dispatcher(&by_file);
}

#[test]
fn without_a_domain_endpoints_are_at_their_workers_address() {
    let address = own_address();
    let text = format!("[[mgcp]]\nbypass = \"domain\"\naddresses = [\"{address}\"]\n");
    let by_file = ByFile::start(gateway(1), &text, vec![address.into()]);
    let agent = Agent::new(own_address().into());
    let connection = Connection::create(&agent, by_file.pointsman.address(), "1");
    assert!(connection.endpoint.ends_with(&format!("@[{address}]")), "{}", connection.endpoint);
    assert_eq!(connection.delete(&agent, SocketAddr::new(address.into(), 2427)).code(), 250);
}

#[test]
fn a_dispatcher_for_mgcp_alone_has_no_sip_port_and_shows_the_workers_mgcp_ports() {
    let pointsman = gateway(2).start();
    assert_eq!([0, 1].map(|slot| pointsman.worker_number(slot, "port")), [2430, 2431]);
    for port in [5060, 5070, 5071] {
        UdpSocket::bind(SocketAddr::new(pointsman.address().ip(), port)).expect("nobody has it");
    }
    let agent = Agent::new(pointsman.address().ip());
    let connection = Connection::create(&agent, pointsman.address(), "1");
    assert!(connection.endpoint.ends_with("@ms.example.net"), "{}", connection.endpoint);
    assert_eq!(connection.delete(&agent, pointsman.address()).code(), 250);
}

#[test]
fn messages_in_one_datagram_at_a_workers_own_port_are_answered_in_their_order() {
    let by_file = ByFile::with_addresses(1);
    let agent = Agent::new(own_address().into());
    let connection = Connection::create(&agent, by_file.pointsman.address(), "1");
    let worker = by_file.reached_at(&connection.endpoint);
    let commands =
        [connection.command("MDCX").with("M: recvonly"), connection.command("DLCX"), connection.command("DLCX")];
    let codes: Vec<u16> = agent.transact_all(&commands, worker).iter().map(Said::code).collect();
    assert_eq!(codes, [200, 250, 500], "with its last connection the endpoint is gone");
}

#[test]
fn of_too_many_messages_in_one_datagram_none_is_left_without_an_answer() {
    let by_file = ByFile::with_addresses(1);
    let agent = Agent::new(own_address().into());
    let connection = Connection::create(&agent, by_file.pointsman.address(), "1");
    let worker = by_file.reached_at(&connection.endpoint);
    let commands: Vec<Command> = (0..100).map(|_| Command::new("AUEP", &connection.endpoint)).collect();
    let codes: Vec<u16> = agent.transact_all(&commands, worker).iter().map(Said::code).collect();
    assert_eq!((&codes[..64], &codes[64..]), (&[200; 64][..], &[409; 36][..]));
    assert_eq!(connection.delete(&agent, worker).code(), 250);
}

#[test]
fn connections_outlive_the_dispatcher_and_what_waited_at_its_port_is_answered_by_the_next_one() {
    let mut by_file = ByFile::with_addresses(2);
    let front = by_file.pointsman.address();
    let agent = Agent::new(own_address().into());
    let standing: Vec<Connection> =
        (0..6).map(|number| Connection::create(&agent, front, &format!("{number}"))).collect();
    let workers = by_file.pointsman.worker_pids();
    by_file.pointsman.crash();
    let first = &standing[0];
    assert_eq!(first.modify(&agent, by_file.reached_at(&first.endpoint)).code(), 200, "no dispatcher is needed for it");
    let waiting = Command::create("ann/$@ms.example.net", "5", "inactive");
    agent.send(&waiting, front);
    by_file.pointsman.start_again();
    let made = agent.response(&waiting);
    assert_eq!((made.code(), made.from), (200, front), "{}", made.text);
    by_file.pointsman.wait_until_up();
    assert_eq!(by_file.pointsman.worker_pids(), workers);
    // The second connection of a call is where the first is, also after that.
    let domain = |endpoint: &str| endpoint.split_once('@').unwrap().1.to_owned();
    assert_eq!(domain(made.need("Z")), domain(&standing[5].endpoint));
    for connection in &standing {
        let second = Connection::create(&agent, front, &connection.call);
        assert_eq!(domain(&second.endpoint), domain(&connection.endpoint));
        assert_eq!(second.delete(&agent, front).code(), 250);
    }
    for (number, connection) in standing.iter().enumerate() {
        let to = if number % 2 == 0 { front } else { by_file.reached_at(&connection.endpoint) };
        assert_eq!(connection.delete(&agent, to).code(), 250, "{}", connection.endpoint);
    }
    by_file.pointsman.wait_until("one connection to be left", |load| sum(load, "sessions") == 1);
}

#[test]
fn a_dispatcher_that_counts_its_listeners_otherwise_gets_its_workers_back_all_the_same() {
    let setup = Setup::new(2).with(["--slow-start", "0s"]);
    let (sip, mgcp) = (format!("udp:{}:5060", setup.ip), format!("mgcp:{}:2427", setup.ip));
    let front = SocketAddr::new(setup.ip, 2427);
    let before = setup.clone().with(["--listen", &mgcp]);
    let after = Setup { sip: false, ..setup }.with(["--listen", &mgcp, "--listen", &sip]);
    let mut pointsman = before.start();
    let (agent, phone) = (Agent::new(front.ip()), crate::support::phone::Phone::new(front.ip()));
    let connections: Vec<Connection> =
        (0..2).map(|call| Connection::create(&agent, front, &format!("{call}"))).collect();
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    let workers = pointsman.worker_pids();
    pointsman.crash();
    pointsman.start_again_as(after);
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    assert_eq!(connections[0].modify(&agent, front).code(), 200);
    assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    // Endpoints are named, and answers leave, as the listener of that number says now.
    let again = Connection::create(&agent, front, "9");
    assert!(again.endpoint.ends_with("@ms.example.net"), "{}", again.endpoint);
    // A successor gets the same sockets under the new numbers.
    for slot in 0..2 {
        let killed = pointsman.kill_worker(slot);
        pointsman.wait_until("a successor", |load| {
            let worker = &load["workers"][slot];
            worker["state"] == "up" && worker["pid"] != killed
        });
    }
    assert_eq!(connections[1].modify(&agent, front).code(), 500);
    let fresh = Connection::create(&agent, front, "a");
    let own = [2430, 2431].map(|port| SocketAddr::new(front.ip(), port));
    let codes = own.map(|own| fresh.modify(&agent, own).code());
    assert!(codes.contains(&200), "{codes:?}");
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn a_reload_gives_a_new_worker_the_next_address_and_changes_no_way_of_bypass() {
    let addresses = [own_address(), own_address()];
    let text = |workers: usize, bypass: &str| {
        let [one, two] = addresses;
        format!(
            "workers = {workers}\n[[mgcp]]\nbypass = \"{bypass}\"\ndomain = \"ms.example.net\"\n\
             addresses = [\"{one}\", \"{two}\"]\n"
        )
    };
    let setup = Setup { workers_by_file: true, ..gateway(1) };
    let by_file = ByFile::start(setup, &text(1, "domain"), addresses.map(IpAddr::from).into());
    let pointsman = &by_file.pointsman;
    std::fs::write(by_file.file.path(), text(2, "domain")).unwrap();
    let reply = pointsman.stats("reload");
    assert_eq!(reply["changed"][0]["key"], "workers", "{reply}");
    pointsman.wait_until("the second worker", |load| load["workers"][1]["state"] == "up");
    assert_eq!(pointsman.worker(1)["address"], addresses[1].to_string());
    let agent = Agent::new(own_address().into());
    let standing: Vec<Connection> =
        (0..4).map(|call| Connection::create(&agent, pointsman.address(), &format!("{call}"))).collect();
    assert!(standing.iter().any(|connection| connection.endpoint.ends_with("@w1.ms.example.net")));
    for connection in &standing {
        assert_eq!(connection.delete(&agent, by_file.reached_at(&connection.endpoint)).code(), 250);
    }
    std::fs::write(by_file.file.path(), text(2, "port").replace("addresses", "# addresses")).unwrap();
    let reply = pointsman.stats("reload");
    assert!(reply["error"].as_str().is_some_and(|error| error.contains("mgcp cannot change while it runs")), "{reply}");
    std::fs::write(by_file.file.path(), text(3, "domain")).unwrap();
    let reply = pointsman.stats("reload");
    assert!(
        reply["error"].as_str().is_some_and(|error| error.ends_with("2 for 3 workers; name one for each")),
        "{reply}"
    );
}

#[test]
fn a_retransmission_behind_a_restart_gets_the_first_answer_and_no_second_connection() {
    let mut pointsman = gateway(4).start();
    let agent = Agent::new(pointsman.address().ip());
    // Half of them are deleted again: no call of theirs tells any more where they were.
    let commands: Vec<Command> =
        (0..8).map(|call| Command::create("ann/$@ms.example.net", &format!("{call}"), "inactive")).collect();
    let first: Vec<Said> = commands.iter().map(|command| agent.transact(command, pointsman.address())).collect();
    for made in &first[..4] {
        let delete = Command::new("DLCX", made.need("Z")).with(&format!("I: {}", made.need("I")));
        assert_eq!(agent.transact(&delete, pointsman.address()).code(), 250);
    }
    for takeover in [false, true] {
        if takeover {
            pointsman.take_over();
        } else {
            pointsman.crash();
            pointsman.start_again();
        }
        pointsman.wait_until_up();
        // From the last to the first: a dispatcher that selected anew would choose other workers.
        for (command, first) in commands.iter().zip(&first).rev() {
            assert_eq!(agent.transact(command, pointsman.address()).text, first.text);
        }
    }
    assert_eq!(sum(&pointsman.load(), "sessions"), 4);
}

#[test]
fn a_takeover_takes_the_workers_mgcp_sockets_along() {
    let mut by_file = ByFile::with_addresses(2);
    let agent = Agent::new(own_address().into());
    let standing: Vec<Connection> =
        (0..4).map(|number| Connection::create(&agent, by_file.pointsman.address(), &format!("{number}"))).collect();
    by_file.pointsman.take_over();
    for connection in &standing {
        assert_eq!(connection.modify(&agent, by_file.reached_at(&connection.endpoint)).code(), 200);
    }
    // The new one has them too: it starts a worker on the same address, and answers there meanwhile.
    let killed = by_file.pointsman.kill_worker(0);
    by_file
        .pointsman
        .wait_until("a successor", |load| load["workers"][0]["state"] == "up" && load["workers"][0]["pid"] != killed);
    for connection in &standing {
        let worker = by_file.reached_at(&connection.endpoint);
        let lost = connection.endpoint.contains("@w0.");
        assert_eq!(connection.delete(&agent, worker).code(), if lost { 500 } else { 250 }, "{}", connection.endpoint);
    }
    let fresh = Connection::create(&agent, by_file.pointsman.address(), "9");
    assert_eq!(fresh.delete(&agent, by_file.reached_at(&fresh.endpoint)).code(), 250);
}

#[test]
fn an_endpoint_of_a_worker_that_is_dead_is_unknown_at_its_own_address_too_while_nobody_is_in_its_place() {
    let by_file = ByFile::with_addresses(2);
    let pointsman = &by_file.pointsman;
    let agent = Agent::new(own_address().into());
    let mine = (0..20).map(|number| Connection::create(&agent, pointsman.address(), &format!("{number}")));
    let connection = mine.into_iter().find(|connection| connection.endpoint.contains("@w0.")).unwrap();
    let worker = by_file.reached_at(&connection.endpoint);
    // After the fourth death the slot stays empty for two seconds.
    for restarts in 1..=4 {
        pointsman.wait_until("a worker in the slot", |load| load["workers"][0]["state"] == "up");
        pointsman.kill_worker(0);
        pointsman.wait_until("the death to be seen", |load| load["workers"][0]["restarts"] == restarts);
    }
    let gone = connection.modify(&agent, worker);
    assert_eq!((gone.code(), gone.from), (500, worker), "{}", gone.text);
    assert_eq!(connection.modify(&agent, pointsman.address()).code(), 500);
    // A new connection is made elsewhere, whatever the address it was asked for at.
    let created = agent.transact(&Command::create("ann/$@ms.example.net", "fff", "inactive"), worker);
    assert_eq!(created.code(), 200, "{}", created.text);
    assert!(created.need("Z").contains("@w1."), "{}", created.text);
    assert!(pointsman.stats("counters")["vacant"]["total"].as_u64() >= Some(2));
}

#[test]
fn a_worker_that_is_started_by_hand_makes_endpoints_that_are_found_by_name() {
    let pointsman = gateway(1).with(["--policy", "round-robin"]).start();
    let mut worker = std::process::Command::new(crate::support::pointsman::EXECUTABLE);
    worker.args(["worker", "--dispatcher"]).arg(pointsman.run_dir().join("handoff.sock"));
    let mut worker = worker.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    pointsman.wait_until("the worker to be there", |load| load["workers"][1]["state"] == "up");
    let agent = Agent::new(pointsman.address().ip());
    let standing: Vec<Connection> =
        (0..8).map(|number| Connection::create(&agent, pointsman.address(), &format!("{number}"))).collect();
    pointsman.wait_until("connections at both", |load| {
        [0, 1].iter().all(|at| load["workers"][*at]["sessions"].as_u64() > Some(1))
    });
    for connection in &standing {
        assert_eq!(connection.delete(&agent, pointsman.address()).code(), 250);
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn sip_and_mgcp_share_a_workers_capacity() {
    let setup = Setup::new(1);
    let listen = format!("mgcp:{}:2427", setup.ip);
    let pointsman = setup.with(["--listen", &listen, "--capacity", "3", "--slow-start", "0s"]).start();
    let front = SocketAddr::new(pointsman.address().ip(), 2427);
    let agent = Agent::new(front.ip());
    let phone = crate::support::phone::Phone::new(front.ip());
    let connections: Vec<Connection> =
        (0..2).map(|number| Connection::create(&agent, front, &format!("{number}"))).collect();
    // At the worker's own port: lanes hear of each other's handoffs a little later than of the reports that cover them.
    let own = pointsman.worker_address(0);
    let dialog = phone.call(&phone.invite(own, None), own);
    pointsman.wait_until("three sessions", |load| sum(load, "units_used") == 3 && sum(load, "sessions") == 3);
    let full = agent.transact(&Command::create("ann/$@ms.example.net", "f", "inactive"), front);
    assert_eq!(full.code(), 410, "{}", full.text);
    let at_worker = SocketAddr::new(front.ip(), 2430);
    let full = agent.transact(&Command::create("ann/$@ms.example.net", "e", "inactive"), at_worker);
    assert!((400..500).contains(&full.code()), "{}", full.text);
    assert_eq!(phone.transact(&phone.invite(pointsman.address(), None), dialog.target).status(), 503);
    assert_eq!(connections[0].delete(&agent, front).code(), 250);
    let again = phone.call(&phone.invite(dialog.target, None), dialog.target);
    for dialog in [dialog, again] {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
    pointsman.wait_until("one session to be left", |load| sum(load, "units_used") == 1 && sum(load, "sessions") == 1);
}

#[test]
fn a_source_that_the_access_rules_deny_gets_nothing_at_a_workers_own_port() {
    let denied = own_address();
    let text = format!("access = [{{ from = [\"{denied}\"], action = \"deny\" }}]\n[[mgcp]]\nbypass = \"port\"\n");
    let by_file = ByFile::start(gateway(1), &text, Vec::new());
    let friend = Agent::new(own_address().into());
    let connection = Connection::create(&friend, by_file.pointsman.address(), "1");
    let worker = by_file.reached_at(&connection.endpoint);
    let stranger = Agent::new(denied.into());
    stranger.send(&connection.command("DLCX"), worker);
    assert_eq!(connection.modify(&friend, worker).code(), 200, "it was read behind the stranger's");
    assert!(stranger.hear(Duration::from_millis(50), |_| true).is_none());
    assert_eq!(connection.delete(&friend, worker).code(), 250);
}
