//! Padded copies of single planes, for depthwise convolutions: the columns sorted by their place in the stride, as in `staged`, but
//! made for narrow planes, of which a copy takes as long as the convolution.

use super::shape::Shape;
use crate::ops::gemm::NR;
use crate::ops::host::{LANES, sort_into_phases};

/// Planes `[plane, row, phase, column]`: padded column `c` lies in phase `c % stride` at `c / stride`.
pub(super) struct Padded<'a> {
    values: &'a [f32],
    /// Values between two columns of phases, rows and planes.
    phase: usize,
    row: usize,
    plane: usize,
}

impl<'a> Padded<'a> {
    /// What the convolution sees of the first `planes` planes of `x`, in `buffer`; there have to be outputs. `stride` is that of the
    /// shape, once more: a constant where it is known.
    #[inline(always)]
    pub(super) fn new(
        shape: &Shape,
        stride: usize,
        x: &[f32],
        planes: usize,
        buffer: &'a mut Vec<f32>,
    ) -> Self {
        let wanted = shape.out_width + (shape.kernel_width - 1) / stride;
        // Rows are sorted by whole registers.
        let phase = if stride == 2 { wanted.next_multiple_of(LANES) } else { wanted };
        let row = stride.min(shape.kernel_width) * phase;
        let rows = (shape.out_height - 1) * stride + shape.kernel_height;
        let (plane, in_plane) = (rows * row, shape.in_plane());
        // Lines may be read up to a panel's width past the last value. Space for one padded row follows.
        let (size, line) = (planes * plane + NR, if stride > 2 { stride * phase } else { 0 });
        if buffer.len() < size + line {
            buffer.resize(size + line, 0.0);
        }
        let (buffer, line) = buffer[..size + line].split_at_mut(size);
        for (index, target) in buffer.chunks_exact_mut(plane).enumerate().take(planes) {
            let values = &x[index * in_plane..][..in_plane];
            for (r, target) in target.chunks_exact_mut(row).enumerate() {
                match r.checked_sub(shape.top) {
                    Some(y) if y < shape.height => match stride {
                        1 => pad(&values[y * shape.width..][..shape.width], shape.left, target),
                        2 => {
                            let (even, odd) = target.split_at_mut(phase);
                            sort_by_two(values, (y * shape.width, shape.left), even, odd);
                            for c in (0..shape.left).chain(shape.left + shape.width..2 * wanted) {
                                if let Some(value) = target.get_mut(c % 2 * phase + c / 2) {
                                    *value = 0.0;
                                }
                            }
                        }
                        _ => {
                            pad(&values[y * shape.width..][..shape.width], shape.left, line);
                            sort_into_phases(line, stride, target, phase);
                        }
                    },
                    _ => clear(target),
                }
            }
        }
        Self { values: buffer, phase, row, plane }
    }

    /// `len` values of a row from column `from` of a phase on; up to [`NR`] after the last are undefined.
    #[inline(always)]
    pub(super) fn line(&self, plane: usize, row: usize, phase: usize, from: usize, len: usize) -> &[f32] {
        &self.values[plane * self.plane + row * self.row + phase * self.phase + from..][..len]
    }
}

/// A row between its padding.
#[inline(always)]
pub(super) fn pad(row: &[f32], left: usize, target: &mut [f32]) {
    let len = row.len().min(target.len().saturating_sub(left));
    let right = target.len().saturating_sub(left + len);
    match (target.first_chunk_mut::<LANES>(), left.max(right) <= LANES) {
        (Some(before), true) => {
            *before = [0.0; LANES];
            if let Some(after) = target.last_chunk_mut::<LANES>() {
                *after = [0.0; LANES];
            }
        }
        _ => clear(target),
    }
    if let Some(inside) = target.get_mut(left..left + len) {
        copy(&row[..len], inside);
    }
}

/// Copies a slice of the same length without a call: rows are short.
#[inline(always)]
fn copy(row: &[f32], target: &mut [f32]) {
    const HALF: usize = LANES / 2;
    match row.len() {
        LANES.. => copy_by::<LANES>(row, target),
        HALF.. => copy_by::<HALF>(row, target),
        _ => copy_by::<1>(row, target),
    }
}

