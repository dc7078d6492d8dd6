use proptest::prelude::*;

use super::*;
use crate::fingerprint::{Printer, SourcePrint};
use crate::ids::{TokenKey, WorkerId};
use crate::pack::{Damaged, Packed, Saved};

const PENDING_MAX: Duration = Duration::from_secs(300);

fn print(purpose: u8, number: u32) -> Fingerprint {
    Printer::new(&TokenKey::new([1; 32])).print(purpose, &[&number.to_le_bytes()])
}

fn invite(name: u32, call: u32) -> NewEntry {
    NewEntry {
        is_remembered: false,
        name: print(1, name),
        call: print(2, call),
        discriminator: name,
        target: WorkerId(name as u16).into(),
        life: 1,
        hold: None,
        is_invite: true,
        state: State::PENDING,
        source: SourcePrint(name as u16),
    }
}

fn second(number: u64) -> Time {
    Time(number * 1_000_000)
}

#[test]
fn both_keys_find_an_entry_until_its_life_is_over() {
    let mut table = Table::new(10, PENDING_MAX);
    let (id, _) = table.insert(invite(1, 7), second(1)).unwrap();
    assert_eq!(table.by_name(print(1, 1)), Some(id));
    assert_eq!(table.by_call(print(2, 7)), Some(id));
    assert_eq!(table.by_name(print(2, 7)), None);
    assert_eq!(table.poll_timeout(), Some(second(301)));
    assert_eq!(table.poll_expired(second(300)), None);
    assert_eq!(table.poll_expired(second(301)).map(|entry| entry.discriminator), Some(1));
    assert_eq!((table.by_name(print(1, 1)), table.by_call(print(2, 7)), table.get(id)), (None, None, None));
    let (again, _) = table.insert(invite(1, 7), second(1)).unwrap();
    assert_eq!(again, EntryId { index: id.index, generation: id.generation + 1 });
}

#[test]
fn an_answer_starts_the_short_life_once() {
    let mut table = Table::new(10, PENDING_MAX);
    let (id, _) = table.insert(invite(1, 7), second(0)).unwrap();
    table.answered(id, second(100));
    table.answered(id, second(120));
    assert_eq!(table.poll_timeout(), Some(second(132)));
    let (other, _) = table.insert(NewEntry { is_invite: false, ..invite(2, 8) }, second(99)).unwrap();
    assert_eq!(table.poll_timeout(), Some(second(131)));
    assert_eq!(table.poll_expired(second(131)).map(|entry| entry.discriminator), Some(2));
    assert_eq!(table.get(other), None);
    table.check();
}

#[test]
fn the_newest_transaction_of_a_call_is_found_and_then_the_one_before_it() {
    let mut table = Table::new(10, PENDING_MAX);
    let ids: Vec<EntryId> = (0..3).map(|name| table.insert(invite(name, 7), second(0)).unwrap().0).collect();
    assert_eq!(table.by_call(print(2, 7)), Some(ids[2]));
    assert_eq!(table.invite_of(print(2, 7), 0), Some(ids[0]));
    table.answered_here(ids[2], 486, second(0));
    table.poll_expired(second(32));
    assert_eq!(table.by_call(print(2, 7)), Some(ids[1]));
    table.check();
}

#[test]
fn answered_entries_make_room_oldest_first_and_waiting_ones_never_do() {
    let mut table = Table::new(3, PENDING_MAX);
    let ids: Vec<EntryId> = (0..3).map(|at| table.insert(invite(at, at), second(0)).unwrap().0).collect();
    assert_eq!(table.insert(invite(9, 9), second(0)), Err(Full));
    table.answered(ids[2], second(1));
    table.answered(ids[0], second(2));
    let evicted = |table: &mut Table, at| {
        table.insert(invite(at, at), second(3)).map(|(_, old)| old.map(|old| old.discriminator))
    };
    assert_eq!(evicted(&mut table, 3), Ok(Some(2)));
    assert_eq!(evicted(&mut table, 4), Ok(Some(0)));
    assert_eq!(evicted(&mut table, 5), Err(Full));
    assert!(table.get(ids[1]).is_some());
    table.check();
}

