//! Chance, from one seed.
//!
//! Each domain (network, disks, clients, ...) draws from its own stream, so that a change in how
//! often one domain draws does not shift what the others get. The generator is xoshiro256++, its
//! state filled by SplitMix64. Integers only: the same seed gives the same numbers everywhere.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of one domain under a seed.
    pub(crate) fn new(seed: u64, domain: &str) -> Self {
        let mut mixed = seed;
        for byte in domain.bytes() {
            mixed = split_mix(&mut (mixed ^ u64::from(byte)));
        }
        Self { state: std::array::from_fn(|_| split_mix(&mut mixed)) }
    }

    /// Any number.
    pub(crate) const fn next_u64(&mut self) -> u64 {
        let state = &mut self.state;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A number below `bound`, which is not 0.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for every bound used here.
        self.next_u64() % bound
    }

    /// An index into something of this length, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times in a thousand.
    pub(crate) const fn per_mille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// A span around a mean: mostly below twice the mean, now and then many times as long.
    pub(crate) fn span(&mut self, mean: u64) -> u64 {
        let mut bound = mean.saturating_mul(2).max(1);
        for _ in 0..4 {
            if !self.per_mille(60) {
                break;
            }
            bound = bound.saturating_mul(2);
        }
        self.between(1, bound)
    }

    /// One of these, of which there is at least one.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// Puts them in random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.index(at + 1));
        }
    }
}

const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// Scatters the bits of a number.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_independent_and_repeatable() {
        let draw = |seed, domain| {
            let mut random = Random::new(seed, domain);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7, "disk"), draw(7, "disk"));
        assert_ne!(draw(7, "disk"), draw(7, "network"));
        assert_ne!(draw(7, "disk"), draw(8, "disk"));
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(1, "test");
        let mut seen = [false; 3];
        for _ in 0..200 {
            let number = random.between(5, 7);
            assert!((5..=7).contains(&number), "{number}");
            seen[random.index(3)] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_shuffle_keeps_everything() {
        let mut items: Vec<u64> = (0..20).collect();
        Random::new(3, "test").shuffle(&mut items);
        assert!(items.windows(2).any(|pair| pair[0] > pair[1]));
        items.sort_unstable();
        assert!(items.into_iter().eq(0..20));
    }
}
