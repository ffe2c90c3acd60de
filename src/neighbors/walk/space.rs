//! The features that graphs are built over, and the float32 distances between them that walks compare.

use crate::error::{Error, Result};
use crate::neighbors::distance::squared_l2_f32;
use crate::neighbors::exact::frame::Frame;
use crate::neighbors::exact::groups::RowGroups;
use crate::neighbors::search::{check_finite, standard_layout};
use ndarray::ArcArray2;

/// The most rows of a set: `hnsw_rs` is given a row number as the bits of a float, which must not be NaN.
const MOST_ROWS: usize = 1 << 30;

/// Features and the power of two that keeps squared differences of them inside float32.
#[derive(Clone)]
pub(in crate::neighbors) struct Space {
    /// `[N, D]`, row-major.
    pub features: ArcArray2<f32>,
    /// The number of the first of these rows.
    pub first: u32,
    pub scale: f32,
}

impl Space {
    pub(in crate::neighbors) fn row(&self, row: u32) -> &[f32] {
        let width = self.features.ncols();
        let start = row.wrapping_sub(self.first) as usize * width;
        self.features.as_slice().and_then(|all| all.get(start..start + width)).unwrap_or_default()
    }

    /// Squared distance of two rows in float32, scaled.
    pub(in crate::neighbors) fn squared(&self, a: u32, b: u32) -> f32 {
        squared_l2_f32(self.row(a), self.row(b), self.scale)
    }
}

pub(in crate::neighbors) fn check_rows(rows: usize) -> Result<()> {
    if rows > MOST_ROWS {
        return Err(Error::data(
            format!("{rows} rows are more than a graph can name"),
            "Use the exact index.",
        ));
    }
    Ok(())
}

/// The space of `features` `[N, D]` after their check, and the groups of equal rows.
pub(in crate::neighbors) fn prepared(features: ArcArray2<f32>) -> Result<(Space, RowGroups)> {
    check_finite(features.view())?;
    check_rows(features.nrows())?;
    let space = space(features);
    let groups = RowGroups::of(space.features.view());
    Ok((space, groups))
}

/// `features` with the scale in which distances between them stay inside float32.
fn space(features: ArcArray2<f32>) -> Space {
    let features = standard_layout(features);
    let scale = scale(&Frame::of(features.view()));
    Space { features, first: 0, scale }
}

/// The scale of a space whose features have this frame.
pub(in crate::neighbors) fn scale(frame: &Frame) -> f32 {
    frame.scale().max(f64::from(f32::MIN_POSITIVE)) as f32
}
