//! From the tiles of a product to the output: bias, addition and activation as the values are stored.

use super::shape::{Segments, Shape};
use crate::ops::activation::Activation;
use crate::ops::gemm::Tile;
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

/// The output of one task: `channels` rows per image, each a plane.
pub struct Rows<'a> {
    pub shape: &'a Shape,
    pub epilogue: Epilogue<'a>,
    pub first_image: usize,
    pub channels: usize,
    pub out: &'a mut [MaybeUninit<f32>],
}

impl Rows<'_> {
    /// Stores the tile of output channels `panel * MR ..`, whose first row in this output is `first`.
    #[inline(always)]
    pub fn store(&mut self, tile: &Tile, segments: &Segments, panel: usize, first: usize) {
        match self.epilogue.activation {
            Activation::Identity => self.store_with(tile, segments, panel, first, |v| v),
            Activation::Relu => {
                self.store_with(tile, segments, panel, first, |v| Activation::Relu.apply(v));
            }
            Activation::Relu6 => {
                self.store_with(tile, segments, panel, first, |v| Activation::Relu6.apply(v));
            }
        }
    }

    #[inline(always)]
    fn store_with(
        &mut self,
        tile: &Tile,
        segments: &Segments,
        panel: usize,
        first: usize,
        activation: impl Fn(f32) -> f32 + Copy,
    ) {
        let plane = self.shape.out_plane();
        for segment in segments.iter() {
            let pixel = segment.y * self.shape.out_width + segment.x;
            let image = self.first_image + segment.image;
            for (i, row) in tile.iter().enumerate().take(self.channels - first) {
                let channel = panel * tile.len() + i;
                let bias = self.epilogue.bias.map_or(0.0, |bias| bias[channel]);
                let values = &row[segment.at..segment.at + segment.len];
                let at = (segment.image * self.channels + first + i) * plane + pixel;
                let target = &mut self.out[at..at + segment.len];
                match self.epilogue.residual {
                    Some(residual) => {
                        let at = (image * self.shape.out_channels + channel) * plane + pixel;
                        let added = &residual[at..at + segment.len];
                        store_row(target, values, Some(added), |v, r| activation(v + bias + r));
                    }
                    None => store_row(target, values, None, |v, _| activation(v + bias)),
                }
            }
        }
    }
}

/// Segments are short: eight at a time keeps them in registers.
#[inline(always)]
fn store_row(
    target: &mut [MaybeUninit<f32>],
    values: &[f32],
    added: Option<&[f32]>,
    apply: impl Fn(f32, f32) -> f32,
) {
    const WIDTH: usize = 8;
    let added = added.unwrap_or(values);
    let (targets, rest) = target.as_chunks_mut::<WIDTH>();
    let (values, values_rest) = values.as_chunks::<WIDTH>();
    let (added, added_rest) = added.as_chunks::<WIDTH>();
    for ((t, v), r) in targets.iter_mut().zip(values).zip(added) {
        *t = std::array::from_fn(|i| MaybeUninit::new(apply(v[i], r[i])));
    }
    for ((t, v), r) in rest.iter_mut().zip(values_rest).zip(added_rest) {
        t.write(apply(*v, *r));
    }
}
