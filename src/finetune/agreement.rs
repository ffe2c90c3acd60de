//! What all ranks do next: each proposes something, and all of them get the same answer.

use crate::train::collective::Collective;

/// What a rank has in mind after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another step.
    Step,
    /// To leave the run as it is: a signal has come.
    Stop,
    /// Nothing, since the run is finished.
    End,
}

/// What all ranks do: the end, if one has come to it, else a stop, if one was asked for it.
pub(super) fn agree(ranks: &dyn Collective, wish: Next) -> Next {
    let mut votes = [Next::End, Next::Stop].map(|next| f64::from(u8::from(wish == next)));
    ranks.all_reduce_sum_f64(&mut votes);
    match votes {
        [0.0, 0.0] => Next::Step,
        [0.0, _] => Next::Stop,
        _ => Next::End,
    }
}
