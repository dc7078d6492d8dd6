//! Flags that several subcommands share: those of the dispatcher, and those that find a running one.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use pointsman::admin::client::{Client, ClientError};
use pointsman::config::{Bytes, Insert, Listen, Network, Policy, PortRange, Settings, SizeSource, Source, Span};
use pointsman::words::ReplyFrom;

/// The settings of a dispatcher. Each is also a key of the configuration file, where the flag wins over the key.
#[derive(Args, Clone, Debug)]
pub struct Dispatch {
    /// Configuration file (TOML); a reload reads it again.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Number of workers to run; 0: workers of your own come to the handoff socket [default: 1]
    #[arg(long, value_name = "N", value_parser = number::<u16>, allow_negative_numbers = true)]
    workers: Option<u16>,
    /// Directory of the stats and handoff sockets [default: /run/pointsman where it can be made, else
    /// $XDG_RUNTIME_DIR/pointsman, else /tmp/pointsman-UID]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Group whose members may read the stats socket, by name or number [default: none]
    #[arg(long, value_name = "GROUP")]
    stats_group: Option<String>,
    /// Well-known address, [udp:|mgcp:]ADDR:PORT; may be given several times [default: udp:0.0.0.0:5060]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<Vec<Listen>>,
    /// SIP port (UDP and TCP) of worker w0; wN has this plus N; 0: the kernel chooses [default: 5070]
    #[arg(long, value_name = "FIRST", value_parser = number::<u16>, allow_negative_numbers = true)]
    worker_ports: Option<u16>,
    /// MGCP port of worker w0; wN has this plus N; 0: the kernel chooses [default: 2430]
    #[arg(long, value_name = "FIRST", value_parser = number::<u16>, allow_negative_numbers = true)]
    worker_mgcp_ports: Option<u16>,
    /// Units each worker offers; one unit is one plain two-party leg [default: 1000]
    #[arg(long, value_name = "UNITS", value_parser = number::<u32>, allow_negative_numbers = true)]
    capacity: Option<u32>,
    /// UDP ports for media, split evenly over the workers [default: 20000-31999]
    #[arg(long, value_name = "FIRST-LAST")]
    rtp_ports: Option<PortRange>,
    /// How a worker is chosen: least-load, round-robin, weighted, hash, pack [default: least-load]
    #[arg(long, value_name = "NAME")]
    policy: Option<Policy>,
    /// Threads that read the well-known sockets and decide; more pay off when one core is full [default: 1]
    #[arg(long, value_name = "N", value_parser = number::<u16>, allow_negative_numbers = true)]
    lanes: Option<u16>,
    /// Address that workers name in Contact and SDP [default: the one the request arrived on]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<IpAddr>,
    /// What is written into a message that is handed over: none, header, request-uri [default: none]
    #[arg(long, value_name = "WHAT")]
    insert: Option<Insert>,
    /// Socket that answers leave from: listener, worker [default: listener]
    #[arg(long, value_name = "SOCKET", value_parser = reply_from())]
    reply_from: Option<ReplyFrom>,
    /// Time that workers get to end their calls at an orderly stop [default: 3s]
    #[arg(long, value_name = "TIME")]
    stop_after: Option<Span>,
    /// Time after which a draining worker ends its calls, or never [default: never]
    #[arg(long, value_name = "TIME")]
    drain_after: Option<Span>,
    /// Largest size believed of one session [default: 1000]
    #[arg(long, value_name = "UNITS", help_heading = SIZES, value_parser = number::<u32>, allow_negative_numbers = true)]
    max_size: Option<u32>,
    /// Size of one video stream [default: 4]
    #[arg(long, value_name = "UNITS", help_heading = SIZES, value_parser = number::<u32>, allow_negative_numbers = true)]
    video_size: Option<u32>,
    /// Sources whose stated size is believed, as networks [default: all]
    #[arg(long, value_name = "NET", value_delimiter = ',', help_heading = SIZES)]
    size_from: Option<Vec<Network>>,
    /// Where the size is looked for [default: header,request-uri,mscml,msml,sdp]
    #[arg(long, value_name = "PLACE", value_delimiter = ',', help_heading = SIZES)]
    size_order: Option<Vec<SizeSource>>,
    /// Most entries in the table of recent messages [default: 262144]
    #[arg(long, value_name = "N", help_heading = LIMITS, value_parser = number::<usize>, allow_negative_numbers = true)]
    table_cap: Option<usize>,
    /// Longest life of an entry whose request has no final answer [default: 5m]
    #[arg(long, value_name = "TIME", help_heading = LIMITS)]
    pending_max: Option<Span>,
    /// Bytes of unanswered messages kept for each worker [default: 16MiB]
    #[arg(long, value_name = "BYTES", help_heading = LIMITS)]
    retention: Option<Bytes>,
    /// Time over which a started worker's share rises to full [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = LIMITS)]
    slow_start: Option<Span>,
    /// A worker that has not reported for this long gets nothing new [default: 3s]
    #[arg(long, value_name = "TIME", help_heading = LIMITS)]
    silent_after: Option<Span>,
    /// Sources that cannot reach another port, as networks: their calls are relayed [default: none]
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pinned_sources: Option<Vec<Network>>,
    /// Sources that are sent 180 before the answer to their call, as networks [default: none]
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    ring_first: Option<Vec<Network>>,
    /// Time after which MGCP connections without command and packet are deleted, or `never` [default: 10m]
    #[arg(long, value_name = "TIME", help_heading = LIMITS)]
    mgcp_timeout: Option<Span>,
}

