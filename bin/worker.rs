//! `pointsman worker`: the built-in media worker.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use pointsman::config::PortRange;
use pointsman::net::process;
use pointsman::worker::external;
use pointsman::worker::{self, Echo, Link, Settings};

use crate::log;
use crate::output::Failure;

/// One worker process: it answers SIP calls with an echo, and is an MGCP media gateway.
#[derive(Args, Debug)]
#[command(after_help = "\
The dispatcher starts `--workers N` of these itself. By hand, on the same host:
  pointsman worker --dispatcher /run/pointsman/handoff.sock
It binds SIP and MGCP ports of its own, by default on every address of the host. Its MGCP endpoints are found by their
names, whatever `bypass` says. SIGTERM and SIGINT have it end its calls and leave; it ignores SIGHUP, SIGUSR1, SIGUSR2 and
SIGALRM.

An MGCP gateway of another make as a worker, such as osmo-mgw:
  pointsman worker --dispatcher /run/pointsman/handoff.sock --gateway 127.0.0.1:2427")]
pub struct Flags {
    /// Handoff socket of the dispatcher
    #[arg(long, value_name = "PATH", required_unless_present = "link_fd")]
    pub dispatcher: Option<PathBuf>,
    /// Name to ask for, such as w2
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Capacity units [default: the dispatcher's `--capacity`]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub capacity: Option<u32>,
    /// Address to take calls at [default: every address of this host]
    #[arg(long, value_name = "ADDR", requires = "dispatcher", conflicts_with_all = ["link_fd", "gateway"])]
    pub address: Option<IpAddr>,
    /// SIP port, UDP and TCP [default: the kernel chooses]
    #[arg(long, value_name = "PORT", requires = "dispatcher", conflicts_with_all = ["link_fd", "gateway"])]
    pub port: Option<u16>,
    /// UDP ports for media [default: those the dispatcher names, apart from its own workers']
    #[arg(long, value_name = "FIRST-LAST", requires = "dispatcher", conflicts_with_all = ["link_fd", "gateway"])]
    pub rtp_ports: Option<PortRange>,
    /// MGCP gateway to hand commands on to, in place of the built-in media
    #[arg(long, value_name = "ADDR:PORT", requires = "dispatcher", conflicts_with = "link_fd")]
    pub gateway: Option<SocketAddr>,
    /// Link that the dispatcher has passed on
    #[arg(long, value_name = "FD", hide = true)]
    pub link_fd: Option<i32>,
}

/// Runs the worker until the dispatcher or the operator ends it.
pub fn run(flags: Flags, verbose: u8) -> Result<(), Failure> {
    log::start(verbose)?;
    if let (Some(name), Some(_)) = (&flags.name, flags.link_fd) {
        process::set_name_of(name);
    }
    if let (Some(gateway), Some(dispatcher)) = (flags.gateway, &flags.dispatcher) {
        let settings = external::Settings {
            name: flags.name,
            capacity: flags.capacity,
            ..external::Settings::new(dispatcher.clone(), gateway)
        };
        return external::run(settings).map_err(Failure::usage);
    }
    let link = match (flags.link_fd, &flags.dispatcher) {
        (Some(fd), _) => Link::Inherited(fd),
        // One of the two is there: the command line demands it.
        (None, path) => Link::Path(path.clone().unwrap_or_default()),
    };
    let settings = Settings {
        name: flags.name,
        handoff: flags.dispatcher,
        capacity: flags.capacity,
        gateway: true,
        address: flags.address,
        sip_port: flags.port.unwrap_or(0),
        rtp_ports: flags.rtp_ports,
        ..Settings::new(link)
    };
    worker::run(settings, Echo::default()).map_err(Failure::usage)
}
