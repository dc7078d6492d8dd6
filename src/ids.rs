//! The names of things that cross module or process borders, and their text form.
//!
//! A [`Token`] is a worker's identity as written into fields that peers must echo (To-tags, branches, nonces, URI
//! parameters). Its text form is written and read here and nowhere else: `pm`, ten characters of incarnation, six
//! characters of keyed check, all from the alphabet `0-9a-v`, so that it survives case-folding protocols (MGCP names)
//! and needs no quoting in any SIP field. MGCP's connection ids are hexadecimal (RFC 3435 §3.2.2.5): there the same two
//! numbers stand as a [`HexToken`].

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A slot: a worker's numbered place. Its ports belong to the slot, not to the process in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A downstream proxy. A reload keeps the number of one that it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyId(pub u16);

impl ProxyId {
    /// No proxy of the settings: the server of a dialog that outlives its entry there.
    pub const NONE: ProxyId = ProxyId(u16::MAX);
}

/// A target: what can get a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetId {
    /// The worker in this slot.
    Worker(WorkerId),
    /// A downstream proxy.
    Proxy(ProxyId),
}

impl TargetId {
    /// The worker, if it is one.
    pub const fn worker(self) -> Option<WorkerId> {
        match self {
            TargetId::Worker(worker) => Some(worker),
            TargetId::Proxy(_) => None,
        }
    }
}

impl PartialEq<WorkerId> for TargetId {
    fn eq(&self, worker: &WorkerId) -> bool {
        *self == TargetId::Worker(*worker)
    }
}

impl From<WorkerId> for TargetId {
    #[inline]
    fn from(worker: WorkerId) -> Self {
        TargetId::Worker(worker)
    }
}

impl From<ProxyId> for TargetId {
    #[inline]
    fn from(proxy: ProxyId) -> Self {
        TargetId::Proxy(proxy)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl std::str::FromStr for WorkerId {
    type Err = NotAWorkerName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('w')
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .map(WorkerId)
            .ok_or_else(|| NotAWorkerName(text.to_owned()))
    }
}

/// A text that does not name a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a worker's name: workers are named w0, w1, …")]
pub struct NotAWorkerName(pub String);

/// A well-known socket, numbered in the order of `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

impl ListenerId {
    /// A listener that is not in the settings any more.
    pub const GONE: ListenerId = ListenerId(u16::MAX);
}

/// The gathering of the answers of several workers to one command (MGCP). Its number is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatheringId(pub u64);

/// A stream connection of the dispatcher, below 2⁴⁷. Its highest bits name the lane that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl ConnId {
    /// Bits of the lane's own number for a connection.
    const OWN_BITS: u32 = 39;

    /// A connection that is gone: no lane has it.
    pub const GONE: ConnId = ConnId((1 << 47) - 1);

    /// A connection of a lane, by that lane's own number for it.
    pub const fn new(lane: usize, own: u64) -> Self {
        ConnId((lane as u64) << Self::OWN_BITS | own)
    }

    /// The lane's own number for it.
    pub const fn number(self) -> u64 {
        self.0 & ((1 << Self::OWN_BITS) - 1)
    }

    /// The lane that has the connection.
    pub const fn lane(self) -> usize {
        (self.0 >> Self::OWN_BITS) as usize
    }
}