#[test]
fn the_last_eighth_is_for_sources_below_their_share_and_no_waiting_transaction_loses_its_place() {
    let mut table = Table::new(80, PENDING_MAX);
    let of = |source, at| NewEntry { source: SourcePrint(source), ..invite(at, at) };
    let honest = table.insert(of(1, 1000), second(0)).unwrap().0;
    let flooded = (0..).take_while(|&at| table.insert(of(2, at), second(1)).is_ok()).count();
    assert_eq!((flooded, table.has_place(|| SourcePrint(2)), table.has_place(|| SourcePrint(1))), (69, false, true));
    let others = (100..).take_while(|&at| table.insert(of(at as u16, at), second(2)).is_ok()).count();
    assert_eq!((others, table.len()), (10, 80));
    assert!(table.get(honest).is_some());
    table.check();
    // Answered entries make room for other sources, not for the one that floods.
    let first = table.by_name(print(1, 0)).unwrap();
    table.answered(first, second(3));
    assert_eq!(table.insert(of(2, 500), second(4)), Err(Full));
    assert!(table.insert(of(3, 501), second(4)).is_ok_and(|(_, evicted)| evicted.is_some()));
    table.check();
}

fn taken_over(table: &Table) -> Table {
    let mut state = Vec::new();
    table.save(&mut state);
    let mut from = Packed::new(&state);
    let mut next = Table::new(table.cap(), PENDING_MAX);
    next.restore(&mut from).unwrap();
    assert!(from.is_empty());
    next
}

#[test]
fn an_entry_that_has_gone_means_no_other_one_after_a_takeover() {
    let mut table = Table::new(4, PENDING_MAX);
    let gone = table.insert(invite(1, 1), second(0)).unwrap().0;
    table.answered(gone, second(0));
    assert!(table.poll_expired(second(33)).is_some());
    let mut table = taken_over(&table);
    let (next, _) = table.insert(invite(2, 2), second(34)).unwrap();
    assert_eq!((next.index, table.get(gone)), (gone.index, None));
    table.check();
}

#[test]
fn a_state_that_is_damaged_or_too_large_is_refused_and_never_believed() {
    let mut table = Table::new(4, PENDING_MAX);
    (0..4).for_each(|at| assert!(table.insert(invite(at, at / 2), second(0)).is_ok()));
    let mut state = Vec::new();
    table.save(&mut state);
    let restored = |state: &[u8], cap| Table::new(cap, PENDING_MAX).restore(&mut Packed::new(state));
    assert_eq!(restored(&state, 4), Ok(()));
    assert_eq!(restored(&state, 3), Err(Damaged("a table beyond table-cap")));
    for end in 0..state.len() {
        assert!(restored(&state[..end], 4).is_err(), "cut at {end}");
    }
    for at in 0..state.len() {
        let mut changed = state.clone();
        changed[at] ^= 0x55;
        // The changed state may be accepted or refused; restoring it must not panic.
        let _ = restored(&changed, 4);
    }
}

#[test]
fn searches_end_although_an_index_is_full_of_places_that_nobody_removes() {
    let mut table = Table::new(20, PENDING_MAX);
    for at in 0..20 {
        let (id, _) = table.insert(invite(at, at), second(0)).unwrap();
        table.answered(id, second(0));
    }
    let mut state = Vec::new();
    table.save(&mut state);
    // The index of calls is last.
    let from = state.len() - 20 * size_of::<u64>();
    state[from..].chunks_mut(size_of::<u64>()).for_each(|bucket| bucket[4] ^= 0x55);
    let mut table = Table::new(20, PENDING_MAX);
    table.restore(&mut Packed::new(&state)).unwrap();
    for at in 100..200 {
        let (id, evicted) = table.insert(invite(at, at), second(1)).unwrap();
        assert!(evicted.is_some());
        table.answered(id, second(1));
    }
}

