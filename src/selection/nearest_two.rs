//! The two nearest members of a set for each of many rows: what tells how much a member is worth there, and what its loss would cost.

/// No member.
pub(super) const NONE: u32 = u32::MAX;

/// For each row its nearest and second nearest member: the distance and the slot. Members at the limit or beyond do not count, and
/// where there is no member the distance is the limit.
pub(super) struct NearestTwo<T> {
    limit: T,
    pub first: Vec<T>,
    pub second: Vec<T>,
    pub first_slot: Vec<u32>,
    pub second_slot: Vec<u32>,
}

impl<T: Copy + PartialOrd> NearestTwo<T> {
    /// No member yet.
    pub(super) fn new(rows: usize, limit: T) -> Self {
        Self {
            limit,
            first: vec![limit; rows],
            second: vec![limit; rows],
            first_slot: vec![NONE; rows],
            second_slot: vec![NONE; rows],
        }
    }

    /// Says how far a member is from a row.
    pub(super) fn offer(&mut self, row: usize, distance: T, slot: u32) {
        if distance < self.first[row] {
            (self.second[row], self.second_slot[row]) = (self.first[row], self.first_slot[row]);
            (self.first[row], self.first_slot[row]) = (distance, slot);
        } else if distance < self.second[row] {
            (self.second[row], self.second_slot[row]) = (distance, slot);
        }
    }

    /// Forgets the members of every row that has `slot` among its two, and marks these rows.
    pub(super) fn forget(&mut self, slot: u32) -> Vec<bool> {
        let mut forgotten = vec![false; self.first.len()];
        for (row, forgotten) in forgotten.iter_mut().enumerate() {
            if self.first_slot[row] == slot || self.second_slot[row] == slot {
                (self.first[row], self.second[row]) = (self.limit, self.limit);
                (self.first_slot[row], self.second_slot[row]) = (NONE, NONE);
                *forgotten = true;
            }
        }
        forgotten
    }

    /// The distance of a row to its nearest member but the one in `slot`.
    pub(super) fn without(&self, row: usize, slot: u32) -> T {
        if self.first_slot[row] == slot { self.second[row] } else { self.first[row] }
    }
}
