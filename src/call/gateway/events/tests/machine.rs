//! The quarantine machine of §4.4.1.

use proptest::prelude::*;

use super::*;

fn request(requested: &str, quarantine: &str) -> NotificationRequest {
    read(RequestParams { quarantine: Some(quarantine.as_bytes()), ..asked(requested) }).unwrap()
}

fn watch(requested: &str, quarantine: &str) -> Watch {
    let mut watch = Watch::default();
    assert_eq!(watch.on_request(request(requested, quarantine)), None);
    watch
}

fn on(watch: &mut Watch, event: &str) -> Option<String> {
    names(watch.on_event(seen(event)))
}

#[test]
fn before_the_first_request_nothing_is_watched_and_the_identifier_is_0() {
    let mut watch = Watch::default();
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!((&*watch.request().id, watch.observed().count()), (b"0".as_slice(), 0));
    assert!(!watch.is_active());
}

#[test]
fn accumulated_events_are_reported_with_the_one_that_triggers_in_order() {
    let mut watch = watch("R/ma(A),G/of(A),G/oc(N)", "");
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(on(&mut watch, "G/of"), None);
    assert_eq!(on(&mut watch, "G/oc"), Some("R/ma@0A3F58,G/of,G/oc".into()));
    assert_eq!(watch.state(), NotificationState::Notification);
}

#[test]
fn an_ignored_event_is_not_reported() {
    let mut watch = watch("R/ma(I),G/oc(N)", "");
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(on(&mut watch, "G/oc"), Some("G/oc".into()));
}

#[test]
fn an_event_that_nobody_asked_for_is_not_kept() {
    let mut watch = watch("G/oc(N)", "");
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(watch.observed().count(), 0);
}

#[test]
fn an_event_counts_only_on_the_connection_it_was_asked_for() {
    let mut watch = watch("R/ma@0a3f58(N)", "loop");
    let elsewhere = Seen::named("R", "ma", Some(b"FF"), b"").unwrap();
    assert_eq!(watch.on_event(elsewhere), None);
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
}

#[test]
fn of_an_event_on_this_connection_the_one_the_command_made_is_meant() {
    let mut asked = request("R/ma@$(N)", "");
    asked.resolve(CONNECTION);
    let mut watch = Watch::default();
    let _ = watch.on_request(asked);
    assert!(!watch.is_watched(&Seen::named("R", "ma", Some(b"FF"), b"").unwrap()));
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
}

#[test]
fn with_a_connection_what_was_asked_about_it_alone_goes() {
    let mut watch = watch("R/ma@0A3F58(N),G/oc(A,E(R(R/ma@0A3F58(N))))", "");
    watch.forget_connection(b"0a3f58");
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert!(watch.is_active());
}

#[test]
fn in_step_mode_events_wait_for_the_next_request_even_after_the_answer() {
    let mut watch = watch("R/ma(N),G/oc(N)", "step");
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
    assert_eq!(on(&mut watch, "G/oc"), None);
    assert_eq!(names(watch.on_notified()), None);
    assert_eq!(watch.state(), NotificationState::Lockstep);
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(names(watch.on_request(request("G/oc(N)", ""))), Some("G/oc".into()));
}

#[test]
fn in_loop_mode_the_next_notification_follows_the_answer_to_the_one_before() {
    let mut watch = watch("R/ma(N),G/oc(A),G/of(N)", "loop");
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
    for event in ["G/oc", "G/of", "R/ma"] {
        assert_eq!(on(&mut watch, event), None, "two notifications at a time");
    }
    assert_eq!(names(watch.on_notified()), Some("G/oc,G/of".into()));
    assert_eq!(names(watch.on_notified()), Some("R/ma@0A3F58".into()));
    assert_eq!(names(watch.on_notified()), None);
    assert_eq!((watch.state(), on(&mut watch, "G/of")), (NotificationState::Normal, Some("G/of".into())));
}

#[test]
fn detected_events_that_are_not_requested_wait_in_quarantine_for_a_request_that_wants_them() {
    let mut watch = Watch::default();
    let first = read(RequestParams { detect: Some(b"G/of"), ..asked("R/ma(N)") }).unwrap();
    let _ = watch.on_request(first);
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
    assert_eq!(on(&mut watch, "G/of"), None);
    assert_eq!(on(&mut watch, "G/oc"), None);
    assert_eq!(watch.on_notified(), None);
    assert_eq!(names(watch.on_request(request("G/of(N),G/oc(N)", ""))), Some("G/of".into()));
}

#[test]
fn a_new_request_in_the_notification_state_reports_nothing_a_second_time() {
    let mut watch = watch("R/ma(A),G/oc(N)", "");
    let _ = on(&mut watch, "R/ma");
    assert_eq!(on(&mut watch, "G/oc"), Some("R/ma@0A3F58,G/oc".into()));
    let _ = on(&mut watch, "R/ma");
    assert_eq!(names(watch.on_request(request("R/ma(N),G/oc(N)", ""))), Some("R/ma@0A3F58".into()));
}