/// A table in which each queue, the list of free places and the list of a call have several entries.
fn varied() -> Table {
    let mut table = Table::new(20, PENDING_MAX);
    let insert = |table: &mut Table, at: u32, is_invite| {
        table.insert(NewEntry { is_invite, ..invite(at, at / 2) }, second(0)).unwrap().0
    };
    let ids: Vec<EntryId> = (0..18).map(|at| insert(&mut table, at, at % 3 > 0)).collect();
    for &id in &ids[..4] {
        table.answered(id, second(0));
    }
    while table.poll_expired(second(40)).is_some() {}
    for &id in &ids[6..10] {
        table.answered(id, second(40));
    }
    table
}

/// Does to a table everything that a dispatcher does.
fn used(table: &mut Table) {
    for at in 0..60 {
        let entered = table.insert(invite(at + 3, at / 3), second(41));
        assert!(table.len() <= table.cap());
        if let Some(id) = table.by_name(print(1, at)) {
            table.answered(id, second(41));
        }
        table.of_call(print(2, at)).for_each(drop);
        if let Some((id, _)) = entered.ok().filter(|_| at % 2 == 0) {
            table.move_to(id, (WorkerId(3).into(), 1), 0, second(41));
            table.answered_here(id, 503, second(41));
        }
    }
    let end = Time(u64::MAX);
    let removed = (0..1000).take_while(|_| table.poll_expired(end).is_some()).count();
    assert!(removed <= table.cap() && table.is_empty(), "{removed} entries removed");
    assert_eq!(table.shares().waiting(), 0);
    (0..20).for_each(|at| assert!(table.insert(invite(at, at), second(50)).is_ok()));
}

#[test]
fn a_table_with_a_damaged_byte_is_refused_or_can_be_used() {
    let mut state = Vec::new();
    varied().save(&mut state);
    for (at, flip) in (0..state.len()).flat_map(|at| [1, 3, 0x80].map(|flip| (at, flip))) {
        let mut changed = state.clone();
        changed[at] ^= flip;
        let mut table = Table::new(20, PENDING_MAX);
        if table.restore(&mut Packed::new(&changed)).is_ok() {
            used(&mut table);
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert { name: u32, call: u32, is_invite: bool },
    Answered(u32),
    AnswerHere(u32),
    Move(u32),
    Pass(u64),
    TakeOver,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..30_u32, 0..10_u32, any::<bool>())
            .prop_map(|(name, call, is_invite)| Operation::Insert { name, call, is_invite }),
        2 => (0..30_u32).prop_map(Operation::Answered),
        1 => (0..30_u32).prop_map(Operation::AnswerHere),
        1 => (0..30_u32).prop_map(Operation::Move),
        1 => (0..40_u64).prop_map(Operation::Pass),
        1 => Just(Operation::TakeOver),
    ]
}

proptest! {
    #[test]
    fn indexes_queues_and_lists_agree_whatever_happens(operations in prop::collection::vec(operation(), 0..150)) {
        let mut table = Table::new(12, PENDING_MAX);
        let mut now = second(5);
        for operation in operations {
            let with = |table: &mut Table, name, act: &dyn Fn(&mut Table, EntryId)| {
                if let Some(id) = table.by_name(print(1, name)) {
                    act(table, id);
                }
            };
            match operation {
                Operation::Insert { name, call, is_invite } => {
                    if table.by_name(print(1, name)).is_none() {
                        let _ = table.insert(NewEntry { is_invite, ..invite(name, call) }, now);
                    }
                }
                Operation::Answered(name) => with(&mut table, name, &|table, id| {
                    table.answered(id, now);
                }),
                Operation::AnswerHere(name) => with(&mut table, name, &|table, id| {
                    table.answered_here(id, 503, now);
                }),
                Operation::Move(name) => with(&mut table, name, &|table, id| {
                    table.move_to(id, (WorkerId(3).into(), 1), 0, now);
                }),
                Operation::TakeOver => {
                    let before = table;
                    table = taken_over(&before);
                    for name in 0..30 {
                        let id = before.by_name(print(1, name));
                        prop_assert_eq!(table.by_name(print(1, name)), id);
                        prop_assert_eq!(id.and_then(|id| table.get(id)), id.and_then(|id| before.get(id)));
                    }
                    prop_assert_eq!((table.len(), table.poll_timeout()), (before.len(), before.poll_timeout()));
                }
                Operation::Pass(seconds) => {
                    now = Time(now.0 + seconds * 1_000_000);
                    while table.poll_expired(now).is_some() {}
                    prop_assert!(table.poll_timeout().is_none_or(|timeout| timeout > now));
                }
            }
            table.check();
        }
    }
}

