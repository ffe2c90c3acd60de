//! Some nodes against others, by a blocked matrix product: what may be among the nearest of either side is offered to its list.
//! The products only say which pairs can matter; what is kept is the distance of the two rows, which does not depend on what was compared beside it.

use super::lists::Lists;
use super::nodes::Nodes;
use crate::neighbors::exact::thresholds::Above;
use crate::ops::gemm::{MR, NR, ZERO_TILE, multiply_panels};

/// Working memory of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    left: Vec<f32>,
    right: Vec<f32>,
    half_norms: Vec<f32>,
    floors: Vec<f32>,
    /// What passed of a row of a tile.
    passed: Vec<u32>,
    /// What is new of this, with the squared distances.
    offers: Vec<(u32, f32)>,
}

/// Compares each of `own` with each of `others`, which are different nodes or equal to `own`.
pub(super) fn compare(nodes: &Nodes, own: &[u32], others: &[u32], lists: &Lists, scratch: &mut Scratch) {
    let depth = nodes.width();
    let Scratch { left, right, half_norms, floors, passed, offers } = scratch;
    let itself = own == others;
    nodes.pack::<MR>(own, left);
    half_norms.clear();
    half_norms.extend(own.iter().map(|&node| nodes.half_norm(node)));
    half_norms.resize(own.len().next_multiple_of(MR), f32::MAX);
    floors.clear();
    floors.extend(own.iter().map(|&node| nodes.floor(node, lists.limit(node))));
    floors.resize(own.len().next_multiple_of(MR), f32::MAX);
    for (panel, (others, next)) in panels_with_next(others).enumerate() {
        nodes.pack::<NR>(others, right);
        nodes.prefetch(next);
        let (mut half_right, mut floor_right) = ([f32::MAX; NR], [f32::MAX; NR]);
        for (&node, (half_norm, floor)) in others.iter().zip(half_right.iter_mut().zip(&mut floor_right)) {
            (*half_norm, *floor) = (nodes.half_norm(node), nodes.floor(node, lists.limit(node)));
        }
        let panels = left.chunks_exact(MR * depth).zip(half_norms.as_chunks::<MR>().0);
        for (group, (left, half_left)) in panels.enumerate() {
            // In a set with itself a pair is compared once, where the column is the later one.
            if itself && (panel + 1) * NR <= group * MR + 1 {
                break;
            }
            let mut tile = ZERO_TILE;
            multiply_panels(depth, left, right, &mut tile);
            let (floor_left, _) = floors[group * MR..].split_first_chunk().expect("padded to whole panels");
            let above = Above {
                tile: &tile,
                half_left,
                floor_left,
                half_right: &half_right,
                floor_right: &floor_right,
            };
            for (i, mut bits) in (group * MR..).zip(above.bits()) {
                passed.clear();
                while bits != 0 {
                    let j = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if others[j] != own[i] && !(itself && i > panel * NR + j) {
                        passed.push(others[j]);
                    }
                }
                if passed.is_empty() {
                    continue;
                }
                let node = own[i];
                // What a list holds was offered to both lists: there is nothing new to learn from the pair.
                lists.retain_unlisted(node, passed);
                offers.clear();
                offers.extend(passed.iter().map(|&other| (other, nodes.squared(node, other))));
                lists.offer(node, offers);
                floors[i] = nodes.floor(node, lists.limit(node));
                for &(other, squared) in &*offers {
                    lists.offer(other, &[(node, squared)]);
                }
            }
        }
    }
}

/// Panels of [`NR`] nodes, each with the one after it.
fn panels_with_next(nodes: &[u32]) -> impl Iterator<Item = (&[u32], &[u32])> {
    nodes.chunks(NR).zip(nodes.chunks(NR).skip(1).chain([&[][..]]))
}