#[test]
fn events_accumulated_under_the_request_before_are_examined_under_the_new_one() {
    let mut watch = watch("R/ma(A),G/of(A)", "");
    let _ = on(&mut watch, "R/ma");
    let _ = on(&mut watch, "G/of");
    assert_eq!(names(watch.on_request(request("G/of(N),R/ma(A)", "process"))), Some("R/ma@0A3F58,G/of".into()));
}

#[test]
fn discard_forgets_what_had_not_been_reported() {
    let mut watch = watch("R/ma(A),G/of(N)", "");
    let _ = on(&mut watch, "R/ma");
    assert_eq!(watch.on_request(request("R/ma(N)", "discard")), None);
    assert_eq!(on(&mut watch, "R/ma"), Some("R/ma@0A3F58".into()));
    let _ = on(&mut watch, "R/ma");
    assert_eq!(watch.on_request(request("R/ma(N)", "discard")), None);
    assert_eq!(watch.observed().count(), 0);
}

#[test]
fn a_late_answer_after_a_new_request_changes_nothing() {
    let mut watch = watch("R/ma(N)", "step");
    let _ = on(&mut watch, "R/ma");
    let _ = watch.on_request(request("R/ma(N)", "step"));
    assert_eq!(watch.on_notified(), None);
    assert_eq!(watch.state(), NotificationState::Normal);
}

#[test]
fn an_embedded_request_replaces_the_lists_and_keeps_the_observed_events() {
    let mut watch = watch("R/ma(A,E(R(G/oc(N)),S()))", "");
    assert_eq!(on(&mut watch, "G/oc"), None);
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(&*watch.request().requested.text, b"G/oc(N)");
    assert_eq!(on(&mut watch, "R/ma"), None);
    assert_eq!(on(&mut watch, "G/oc"), Some("R/ma@0A3F58,G/oc".into()));
}

#[test]
fn events_beyond_the_capacity_are_lost_and_counted() {
    let mut watch = watch("R/ma(A),G/oc(N)", "");
    for _ in 0..CAPACITY + 3 {
        assert_eq!(on(&mut watch, "R/ma"), None);
    }
    assert_eq!((watch.observed().count(), watch.lost()), (CAPACITY, 3));
}

/// An operation on an endpoint.
#[derive(Clone, Debug)]
enum Operation {
    Request { requested: Vec<(usize, usize)>, quarantine: usize },
    Event(usize),
    Answer,
}

const EVENTS: [&str; 4] = ["R/ma", "G/oc", "G/of", "R/of"];
const ACTIONS: [&str; 4] = ["N", "A", "I", "A,E(R(G/oc(N),G/of(A)))"];
const QUARANTINES: [&str; 4] = ["process,step", "process,loop", "discard,step", "discard,loop"];

fn operation() -> impl Strategy<Value = Operation> {
    let asked = prop::collection::vec((0..EVENTS.len(), 0..ACTIONS.len()), 0..4);
    prop_oneof![
        1 => (asked, 0..QUARANTINES.len())
            .prop_map(|(requested, quarantine)| Operation::Request { requested, quarantine }),
        4 => (0..EVENTS.len()).prop_map(Operation::Event),
        2 => Just(Operation::Answer),
    ]
}

proptest! {
    #[test]
    fn each_event_is_notified_at_most_once_in_order_and_never_two_notifications_wait(
        operations in prop::collection::vec(operation(), 1..120)
    ) {
        let mut watch = Watch::default();
        let mut count = 0u32;
        let mut reported = 0u32;
        let mut waiting = false;
        let mut allowed = 0u32;
        for operation in operations {
            let notice = match operation {
                Operation::Request { requested, quarantine } => {
                    let item = |(event, action): &(usize, usize)| format!("{}({})", EVENTS[*event], ACTIONS[*action]);
                    let list = requested.iter().map(item).collect::<Vec<_>>().join(",");
                    waiting = false;
                    allowed = if QUARANTINES[quarantine].ends_with("loop") { u32::MAX } else { 1 };
                    watch.on_request(request(&list, QUARANTINES[quarantine]))
                }
                Operation::Event(event) => {
                    count += 1;
                    let (package, name) = EVENTS[event].split_once('/').unwrap();
                    watch.on_event(Seen::named(package, name, None, count.to_string().as_bytes()).unwrap())
                }
                Operation::Answer => {
                    waiting = false;
                    watch.on_notified()
                }
            };
            if let Some(notice) = notice {
                prop_assert!(!waiting, "a second notification before the answer to the first");
                prop_assert!(allowed > 0, "more than one notification in step mode");
                waiting = true;
                allowed -= u32::from(allowed != u32::MAX);
                for seen in &notice.observed {
                    let number: u32 = std::str::from_utf8(&seen.parameters).unwrap().parse().unwrap();
                    prop_assert!(number > reported, "event {number} after {reported}");
                    reported = number;
                }
            }
            prop_assert!(watch.observed().count() <= CAPACITY);
        }
    }
}