#[test]
fn a_transaction_that_leads_later_requests_stays_for_its_time_and_makes_room_last() {
    let mut table = Table::new(2, Duration::from_secs(300));
    table.set_remember(Duration::from_secs(3_600));
    let remembered = |name| NewEntry { is_remembered: true, ..invite(name, name) };
    let (first, _) = table.insert(remembered(1), second(0)).unwrap();
    table.answered(first, second(1));
    assert_eq!(table.poll_expired(second(3_600)), None);
    table.renew(first, second(3_000));
    assert_eq!(table.poll_expired(second(6_599)), None, "a later request of its call has used it");
    let (other, _) = table.insert(invite(2, 2), second(6_000)).unwrap();
    table.answered(other, second(6_001));
    let (third, evicted) = table.insert(remembered(3), second(6_002)).unwrap();
    assert_eq!(evicted.map(|entry| entry.name), Some(invite(2, 2).name), "one that leads nothing makes room first");
    table.check();
    table.answered(third, second(6_003));
    let (_, evicted) = table.insert(invite(4, 4), second(6_004)).unwrap();
    assert_eq!(evicted.map(|entry| entry.name), Some(invite(1, 1).name));
    assert_eq!(table.poll_expired(second(9_602)).map(|entry| entry.name), Some(invite(4, 4).name));
    assert_eq!(table.poll_expired(second(9_603)).map(|entry| entry.name), Some(invite(3, 3).name));
    table.check();
}

#[test]
fn a_refused_transaction_leads_nothing_and_goes_after_32_s() {
    let mut table = Table::new(2, Duration::from_secs(300));
    table.set_remember(Duration::from_secs(3_600));
    let (id, _) = table.insert(NewEntry { is_remembered: true, ..invite(1, 1) }, second(0)).unwrap();
    table.answered(id, second(1));
    table.acknowledged(id, second(2));
    assert!(table.poll_expired(second(34)).is_some());
}

#[test]
fn transactions_that_lead_later_requests_make_room_first_while_they_have_more_than_three_quarters_of_the_places() {
    let mut table = Table::new(8, PENDING_MAX);
    table.set_remember(Duration::from_secs(3_600));
    let answer = |table: &mut Table, new: NewEntry| {
        let (id, evicted) = table.insert(new, second(1)).unwrap();
        table.answered(id, second(1));
        table.check();
        evicted.map(|entry| entry.discriminator)
    };
    for name in 1..=7 {
        answer(&mut table, NewEntry { is_remembered: true, ..invite(name, name) });
    }
    let evicted = (8..=12).map(|name| answer(&mut table, invite(name, name)));
    assert_eq!(evicted.collect::<Vec<_>>(), [None, Some(1), Some(8), Some(9), Some(10)]);
}

#[test]
fn an_entry_that_goes_leaves_its_name_to_a_newer_one() {
    let mut table = Table::new(4, PENDING_MAX);
    let (older, _) = table.insert(invite(1, 1), second(0)).unwrap();
    let (newer, _) = table.insert(invite(1, 2), second(1)).unwrap();
    table.answered(older, second(1));
    assert!(table.poll_expired(second(40)).is_some() && table.get(older).is_none());
    assert_eq!(table.by_name(print(1, 1)), Some(newer));
}
