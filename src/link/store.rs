//! Memory for messages that have been handed over and not answered: blocks of one size, taken as chains, freed in any
//! order.
//!
//! A call that rings for minutes holds only its own blocks and delays no other. All memory is reserved at the start and
//! touched when it is first used; nothing is allocated afterwards. An eighth is kept for messages that follow a call
//! (CANCEL, ACK, BYE), so that a store full of new calls still lets the old ones end. The eighth before it is for new
//! calls from sources that wait for less than their fair share: [`Store::room`] says when it begins, and the decision
//! knows the source of each call.

use std::io::IoSlice;
use std::num::NonZeroU32;
use std::ops::Range;

use crate::words::Room;

/// The bytes of one block. Measured with 1.1 KB messages: 256 costs more in gathering, 1024 more in memory.
pub const BLOCK: usize = 512;
/// The largest record that is ever put in, for which [`Store::room`] promises room: a datagram's 65,535 bytes, the
/// fields before it and a little that the dispatcher inserts.
pub const LARGEST: usize = 66 * 1024;
/// The smallest store that keeps the promise of [`Store::room`] with an eighth in reserve.
pub const SMALLEST: usize = 1024 * 1024;

/// The store of one worker.
#[derive(Debug)]
pub struct Store {
    /// The blocks that have ever been used; memory is reserved for all blocks.
    bytes: Vec<u8>,
    /// The block after each block, in its chain or in the list of free ones.
    next: Vec<u32>,
    /// Most blocks that the store may have.
    blocks: usize,
    /// The first of the freed blocks.
    free: u32,
    used: u32,
}

/// Some blocks of a [`Store`], in order. It must be given back with [`Store::free`] exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    head: u32,
    tail: u32,
    blocks: NonZeroU32,
    length: u32,
}

impl Chain {
    /// Its first block.
    pub const fn head(&self) -> u32 {
        self.head
    }

    /// Number of its bytes.
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Number of its blocks, and the most pieces that it can consist of.
    pub const fn blocks(&self) -> u32 {
        self.blocks.get()
    }

    /// Whether it holds no bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The part of the store that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All but the reserve: for messages placed by selection.
    Common,
    /// The whole store: for messages that follow a call.
    Reserve,
}

const NONE: u32 = u32::MAX;

impl Store {
    /// A store of `bytes` bytes, at least [`SMALLEST`].
    pub fn new(bytes: usize) -> Self {
        let blocks = (bytes.max(SMALLEST) / BLOCK).min(NONE as usize - 1);
        // The memory is reserved and not written: a block's memory is touched when the block is taken for the first
        // time.
        Store {
            bytes: Vec::with_capacity(blocks * BLOCK),
            next: Vec::with_capacity(blocks),
            blocks,
            free: NONE,
            used: 0,
        }
    }

    /// Copies `pieces`, one after the other, into blocks of their own. `None`: `share` is used up.
    pub fn put(&mut self, pieces: &[&[u8]], share: Share) -> Option<Chain> {
        let chain = self.take(pieces.iter().map(|piece| piece.len()).sum(), share)?;
        self.fill(chain.head(), pieces.iter().copied());
        Some(chain)
    }

    /// Takes blocks for so many bytes, to be filled with [`Store::fill`]. `None`: `share` is used up.
    pub fn take(&mut self, length: usize, share: Share) -> Option<Chain> {
        let blocks = NonZeroU32::new(length.div_ceil(BLOCK).max(1) as u32)?;
        if blocks.get() as usize > self.free_blocks(share) {
            return None;
        }
        self.used += blocks.get();
        let head = if self.free == NONE { self.fresh() } else { self.free };
        let mut tail = head;
        for _ in 1..blocks.get() {
            if self.next[tail as usize] == NONE {
                self.next[tail as usize] = self.fresh();
            }
            tail = self.next[tail as usize];
        }
        self.free = std::mem::replace(&mut self.next[tail as usize], NONE);
        Some(Chain { head, tail, blocks, length: length as u32 })
    }