const SIZES: &str = "Session sizes";
const LIMITS: &str = "Limits";

impl Dispatch {
    /// The file and the flags over it.
    pub fn source(self) -> Source {
        let flags = Settings {
            workers: self.workers,
            run_dir: self.run_dir,
            stats_group: self.stats_group,
            listen: self.listen,
            worker_ports: self.worker_ports,
            worker_mgcp_ports: self.worker_mgcp_ports,
            capacity: self.capacity,
            rtp_ports: self.rtp_ports,
            policy: self.policy,
            lanes: self.lanes,
            advertise: self.advertise,
            insert: self.insert,
            reply_from: self.reply_from,
            stop_after: self.stop_after,
            drain_after: self.drain_after,
            max_size: self.max_size,
            video_size: self.video_size,
            size_from: self.size_from,
            size_order: self.size_order,
            table_cap: self.table_cap,
            pending_max: self.pending_max,
            retention: self.retention,
            slow_start: self.slow_start,
            silent_after: self.silent_after,
            pinned_sources: self.pinned_sources,
            ring_first: self.ring_first,
            mgcp_timeout: self.mgcp_timeout,
            // Tables do not fit on a command line, and secrets there are for all to see.
            access: None,
            mgcp: None,
            mgcp_aliases: None,
            weights: None,
            methods: None,
            token_key: None,
            previous_token_key: None,
        };
        Source { file: self.config, flags }
    }
}

/// A whole number, from 0 to the largest of its type; the configuration refuses numbers that are too large for the key.
fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<u64>().map_err(|_| "not a whole number".to_owned())?;
    T::try_from(number).map_err(|_| "too large".to_owned())
}

fn reply_from() -> impl TypedValueParser<Value = ReplyFrom> {
    PossibleValuesParser::new(["listener", "worker"]).map(|word| match word.as_str() {
        "worker" => ReplyFrom::Worker,
        _ => ReplyFrom::Listener,
    })
}

/// Which dispatcher is asked.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Run directory of the dispatcher [default: the first of /run/pointsman, $XDG_RUNTIME_DIR/pointsman,
    /// /tmp/pointsman-UID where one answers]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Its stats socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "run_dir")]
    stats: Option<PathBuf>,
}

impl Ask {
    /// Connects to it.
    pub fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(self.run_dir.as_deref(), self.stats.as_deref())
    }
}
