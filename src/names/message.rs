//! Queries and responses as bytes (RFC 1035 §4).

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ParsedName;
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::rdata::{A, Aaaa, Naptr, Soa, Srv};

use crate::names::record::{Kind, Outcome, Pointer, Service};

/// A datagram or message of a name server, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes are no response to this query, or cannot be read.
    Foreign,
    /// Its records do not fit into a datagram.
    Truncated,
    /// The server's answer.
    Said(Outcome),
}

/// Addresses or servers taken from one response.
const RECORDS_LIMIT: usize = 64;

/// A query with number `id`; `None` when the name cannot be one.
pub fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let name = Name::vec_from_str(name).ok()?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((name, kind.rtype(), Class::IN)).ok()?;
    Some(question.finish())
}

/// Reads what came as response to `query`, which asked for records of `kind`.
pub fn read(bytes: &[u8], query: &[u8], kind: Kind) -> Read {
    let (Ok(message), Ok(query)) = (Message::from_slice(bytes), Message::from_slice(query)) else {
        return Read::Foreign;
    };
    if !message.for_slice().is_answer(query.for_slice()) {
        return Read::Foreign;
    }
    if message.header().tc() {
        return Read::Truncated;
    }
    match message.header().rcode() {
        Rcode::NOERROR => records(message, kind).map_or(Read::Foreign, Read::Said),
        Rcode::NXDOMAIN => Read::Said(Outcome::NoName(negative_ttl(message))),
        _ => Read::Said(Outcome::Failed),
    }
}

/// The records of an answer, whatever names they belong to: those of aliases are the answer's as well. They hold for as
/// long as the shortest of all, aliases included.
fn records(message: &Message<[u8]>, kind: Kind) -> Option<Outcome> {
    let answer = message.answer().ok()?;
    let ttl = answer.filter_map(Result::ok).map(|record| record.ttl().as_secs()).min().unwrap_or(0);
    let (mut ips, mut services): (Vec<IpAddr>, Vec<Service>) = (Vec::new(), Vec::new());
    let mut pointers: Vec<(u16, u16, Pointer)> = Vec::new();
    match kind {
        Kind::A => {
            let records = answer.limit_to_in::<A>().filter_map(Result::ok).take(RECORDS_LIMIT);
            ips.extend(records.map(|record| IpAddr::from(record.data().addr())));
        }
        Kind::Aaaa => {
            let records = answer.limit_to_in::<Aaaa>().filter_map(Result::ok).take(RECORDS_LIMIT);
            ips.extend(records.map(|record| IpAddr::from(record.data().addr())));
        }
        Kind::Srv => {
            let records = answer.limit_to_in::<Srv<ParsedName<_>>>().filter_map(Result::ok).take(RECORDS_LIMIT);
            services.extend(records.map(|record| Service {
                priority: record.data().priority(),
                weight: record.data().weight(),
                port: record.data().port(),
                target: text_of(record.data().target()),
            }));
        }
        Kind::Naptr => {
            let records = answer.limit_to_in::<Naptr<_, ParsedName<_>>>().filter_map(Result::ok).take(RECORDS_LIMIT);
            // RFC 3263 §4.1: the flag is `s`, the name that of SRV records; there is no expression to apply.
            let records = records.filter(|record| record.data().flags().as_slice().eq_ignore_ascii_case(b"s"));
            pointers.extend(records.map(|record| {
                let service = String::from_utf8_lossy(record.data().services().as_slice()).to_ascii_lowercase();
                let name = text_of(record.data().replacement());
                (record.data().order(), record.data().preference(), Pointer { service: service.into(), name })
            }));
            pointers.sort_by_key(|(order, preference, _)| (*order, *preference));
        }
    }
    let pointers: Vec<Pointer> = pointers.into_iter().map(|(_, _, pointer)| pointer).collect();
    Some(match kind {
        Kind::A | Kind::Aaaa if !ips.is_empty() => Outcome::Addresses(ips, ttl),
        Kind::Srv if !services.is_empty() => Outcome::Services(services, ttl),
        Kind::Naptr if !pointers.is_empty() => Outcome::Pointers(pointers, ttl),
        _ => Outcome::Nothing(negative_ttl(message)),
    })
}

