//! Hosts with a port, as URIs of proxies and addresses of load reports name them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::mgcp::{is_host, is_no_host};

/// A host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A name in lower case or a numeric address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Place {
    /// Reads `HOST[:PORT]`; the error is what to write instead.
    pub(super) fn read(text: &str) -> Result<Place, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, port) = rest.split_once(']').ok_or_else(|| format!("`{text}` has no closing bracket"))?;
                let ip: Ipv6Addr = inner.parse().map_err(|_| format!("`{inner}` is not an IPv6 address"))?;
                let port = match port.strip_prefix(':') {
                    None if !port.is_empty() => return Err(format!("`{text}` is not HOST[:PORT]")),
                    port => port,
                };
                // An IPv4 address in IPv6 form is one of IPv4.
                (Host::Ip(IpAddr::V6(ip).to_canonical()), port)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => {
                return Err(format!("`{text}`: an IPv6 address stands in brackets: write [ADDR]"));
            }
            None => {
                let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                match host.parse::<Ipv4Addr>() {
                    Ok(ip) => (Host::Ip(ip.into()), port),
                    Err(_) => (Host::Name(host), port),
                }
            }
        };
        let port = port.map(read_port).transpose()?;
        let host = match host {
            Host::Ip(ip) if is_no_host(&ip) => return Err(format!("{ip} is no address of one host")),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => {
                // The last label of a name is never all digits (RFC 1123 §2.1).
                let is_number = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
                if is_number || !is_host(name) {
                    return Err(format!("`{name}` is neither an address nor a host's name"));
                }
                name.to_ascii_lowercase()
            }
        };
        Ok(Place { host, port })
    }
}

enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

fn read_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten().filter(|port: &u16| *port != 0);
    port.ok_or_else(|| format!("`{text}` is not a port; give 1 to 65535"))
}
