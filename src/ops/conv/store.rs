//! From sums to the output: bias, addition and activation as the values are stored.

use crate::ops::activation::Activation;
use std::mem::MaybeUninit;

/// What happens to a product before it is stored.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value per output channel.
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape, added before the activation (a residual branch).
    pub residual: Option<&'a [f32]>,
    pub activation: Activation,
}

/// The output of one task, and how values get there.
pub struct Store<'a> {
    pub epilogue: Epilogue<'a>,
    pub out: &'a mut [MaybeUninit<f32>],
}

impl Store<'_> {
    /// Stores the sums of neighbouring pixels of output channel `channel`; `at` counts in this task's output,
    /// `whole` in that of the layer.
    #[inline(always)]
    pub fn run(&mut self, sums: &[f32], channel: usize, at: usize, whole: usize) {
        match self.epilogue.activation {
            Activation::Identity => self.apply(sums, channel, at, whole, |v| v),
            Activation::Relu => self.apply(sums, channel, at, whole, |v| Activation::Relu.apply(v)),
            Activation::Relu6 => self.apply(sums, channel, at, whole, |v| Activation::Relu6.apply(v)),
            Activation::Gelu => self.apply(sums, channel, at, whole, |v| Activation::Gelu.apply(v)),
        }
    }

    #[inline(always)]
    fn apply(
        &mut self,
        sums: &[f32],
        channel: usize,
        at: usize,
        whole: usize,
        activation: impl Fn(f32) -> f32,
    ) {
        let bias = self.epilogue.bias.map_or(0.0, |bias| bias[channel]);
        let target = &mut self.out[at..at + sums.len()];
        match self.epilogue.residual {
            Some(residual) => {
                let added = &residual[whole..whole + sums.len()];
                write(target, sums, added, |v, r| activation(v + bias + r));
            }
            None => write(target, sums, sums, |v, _| activation(v + bias)),
        }
    }
}

/// Runs are short: eight at a time keeps them in registers.
#[inline(always)]
fn write(target: &mut [MaybeUninit<f32>], sums: &[f32], added: &[f32], value: impl Fn(f32, f32) -> f32) {
    const WIDTH: usize = 8;
    let (targets, rest) = target.as_chunks_mut::<WIDTH>();
    let (sums, sums_rest) = sums.as_chunks::<WIDTH>();
    let (added, added_rest) = added.as_chunks::<WIDTH>();
    for ((t, v), r) in targets.iter_mut().zip(sums).zip(added) {
        for i in 0..WIDTH {
            t[i].write(value(v[i], r[i]));
        }
    }
    for ((t, v), r) in rest.iter_mut().zip(sums_rest).zip(added_rest) {
        t.write(value(*v, *r));
    }
}
