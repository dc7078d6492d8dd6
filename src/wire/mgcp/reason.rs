//! Reason codes: why a gateway deletes a connection or restarts (RFC 3435 §2.5, §3.2.2.13).

/// A reason code, from 0 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(pub u16);

impl ReasonCode {
    /// The endpoint's state is nominal; for audits only.
    pub const NOMINAL: ReasonCode = ReasonCode(0);
    /// Loss of lower layer connectivity.
    pub const LOWER_LAYER_LOST: ReasonCode = ReasonCode(902);
    /// Facility failure.
    pub const FACILITY_FAILURE: ReasonCode = ReasonCode(905);

    /// The RFC's text for the code; empty when the RFC does not name it.
    pub const fn text(self) -> &'static str {
        match self.0 {
            0 => "Endpoint state is nominal",
            900 => "Endpoint malfunctioning",
            901 => "Endpoint taken out of service",
            902 => "Loss of lower layer connectivity",
            903 => "QoS resource reservation was lost",
            904 => "Manual intervention",
            905 => "Facility failure",
            _ => "",
        }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03}", self.0)?;
        if !self.text().is_empty() {
            write!(f, " {}", self.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_code_and_a_text() {
        assert_eq!(ReasonCode(901).to_string(), "901 Endpoint taken out of service");
        assert_eq!(ReasonCode::NOMINAL.to_string(), "000 Endpoint state is nominal");
        assert_eq!(ReasonCode(812).to_string(), "812");
    }
}
