//! Values as bytes: how a dispatcher gives its state to the one that takes over from it.
//!
//! A type lists its fields once (`packed!`), beside its definition. The list is exhaustive: a field that is added must
//! be packed, or the code does not compile. Both ends are the same program or nearly so: the format has no room for
//! differences. Instead each type tells its [`Pack::layout`], and a dispatcher refuses to read bytes of another layout.
//!
//! Numbers are little-endian and of their type's length; a list is preceded by its length as u32.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::ids::{ConnId, Incarnation, LinkId, ListenerId, Seq, WorkerId};
use crate::time::Time;

/// A value that can be written as bytes and read back.
pub trait Pack: Sized {
    /// Appends it to `out`.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads it from the front of `from`.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged>;

    /// Writes a description of its layout, for people and for [`fingerprint`].
    fn layout(out: &mut String);
}

/// Bytes that values are read from.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a>(&'a [u8]);

/// The bytes are not as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of the running dispatcher cannot be read ({0})")]
pub struct Damaged(pub &'static str);

impl<'a> Packed<'a> {
    /// Reads from the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Packed(bytes)
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads the length of a list. Every item takes a byte at least, so a length beyond the bytes is refused before
    /// anything is reserved for it.
    ///
    /// # Errors
    ///
    /// The bytes hold no list of that length.
    pub fn length(&mut self) -> Result<usize, Damaged> {
        let length = u32::unpack(self)? as usize;
        if length > self.0.len() { Err(Damaged("a list longer than the rest")) } else { Ok(length) }
    }

    /// Reads bytes with their length in front.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.length()?;
        self.take(length)
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the length of a list.
pub fn pack_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).pack(out);
}

/// Writes bytes with their length in front.
pub fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    pack_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A number for a layout: 64 bits of FNV-1a, the same in every build.
pub fn fingerprint(layout: &str) -> u64 {
    layout.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The layout of the field that a closure names.
pub(crate) fn layout_of<T, F: Pack>(_: fn(&T) -> &F, out: &mut String) {
    F::layout(out);
}

/// Packs a struct field by field: `packed!(Point { x, y })`; or an enum without data by codes that never change their
/// meaning: `packed!(Light as Red = 0, Green = 1)`.
macro_rules! packed {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::pack::Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                let $type { $($field),* } = self;
                $($crate::pack::Pack::pack($field, out);)*
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                Ok($type { $($field: $crate::pack::Pack::unpack(from)?),* })
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "{"));
                $(
                    out.push_str(concat!(stringify!($field), ":"));
                    $crate::pack::layout_of::<$type, _>(|it| &it.$field, out);
                    out.push(',');
                )*
                out.push('}');
            }
        }
    };
    ($type:ident as $($variant:ident = $code:literal),* $(,)?) => {
        impl $crate::pack::Pack for $type {
            fn pack(&self, out: &mut Vec<u8>) {
                out.push(match self { $($type::$variant => $code),* });
            }

            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                match <u8 as $crate::pack::Pack>::unpack(from)? {
                    $($code => Ok($type::$variant),)*
                    _ => Err($crate::pack::Damaged(stringify!($type))),
                }
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), $("|", stringify!($variant), "=", $code),*));
            }
        }
    };
}
pub(crate) use packed;

macro_rules! packed_numbers {
    ($($type:ident),*) => {$(
        impl Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
                let (bytes, rest) = from.0.split_first_chunk().ok_or(Damaged("too short"))?;
                from.0 = rest;
                Ok($type::from_le_bytes(*bytes))
            }

            fn layout(out: &mut String) {
                out.push_str(stringify!($type));
            }
        }
    )*};
}
packed_numbers!(u8, u16, u32, u64);

/// Packs a type that is a number by another name.
macro_rules! packed_as {
    ($($type:ident: $number:ident, $from:expr, $to:expr;)*) => {$(
        impl Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> $number = $to;
                to(self).pack(out);
            }

            #[inline]
            fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
                let make: fn($number) -> $type = $from;
                Ok(make($number::unpack(from)?))
            }

            fn layout(out: &mut String) {
                out.push_str(stringify!($type));
            }
        }
    )*};
}
packed_as! {
    bool: u8, |number| number != 0, |it| u8::from(*it);
    usize: u64, |number| number as usize, |it| *it as u64;
    Duration: u64, Duration::from_micros, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    Time: u64, Time, |it| it.0;
    Seq: u64, Seq, |it| it.0;
    ConnId: u64, ConnId, |it| it.0;
    WorkerId: u16, WorkerId, |it| it.0;
    LinkId: u64, LinkId, |it| it.0;
    ListenerId: u16, ListenerId, |it| it.0;
    Incarnation: u64, Incarnation::new, |it| it.bits();
}

