//! Connection parameters: the counters of a connection (RFC 3435 §2.3.7, §3.2.2.7).

use std::fmt;

use super::line::{lowered, number, trim};
use super::list::Members;

/// `P: PS=1245, OS=62345, PR=780, OR=45123, PL=10, JI=27, LA=48`. Displayed as the value of the parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct ConnectionParameters {
    /// `PS`: packets sent.
    pub packets_sent: Option<u64>,
    /// `OS`: octets sent, without headers.
    pub octets_sent: Option<u64>,
    /// `PR`: packets received.
    pub packets_received: Option<u64>,
    /// `OR`: octets received, without headers.
    pub octets_received: Option<u64>,
    /// `PL`: packets lost.
    pub packets_lost: Option<u64>,
    /// `JI`: interarrival jitter in milliseconds.
    pub jitter: Option<u64>,
    /// `LA`: average transmission delay in milliseconds.
    pub latency: Option<u64>,
}

/// The largest value that can be written: nine digits (Appendix A).
const MAX: u64 = 999_999_999;

impl ConnectionParameters {
    /// Reads the value of `P:`. Extensions and members that are no `name=number` are passed over.
    pub fn parse(value: &[u8]) -> Self {
        let mut parameters = ConnectionParameters::default();
        for member in Members::new(value) {
            let mut halves = member.splitn(2, |&byte| byte == b'=').map(trim);
            let (Some(name), Some(count)) = (halves.next(), halves.next()) else { continue };
            let count = number(count).map(u64::from);
            let place = match lowered(name, &mut [0; 8]) {
                b"ps" => &mut parameters.packets_sent,
                b"os" => &mut parameters.octets_sent,
                b"pr" => &mut parameters.packets_received,
                b"or" => &mut parameters.octets_received,
                b"pl" => &mut parameters.packets_lost,
                b"ji" => &mut parameters.jitter,
                b"la" => &mut parameters.latency,
                _ => continue,
            };
            *place = count;
        }
        parameters
    }
}

impl fmt::Display for ConnectionParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, count) in [
            ("PS", self.packets_sent),
            ("OS", self.octets_sent),
            ("PR", self.packets_received),
            ("OR", self.octets_received),
            ("PL", self.packets_lost),
            ("JI", self.jitter),
            ("LA", self.latency),
        ] {
            if let Some(count) = count {
                write!(f, "{comma}{name}={}", count.min(MAX))?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_were_written_read_back_with_nine_digits_at_most() {
        let text = "PS=1245, OS=62345, PR=780, OR=45123, PL=10, JI=27, LA=48";
        let parameters = ConnectionParameters::parse(text.as_bytes());
        assert_eq!(parameters.to_string(), text);
        let large = ConnectionParameters { octets_sent: Some(u64::MAX), ..ConnectionParameters::default() };
        assert_eq!(large.to_string(), "OS=999999999");
        let lenient = ConnectionParameters::parse(b"ps=1,JI = 27 , X-A=3, PC/RPS=4, LA, PL=x");
        assert_eq!(lenient.to_string(), "PS=1, JI=27");
        assert_eq!(ConnectionParameters::parse(b""), ConnectionParameters::default());
    }
}