    /// Copies `pieces`, one after the other, into the blocks of the chain that begins with `head`. It was taken for as
    /// many bytes.
    pub fn fill<'p>(&mut self, head: u32, pieces: impl Iterator<Item = &'p [u8]>) {
        let (mut block, mut room) = (head, 0..0);
        for mut rest in pieces {
            while !rest.is_empty() {
                if room.is_empty() {
                    (room, block) = self.run(block, usize::MAX);
                }
                let (now, later) = rest.split_at(rest.len().min(room.len()));
                let end = room.start + now.len();
                self.bytes[room.start..end].copy_from_slice(now);
                (room.start, rest) = (end, later);
            }
        }
    }

    /// Frees the blocks of `chain`.
    pub fn free(&mut self, chain: Chain) {
        self.next[chain.tail as usize] = self.free;
        self.free = chain.head;
        debug_assert!(self.used >= chain.blocks(), "more blocks freed than taken");
        self.used = self.used.saturating_sub(chain.blocks());
    }

    /// The bytes of `chain`, in as few pieces as possible.
    pub fn pieces(&self, chain: &Chain) -> Pieces<'_> {
        Pieces { store: self, block: chain.head, left: chain.len() }
    }

    /// Appends the bytes of `chain` to `out`.
    pub fn copy(&self, chain: &Chain, out: &mut Vec<u8>) {
        self.pieces(chain).for_each(|piece| out.extend_from_slice(piece));
    }

    /// Fills `slices` from `at` on with the bytes of `chain`. Returns the place after them, or `None` if they do not
    /// fit.
    pub fn gather<'a>(&'a self, chain: &Chain, slices: &mut [IoSlice<'a>], mut at: usize) -> Option<usize> {
        for piece in self.pieces(chain) {
            *slices.get_mut(at)? = IoSlice::new(piece);
            at += 1;
        }
        Some(at)
    }

    /// The messages that the store can still take, of any size up to [`LARGEST`].
    pub fn room(&self) -> Room {
        let largest = LARGEST.div_ceil(BLOCK);
        if self.free_blocks(Share::Common) >= largest + self.blocks / 8 {
            Room::All
        } else if self.free_blocks(Share::Common) >= largest {
            Room::Scarce
        } else if self.free_blocks(Share::Reserve) >= largest {
            Room::Following
        } else {
            Room::None
        }
    }

    /// The bytes in use, in whole blocks.
    pub const fn used(&self) -> usize {
        self.used as usize * BLOCK
    }

    /// The bytes of all blocks.
    pub const fn capacity(&self) -> usize {
        self.blocks * BLOCK
    }

    fn free_blocks(&self, share: Share) -> usize {
        let all = self.blocks;
        let usable = match share {
            Share::Common => all - all / 8,
            Share::Reserve => all,
        };
        usable.saturating_sub(self.used as usize)
    }

    /// A block that has never been used.
    fn fresh(&mut self) -> u32 {
        let block = self.next.len();
        self.bytes.resize((block + 1) * BLOCK, 0);
        self.next.push(NONE);
        block as u32
    }

    /// The places of the next of `left` bytes of a chain that lie side by side, from this block of it on, and the block
    /// after them.
    #[inline]
    fn run(&self, block: u32, left: usize) -> (Range<usize>, u32) {
        let first = block as usize;
        let mut last = first;
        while (last + 1 - first) * BLOCK < left && self.next[last] as usize == last + 1 {
            last += 1;
        }
        let begin = first * BLOCK;
        (begin..begin + ((last + 1 - first) * BLOCK).min(left), self.next[last])
    }
}