/// Life of "there is none": the TTL of the SOA record or its last field, whichever is less (RFC 2308 §5).
fn negative_ttl(message: &Message<[u8]>) -> Option<u32> {
    let authority = message.authority().ok()?;
    let soa = authority.limit_to_in::<Soa<ParsedName<_>>>().find_map(Result::ok)?;
    Some(soa.ttl().as_secs().min(soa.data().minimum().as_secs()))
}

/// A name as it is asked for, without the dot at its end; empty for the root.
fn text_of(name: &impl ToName) -> Box<str> {
    let name: Name<Vec<u8>> = name.to_name();
    let text = name.to_string().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).into()
}

impl Kind {
    const fn rtype(self) -> Rtype {
        match self {
            Kind::A => Rtype::A,
            Kind::Aaaa => Rtype::AAAA,
            Kind::Srv => Rtype::SRV,
            Kind::Naptr => Rtype::NAPTR,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::base::message_builder::AnswerBuilder;
    use domain::base::{CharStr, Ttl};
    use domain::rdata::Cname;
    use proptest::prelude::*;

    use super::*;

    type Owned = Name<Vec<u8>>;

    fn name(text: &str) -> Owned {
        Name::vec_from_str(text).unwrap()
    }

    fn ttl(seconds: u32) -> Ttl {
        Ttl::from_secs(seconds)
    }

    /// A response to `query` with the records that `fill` puts in.
    fn response(query: &[u8], rcode: Rcode, fill: impl FnOnce(&mut AnswerBuilder<Vec<u8>>)) -> Vec<u8> {
        let query = Message::from_slice(query).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(query, rcode).unwrap();
        fill(&mut answer);
        answer.finish()
    }

    #[test]
    fn a_query_asks_for_one_name_and_wants_recursion() {
        let bytes = query(0x1234, "ms.example.net", Kind::A).unwrap();
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02ms\x07example\x03net\x00\x00\x01\x00\x01";
        assert_eq!(bytes, expected);
        assert_eq!(query(1, &"a".repeat(64), Kind::A), None);
    }

    #[test]
    fn addresses_of_an_alias_are_the_answer_and_hold_as_long_as_the_shortest_record() {
        let asked = query(7, "ms.example.net", Kind::A).unwrap();
        let said = response(&asked, Rcode::NOERROR, |answer| {
            let alias = Cname::new(name("x.example.net"));
            answer.push((name("ms.example.net"), Class::IN, ttl(30), alias)).unwrap();
            answer.push((name("x.example.net"), Class::IN, ttl(60), A::from_octets(192, 0, 2, 4))).unwrap();
        });
        let addresses = vec!["192.0.2.4".parse().unwrap()];
        assert_eq!(read(&said, &asked, Kind::A), Read::Said(Outcome::Addresses(addresses, 30)));
    }

    #[test]
    fn servers_of_a_service_are_read_whole_and_the_root_means_that_there_is_none() {
        let asked = query(7, "_sip._udp.example.net", Kind::Srv).unwrap();
        let said = response(&asked, Rcode::NOERROR, |answer| {
            let server = Srv::new(1, 2, 5077, name("Real.example.net"));
            answer.push((name("_sip._udp.example.net"), Class::IN, ttl(60), server)).unwrap();
            let none = Srv::new(9, 0, 0, name("."));
            answer.push((name("_sip._udp.example.net"), Class::IN, ttl(60), none)).unwrap();
        });
        let real = Service { priority: 1, weight: 2, port: 5077, target: "real.example.net".into() };
        let none = Service { priority: 9, weight: 0, port: 0, target: "".into() };
        assert_eq!(read(&said, &asked, Kind::Srv), Read::Said(Outcome::Services(vec![real, none], 60)));
    }

    #[test]
    fn transports_of_a_domain_come_in_its_order_and_those_with_an_expression_not_at_all() {
        let asked = query(7, "example.net", Kind::Naptr).unwrap();
        let text = |text: &str| CharStr::<Vec<u8>>::from_octets(text.into()).unwrap();
        let said = response(&asked, Rcode::NOERROR, |answer| {
            let mut add = |order: u16, flags: &str, service: &str, target: &str| {
                let record = Naptr::new(order, 50, text(flags), text(service), text(""), name(target));
                answer.push((name("example.net"), Class::IN, ttl(60), record)).unwrap();
            };
            add(90, "S", "SIP+D2U", "_sip._udp.b.example.net");
            add(50, "s", "SIP+D2T", "_sip._tcp.example.net");
            add(10, "u", "E2U+sip", ".");
        });
        let pointer = |service: &str, name: &str| Pointer { service: service.into(), name: name.into() };
        let expected = vec![pointer("sip+d2t", "_sip._tcp.example.net"), pointer("sip+d2u", "_sip._udp.b.example.net")];
        assert_eq!(read(&said, &asked, Kind::Naptr), Read::Said(Outcome::Pointers(expected, 60)));
    }

    #[test]
    fn a_negative_answer_holds_for_as_long_as_the_domain_says() {
        let asked = query(7, "ms.example.net", Kind::Aaaa).unwrap();
        let outcomes = [(Rcode::NXDOMAIN, Outcome::NoName(Some(20))), (Rcode::NOERROR, Outcome::Nothing(Some(20)))];
        for (rcode, outcome) in outcomes {
            let query = Message::from_slice(&asked).unwrap();
            let mut authority = MessageBuilder::new_vec().start_answer(query, rcode).unwrap().authority();
            let (server, admin) = (name("ns.example.net"), name("admin.example.net"));
            let soa = Soa::new(server, admin, 1.into(), ttl(1), ttl(1), ttl(1), ttl(20));
            authority.push((name("example.net"), Class::IN, ttl(600), soa)).unwrap();
            assert_eq!(read(&authority.finish(), &asked, Kind::Aaaa), Read::Said(outcome));
        }
        let bare = response(&asked, Rcode::NXDOMAIN, |_| ());
        assert_eq!(read(&bare, &asked, Kind::Aaaa), Read::Said(Outcome::NoName(None)));
        let failed = response(&asked, Rcode::SERVFAIL, |_| ());
        assert_eq!(read(&failed, &asked, Kind::Aaaa), Read::Said(Outcome::Failed));
    }

    #[test]
    fn an_answer_to_another_query_is_not_believed() {
        let asked = query(7, "ms.example.net", Kind::A).unwrap();
        for other in [query(8, "ms.example.net", Kind::A), query(7, "as.example.net", Kind::A)] {
            let said = response(&other.unwrap(), Rcode::NXDOMAIN, |_| ());
            assert_eq!(read(&said, &asked, Kind::A), Read::Foreign);
        }
        assert_eq!(read(&asked, &asked, Kind::A), Read::Foreign, "a query is no response");
        assert_eq!(read(b"", &asked, Kind::A), Read::Foreign);
    }

    #[test]
    fn a_truncated_response_is_said_to_be_one() {
        let asked = query(7, "ms.example.net", Kind::A).unwrap();
        let mut said = response(&asked, Rcode::NOERROR, |_| ());
        said[2] |= 2;
        assert_eq!(read(&said, &asked, Kind::A), Read::Truncated);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_answers_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4_usize) {
            let kind = [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Naptr][kind];
            let asked = query(7, "ms.example.net", kind).unwrap();
            let mut said = response(&asked, Rcode::NOERROR, |_| ());
            said[7] = 3;
            said[9] = 1;
            said.extend(tail);
            read(&said, &asked, kind);
        }
    }
}
