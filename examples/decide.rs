//! One decision by hand, without a socket, a thread or a clock: a configuration, two workers, an INVITE.
//!
//! ```text
//! cargo run --example decide
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::{Config, Settings};
use pointsman::dispatch::decision::{Arrival, Decision, Joined};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::wire::sip::Scanner;
use pointsman::words::{ReplyTo, Report, Transport};

const INVITE: &str = "INVITE sip:conference@192.0.2.1 SIP/2.0\r\n\
                      Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1\r\n\
                      From: <sip:ann@192.0.2.9>;tag=1\r\n\
                      To: <sip:conference@192.0.2.1>\r\n\
                      Call-ID: 1@192.0.2.9\r\n\
                      CSeq: 1 INVITE\r\n\
                      Contact: <sip:ann@192.0.2.9:5060>\r\n\
                      X-Session-Size: 8\r\n\
                      Content-Length: 0\r\n\r\n";

/// The decisions about an INVITE and its retransmission, where the first of two workers is half full.
pub fn decide() -> Result<[Decision; 2], Box<dyn Error>> {
    let config = Config::check(&Settings::parse("workers = 2\npolicy = \"least-load\"\n")?)?;
    let mut dispatch = Dispatch::new(Setup {
        rules: Rules::from(&config),
        keys: Keyring::new(TokenKey::new([7; 32])),
        table_cap: config.table_cap,
        group_cap: 100,
        workers: usize::from(config.workers),
        seed: 1,
    });

    // The time is an input like any other.
    let start = Time(1_000_000_000);
    for worker in config.slots() {
        let own = SocketAddr::from(([192, 0, 2, 1], config.sip_port(worker)));
        let life = Incarnation::new(u64::from(worker.0) + 1);
        dispatch.on_worker_up(worker, &Joined::sip(life, config.capacity, vec![own]), start);
    }
    let half = Report { number: 1, units_used: 500, units_total: 1000, sessions: 500, ..Report::default() };
    dispatch.on_report(WorkerId(0), &half, start);

    let arrival = |received| Arrival {
        listener: ListenerId(0),
        transport: Transport::Udp,
        reply_to: ReplyTo::Datagram,
        source: SocketAddr::from(([192, 0, 2, 9], 5060)),
        local: SocketAddr::from(([192, 0, 2, 1], 5060)),
        received,
        alias: false,
        certified: None,
    };
    let mut scanner = Scanner::new();
    let invite = scanner.scan(INVITE.as_bytes()).map_err(|bad| format!("{:?}", bad.fault))?;
    let first = dispatch.on_message(&invite, &arrival(start), start);
    let later = start + Duration::from_millis(500);
    let again = dispatch.on_message(&invite, &arrival(later), later);
    Ok([first, again])
}

fn main() -> Result<(), Box<dyn Error>> {
    for decision in decide()? {
        println!("{}: {:?}\n", decision.reason.label(), decision.target);
    }
    Ok(())
}
