//! One head of one image, all of it channels by tokens: `[width, tokens]`. A block of scores is kept as keys by queries,
//! `[tokens, NR]`, which is a packed right operand already: the product with the values needs no further packing.

use crate::ops::elementary::exp;
use crate::ops::gemm::{self, MR, NR, Tile, ZERO_TILE};
use crate::ops::simd::{self, Kernel};

/// The inputs of one head, `[width, tokens]` each.
pub(super) struct Head<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub width: usize,
    pub tokens: usize,
    /// How many tokens are queries: the first ones.
    pub queries: usize,
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    channels: Vec<f32>,
    query: Vec<f32>,
    incoming: Vec<f32>,
    weights: Vec<f32>,
    slopes: Vec<f32>,
    by_query: Vec<f32>,
    by_channel: Vec<f32>,
    key_tiles: Vec<Tile>,
    value_tiles: Vec<Tile>,
}

/// Packs the columns of `x` `[width, tokens]` as left operands: panels of [`MR`] tokens, `[width, MR]` each.
fn pack_tokens(x: &[f32], tokens: usize, packed: &mut Vec<f32>) {
    let width = x.len() / tokens;
    gemm::pack::<MR>(tokens, width, packed, |token, channel| x[channel * tokens + token]);
}

/// Packs the rows of `x` `[width, tokens]` as left operands: panels of [`MR`] channels, `[tokens, MR]` each.
fn pack_channels(x: &[f32], tokens: usize, packed: &mut Vec<f32>) {
    gemm::pack::<MR>(x.len() / tokens, tokens, packed, |channel, token| x[channel * tokens + token]);
}

/// Columns `first ..` of `x` `[width, columns]`, times `scale`, as a right operand `[width, NR]`.
fn pack_block(x: &[f32], columns: usize, first: usize, scale: f32, packed: &mut Vec<f32>) {
    let len = NR.min(columns - first);
    packed.clear();
    packed.resize(x.len() / columns * NR, 0.0);
    for (row, line) in x.chunks_exact(columns).zip(packed.chunks_exact_mut(NR)) {
        for (to, from) in line.iter_mut().zip(&row[first..first + len]) {
            *to = from * scale;
        }
    }
}

/// `[len, NR]` lines to the left operands `[NR, MR]` of its transpose, by panels of [`MR`] lines.
fn pack_lines(lines: &[f32], packed: &mut Vec<f32>) {
    gemm::pack::<MR>(lines.len() / NR, NR, packed, |line, query| lines[line * NR + query]);
}

/// The product of all left panels with one right operand, line after line into `out` `[panels * MR, NR]`.
fn product(depth: usize, left: &[f32], right: &[f32], out: &mut Vec<f32>) {
    let panels = left.len() / (depth * MR);
    out.resize(panels * MR * NR, 0.0);
    for (panel, out) in left.chunks_exact(depth * MR).zip(out.chunks_exact_mut(MR * NR)) {
        let mut tile = ZERO_TILE;
        gemm::multiply_panels(depth, panel, right, &mut tile);
        out.copy_from_slice(tile.as_flattened());
    }
}

/// Softmax down the columns of `scores` `[tokens, NR]`, compiled for the registers of the machine. Gives what the
/// exponentials, which are left there, have to be multiplied with.
struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = [f32; NR];

    #[inline(always)]
    fn call(self) -> [f32; NR] {
        let mut most = [f32::NEG_INFINITY; NR];
        let lines = self.0.as_chunks_mut::<NR>().0;
        for line in lines.iter() {
            for (most, v) in most.iter_mut().zip(line) {
                *most = if *v > *most { *v } else { *most };
            }
        }
        let mut sums = [0f32; NR];
        for line in lines.iter_mut() {
            for ((v, most), sum) in line.iter_mut().zip(&most).zip(&mut sums) {
                *v = exp(*v - most);
                *sum += *v;
            }
        }
        sums.map(|sum| 1.0 / sum)
    }
}

/// `slopes = weights * (slopes - sum over tokens of weights * slopes)`: the gradient through the softmax.
struct SoftmaxGrad<'a> {
    weights: &'a [f32],
    slopes: &'a mut [f32],
}

impl Kernel for SoftmaxGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (weights, slopes) = (self.weights.as_chunks::<NR>().0, self.slopes.as_chunks_mut::<NR>().0);
        let mut sums = [0f32; NR];
        for (w, s) in weights.iter().zip(slopes.iter()) {
            for ((sum, w), s) in sums.iter_mut().zip(w).zip(s) {
                *sum = w.mul_add(*s, *sum);
            }
        }
        for (w, s) in weights.iter().zip(slopes) {
            for ((s, w), sum) in s.iter_mut().zip(w).zip(&sums) {
                *s = w * (*s - sum);
            }
        }
    }
}