/// The number of a message on one link. Starts at 1 and rises by one for each message handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// The links of one worker to all lanes, from its `Welcome` on. Each later `Welcome` has a higher number: a worker that
/// was not started by the dispatcher may come back with the same incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One life of a worker process: 50 random bits, unique over restarts and dispatchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Takes the low 50 bits of `random`.
    pub const fn new(random: u64) -> Self {
        Incarnation(random & ((1 << 50) - 1))
    }

    /// The 50 bits as a number.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The secret that tokens are checked with. 32 bytes, kept in `RUN_DIR/key`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    /// A key from its 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        TokenKey(bytes)
    }

    /// Its 32 bytes, for the file it is kept in.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A keyed hash of `bytes`; `purpose` separates the uses of one key.
    pub fn hash(&self, purpose: u8, bytes: &[u8]) -> u64 {
        let (first, second) = self.0.split_at(16);
        let mut key = [0; 16];
        for ((k, a), b) in key.iter_mut().zip(first).zip(second) {
            *k = a ^ b.rotate_left(3);
        }
        let mut hasher = SipHasher13::new_with_key(&key);
        hasher.write_u8(purpose);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The token of a worker's life.
    pub fn token(&self, incarnation: Incarnation) -> Token {
        let check = self.hash(b't', &incarnation.0.to_le_bytes()) & CHECK_MASK;
        let mut text = *b"pm................";
        encode(incarnation.0, &mut text[2..12]);
        encode(check, &mut text[12..18]);
        Token(text)
    }

    /// Reads the token that `field` starts with, in either case, if it was made with this key.
    pub fn read(&self, field: &[u8]) -> Option<Incarnation> {
        let (mark, rest) = field.split_at_checked(2)?;
        // The mark is checked first: most fields are no tokens, and a keyed hash costs more than two bytes.
        if !mark.eq_ignore_ascii_case(b"pm") {
            return None;
        }
        let incarnation = Incarnation(decode(rest.get(..10)?)?);
        let check = decode(rest.get(10..16)?)?;
        let expected = self.hash(b't', &incarnation.0.to_le_bytes()) & CHECK_MASK;
        (check == expected).then_some(incarnation)
    }

    /// The token of a worker's life in hexadecimal digits.
    pub fn hex(&self, incarnation: Incarnation) -> HexToken {
        self.token(incarnation).hex()
    }

    /// Reads the hexadecimal token that `field` starts with, in either case, if it was made with this key.
    pub fn read_hex(&self, field: &[u8]) -> Option<Incarnation> {
        let value = field
            .get(..HexToken::LEN)?
            .iter()
            .try_fold(0_u128, |value, byte| Some(value << 4 | u128::from(char::from(*byte).to_digit(16)?)))?;
        let incarnation = Incarnation::new((value >> CHECK_BITS) as u64);
        let expected = self.hash(b't', &incarnation.0.to_le_bytes()) & CHECK_MASK;
        (value as u64 & CHECK_MASK == expected).then_some(incarnation)
    }

    /// The secret with which a re-attaching worker proves that it has had this slot.
    pub fn slot_secret(&self, worker: WorkerId, incarnation: Incarnation) -> u64 {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&worker.0.to_le_bytes());
        bytes[2..].copy_from_slice(&incarnation.0.to_le_bytes());
        self.hash(b's', &bytes)
    }
}

impl serde::Serialize for TokenKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> serde::Deserialize<'de> for TokenKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digit = |byte: u8| HEX.iter().position(|hex| *hex == byte).map(|digit| digit as u8);
        let mut bytes = [0; 32];
        let mut pairs = text.as_bytes().chunks_exact(2);
        for byte in &mut bytes {
            let pair = pairs.next().and_then(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
            *byte = pair.ok_or_else(|| serde::de::Error::custom("a key is 64 hexadecimal digits"))?;
        }
        if text.len() != 64 {
            return Err(serde::de::Error::custom("a key is 64 hexadecimal digits"));
        }
        Ok(TokenKey(bytes))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Six characters of five bits.
const CHECK_BITS: u32 = 30;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;

/// A worker's identity as text: 18 ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Token::LEN]);

impl Token {
    /// The length of the text form.
    pub const LEN: usize = 18;

    /// The text form.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text form, as bytes for a buffer.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A worker's identity as hexadecimal digits: 50 bits of incarnation and 30 of keyed check. Each of its MGCP connection
/// ids begins with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HexToken([u8; HexToken::LEN]);

impl HexToken {
    /// The length of the text form.
    pub const LEN: usize = 20;

    /// The text form, in lower case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text form, as bytes for a buffer.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Token {
    /// Reads a text form without checking its key: a worker reads its own token so, as the dispatcher told it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; Token::LEN] = text.as_bytes().try_into().ok()?;
        decode(bytes.strip_prefix(b"pm")?).map(|_| Token(bytes))
    }

    /// The same identity in hexadecimal digits.
    pub fn hex(&self) -> HexToken {
        let [_, _, incarnation @ .., _, _, _, _, _, _] = &self.0;
        let [.., a, b, c, d, e, f] = self.0;
        let (incarnation, check) = (decode(incarnation), decode(&[a, b, c, d, e, f]));
        hex_token(incarnation.unwrap_or_default(), check.unwrap_or_default())
    }
}

fn hex_token(incarnation: u64, check: u64) -> HexToken {
    let value = u128::from(incarnation) << CHECK_BITS | u128::from(check);
    let mut text = [0; HexToken::LEN];
    for (place, byte) in text.iter_mut().rev().enumerate() {
        *byte = HEX[(value >> (4 * place)) as usize & 15];
    }
    HexToken(text)
}

/// The transaction ids of the MGCP commands that a worker sends (NTFY, RSIP, DLCX). No two of the first
/// [`TransactionRange::SLOTS`] slots share one, so that a response at the well-known port tells the slot (RFC 3435
/// §3.5.2 has ids from 1 to 999,999,999).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionRange {
    first: u32,
}

