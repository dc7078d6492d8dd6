//! Little-endian numbers and addresses at a place in bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16_at(bytes, 0);
    let ip: IpAddr = match bytes[2] {
        4 => Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
        6 => {
            let octets: [u8; 16] = bytes[4..20].try_into().ok()?;
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[inline]
pub(super) fn put_address(bytes: &mut [u8], address: SocketAddr) {
    put_u16(bytes, 0, address.port());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[2] = 4;
            bytes[4..8].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes[2] = 6;
            bytes[4..20].copy_from_slice(&ip.octets());
        }
    }
}

#[inline]
pub(super) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(word(&bytes[at..at + 2]))
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(word(&bytes[at..at + 4]))
}

#[inline]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(word(&bytes[at..at + 8]))
}

/// The bytes of a number, read as a whole: a read byte by byte takes ten times the instructions.
#[inline]
fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(bytes);
    word
}
