//! Capabilities as an audit tells them: `A: a:PCMU;PCMA, p:10-100, e:off, s:off, v:G;R, m:sendrecv` (RFC 3435
//! §3.2.2.2).

use std::fmt;
use std::ops::RangeInclusive;

use super::local_options::Switch;
use super::mode::ConnectionMode;

/// Capabilities of an endpoint's connections with one set of codecs. Displayed as the value of the parameter.
#[derive(Clone, Debug)]
pub struct Capabilities<'a> {
    /// `a`: the codecs.
    pub codecs: &'a [&'a str],
    /// `p`: packetization periods in milliseconds.
    pub packetization: RangeInclusive<u32>,
    /// `e`: echo cancellation.
    pub echo_cancellation: Switch,
    /// `s`: silence suppression.
    pub silence_suppression: Switch,
    /// `nt`: types of network; the option is left out where there are none.
    pub networks: &'a [&'a str],
    /// `v`: packages, the default one first.
    pub packages: &'a [&'a str],
    /// `m`: modes.
    pub modes: &'a [ConnectionMode],
}

impl fmt::Display for Capabilities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |switch| if switch == Switch::On { "on" } else { "off" };
        let (first, last) = (self.packetization.start(), self.packetization.end());
        write!(f, "a:{}, p:{first}", self.codecs.join(";"))?;
        if last > first {
            write!(f, "-{last}")?;
        }
        write!(f, ", e:{}, s:{}", switch(self.echo_cancellation), switch(self.silence_suppression))?;
        if !self.networks.is_empty() {
            write!(f, ", nt:{}", self.networks.join(";"))?;
        }
        let modes: Vec<_> = self.modes.iter().map(|mode| mode.name()).collect();
        write!(f, ", v:{}, m:{}", self.packages.join(";"), modes.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_written_as_the_rfc_shows_them() {
        let capabilities = Capabilities {
            codecs: &["PCMU", "PCMA"],
            packetization: 10..=100,
            echo_cancellation: Switch::On,
            silence_suppression: Switch::Off,
            networks: &[],
            packages: &["L", "S"],
            modes: &[ConnectionMode::SendOnly, ConnectionMode::Conference],
        };
        assert_eq!(capabilities.to_string(), "a:PCMU;PCMA, p:10-100, e:on, s:off, v:L;S, m:sendonly;confrnce");
        let one = Capabilities { packetization: 20..=20, networks: &["IN"], ..capabilities };
        assert_eq!(one.to_string(), "a:PCMU;PCMA, p:20, e:on, s:off, nt:IN, v:L;S, m:sendonly;confrnce");
    }
}
