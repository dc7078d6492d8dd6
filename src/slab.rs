//! A table of numbered places. The key of a place includes its tenancy, so that a key is never taken for an earlier
//! tenant's.

use std::marker::PhantomData;

/// The number of a place and of its tenancy.
pub trait Handle: Copy {
    /// Makes a key from place and tenancy.
    fn new(index: u32, generation: u32) -> Self;
    /// The place.
    fn index(self) -> u32;
    /// Number of earlier tenants of the place.
    fn generation(self) -> u32;
}

/// Declares a newtype that is a [`Handle`].
macro_rules! handle {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident;) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility struct $name { index: u32, generation: u32 }

        impl $crate::slab::Handle for $name {
            fn new(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }

            fn index(self) -> u32 {
                self.index
            }

            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}
pub(crate) use handle;

/// Values in numbered places, at most `cap` of them. Grows on demand, reuses places, never shrinks.
#[derive(Debug)]
pub struct Slab<K, T> {
    places: Vec<Place<T>>,
    free: u32,
    taken: usize,
    cap: usize,
    key: PhantomData<K>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Tenant<T>,
}

#[derive(Debug)]
enum Tenant<T> {
    Here(T),
    /// Vacant; the next vacant place.
    Gone(u32),
}

const NONE: u32 = u32::MAX;

impl<K: Handle, T> Slab<K, T> {
    /// A table of at most `cap` values.
    pub fn new(cap: usize) -> Self {
        Slab { places: Vec::new(), free: NONE, taken: 0, cap: cap.min(NONE as usize - 1), key: PhantomData }
    }

    /// Puts a value in; `None` when the table is full.
    pub fn insert(&mut self, value: T) -> Option<K> {
        if self.is_full() {
            return None;
        }
        self.taken += 1;
        if let Some(place) = self.places.get_mut(self.free as usize) {
            let index = self.free;
            if let Tenant::Gone(next) = place.tenant {
                self.free = next;
            }
            place.tenant = Tenant::Here(value);
            return Some(K::new(index, place.generation));
        }
        let index = self.places.len() as u32;
        self.places.push(Place { generation: 0, tenant: Tenant::Here(value) });
        Some(K::new(index, 0))
    }

    /// Puts values into the places that their keys name, in a table that is empty. They may be more than the table has
    /// room for: then it takes no others until enough of them are gone. Of two with one place the first counts.
    pub fn fill(&mut self, values: impl Iterator<Item = (K, T)>) {
        for (key, value) in values {
            let index = key.index() as usize;
            while self.places.len() <= index {
                self.places.push(Place { generation: 0, tenant: Tenant::Gone(NONE) });
            }
            let place = &mut self.places[index];
            if let Tenant::Gone(_) = place.tenant {
                *place = Place { generation: key.generation(), tenant: Tenant::Here(value) };
                self.taken += 1;
            }
        }
        self.list_vacant();
    }

    /// Number of tenants that each place has had before its next or present one.
    pub fn generations(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().map(|place| place.generation)
    }

    /// Sets the number of tenants that each vacant place has had, for a table whose values were filled in from another.
    pub fn set_generations(&mut self, generations: &[u32]) {
        while self.places.len() < generations.len() {
            self.places.push(Place { generation: 0, tenant: Tenant::Gone(NONE) });
        }
        for (place, generation) in self.places.iter_mut().zip(generations) {
            if let Tenant::Gone(_) = place.tenant {
                place.generation = *generation;
            }
        }
        self.list_vacant();
    }

