//! Quarantine handling: the treatment of events while a notification is under way (RFC 3435 §2.3.3, §3.2.2.15).

use super::line::lowered;
use super::list::Members;

/// The value of `Q:`. The default is to process, in step (§4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct QuarantineHandling {
    /// Whether quarantined events are processed or discarded.
    pub process: ProcessControl,
    /// The number of notifications that one request allows.
    pub cycle: LoopControl,
}

/// The treatment of quarantined events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum ProcessControl {
    /// `process`
    #[default]
    Process,
    /// `discard`
    Discard,
}

/// The number of notifications that one request allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum LoopControl {
    /// `step`: one.
    #[default]
    Step,
    /// `loop`: as many as there are.
    Loop,
}

impl QuarantineHandling {
    /// Reads the value; `None` where it names neither or one twice, which is a 508.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (mut process, mut cycle) = (None, None);
        for word in Members::new(value) {
            let is_second = match lowered(word, &mut [0; 8]) {
                b"process" => process.replace(ProcessControl::Process).is_some(),
                b"discard" => process.replace(ProcessControl::Discard).is_some(),
                b"step" => cycle.replace(LoopControl::Step).is_some(),
                b"loop" => cycle.replace(LoopControl::Loop).is_some(),
                _ => return None,
            };
            if is_second {
                return None;
            }
        }
        if process.is_none() && cycle.is_none() {
            return None;
        }
        Some(QuarantineHandling { process: process.unwrap_or_default(), cycle: cycle.unwrap_or_default() })
    }
}

impl std::fmt::Display for QuarantineHandling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.cycle {
            LoopControl::Step => "step, ",
            LoopControl::Loop => "loop, ",
        })?;
        f.write_str(match self.process {
            ProcessControl::Process => "process",
            ProcessControl::Discard => "discard",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_word_may_be_left_out_and_none_said_twice() {
        let handling = |process, cycle| Some(QuarantineHandling { process, cycle });
        for (text, expected) in [
            ("process", handling(ProcessControl::Process, LoopControl::Step)),
            ("LOOP", handling(ProcessControl::Process, LoopControl::Loop)),
            ("loop, discard", handling(ProcessControl::Discard, LoopControl::Loop)),
            ("discard,step", handling(ProcessControl::Discard, LoopControl::Step)),
            ("", None),
            ("process, discard", None),
            ("loop, often", None),
        ] {
            assert_eq!(QuarantineHandling::parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(QuarantineHandling::default().to_string(), "step, process");
    }
}
