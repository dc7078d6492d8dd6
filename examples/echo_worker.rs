//! An echo worker on the SDK: answers every call and sends its sound back.
//!
//! Start a dispatcher, then this beside its own workers:
//!
//! ```text
//! pointsman --workers 1 --run-dir /tmp/pm &
//! cargo run --example echo_worker -- /tmp/pm/handoff.sock
//! ```

use std::path::PathBuf;

use pointsman::call::{CallKey, EndReason};
use pointsman::worker::{Application, Call, Link, Settings, WorkerError, run};

struct EchoWorker {
    calls: usize,
}

impl Application for EchoWorker {
    fn on_call(&mut self, call: &mut Call<'_>) {
        let caller =
            call.invite(|invite| String::from_utf8_lossy(invite.from().map_or(b"?", |from| from.uri)).into_owned());
        self.calls += 1;
        println!("call {} from {}", call.call_id(), caller.unwrap_or_default());
        // One line answers it, and takes care of the sound until it ends.
        call.echo();
    }

    fn info_types(&self) -> &[&str] {
        &["application/dtmf-relay"]
    }

    fn on_info(&mut self, call: &mut Call<'_>, content_type: &str, body: &[u8]) {
        println!("call {}: {content_type}: {}", call.call_id(), String::from_utf8_lossy(body).trim());
    }

    fn on_ended(&mut self, _call: CallKey, reason: EndReason) {
        println!("a call of {} ended: {}", self.calls, reason.label());
    }
}

fn main() -> Result<(), WorkerError> {
    let path = std::env::args_os().nth(1).unwrap_or("/run/pointsman/handoff.sock".into());
    run(Settings::new(Link::Path(PathBuf::from(path))), EchoWorker { calls: 0 })
}