/// The bytes of a [`Chain`]: neighbouring blocks come as one piece.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    store: &'a Store,
    block: u32,
    left: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let (run, behind) = self.store.run(self.block, self.left);
        self.block = behind;
        self.left -= run.len();
        Some(&self.store.bytes[run])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(store: &Store, chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.copy(chain, &mut bytes);
        bytes
    }

    #[test]
    fn an_eighth_is_kept_for_messages_that_follow_a_call() {
        let mut store = Store::new(SMALLEST);
        let large = vec![7; BLOCK * 64];
        let mut chains = Vec::new();
        while let Some(chain) = store.put(&[&large], Share::Common) {
            chains.push(chain);
        }
        assert_eq!(store.used(), SMALLEST - SMALLEST / 8);
        assert_eq!(store.room(), Room::Following);
        let follower = store.put(&[b"CANCEL"], Share::Reserve).expect("the reserve takes it");
        assert_eq!(read(&store, &follower), b"CANCEL");
        assert_eq!(store.put(&[b"INVITE"], Share::Common), None);
        chains.into_iter().for_each(|chain| store.free(chain));
        assert_eq!(store.room(), Room::All);
    }

    #[test]
    fn room_for_all_means_that_the_largest_message_fits() {
        let mut store = Store::new(4 * SMALLEST);
        let mut seen = Vec::new();
        for (promised, share) in
            [(Room::All, Share::Common), (Room::Scarce, Share::Common), (Room::Following, Share::Reserve)]
        {
            assert_eq!(store.room(), promised);
            while store.room() == promised {
                seen.push(store.put(&[&[1; LARGEST]], share).expect("room was promised"));
            }
        }
        assert_eq!(store.room(), Room::None);
    }

    #[test]
    fn memory_that_is_freed_as_a_whole_comes_back_in_one_piece() {
        let mut store = Store::new(SMALLEST);
        let first = store.put(&[&[1; 3 * BLOCK]], Share::Common).unwrap();
        let second = store.put(&[&[2; 2 * BLOCK]], Share::Common).unwrap();
        store.free(first);
        let third = store.put(&[&[3; 1200], &[4; 100]], Share::Common).unwrap();
        assert_eq!(store.pieces(&third).count(), 1);
        assert_eq!(read(&store, &third), [[3; 1200].as_slice(), &[4; 100]].concat());
        assert_eq!(read(&store, &second), [2; 2 * BLOCK]);
        store.free(second);
        store.free(third);
        assert_eq!(store.used(), 0);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Put { length: usize, cut: usize, share: Share },
        Free { which: usize },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let share = prop_oneof![Just(Share::Common), Just(Share::Reserve)];
        prop_oneof![
            3 => (0..60_000_usize, any::<usize>(), share).prop_map(|(length, cut, share)| Operation::Put { length, cut, share }),
            2 => any::<usize>().prop_map(|which| Operation::Free { which }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_store_gives_back_what_was_put_in_whatever_the_order(operations in prop::collection::vec(operation(), 1..120)) {
            let mut store = Store::new(SMALLEST);
            let mut naive = BTreeMap::new();
            let mut blocks = 0;
            for (number, operation) in operations.into_iter().enumerate() {
                match operation {
                    Operation::Put { length, cut, share } => {
                        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
                        let (one, two) = bytes.split_at(cut % (length + 1));
                        let need = length.div_ceil(BLOCK).max(1);
                        let limit = SMALLEST / BLOCK - if share == Share::Common { SMALLEST / BLOCK / 8 } else { 0 };
                        let put = store.put(&[one, two], share);
                        prop_assert_eq!(put.is_some(), blocks + need <= limit);
                        if let Some(chain) = put {
                            blocks += need;
                            naive.insert(number, (chain, bytes));
                        }
                    }
                    Operation::Free { which } => {
                        let Some(key) = naive.keys().nth(which % naive.len().max(1)).copied() else { continue };
                        let (chain, _) = naive.remove(&key).unwrap();
                        blocks -= chain.blocks() as usize;
                        store.free(chain);
                    }
                }
                prop_assert_eq!(store.used(), blocks * BLOCK);
                for (chain, bytes) in naive.values() {
                    prop_assert_eq!(&read(&store, chain), bytes);
                }
            }
        }
    }
}
