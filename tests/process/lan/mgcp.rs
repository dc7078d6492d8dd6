//! Workers on other hosts as media gateways.

use std::net::{SocketAddr, UdpSocket};

use super::{pids, wait_until_up};
use crate::support::agent::{Agent, Command, Said};
use crate::support::lan::{LanWorker, PORT, Site};
use crate::support::own_address;
use crate::support::pointsman::Pointsman;

const MGCP_PORT: u16 = 2427;

struct Gateways {
    /// Its files are read again by each dispatcher that starts.
    _site: Site,
    pointsman: Pointsman,
    workers: [LanWorker; 2],
    well_known: SocketAddr,
    agent: Agent,
}

impl Gateways {
    fn start() -> Self {
        let ip = own_address().into();
        let (site, well_known) = (Site::new(ip, &[]), SocketAddr::new(ip, MGCP_PORT));
        let pointsman = site.setup(0, "").with(["--listen", &format!("mgcp:{well_known}")]).start();
        let workers = ["media1", "media2"].map(|name| site.worker(name, SocketAddr::new(ip, PORT)));
        wait_until_up(&pointsman, 2);
        Gateways { _site: site, pointsman, workers, well_known, agent: Agent::new(ip) }
    }

    fn ask(&self, verb: &str, endpoint: &str, lines: &[&str]) -> Said {
        let command = lines.iter().fold(Command::new(verb, endpoint), |command, line| command.with(line));
        self.agent.transact(&command, self.well_known)
    }

    /// Makes connections, some of each worker.
    fn create(&self) -> Vec<Said> {
        let made: Vec<_> = (0..12)
            .map(|call| self.ask("CRCX", "ann/$@ms", &[&format!("C: {call:X}"), "M: recvonly"]))
            .inspect(|answer| assert_eq!(answer.code(), 200, "{}", answer.text))
            .collect();
        for worker in &self.workers {
            assert!(made.iter().any(|answer| answer.from.ip() == worker.address), "{:?}", worker.address);
        }
        made
    }
}

#[test]
fn connections_are_made_changed_and_deleted_by_name_and_each_worker_answers_from_its_own_address_with_its_media() {
    let gateways = Gateways::start();
    for (call, made) in gateways.create().iter().enumerate() {
        assert_eq!(made.media_address().ip(), made.from.ip(), "{}", made.text);
        let (call, connection) = (format!("C: {call:X}"), format!("I: {}", made.need("I")));
        let changed = gateways.ask("MDCX", made.need("Z"), &[&call, &connection, "M: inactive"]);
        assert_eq!((changed.code(), changed.from), (200, made.from), "{}", changed.text);
        let deleted = gateways.ask("DLCX", made.need("Z"), &[&call, &connection]);
        assert_eq!((deleted.code(), deleted.from), (250, made.from), "{}", deleted.text);
    }
}

#[test]
fn a_wildcard_asks_the_workers_of_all_hosts_and_gets_one_answer_from_the_well_known_port() {
    let gateways = Gateways::start();
    let mut names: Vec<_> = gateways.create().iter().map(|answer| answer.need("Z").to_owned()).collect();
    names.sort();
    let audited = gateways.ask("AUEP", "ann/*@ms", &[]);
    assert_eq!((audited.code(), audited.from), (200, gateways.well_known), "{}", audited.text);
    let mut all: Vec<_> = audited.params("Z").into_iter().map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, names);
    assert_eq!(gateways.ask("RQNT", "ann/*@ms", &["X: 1", "R: R/ma"]).code(), 200);
    let deleted = gateways.ask("DLCX", "ann/*@ms", &[]);
    assert!(matches!(deleted.code(), 200 | 250), "{}", deleted.text);
    gateways.pointsman.wait_until("no call", |load| (0..2).all(|slot| load["workers"][slot]["sessions"] == 0));
}

#[test]
fn an_event_is_notified_from_the_workers_own_address_and_calls_outlive_a_takeover_and_a_restart() {
    let mut gateways = Gateways::start();
    let agent = gateways.agent.address();
    let entity = format!("N: ca@[{}]:{}", agent.ip(), agent.port());
    let made = gateways.ask("CRCX", "ann/$@ms", &["C: 1", "M: recvonly", "X: 1F", "R: R/ma@$(N)", &entity]);
    assert_eq!(made.code(), 200, "{}", made.text);
    let before = pids(&gateways.pointsman);
    gateways.pointsman.take_over();
    wait_until_up(&gateways.pointsman, 2);
    gateways.pointsman.crash();
    gateways.pointsman.start_again();
    wait_until_up(&gateways.pointsman, 2);
    assert_eq!(pids(&gateways.pointsman), before);
    let phone = UdpSocket::bind((agent.ip(), 0)).unwrap();
    let mut rtp = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    rtp.extend_from_slice(&[0x7f; 160]);
    phone.send_to(&rtp, made.media_address()).unwrap();
    let notify = gateways.agent.expect_command("NTFY");
    assert_eq!((notify.from, notify.endpoint(), notify.need("X")), (made.from, made.need("Z"), "1F"));
    gateways.agent.answer(&notify, 200);
    let connection = format!("I: {}", made.need("I"));
    let deleted = gateways.ask("DLCX", made.need("Z"), &["C: 1", &connection]);
    assert_eq!((deleted.code(), deleted.from), (250, made.from), "{}", deleted.text);
}
