//! `pointsman worker`: the built-in media worker.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pointsman::config::PortRange;
use pointsman::net::lan::Credentials;
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
It binds SIP and MGCP ports of its own, by default on every address of the host. Its MGCP endpoints are found by their \
names, whatever `bypass` says. SIGTERM and SIGINT have it end its calls and leave; it ignores SIGHUP, SIGUSR1, SIGUSR2 and \
SIGALRM.

An MGCP gateway of another make as a worker, such as osmo-mgw:
  pointsman worker --dispatcher /run/pointsman/handoff.sock --gateway 127.0.0.1:2427")]
pub struct Flags {
    /// Handoff socket of the dispatcher, or `tls://HOST:PORT` for one on another host
    #[arg(long, value_name = "PATH", required_unless_present = "link_fd")]
    pub dispatcher: Option<Dispatcher>,
    /// Name to ask for, such as w2
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Capacity units [default: the dispatcher's `--capacity`]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub capacity: Option<u32>,
    /// Address to take calls at; give it once for each network [default: every address of this host]
    #[arg(long, value_name = "ADDR", requires = "dispatcher", conflicts_with_all = ["link_fd", "gateway"])]
    pub address: Vec<IpAddr>,
    /// Certificate to show to a dispatcher on another host; its DNS name is the worker's name
    #[arg(long, value_name = "FILE", requires = "dispatcher")]
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Certificate of the CA that has made the dispatcher's
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub ca: Option<PathBuf>,
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
    if let (Some(gateway), Some(Dispatcher::Path(dispatcher))) = (flags.gateway, &flags.dispatcher) {
        let settings = external::Settings {
            name: flags.name,
            capacity: flags.capacity,
            ..external::Settings::new(dispatcher.clone(), gateway)
        };
        return external::run(settings).map_err(Failure::usage);
    }
    let link = link(&flags)?;
    let handoff = match flags.dispatcher {
        Some(Dispatcher::Path(path)) => Some(path),
        _ => None,
    };
    let settings = Settings {
        name: flags.name,
        handoff,
        capacity: flags.capacity,
        gateway: true,
        addresses: flags.address,
        sip_port: flags.port.unwrap_or(0),
        rtp_ports: flags.rtp_ports,
        ..Settings::new(link)
    };
    worker::run(settings, Echo::default()).map_err(Failure::usage)
}

/// A dispatcher as the command line names it.
#[derive(Clone, Debug)]
pub enum Dispatcher {
    /// Its handoff socket.
    Path(PathBuf),
    /// Host and port of one on another host.
    Network(String, u16),
}

impl FromStr for Dispatcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty; give a handoff socket, such as /run/pointsman/handoff.sock".to_owned());
        }
        let Some(rest) = text.strip_prefix("tls://") else { return Ok(Dispatcher::Path(text.into())) };
        let split = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match split {
            Some((host, port)) if !host.is_empty() => {
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                Ok(Dispatcher::Network(host.to_owned(), port))
            }
            _ => Err("a dispatcher on another host is written tls://HOST:PORT".to_owned()),
        }
    }
}

fn link(flags: &Flags) -> Result<Link, Failure> {
    let needs =
        |flag: &str| Failure::usage(format!("a dispatcher on another host needs {flag}; see `pointsman certify`"));
    Ok(match (flags.link_fd, &flags.dispatcher) {
        (Some(fd), _) => Link::Inherited(fd),
        (None, Some(Dispatcher::Network(..))) if flags.gateway.is_some() => {
            return Err(Failure::usage("--gateway is for a dispatcher on the same host; give its handoff socket"));
        }
        (None, Some(Dispatcher::Network(host, port))) => {
            if flags.name.is_some() {
                let words = "--name: a worker on another host has the name in its certificate; leave --name out";
                return Err(Failure::usage(words));
            }
            let certificate = flags.certificate.clone().ok_or_else(|| needs("--certificate"))?;
            let key = flags.key.clone().ok_or_else(|| needs("--key"))?;
            let ca = flags.ca.clone().ok_or_else(|| needs("--ca"))?;
            let credentials = Credentials { certificate, key, ca };
            Link::Network { host: host.clone(), port: *port, credentials }
        }
        (None, Some(Dispatcher::Path(_))) if flags.certificate.is_some() => {
            let words =
                "--certificate is for a dispatcher on another host; give --dispatcher tls://HOST:PORT, or leave it out";
            return Err(Failure::usage(words));
        }
        (None, Some(Dispatcher::Path(path))) => Link::Path(path.clone()),
        // One of the two is there: the command line demands it.
        (None, None) => Link::Path(PathBuf::new()),
    })
}
