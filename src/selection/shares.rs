//! How many images are chosen of each group.

use std::collections::BTreeMap;

/// How many may be chosen of each group: so many of each, or as equal shares of a whole as the groups allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// The group of each candidate, `[M]`.
    group: Vec<u32>,
    /// What each group gives for certain.
    share: Vec<usize>,
    /// Groups that may give one more.
    may_give_more: Vec<bool>,
    /// How many of them do: what is left when the whole is cut into equal shares.
    more: usize,
}

impl Shares {
    /// `count` of each group, or all where there are fewer; `labels` `[M]` name the groups, and candidates that are not `allowed` do
    /// not count. Returns how many that makes together as well.
    pub fn of_each(labels: &[String], allowed: &[bool], count: usize) -> (Self, usize) {
        let (group, sizes) = sizes(labels, allowed);
        let share: Vec<usize> = sizes.into_iter().map(|size| size.min(count)).collect();
        let (whole, groups) = (share.iter().sum(), share.len());
        (Self { group, share, may_give_more: vec![false; groups], more: 0 }, whole)
    }

    /// Equal shares of `whole`. Groups with fewer candidates give all, and the others more.
    pub fn of_whole(labels: &[String], allowed: &[bool], whole: usize) -> Self {
        let (group, sizes) = sizes(labels, allowed);
        let given = |level: usize| sizes.iter().map(|size| level.min(*size)).sum::<usize>();
        let largest = sizes.iter().copied().max().unwrap_or(0);
        // The highest level that the whole reaches: `given` never falls.
        let (mut level, mut above) = (0, largest + 1);
        while above - level > 1 {
            let middle = level + (above - level) / 2;
            if given(middle) <= whole { level = middle } else { above = middle }
        }
        let share = sizes.iter().map(|&size| size.min(level)).collect();
        let may_give_more: Vec<bool> = sizes.iter().map(|&size| size > level).collect();
        let more = (whole - given(level)).min(may_give_more.iter().filter(|may| **may).count());
        Self { group, share, may_give_more, more }
    }

    fn group(&self, row: u32) -> Option<usize> {
        self.group.get(row as usize).map(|group| *group as usize)
    }
}

/// The group of each candidate by number, in the order of their names, and how many of each are allowed.
fn sizes(labels: &[String], allowed: &[bool]) -> (Vec<u32>, Vec<usize>) {
    let mut numbers: BTreeMap<&str, u32> = labels.iter().map(|label| (label.as_str(), 0)).collect();
    numbers.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    let group: Vec<u32> = labels.iter().map(|label| numbers[label.as_str()]).collect();
    let mut sizes = vec![0; numbers.len()];
    for (row, &group) in group.iter().enumerate() {
        sizes[group as usize] += usize::from(allowed.get(row) != Some(&false));
    }
    (group, sizes)
}

/// How many are chosen of each group.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    chosen: BTreeMap<usize, usize>,
    /// Groups that gave one more than their share.
    more: usize,
}

impl Counts {
    fn of(&self, group: usize) -> usize {
        self.chosen.get(&group).copied().unwrap_or(0)
    }

    /// A row is chosen; one that has no group counts for none.
    pub(super) fn admit(&mut self, shares: &Shares, row: u32) {
        if let Some(group) = shares.group(row) {
            *self.chosen.entry(group).or_default() += 1;
            self.more += usize::from(self.of(group) > shares.share[group]);
        }
    }

    /// A row is no longer chosen.
    pub(super) fn release(&mut self, shares: &Shares, row: u32) {
        if let Some(group) = shares.group(row) {
            self.more -= usize::from(self.of(group) > shares.share[group]);
            if let Some(count) = self.chosen.get_mut(&group) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Whether the group of `row` may give one more, in the place of `leaving`.
    pub(super) fn has_room(&self, shares: &Shares, row: u32, leaving: Option<u32>) -> bool {
        let Some(group) = shares.group(row) else { return true };
        let leaving = leaving.and_then(|leaving| shares.group(leaving));
        if leaving == Some(group) {
            return true;
        }
        let frees_more = leaving.is_some_and(|other| self.of(other) > shares.share[other]);
        let (count, share) = (self.of(group), shares.share[group]);
        let more = self.more - usize::from(frees_more);
        count < share || (count == share && shares.may_give_more[group] && more < shares.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(words: &str) -> Vec<String> {
        words.chars().map(String::from).collect()
    }

    /// How many of each group are taken when candidates come in order.
    fn taken(shares: &Shares, labels: &[String]) -> BTreeMap<String, usize> {
        let (mut counts, mut taken) = (Counts::default(), BTreeMap::new());
        for (row, label) in (0..).zip(labels) {
            if counts.has_room(shares, row, None) {
                counts.admit(shares, row);
                *taken.entry(label.clone()).or_default() += 1;
            }
        }
        taken
    }

    #[test]
    fn each_group_gives_its_number_or_all_that_it_has() {
        let labels = labels("aabbbbc");
        let (shares, whole) = Shares::of_each(&labels, &[], 2);
        assert_eq!(whole, 5);
        let expected = [("a", 2), ("b", 2), ("c", 1)].map(|(name, count)| (name.to_string(), count));
        assert_eq!(taken(&shares, &labels), expected.into());
        let without_c = [true, true, true, true, true, true, false];
        assert_eq!(Shares::of_each(&labels, &without_c, 2).1, 4);
    }

    #[test]
    fn a_whole_is_cut_into_equal_shares_and_small_groups_give_all() {
        let labels = labels("abbbbbbcccccc");
        let shares = Shares::of_whole(&labels, &[], 8);
        let expected = [("a", 1), ("b", 4), ("c", 3)].map(|(name, count)| (name.to_string(), count));
        assert_eq!(taken(&shares, &labels), expected.into());
    }

    #[test]
    fn one_more_moves_from_a_group_to_another() {
        let labels = labels("aabb");
        let shares = Shares::of_whole(&labels, &[], 3);
        let mut counts = Counts::default();
        [0, 1, 2].iter().for_each(|&row| counts.admit(&shares, row));
        assert!(!counts.has_room(&shares, 3, None));
        assert!(counts.has_room(&shares, 3, Some(0)), "a gives its second place to b");
        assert!(counts.has_room(&shares, 3, Some(2)), "within the group");
        counts.release(&shares, 0);
        assert!(counts.has_room(&shares, 3, None));
    }

    proptest! {
        #[test]
        fn shares_of_a_whole_add_up_and_differ_by_one_where_groups_are_large(
            sizes in prop::collection::vec(1usize..7, 1..6),
            whole in 0usize..40,
        ) {
            let labels: Vec<String> =
                sizes.iter().enumerate().flat_map(|(group, &size)| vec![group.to_string(); size]).collect();
            let taken = taken(&Shares::of_whole(&labels, &[], whole), &labels);
            prop_assert_eq!(taken.values().sum::<usize>(), whole.min(labels.len()));
            let most = taken.values().copied().max().unwrap_or(0);
            for (group, &size) in sizes.iter().enumerate() {
                let count = taken.get(&group.to_string()).copied().unwrap_or(0);
                prop_assert!(count == size || count + 1 >= most, "{taken:?}");
            }
        }
    }
}