impl Head<'_> {
    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// The unnormalised weights of the queries from `first` on, `[tokens, NR]`, and the factors of their columns.
    fn weights(&self, first: usize, keys: &[f32], query: &mut Vec<f32>, weights: &mut Vec<f32>) -> [f32; NR] {
        pack_block(self.q, self.tokens, first, self.scale(), query);
        product(self.width, keys, query, weights);
        weights.truncate(self.tokens * NR);
        simd::run(Softmax(weights))
    }

    /// `out` `[width, queries]`.
    pub(super) fn forward(&self, scratch: &mut Scratch, out: &mut [f32]) {
        let Scratch { keys, channels, query, weights, .. } = scratch;
        pack_tokens(self.k, self.tokens, keys);
        pack_channels(self.v, self.tokens, channels);
        for first in (0..self.queries).step_by(NR) {
            let len = NR.min(self.queries - first);
            let factors = self.weights(first, keys, query, weights);
            let panels = channels.chunks_exact(self.tokens * MR);
            for (panel, out) in panels.zip(out.chunks_mut(MR * self.queries)) {
                let mut tile = ZERO_TILE;
                gemm::multiply_panels(self.tokens, panel, weights, &mut tile);
                for (row, out) in tile.iter().zip(out.chunks_exact_mut(self.queries)) {
                    for ((out, v), factor) in out[first..first + len].iter_mut().zip(row).zip(&factors) {
                        *out = v * factor;
                    }
                }
            }
        }
    }

    /// The gradients `[width, tokens]` of q, k and v from that of the output, `dy` `[width, queries]`.
    pub(super) fn backward(&self, scratch: &mut Scratch, dy: &[f32], [dq, dk, dv]: [&mut [f32]; 3]) {
        let Scratch {
            keys,
            values,
            channels,
            query,
            incoming,
            weights,
            slopes,
            by_query,
            by_channel,
            key_tiles,
            value_tiles,
        } = scratch;
        pack_tokens(self.k, self.tokens, keys);
        pack_tokens(self.v, self.tokens, values);
        pack_channels(self.k, self.tokens, channels);
        let tiles = self.tokens.div_ceil(MR) * self.width.div_ceil(NR);
        for sums in [&mut *key_tiles, &mut *value_tiles] {
            sums.clear();
            sums.resize(tiles, ZERO_TILE);
        }
        for first in (0..self.queries).step_by(NR) {
            let len = NR.min(self.queries - first);
            let factors = self.weights(first, keys, query, weights);
            for line in weights.chunks_exact_mut(NR) {
                line.iter_mut().zip(&factors).for_each(|(w, factor)| *w *= factor);
            }
            pack_block(dy, self.queries, first, 1.0, incoming);
            self.add_by_key(weights, incoming, by_query, by_channel, value_tiles);
            product(self.width, values, incoming, slopes);
            slopes.truncate(self.tokens * NR);
            simd::run(SoftmaxGrad { weights, slopes });
            self.add_by_key(slopes, query, by_query, by_channel, key_tiles);
            for (panel, dq) in channels.chunks_exact(self.tokens * MR).zip(dq.chunks_mut(MR * self.tokens)) {
                let mut tile = ZERO_TILE;
                gemm::multiply_panels(self.tokens, panel, slopes, &mut tile);
                for (row, dq) in tile.iter().zip(dq.chunks_exact_mut(self.tokens)) {
                    for (dq, v) in dq[first..first + len].iter_mut().zip(row) {
                        *dq = v * self.scale();
                    }
                }
            }
        }
        self.unpack(key_tiles, dk);
        self.unpack(value_tiles, dv);
    }

    /// Adds `sum over queries of lines[token, query] * block[channel, query]` to tiles of tokens by channels.
    fn add_by_key(
        &self,
        lines: &[f32],
        block: &[f32],
        by_query: &mut Vec<f32>,
        by_channel: &mut Vec<f32>,
        tiles: &mut [Tile],
    ) {
        pack_lines(lines, by_query);
        gemm::pack::<NR>(self.width, NR, by_channel, |channel, query| block[channel * NR + query]);
        let mut tiles = tiles.iter_mut();
        for left in by_query.chunks_exact(NR * MR) {
            for (right, tile) in by_channel.chunks_exact(NR * NR).zip(&mut tiles) {
                gemm::multiply_panels(NR, left, right, tile);
            }
        }
    }

    /// Tiles of tokens by channels to `[width, tokens]`.
    fn unpack(&self, tiles: &[Tile], out: &mut [f32]) {
        let blocks = self.width.div_ceil(NR);
        for (channel, row) in out.chunks_exact_mut(self.tokens).enumerate() {
            for (token, v) in row.iter_mut().enumerate() {
                *v = tiles[token / MR * blocks + channel / NR][token % MR][channel % NR];
            }
        }
    }
}
