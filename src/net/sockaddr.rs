//! Addresses and control messages in the kernel's form, written and read without `unsafe`.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// A socket address as the kernel reads and writes it.
///
/// IPv4 addresses live in the same structure: `sockaddr_in` and `sockaddr_in6` both begin with family and port, and
/// the IPv4 address lies where IPv6 has its flow information.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    storage: libc::sockaddr_in6,
    length: usize,
}

impl Name {
    /// Most bytes that the kernel may write.
    pub(super) const CAPACITY: usize = size_of::<libc::sockaddr_in6>();

    /// An empty address: a place for the kernel to write one.
    pub(super) const fn empty() -> Self {
        let storage = libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        };
        Name { storage, length: 0 }
    }

    pub(super) fn new(address: SocketAddr) -> Self {
        let mut name = Name::empty();
        name.storage.sin6_port = address.port().to_be();
        match address {
            SocketAddr::V4(v4) => {
                name.storage.sin6_family = libc::AF_INET as libc::sa_family_t;
                name.storage.sin6_flowinfo = u32::from(*v4.ip()).to_be();
                name.length = size_of::<libc::sockaddr_in>();
            }
            SocketAddr::V6(v6) => {
                name.storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                name.storage.sin6_addr.s6_addr = v6.ip().octets();
                name.storage.sin6_scope_id = v6.scope_id();
                name.length = Name::CAPACITY;
            }
        }
        name
    }

    /// The address in the first `length` bytes, which the kernel wrote.
    pub(super) fn address(&self, length: usize) -> Option<SocketAddr> {
        let port = u16::from_be(self.storage.sin6_port);
        match libc::c_int::from(self.storage.sin6_family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                let ip = Ipv4Addr::from(u32::from_be(self.storage.sin6_flowinfo));
                Some(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 if length >= Name::CAPACITY => {
                let ip = Ipv6Addr::from(self.storage.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, port, 0, self.storage.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn as_ptr(&self) -> *const libc::c_void {
        (&raw const self.storage).cast()
    }

    pub(super) const fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        (&raw mut self.storage).cast()
    }
}

/// Control messages beside a datagram: room for a packet-info of either family and a time.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; Control::CAPACITY],
    length: usize,
}

impl Control {
    /// Most bytes that the kernel may write.
    pub(super) const CAPACITY: usize = 96;

    /// An empty list of control messages: a place for the kernel to write some.
    pub(super) const fn empty() -> Self {
        Control { bytes: [0; Control::CAPACITY], length: 0 }
    }

    /// The control message that makes a datagram leave from `local` (`IP_PKTINFO`, `IPV6_PKTINFO`).
    pub(super) fn leave_from(local: IpAddr) -> Self {
        let mut control = Control::empty();
        let info = match local {
            // in_pktinfo: interface index, local address to leave from, destination.
            IpAddr::V4(ip) => {
                let info = &mut control.bytes[HEADER..HEADER + size_of::<libc::in_pktinfo>()];
                let at = offset_of!(libc::in_pktinfo, ipi_spec_dst);
                info[at..at + 4].copy_from_slice(&ip.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, info.len())
            }
            // in6_pktinfo: address, interface index.
            IpAddr::V6(ip) => {
                let info = &mut control.bytes[HEADER..HEADER + size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&ip.octets());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info.len())
            }
        };
        let (level, kind, length) = info;
        control.put(offset_of!(libc::cmsghdr, cmsg_len), &(HEADER + length).to_ne_bytes());
        control.put(offset_of!(libc::cmsghdr, cmsg_level), &level.to_ne_bytes());
        control.put(offset_of!(libc::cmsghdr, cmsg_type), &kind.to_ne_bytes());
        control.length = aligned(HEADER + length);
        control
    }

    /// The local address that a datagram was sent to and the interface it came in on, from the first `length` bytes,
    /// which the kernel wrote.
    pub(super) fn arrived_at(&self, length: usize) -> Option<(IpAddr, u32)> {
        self.find(length, |level, kind, info| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // The field is not `ipi_addr`: that is the header's destination, which may be a broadcast address.
                let ip = Ipv4Addr::from(array_at::<4>(info, offset_of!(libc::in_pktinfo, ipi_spec_dst))?);
                let interface = array_at(info, offset_of!(libc::in_pktinfo, ipi_ifindex))?;
                Some((ip.into(), u32::from_ne_bytes(interface)))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip = Ipv6Addr::from(array_at::<16>(info, 0)?);
                let interface = array_at(info, offset_of!(libc::in6_pktinfo, ipi6_ifindex))?;
                Some((ip.into(), u32::from_ne_bytes(interface)))
            }
            _ => None,
        })
    }

    /// The time since 1970 at which the kernel got the datagram, from the first `length` bytes, which the kernel wrote.
    pub(super) fn stamp(&self, length: usize) -> Option<Duration> {
        self.find(length, |level, kind, info| match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let seconds = array_at(info, offset_of!(libc::timespec, tv_sec)).map(libc::time_t::from_ne_bytes)?;
                let nanos = array_at(info, offset_of!(libc::timespec, tv_nsec)).map(libc::c_long::from_ne_bytes)?;
                Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
            }
            _ => None,
        })
    }

    /// The first control message for which `read` (level, kind, data) returns a value.
    fn find<T>(&self, length: usize, read: impl Fn(i32, i32, &[u8]) -> Option<T>) -> Option<T> {
        let mut rest = self.bytes.get(..length)?;
        loop {
            let stated = usize::from_ne_bytes(array_at(rest, offset_of!(libc::cmsghdr, cmsg_len))?);
            let level = i32::from_ne_bytes(array_at(rest, offset_of!(libc::cmsghdr, cmsg_level))?);
            let kind = i32::from_ne_bytes(array_at(rest, offset_of!(libc::cmsghdr, cmsg_type))?);
            if let Some(found) = read(level, kind, rest.get(HEADER..stated)?) {
                return Some(found);
            }
            rest = rest.get(aligned(stated)..)?;
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) const fn as_ptr(&self) -> *const libc::c_void {
        self.bytes.as_ptr().cast()
    }

    pub(super) const fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// The bytes in front of a control message's data (`CMSG_LEN(0)`).
const HEADER: usize = aligned(size_of::<libc::cmsghdr>());

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_from_the_kernels_form() {
        for text in ["192.0.2.7:5060", "[2001:db8::7]:5061", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let name = Name::new(address);
            assert_eq!(name.address(name.len()), Some(address));
            assert_eq!(name.address(4), None);
        }
        assert_eq!(Name::empty().address(Name::CAPACITY), None);
    }

    #[test]
    fn a_local_address_comes_back_from_its_control_message() {
        for text in ["192.0.2.7", "2001:db8::7"] {
            let ip: IpAddr = text.parse().unwrap();
            let control = Control::leave_from(ip);
            assert_eq!(control.arrived_at(control.len()), Some((ip, 0)));
            for cut in 0..36 {
                assert_eq!(control.arrived_at(cut.min(control.len() - 5)), None, "cut to {cut}");
            }
        }
    }
}
