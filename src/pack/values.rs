//! Numbers, lists, texts and addresses as bytes.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Damaged, Pack, Packed, pack_bytes, pack_length, packed};
use crate::few::Few;
use crate::ids::{ConnId, GatheringId, Incarnation, LinkId, ListenerId, ProxyId, Seq, TargetId, WorkerId};
use crate::time::Time;

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
packed_numbers!(u16, u32, u64);

impl Pack for u8 {
    #[inline]
    fn pack(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    #[inline]
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let (byte, rest) = from.0.split_first().ok_or(Damaged("too short"))?;
        from.0 = rest;
        Ok(*byte)
    }

    fn pack_all(items: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(items);
    }

    fn unpack_all(length: usize, items: &mut Vec<Self>, from: &mut Packed<'_>) -> Result<(), Damaged> {
        items.extend_from_slice(from.take(length)?);
        Ok(())
    }

    fn layout(out: &mut String) {
        out.push_str("u8");
    }
}

/// Packs a type that is a number by another name.
macro_rules! packed_as {
    ($($type:ident: $number:ident, $from:expr, $to:expr;)*) => {$(
        impl $crate::pack::Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> $number = $to;
                $crate::pack::Pack::pack(&to(self), out);
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                let make: fn($number) -> $type = $from;
                <$number as $crate::pack::Pack>::unpack(from).map(make)
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "=", stringify!($number)));
            }
        }
    )*};
}
packed_as! {
    bool: u8, |number| number != 0, |it| u8::from(*it);
    f64: u64, f64::from_bits, |it| it.to_bits();
    usize: u64, |number| number as usize, |it| *it as u64;
    Duration: u64, Duration::from_micros, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    Time: u64, Time, |it| it.0;
    Seq: u64, Seq, |it| it.0;
    ConnId: u64, ConnId, |it| it.0;
    GatheringId: u64, GatheringId, |it| it.0;
    WorkerId: u16, WorkerId, |it| it.0;
    LinkId: u64, LinkId, |it| it.0;
    ListenerId: u16, ListenerId, |it| it.0;
    ProxyId: u16, ProxyId, |it| it.0;
    Incarnation: u64, Incarnation::new, |it| it.bits();
}
packed!(TargetId as Worker(worker) = 0, Proxy(proxy) = 1);

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

impl Pack for () {
    fn pack(&self, _: &mut Vec<u8>) {}

    fn unpack(_: &mut Packed<'_>) -> Result<Self, Damaged> {
        Ok(())
    }

    fn layout(out: &mut String) {
        out.push_str("()");
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        T::pack_all(self, out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut all = Vec::new();
        all.unpack_over(from)?;
        Ok(all)
    }

    fn unpack_over(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.clear();
        let length = from.length()?;
        T::unpack_all(length, self, from)
    }

    fn layout(out: &mut String) {
        out.push('*');
        T::layout(out);
    }
}

impl<K: Pack + Eq + Hash, V: Pack> Pack for HashMap<K, V, FixedState> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        for (key, value) in self {
            key.pack(out);
            value.pack(out);
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let length = from.length()?;
        (0..length).map(|_| Pack::unpack(from)).collect()
    }

    fn layout(out: &mut String) {
        <Vec<(K, V)>>::layout(out);
    }
}

impl<T: Pack> Pack for Few<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut all = Few::None;
        for _ in 0..from.length()? {
            all.push(T::unpack(from)?);
        }
        Ok(all)
    }

    fn layout(out: &mut String) {
        <Vec<T>>::layout(out);
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

impl<T: Pack + Default, const N: usize> Pack for [T; N] {
    fn pack(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut all = std::array::from_fn(|_| T::default());
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

impl Pack for Arc<[u8]> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self, out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        from.bytes().map(Arc::from)
    }

    fn layout(out: &mut String) {
        out.push_str("bytes");
    }
}

impl Pack for Arc<str> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self.as_bytes(), out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        String::unpack(from).map(Arc::from)
    }

    fn layout(out: &mut String) {
        out.push_str("text");
    }
}

impl<T: Pack> Pack for Arc<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        T::pack(self, out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        T::unpack(from).map(Arc::new)
    }

    fn layout(out: &mut String) {
        T::layout(out);
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
