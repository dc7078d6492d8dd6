//! Numbers and addresses appended as text. They stand in every message that travels on, and `fmt` takes several times
//! as long for them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Appends a number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an address, one of IPv6 without brackets.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            // Each octet is written with what stands behind it, and the next one over that: one append, no loop.
            let (mut text, mut at) = ([0; 18], 0);
            for octet in ip.octets() {
                let digits = &OCTETS[usize::from(octet)];
                if let Some(place) = text.get_mut(at..at + digits.len()) {
                    place.copy_from_slice(digits);
                }
                at += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
            }
            out.extend_from_slice(text.get(..at - 1).unwrap_or_default());
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// The text of each octet, with dots behind it.
static OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10];
        let [hundreds, tens, ones] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        octets[octet] = match octet {
            100.. => [hundreds, tens, ones, b'.'],
            10.. => [tens, ones, b'.', b'.'],
            _ => [ones, b'.', b'.', b'.'],
        };
        octet += 1;
    }
    octets
};

/// Appends `address:port`, an IPv6 address in brackets.
pub(crate) fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        ip @ IpAddr::V4(_) => push_ip(out, ip),
        ip @ IpAddr::V6(_) => {
            out.push(b'[');
            push_ip(out, ip);
            out.push(b']');
        }
    }
    out.push(b':');
    push_number(out, address.port());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_the_standard_library_writes_them() {
        let all = (0..=255).map(|octet| format!("{octet}.0.{octet}.1:{octet}"));
        let others =
            ["192.0.2.1:5060", "0.0.0.0:0", "255.255.255.255:65535", "[2001:db8::1]:5061", "[::ffff:1.2.3.4]:1"];
        for text in all.chain(others.map(str::to_owned)) {
            let address: SocketAddr = text.parse().unwrap();
            let (mut whole, mut bare) = (Vec::new(), Vec::new());
            push_address(&mut whole, address);
            push_ip(&mut bare, address.ip());
            assert_eq!((whole, bare), (address.to_string().into_bytes(), address.ip().to_string().into_bytes()));
        }
    }
}
