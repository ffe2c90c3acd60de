//! From sums to the output: bias, addition and activation as the values are stored.

use crate::ops::activation::{Activation, with_activation};
use crate::ops::gemm::{NR, Tile};
use crate::ops::host::LANES;
use std::mem::MaybeUninit;

/// What happens to a product before it is stored.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    /// One value per output channel.
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape, added before the activation (a residual branch).
    pub residual: Option<&'a [f32]>,
    pub activation: Activation,
}

/// The output of one task, and how values get there.
pub(super) struct Store<'a> {
    pub epilogue: Epilogue<'a>,
    pub out: &'a mut [MaybeUninit<f32>],
}

/// Where neighbouring pixels of one output channel go.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Output channel.
    pub channel: usize,
    /// Index of the first pixel in the task's output.
    pub at: usize,
    /// Index of the same pixel in the layer's output.
    pub whole: usize,
    /// Pixels from there to the end of the plane. Those beyond the run may be overwritten: the runs of a plane are stored in order.
    pub remaining: usize,
}

impl Store<'_> {
    /// Stores the first `len` of `sums`; the others are undefined.
    #[inline(always)]
    pub(super) fn run(&mut self, sums: &[f32], len: usize, place: Place) {
        with_activation!(self.epilogue.activation, activation => self.apply(sums, len, place, activation));
    }

    /// Stores `len` columns of the first `channels` rows of a tile from column `from` on. `place` is where the first row goes; a channel
    /// is `plane` pixels.
    #[inline(always)]
    pub(super) fn tile(
        &mut self,
        tile: &Tile,
        (from, len): (usize, usize),
        channels: usize,
        place: Place,
        plane: usize,
    ) {
        with_activation!(self.epilogue.activation, activation => {
            for (i, row) in tile.iter().enumerate().take(channels) {
                let (at, whole) = (place.at + i * plane, place.whole + i * plane);
                let place = Place { channel: place.channel + i, at, whole, ..place };
                self.apply(&row[from..], len, place, activation);
            }
        });
    }

    #[inline(always)]
    fn apply(&mut self, sums: &[f32], len: usize, place: Place, activation: Activation) {
        let Place { channel, at, whole, remaining } = place;
        let bias = self.epilogue.bias.map_or(0.0, |bias| bias[channel]);
        let target = &mut self.out[at..at + remaining];
        match self.epilogue.residual {
            Some(residual) => {
                let finish = Finish::<true> { bias, activation };
                finish.write(target, sums, &residual[whole..whole + remaining], len);
            }
            None => Finish::<false> { bias, activation }.write(target, sums, sums, len),
        }
    }
}

/// `activation(sum + bias + added)`, the last where something is `ADDED`. (Not a closure, for the reason given at
/// [`Kernel`](crate::ops::simd::Kernel).)
struct Finish<const ADDED: bool> {
    bias: f32,
    activation: Activation,
}

impl<const ADDED: bool> Finish<ADDED> {
    #[inline(always)]
    fn value(&self, sum: f32, added: f32) -> f32 {
        let sum = sum + self.bias;
        self.activation.apply(if ADDED { sum + added } else { sum })
    }

    /// Whole registers wherever they fit: value by value, an activation of many operations would take longer than the rest.
    #[inline(always)]
    fn write(&self, target: &mut [MaybeUninit<f32>], sums: &[f32], added: &[f32], len: usize) {
        if let (NR, Some(target), Some(sums), Some(added)) =
            (len, target.first_chunk_mut::<NR>(), sums.first_chunk::<NR>(), added.first_chunk::<NR>())
        {
            self.step(target, sums, added);
            return;
        }
        for at in (0..len).step_by(LANES) {
            // The last step lies over the one before it, so that no values are left.
            let at = at.min(len.saturating_sub(LANES));
            let (target, sums, added) = (&mut target[at..], &sums[at..], &added[at..]);
            if let (Some(target), Some(sums), Some(added)) =
                (target.first_chunk_mut::<LANES>(), sums.first_chunk::<LANES>(), added.first_chunk::<LANES>())
            {
                self.step(target, sums, added);
            } else {
                self.few(target, sums, added, len);
            }
        }
    }

    /// Fewer values than a register.
    #[inline(always)]
    fn few(&self, target: &mut [MaybeUninit<f32>], sums: &[f32], added: &[f32], len: usize) {
        let (mut all_sums, mut all_added) = ([0.0; LANES], [0.0; LANES]);
        for ((all_sums, all_added), (sum, added)) in
            all_sums.iter_mut().zip(&mut all_added).zip(sums.iter().zip(added)).take(len)
        {
            (*all_sums, *all_added) = (*sum, *added);
        }
        let mut values = [MaybeUninit::uninit(); LANES];
        self.step(&mut values, &all_sums, &all_added);
        for (target, value) in target.iter_mut().zip(values).take(len) {
            *target = value;
        }
    }

    #[inline(always)]
    fn step<const WIDTH: usize>(
        &self,
        target: &mut [MaybeUninit<f32>; WIDTH],
        sums: &[f32; WIDTH],
        added: &[f32; WIDTH],
    ) {
        for i in 0..WIDTH {
            target[i].write(self.value(sums[i], added[i]));
        }
    }
}
