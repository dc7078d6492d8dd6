//! Holders of a port, for the message that it is in use. The kernel lists sockets by number (proc(5), `/proc/net`), and
//! the open files of each process. Those of other users' processes are visible to root alone.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id.
    pub pid: u32,
    /// Its command line, shortened.
    pub command: String,
}

/// Number of characters of a command line that tell the program, and the worker.
const COMMAND_SHOWN: usize = 60;
/// The state of a TCP socket that listens, as `/proc/net/tcp` writes it.
const LISTENING: &str = "0A";

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// The processes that have a socket at `address`, or at one that keeps `address` from being bound; `protocol` is `udp`
/// or `tcp`. Empty where this cannot be found out.
pub fn of(protocol: &str, address: SocketAddr) -> Vec<PortHolder> {
    let sockets = |family: &str| -> BTreeSet<String> {
        let table = fs::read_to_string(format!("/proc/net/{protocol}{family}")).unwrap_or_default();
        in_the_way(&table, protocol == "tcp", address).map(|number| format!("socket:[{number}]")).collect()
    };
    let sockets = match address {
        SocketAddr::V6(_) => sockets("6"),
        // An IPv6 socket may hold the IPv4 port as well. The table does not tell which do, so IPv6 sockets are looked
        // at only where no IPv4 socket is in the way.
        SocketAddr::V4(_) => Some(sockets("")).filter(|sockets| !sockets.is_empty()).unwrap_or_else(|| sockets("6")),
    };
    if sockets.is_empty() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut holders: Vec<PortHolder> = pids.filter(|pid| has_one(*pid, &sockets)).filter_map(holder).collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}

/// Numbers of the sockets in one of the kernel's tables that are in the way of `address`.
fn in_the_way(table: &str, must_listen: bool, address: SocketAddr) -> impl Iterator<Item = &str> {
    table.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, number) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let is_it = u16::from_str_radix(port, 16) == Ok(address.port()) && meets(read_ip(ip)?, address.ip());
        (is_it && (!must_listen || *state == LISTENING)).then_some(*number)
    })
}

/// Whether a socket at `bound` is in the way of one at `wanted`. Every IPv6 socket of this program is for IPv6 alone.
/// Other programs' may be for both families, and then show IPv4 addresses in their IPv6 form (RFC 3493 §3.7).
fn meets(bound: IpAddr, wanted: IpAddr) -> bool {
    let bound = bound.to_canonical();
    match bound.is_ipv4() == wanted.is_ipv4() {
        true => bound == wanted || bound.is_unspecified() || wanted.is_unspecified(),
        false => wanted.is_ipv4() && bound.is_unspecified(),
    }
}

/// Reads an address: words of 32 bits in hexadecimal, each in the byte order of this machine.
fn read_ip(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => Some(Ipv4Addr::from(bytes).into()),
        Err(_) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}

fn has_one(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
}

fn holder(pid: u32) -> Option<PortHolder> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    let command: String = words.trim().chars().take(COMMAND_SHOWN).collect();
    Some(PortHolder { pid, command })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::{Domain, Socket, Type};

    use super::*;

    const TABLE: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  101: 00000000:13C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
  102: 0200007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2 0000000000000000 0
";

    #[test]
    fn an_address_meets_itself_and_every_address() {
        let found = |address: &str, must_listen| {
            in_the_way(TABLE, must_listen, address.parse().unwrap()).map(str::to_owned).collect::<Vec<_>>()
        };
        if cfg!(target_endian = "little") {
            assert_eq!(found("127.0.0.1:5060", false), ["4711", "4712"]);
            assert_eq!(found("0.0.0.0:5060", false), ["4711", "4712", "4713"]);
            assert_eq!(found("127.0.0.1:5060", true), ["4712"]);
        }
        assert!(found("127.0.0.1:5061", false).is_empty());
    }

    #[test]
    fn a_socket_for_both_families_is_in_the_way_of_ipv4_and_one_for_another_ipv6_address_is_not() {
        let is_met = |bound: &str, wanted: &str| meets(bound.parse().unwrap(), wanted.parse().unwrap());
        assert!(is_met("::", "192.0.2.1") && is_met("::", "0.0.0.0"));
        assert!(is_met("::ffff:192.0.2.1", "192.0.2.1") && is_met("::ffff:192.0.2.1", "0.0.0.0"));
        assert!(!is_met("2001:db8::1", "0.0.0.0") && !is_met("::ffff:192.0.2.1", "192.0.2.2"));
        assert!(!is_met("0.0.0.0", "::") && !is_met("::ffff:192.0.2.1", "::"), "ours is for IPv6 alone");
    }

    #[test]
    fn an_ipv4_port_that_a_socket_for_both_families_holds_is_held_by_its_process() {
        let bound = |kind, protocol: &str| {
            let socket = Socket::new(Domain::IPV6, kind, None).ok()?;
            socket.set_only_v6(false).unwrap();
            let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
            socket.bind(&any.into()).ok()?;
            if kind == Type::STREAM {
                socket.listen(1).unwrap();
            }
            let port = socket.local_addr().unwrap().as_socket().unwrap().port();
            Some(of(protocol, (Ipv4Addr::LOCALHOST, port).into()))
        };
        for (kind, protocol) in [(Type::DGRAM, "udp"), (Type::STREAM, "tcp")] {
            let Some(holders) = bound(kind, protocol) else { return eprintln!("skipped: no IPv6 here") };
            assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [std::process::id()], "{protocol}");
        }
    }

    #[test]
    fn a_port_of_our_own_is_held_by_us() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(socket) = UdpSocket::bind((ip, 0)) else { continue };
            let holders = of("udp", socket.local_addr().unwrap());
            assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [std::process::id()]);
        }
    }
}