impl TransactionRange {
    /// Number of ids that each slot has.
    pub const LEN: u32 = 900_000;
    /// Number of slots with ids of their own. Slots with higher numbers share them, beginning with those of slot 0.
    pub const SLOTS: u16 = 1_110;

    /// The ids of a slot.
    pub const fn of(worker: WorkerId) -> Self {
        TransactionRange { first: (worker.0 % Self::SLOTS) as u32 * Self::LEN + 1 }
    }

    /// The slot whose id this is.
    pub const fn worker_of(id: u32) -> Option<WorkerId> {
        match id {
            0 => None,
            _ if (id - 1) / Self::LEN >= Self::SLOTS as u32 => None,
            _ => Some(WorkerId(((id - 1) / Self::LEN) as u16)),
        }
    }

    /// One of its ids: successive values of `random` give successive ids, and then the same ids again.
    pub const fn pick(self, random: u64) -> u32 {
        self.first + (random % Self::LEN as u64) as u32
    }

    /// The id after this one; after the last comes the first.
    pub const fn next(self, id: u32) -> u32 {
        self.pick(id.wrapping_sub(self.first) as u64 + 1)
    }

    /// Whether it is one of its ids.
    pub const fn contains(self, id: u32) -> bool {
        id >= self.first && id - self.first < Self::LEN
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Writes the low `5 × out.len()` bits of `value`, most significant first.
pub(crate) fn encode(value: u64, out: &mut [u8]) {
    for (place, byte) in out.iter_mut().rev().enumerate() {
        *byte = ALPHABET[(value >> (5 * place)) as usize & 31];
    }
}

/// Reads what [`encode`] wrote, in either case; `None` for any other character.
pub(crate) fn decode(text: &[u8]) -> Option<u64> {
    // Whether a character is wrong is asked once, at the end.
    let (value, wrong) = text.iter().fold((0, 0), |(value, wrong), byte| {
        let digit = DIGITS[usize::from(*byte)];
        (value << 5 | u64::from(digit & 31), wrong | digit)
    });
    (wrong < 32).then_some(value)
}

/// The value of each character of [`ALPHABET`], in either case; 32 of any other.
static DIGITS: [u8; 256] = {
    let mut digits = [32; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digits[ALPHABET[digit].to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TokenKey = TokenKey::new([7; 32]);

    #[test]
    fn a_token_is_read_back_from_the_front_of_a_field() {
        let incarnation = Incarnation::new(0x3_1234_5678_9abc);
        let token = KEY.token(incarnation);
        assert_eq!(token.as_str().len(), Token::LEN);
        assert_eq!(KEY.read(token.as_bytes()), Some(incarnation));
        assert_eq!(KEY.read(format!("{token}-1x").as_bytes()), Some(incarnation));
        assert_eq!(KEY.read(token.as_str().to_uppercase().as_bytes()), Some(incarnation));
    }

    #[test]
    fn a_hexadecimal_token_is_read_back_in_either_case_and_a_changed_digit_is_none() {
        let incarnation = Incarnation::new(0x3_ffff_5678_9abc);
        let token = KEY.hex(incarnation);
        assert_eq!(token.as_str().len(), HexToken::LEN);
        assert_eq!(Token::parse(KEY.token(incarnation).as_str()).map(|token| token.hex()), Some(token));
        assert_eq!(
            (Token::parse("pm"), Token::parse("pm0000000000000zzz"), Token::parse("xx0000000000000000")),
            (None, None, None)
        );
        assert!(token.as_bytes().iter().all(u8::is_ascii_hexdigit), "{token:?}");
        assert_eq!(KEY.read_hex(format!("{}0000002a", token.as_str()).as_bytes()), Some(incarnation));
        assert_eq!(KEY.read_hex(token.as_str().to_uppercase().as_bytes()), Some(incarnation));
        assert_eq!(TokenKey::new([8; 32]).read_hex(token.as_bytes()), None);
        for at in 0..HexToken::LEN {
            let mut bytes = token.0;
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(KEY.read_hex(&bytes), None, "digit {at}");
        }
        for bad in [&b""[..], &token.as_bytes()[..19], b"0000000000000000000g", b"+0000000000000000000"] {
            assert_eq!(KEY.read_hex(bad), None);
        }
    }

    #[test]
    fn every_slot_has_transaction_ids_of_its_own() {
        let range = TransactionRange::of(WorkerId(3));
        assert_eq!((range.pick(0), range.pick(899_999), range.pick(900_000)), (2_700_001, 3_600_000, 2_700_001));
        assert_eq!((range.next(2_700_001), range.next(3_600_000)), (2_700_002, 2_700_001));
        assert!(range.contains(2_700_001) && range.contains(3_600_000));
        assert!(!range.contains(2_700_000) && !range.contains(3_600_001) && !range.contains(0));
        for slot in [0, 1, 2, 1_023, 1_109] {
            let range = TransactionRange::of(WorkerId(slot));
            for id in [range.pick(0), range.pick(899_999)] {
                assert!((1..=999_999_999).contains(&id), "w{slot}: {id}");
                assert_eq!(TransactionRange::worker_of(id), Some(WorkerId(slot)), "{id}");
            }
        }
        assert_eq!(TransactionRange::worker_of(0), None);
        assert_eq!(TransactionRange::worker_of(999_000_001), None);
        assert_eq!(TransactionRange::of(WorkerId(1_110)), TransactionRange::of(WorkerId(0)));
    }

    #[test]
    fn a_token_of_another_key_or_with_a_changed_character_is_no_token() {
        let token = KEY.token(Incarnation::new(99));
        assert_eq!(TokenKey::new([8; 32]).read(token.as_bytes()), None);
        for at in 2..Token::LEN {
            let mut bytes = *b"..................";
            bytes.copy_from_slice(token.as_bytes());
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(KEY.read(&bytes), None, "character {at}");
        }
        assert_eq!(KEY.read(b"pm"), None);
        assert_eq!(KEY.read(b""), None);
    }

    #[test]
    fn a_key_comes_back_from_its_text_and_nothing_else_is_one() {
        let key = TokenKey::new(std::array::from_fn(|at| at as u8 * 8));
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<TokenKey>(&text).unwrap(), key);
        for bad in [format!("{}\"", &text[..64]), text.replace('f', "g"), text.replace("08", "\u{e9}"), "\"\"".into()] {
            assert!(serde_json::from_str::<TokenKey>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers_are_named_by_their_slot() {
        assert_eq!(WorkerId(3).to_string(), "w3");
        assert_eq!("w12".parse(), Ok(WorkerId(12)));
        for bad in ["", "w", "3", "w-1", "w+1", "w70000", "x1"] {
            assert!(bad.parse::<WorkerId>().is_err(), "{bad}");
        }
    }
}
