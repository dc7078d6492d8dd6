//! Access rules at the well-known port and at the workers' own, and that a reload reaches running workers.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::phone::{Phone, Request};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, own_address, wait_for};

/// A dispatcher whose rules stand in a file.
struct Ruled {
    file: tempfile::NamedTempFile,
    pointsman: Pointsman,
}

impl Ruled {
    fn start(access: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), access).unwrap();
        let pointsman = Setup::new(2).with(["--config", &file.path().display().to_string()]).start();
        Ruled { file, pointsman }
    }

    fn reload(&self, access: &str) {
        std::fs::write(self.file.path(), access).unwrap();
        let reply = self.pointsman.stats("reload");
        assert!(reply["changed"].as_array().is_some_and(|all| !all.is_empty()), "{reply}");
    }

    fn count(&self, total: &str, reason: &str) -> u64 {
        self.pointsman.stats("counters")[total]["reasons"][reason].as_u64().unwrap_or_default()
    }

    fn wait_for_worker_to_say(&self, words: &str) {
        wait_for(words, DEADLINE, || self.pointsman.log().contains(words).then_some(()));
    }
}

fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

const DROPPED: &str = "dropped at this worker's own ports by the access rules";

#[test]
fn a_reload_denies_a_source_everywhere_and_lets_it_in_again_and_no_call_is_touched() {
    let ruled = Ruled::start("");
    let (bad, good) = (Phone::new(own_address().into()), Phone::new(own_address().into()));
    let (target, worker) = (ruled.pointsman.address(), ruled.pointsman.worker_address(0));
    let standing = good.call(&good.invite(target, None), target);
    assert_eq!(bad.transact(&bad.request("OPTIONS", worker), worker).status(), 200);
    let mut connection = connect(bad.address().ip(), worker);

    ruled.reload(&format!("access = [{{ from = [\"{}\"], action = \"deny\" }}]", bad.address().ip()));
    assert_eq!(connection.read(&mut [0]).unwrap(), 0, "the worker closes what it has");
    assert_eq!(connect(bad.address().ip(), worker).read(&mut [0]).unwrap(), 0, "and what comes");
    bad.send(&bad.invite(target, None), target);
    bad.send(&bad.request("OPTIONS", worker), worker);
    wait_for("the dispatcher to drop it", DEADLINE, || (ruled.count("dropped", "denied") > 0).then_some(()));
    ruled.wait_for_worker_to_say(DROPPED);
    assert_eq!(good.transact(&standing.request("BYE", 1), standing.target).status(), 200);
    assert_eq!(good.transact(&good.request("OPTIONS", worker), worker).status(), 200);

    ruled.reload("");
    // No earlier message was kept for later: the first answer is to this one.
    let options = bad.request("OPTIONS", worker);
    let reply = wait_for("the worker to let it in", DEADLINE, || {
        bad.send(&options, worker);
        bad.receive(Duration::from_millis(100))
    });
    assert!(reply.answers(&options), "{}", reply.text);
    bad.call(&bad.invite(target, None), target);
}

#[test]
fn a_rate_counts_what_begins_something_and_not_what_belongs_to_a_call() {
    let ruled = Ruled::start("access = [{ action = \"limit\", rate = 1, burst = 12, ban = \"1h\" }]");
    let phone = Phone::new(own_address().into());
    let target = ruled.pointsman.address();
    let dialogs: Vec<_> = (0..3).map(|_| phone.call(&phone.invite(target, None), target)).collect();
    for _ in 0..40 {
        phone.send(&phone.invite(target, None), target);
    }
    wait_for("a ban", DEADLINE, || (ruled.count("dropped", "banned") > 0).then_some(()));
    for dialog in dialogs {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), target).status(), 200, "by way of the dispatcher");
    }
    let other = Phone::new(own_address().into());
    other.call(&other.invite(target, None), target);
    // The same rules at the worker's own port, counted there.
    let worker = ruled.pointsman.worker_address(0);
    let greedy = Phone::new(own_address().into());
    for _ in 0..30 {
        greedy.send(&greedy.request("OPTIONS", worker), worker);
    }
    ruled.wait_for_worker_to_say(DROPPED);
}

#[test]
fn a_source_that_has_made_one_call_begins_no_more_by_its_workers_token_than_without_it() {
    let ruled = Ruled::start("access = [{ action = \"limit\", rate = 1, burst = 20, ban = \"1h\" }]");
    let phone = Phone::new(own_address().into());
    let target = ruled.pointsman.address();
    let call = phone.call(&phone.invite(target, None), target);
    let token = call.answer.to_tag().split('-').next().unwrap().to_owned();
    for _ in 0..60 {
        phone.send(&phone.invite(target, None), target);
    }
    wait_for("a ban", DEADLINE, || (ruled.count("dropped", "banned") > 0).then_some(()));
    let begun = ruled.count("handed_over", "selected");
    for number in 0..100 {
        let invite = phone.invite(target, None);
        let named = match number % 4 {
            0 => invite.with("X-Pointsman-Worker", token.clone()),
            1 => Request { uri: format!("sip:{token}@{target}"), ..invite },
            2 => Request { uri: format!("sip:service@{target};pm={token}"), ..invite },
            _ => invite.with("Target-Dialog", format!("x;local-tag=l;remote-tag={token}-y")),
        };
        phone.send(&named, target);
    }
    wait_for("all of them to be dropped", DEADLINE, || (ruled.count("dropped", "banned") >= 100).then_some(()));
    assert_eq!(ruled.count("handed_over", "selected"), begun);
    for reason in ["extension", "request-uri", "target-dialog"] {
        assert_eq!(ruled.count("handed_over", reason), 0, "{reason}");
    }
    // Dialogs that never were, in another source's name: the worker answers as many as the rate lets it.
    let other = Phone::new(own_address().into());
    let mut answered = 0;
    for number in 0..200 {
        let to_tag = Some(format!("{token}-none{number}"));
        other.send(&Request { to_tag, ..other.request("BYE", target) }, target);
    }
    while other.receive(Duration::from_secs(2)).is_some() {
        answered += 1;
    }
    assert!((1..60).contains(&answered), "{answered} of 200");
    ruled.wait_for_worker_to_say(DROPPED);
    assert_eq!(phone.transact(&call.request("BYE", 1), target).status(), 200, "what belongs to its call goes through");
}

#[test]
fn a_worker_is_welcomed_with_the_rules() {
    let denied = own_address();
    let ruled = Ruled::start(&format!("access = [{{ from = [\"{denied}\"], action = \"deny\" }}]"));
    let stream = connect(denied.into(), ruled.pointsman.worker_address(1)).read(&mut [0]).unwrap();
    assert_eq!(stream, 0);
}