/// Whole steps, and the last one over the one before it, so that no values are left.
#[inline(always)]
fn copy_by<const WIDTH: usize>(row: &[f32], target: &mut [f32]) {
    let ((steps, _), (targets, _)) = (row.as_chunks::<WIDTH>(), target.as_chunks_mut::<WIDTH>());
    for (target, step) in targets.iter_mut().zip(steps) {
        *target = *step;
    }
    if let (Some(step), Some(target)) = (row.last_chunk::<WIDTH>(), target.last_chunk_mut()) {
        *target = *step;
    }
}

#[inline(always)]
fn clear(target: &mut [f32]) {
    for target in target.as_chunks_mut::<LANES>().0 {
        *target = [0.0; LANES];
    }
    match target.last_chunk_mut::<LANES>() {
        Some(target) => *target = [0.0; LANES],
        None => target.fill(0.0),
    }
}

/// The columns at even and at odd places of the row at `from` of a plane, after `left` others, which like those after the row are to be
/// overwritten. There may be no `odd`.
#[inline(always)]
fn sort_by_two(plane: &[f32], (from, left): (usize, usize), even: &mut [f32], odd: &mut [f32]) {
    let ((even, _), (odd, _)) = (even.as_chunks_mut::<LANES>(), odd.as_chunks_mut::<LANES>());
    let before = left.saturating_sub(from).div_ceil(2 * LANES).min(even.len());
    let inside = plane.get(from + 2 * LANES * before - left..).unwrap_or_default();
    let (inside, _) = inside.as_chunks::<{ 2 * LANES }>();
    let end = even.len().min(before + inside.len());
    if odd.is_empty() {
        for (even, pairs) in even[before..].iter_mut().zip(inside) {
            [*even, _] = deinterleaved(pairs);
        }
    } else {
        for ((even, odd), pairs) in even[before..].iter_mut().zip(&mut odd[before..]).zip(inside) {
            [*even, *odd] = deinterleaved(pairs);
        }
    }
    for step in (0..before).chain(end..even.len()) {
        let [evens, odds] = deinterleaved(&at_an_end(plane, from + 2 * LANES * step, left));
        even[step] = evens;
        if let Some(odd) = odd.get_mut(step) {
            *odd = odds;
        }
    }
}

/// Two registers from `left` before `at` on, some of them beyond an end of the plane.
#[inline(always)]
fn at_an_end(plane: &[f32], at: usize, left: usize) -> [f32; 2 * LANES] {
    let mut window = [0.0; 2 * LANES];
    let begin = at.saturating_sub(left).min(plane.len());
    for (value, inside) in window.iter_mut().skip(left.saturating_sub(at)).zip(&plane[begin..]) {
        *value = *inside;
    }
    window
}

/// The values at even and at odd places, as halves of words: of these the compiler makes shuffles of whole registers.
#[inline(always)]
fn deinterleaved(values: &[f32; 2 * LANES]) -> [[f32; LANES]; 2] {
    let pairs: [u64; LANES] = pulp::bytemuck::cast(*values);
    let (mut low, mut high) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        (low[i], high[i]) = (f32::from_bits(pairs[i] as u32), f32::from_bits((pairs[i] >> 32) as u32));
    }
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv::Padding;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_what_the_kernel_sees(
            size in (1usize..40, 1usize..40), kernel in (1usize..8, 1usize..8), stride in 1usize..5,
            (top, left, bottom, right) in (0usize..10, 0usize..10, 0usize..4, 0usize..4),
        ) {
            let padding = Padding { top, left, bottom, right };
            let Some(shape) = Shape::new((1, 1, size.0, size.1), (3, kernel.0, kernel.1), stride, padding) else {
                return Ok(());
            };
            let x: Vec<f32> = (0..3 * shape.in_plane()).map(|i| i as f32 + 1.0).collect();
            let mut buffer = vec![f32::NAN; 7];
            let padded = Padded::new(&shape, stride, &x, 3, &mut buffer);
            for plane in 0..3 {
                for (y, ky) in (0..shape.out_height).flat_map(|y| (0..kernel.0).map(move |ky| (y, ky))) {
                    for kx in 0..kernel.1 {
                        let line = padded.line(plane, y * stride + ky, kx % stride, kx / stride, shape.out_width);
                        for (column, value) in line.iter().enumerate() {
                            let row = (y * stride + ky).checked_sub(top).filter(|&row| row < size.0);
                            let column = (column * stride + kx).checked_sub(left).filter(|&c| c < size.1);
                            let seen = row.zip(column).map_or(0.0, |(row, column)| {
                                x[plane * shape.in_plane() + row * size.1 + column]
                            });
                            prop_assert_eq!(*value, seen);
                        }
                    }
                }
            }
        }
    }
}