impl<T: Pack> Pack for Option<T> {
    #[inline]
    fn pack(&self, out: &mut Vec<u8>) {
        self.is_some().pack(out);
        if let Some(it) = self {
            it.pack(out);
        }
    }

    #[inline]
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        if bool::unpack(from)? { T::unpack(from).map(Some) } else { Ok(None) }
    }

    fn layout(out: &mut String) {
        out.push('?');
        T::layout(out);
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let length = from.length()?;
        (0..length).map(|_| T::unpack(from)).collect()
    }

    fn layout(out: &mut String) {
        out.push('*');
        T::layout(out);
    }
}

impl<T: Pack> Pack for VecDeque<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        <Vec<T>>::unpack(from).map(VecDeque::from)
    }

    fn layout(out: &mut String) {
        <Vec<T>>::layout(out);
    }
}

impl<T: Pack, const N: usize> Pack for [T; N]
where
    T: Copy + Default,
{
    fn pack(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut all = [T::default(); N];
        for it in &mut all {
            *it = T::unpack(from)?;
        }
        Ok(all)
    }

    fn layout(out: &mut String) {
        out.push_str(&format!("{N}×"));
        T::layout(out);
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
        self.1.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        Ok((A::unpack(from)?, B::unpack(from)?))
    }

    fn layout(out: &mut String) {
        A::layout(out);
        out.push('&');
        B::layout(out);
    }
}

impl Pack for String {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self.as_bytes(), out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        String::from_utf8(from.bytes()?.to_vec()).map_err(|_| Damaged("text"))
    }

    fn layout(out: &mut String) {
        out.push_str("text");
    }
}

impl Pack for IpAddr {
    fn pack(&self, out: &mut Vec<u8>) {
        SocketAddr::new(*self, 0).pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        SocketAddr::unpack(from).map(|address| address.ip())
    }

    fn layout(out: &mut String) {
        out.push_str("ip");
    }
}

impl Pack for Box<[u8]> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self, out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        from.bytes().map(Box::from)
    }

    fn layout(out: &mut String) {
        out.push_str("bytes");
    }
}

impl Pack for SocketAddr {
    fn pack(&self, out: &mut Vec<u8>) {
        self.port().pack(out);
        match self {
            SocketAddr::V4(v4) => {
                4_u8.pack(out);
                v4.ip().octets().pack(out);
            }
            SocketAddr::V6(v6) => {
                6_u8.pack(out);
                v6.ip().octets().pack(out);
                v6.scope_id().pack(out);
            }
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let port = u16::unpack(from)?;
        match u8::unpack(from)? {
            4 => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::unpack(from)?)), port)),
            6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::unpack(from)?);
                Ok(SocketAddrV6::new(ip, port, 0, u32::unpack(from)?).into())
            }
            _ => Err(Damaged("address family")),
        }
    }

    fn layout(out: &mut String) {
        out.push_str("address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Sample {
        number: u32,
        list: Vec<(WorkerId, Option<Time>)>,
        address: SocketAddr,
        light: Light,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Light {
        Red,
        Green,
    }

    packed!(Sample { number, list, address, light });
    packed!(Light as Red = 0, Green = 7);

    fn sample() -> Sample {
        Sample {
            number: 7,
            list: vec![(WorkerId(3), None), (WorkerId(4), Some(Time(5)))],
            address: "[fe80::1%3]:5060".parse().unwrap(),
            light: Light::Green,
        }
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        sample().pack(&mut bytes);
        "192.0.2.1:5070".parse::<SocketAddr>().unwrap().pack(&mut bytes);
        bytes
    }

    #[test]
    fn a_packed_value_unpacks_as_the_same() {
        let bytes = bytes();
        let mut from = Packed::new(&bytes);
        assert_eq!(Sample::unpack(&mut from), Ok(sample()));
        assert_eq!(SocketAddr::unpack(&mut from), Ok("192.0.2.1:5070".parse().unwrap()));
        assert!(from.is_empty());
    }

    #[test]
    fn bytes_that_are_cut_anywhere_are_damaged_and_nothing_else() {
        let bytes = bytes();
        for end in 0..bytes.len() - 7 {
            assert!(Sample::unpack(&mut Packed::new(&bytes[..end])).is_err(), "{end}");
        }
        let endless = [0xff; 12];
        assert!(<Vec<u8>>::unpack(&mut Packed::new(&endless)).is_err());
        assert_eq!(Light::unpack(&mut Packed::new(&[1])), Err(Damaged("Light")));
    }

    #[test]
    fn a_layout_names_every_field_and_its_type() {
        let mut layout = String::new();
        Sample::layout(&mut layout);
        assert_eq!(layout, "Sample{number:u32,list:*WorkerId&?Time,address:address,light:Light|Red=0|Green=7,}");
        assert_ne!(fingerprint(&layout), fingerprint(&layout.replace("u32", "u64")));
    }
}