    /// Lists the vacant places anew.
    fn list_vacant(&mut self) {
        self.free = NONE;
        for (index, place) in self.places.iter_mut().enumerate().rev() {
            if let Tenant::Gone(next) = &mut place.tenant {
                *next = self.free;
                self.free = index as u32;
            }
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        let place = self.places.get_mut(key.index() as usize)?;
        place.generation = place.generation.wrapping_add(1);
        let tenant = std::mem::replace(&mut place.tenant, Tenant::Gone(self.free));
        self.free = key.index();
        self.taken -= 1;
        match tenant {
            Tenant::Here(value) => Some(value),
            Tenant::Gone(_) => None,
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: K) -> Option<&T> {
        match self.places.get(key.index() as usize) {
            Some(Place { generation, tenant: Tenant::Here(value) }) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        match self.places.get_mut(key.index() as usize) {
            Some(Place { generation, tenant: Tenant::Here(value) }) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    /// The value in place `index`, with its key.
    pub fn at(&self, index: u32) -> Option<(K, &T)> {
        match self.places.get(index as usize) {
            Some(Place { generation, tenant: Tenant::Here(value) }) => Some((K::new(index, *generation), value)),
            _ => None,
        }
    }

    /// The key that the next [`Slab::insert`] will give, if there is room.
    pub fn next_key(&self) -> Option<K> {
        if self.is_full() {
            return None;
        }
        match self.places.get(self.free as usize) {
            Some(place) => Some(K::new(self.free, place.generation)),
            None => Some(K::new(self.places.len() as u32, 0)),
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        (0..self.places.len() as u32).filter_map(|index| self.at(index).map(|(key, _)| key))
    }

    /// Number of values.
    pub const fn len(&self) -> usize {
        self.taken
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether there is no room.
    pub const fn is_full(&self) -> bool {
        self.taken >= self.cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    handle! {
        /// A key of the tests.
        struct Number;
    }

    #[test]
    fn a_place_is_used_again_under_another_key() {
        let mut slab: Slab<Number, &str> = Slab::new(2);
        let next = slab.next_key();
        let first = slab.insert("first").unwrap();
        assert_eq!(next, Some(first));
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.remove(first), None);
        let next = slab.next_key();
        let second = slab.insert("second").unwrap();
        assert_eq!(next, Some(second));
        assert_eq!((first.index(), slab.get(first), slab.get(second)), (second.index(), None, Some(&"second")));
    }

    #[test]
    fn a_full_table_takes_nothing_more() {
        let mut slab: Slab<Number, u8> = Slab::new(2);
        let first = slab.insert(1).unwrap();
        slab.insert(2).unwrap();
        assert_eq!((slab.insert(3), slab.next_key(), slab.len()), (None, None, 2));
        slab.remove(first);
        assert!(slab.insert(3).is_some());
        assert_eq!(slab.keys().count(), 2);
    }

    #[test]
    fn values_keep_their_keys_in_another_table_and_an_old_key_names_no_later_value_there() {
        let mut slab: Slab<Number, char> = Slab::new(10);
        let keys: Vec<Number> = "abcd".chars().map(|value| slab.insert(value).unwrap()).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        let mut other: Slab<Number, char> = Slab::new(10);
        other.fill([(keys[2], 'c'), (keys[0], 'a')].into_iter());
        other.set_generations(&slab.generations().collect::<Vec<_>>());
        assert_eq!((other.get(keys[0]), other.get(keys[2]), other.len()), (Some(&'a'), Some(&'c'), 2));
        let (first, second) = (other.insert('e').unwrap(), other.insert('f').unwrap());
        assert_eq!((first.index(), second.index()), (1, 3));
        assert_eq!((other.get(keys[1]), other.get(keys[3])), (None, None));
        assert_eq!(other.insert('g').map(Handle::index), Some(4));
    }

    #[test]
    fn a_table_that_is_too_small_has_the_values_of_another_and_takes_no_more() {
        let mut slab: Slab<Number, char> = Slab::new(1);
        slab.fill([(Number::new(0, 3), 'a'), (Number::new(0, 4), 'b'), (Number::new(7, 0), 'c')].into_iter());
        assert_eq!((slab.len(), slab.get(Number::new(0, 3)), slab.is_full()), (2, Some(&'a'), true));
        slab.remove(Number::new(0, 3));
        assert_eq!(slab.insert('d'), None);
        slab.remove(Number::new(7, 0));
        assert!(slab.insert('d').is_some());
    }
}
