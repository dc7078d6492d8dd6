//! The sizes that calls carry in `X-Session-Size`, drawn from a seeded stream so that a run can be repeated.

/// The sizes of the sessions, in capacity units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// No header: the size is what the offer says.
    Unstated,
    /// All the same.
    Fixed(u32),
    /// Many small, few large: a bounded Pareto distribution over 1–120 (shape 1.1), mean about 4.
    HeavyTailed {
        /// The seed of the stream.
        seed: u64,
    },
}

/// The largest size of [`Sizes::HeavyTailed`].
pub const LARGEST: u32 = 120;

/// A stream of sizes.
#[derive(Clone, Debug)]
pub struct SizeStream {
    sizes: Sizes,
    state: u64,
}

impl SizeStream {
    /// The stream of `sizes` from its begin.
    pub fn new(sizes: Sizes) -> Self {
        let state = if let Sizes::HeavyTailed { seed } = sizes { seed } else { 0 };
        SizeStream { sizes, state }
    }

    /// The size of the next call; `None` when none is stated.
    pub fn draw(&mut self) -> Option<u32> {
        match self.sizes {
            Sizes::Unstated => None,
            Sizes::Fixed(size) => Some(size),
            Sizes::HeavyTailed { .. } => Some(self.pareto()),
        }
    }

    /// Inverse of the bounded Pareto distribution function, rounded down: 1 …= [`LARGEST`].
    fn pareto(&mut self) -> u32 {
        const SHAPE: f64 = 1.1;
        let (low, high) = (1.0_f64, f64::from(LARGEST + 1));
        let ratio = (low / high).powf(SHAPE);
        let size = low / (1.0 - self.uniform() * (1.0 - ratio)).powf(1.0 / SHAPE);
        (size as u32).clamp(1, LARGEST)
    }

    /// A number in 0 ≤ u < 1 (SplitMix64: one multiplication chain a draw, any seed will do).
    pub fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
