//! The workers' ends of the links: they read frames and answer each message.

use std::io::IoSlice;
use std::sync::Arc;

use mio::{Registry, Token};
use pointsman::dispatch::decision::Joined;
use pointsman::ids::{Incarnation, Seq, WorkerId};
use pointsman::net::unix::{SEND_BUFFER, SeqPacket};
use pointsman::server::link_socket::{GivenLink, LinkSocket};
use pointsman::switch::Switch;
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::Report;

use super::{Case, WORKERS};

/// An answer such as a worker gives: 400 bytes.
const ANSWER: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-1\r\n";

pub struct Workers {
    links: Vec<SeqPacket>,
    reports: u64,
    answers: bool,
    answer: Vec<u8>,
    buffer: Vec<u8>,
}

impl Workers {
    pub fn new(registry: &Arc<Registry>, switch: &mut Switch<LinkSocket>, case: Case) -> Self {
        let mut links = Vec::new();
        for worker in 0..WORKERS {
            let (ours, theirs) = SeqPacket::pair().unwrap();
            ours.set_buffers(SEND_BUFFER, 0).unwrap();
            let token = Token(usize::from(worker) + 1);
            let link = LinkSocket::register(GivenLink::Unix(ours), Arc::clone(registry), token).unwrap();
            let address = format!("127.0.0.1:{}", 5070 + worker).parse().unwrap();
            let joined = Joined::sip(Incarnation::new(u64::from(worker) + 1), 1_000_000, vec![address]);
            switch.on_link(WorkerId(worker), link, &joined, Time(0));
            links.push(theirs);
        }
        let mut answer = ANSWER.as_bytes().to_vec();
        answer.extend_from_slice(&[b'x'; 400][answer.len()..]);
        Workers { links, reports: 0, answers: case.answers, answer, buffer: vec![0; FRAME_HARD_LIMIT] }
    }

    /// Reads all frames and answers all messages, and reports.
    pub fn answer(&mut self) {
        let Workers { links, reports, answers, answer, buffer } = self;
        for link in links {
            let mut taken: Vec<Seq> = Vec::new();
            let mut builder = FrameBuilder::new();
            while let Ok(length @ 1..) = link.recv(buffer, &mut Vec::new()) {
                for record in Frame::parse(&buffer[..length]).unwrap() {
                    let Ok(Record::Message(message)) = record else { continue };
                    taken.push(message.envelope.seq);
                    if *answers {
                        builder.push(&Record::Reply { to: message.envelope.reply_to, bytes: answer });
                    }
                }
            }
            let Some(last) = taken.last().copied() else { continue };
            *reports += 1;
            builder.push_answered(&taken);
            builder.push(&Record::Report(Report {
                number: *reports,
                taken_through: last,
                covers: last,
                units_total: 1_000_000,
                ..Report::default()
            }));
            link.send(&[IoSlice::new(builder.bytes())], &[]).unwrap();
        }
    }
}
