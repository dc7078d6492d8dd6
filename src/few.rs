//! A list that most often has one item, which then needs no memory of its own.

use std::ops::{Deref, DerefMut};

/// A list. The first item lies in it, more are in a `Vec`.
#[derive(Clone, Debug)]
pub enum Few<T> {
    /// No item.
    None,
    /// One item.
    One(T),
    /// Items of a list that has had two.
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        *self = match std::mem::replace(self, Few::None) {
            Few::None => Few::One(item),
            Few::One(first) => Few::Many(vec![first, item]),
            Few::Many(mut items) => {
                items.push(item);
                Few::Many(items)
            }
        };
    }

    /// Takes out the first item for which this is so. The last one takes its place.
    pub fn take(&mut self, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.iter().position(is_it)?;
        match self {
            Few::Many(items) => Some(items.swap_remove(at)),
            Few::None | Few::One(_) => match std::mem::replace(self, Few::None) {
                Few::One(item) => Some(item),
                Few::None | Few::Many(_) => None,
            },
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(item) => std::slice::from_ref(item),
            Few::Many(items) => items,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(item) => std::slice::from_mut(item),
            Few::Many(items) => items,
        }
    }
}

impl<T> From<Option<T>> for Few<T> {
    fn from(item: Option<T>) -> Self {
        item.map_or(Few::None, Few::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_added_and_taken_as_in_a_list() {
        let mut few = Few::from(None);
        assert_eq!((few.take(|_| true), few.len()), (None, 0));
        for item in 1..=3 {
            few.push(item);
            assert_eq!((few.len(), few.last()), (item as usize, Some(&item)));
        }
        few[0] = 7;
        assert_eq!(few.take(|item| *item == 7), Some(7));
        assert_eq!(*few, [3, 2]);
        let mut one = Few::from(Some(1));
        assert_eq!((one.take(|item| *item == 2), one.take(|item| *item == 1), one.len()), (None, Some(1), 0));
    }
}
