//! The geometry of one convolution call and how its output pixels map to input pixels.

use crate::ops::gemm::NR;

/// Zeros added around an image before a convolution or pooling, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same on all sides, as PyTorch's `padding=n`.
    pub const fn same(n: usize) -> Self {
        Self { top: n, left: n, bottom: n, right: n }
    }

    /// TensorFlow's `SAME`: an output of `ceil(size / stride)`, the odd row and column after the image.
    pub fn tensorflow_same(height: usize, width: usize, kernel: usize, stride: usize) -> Self {
        let total = |size: usize| ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
        let (rows, columns) = (total(height), total(width));
        Self { top: rows / 2, left: columns / 2, bottom: rows - rows / 2, right: columns - columns / 2 }
    }
}

/// Shapes of one convolution: input `[batch, in_channels, height, width]`, output `[batch, out_channels, out_height, out_width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub batch: usize,
    pub in_channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub stride: usize,
    pub top: usize,
    pub left: usize,
}

/// A run of output pixels in one row of one image: columns `at .. at + len` of a panel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Segment {
    pub at: usize,
    pub len: usize,
    pub image: usize,
    pub y: usize,
    pub x: usize,
}

/// The segments of one panel of [`NR`] columns, at most one per column.
pub(super) struct Segments {
    list: [Segment; NR],
    count: usize,
}

impl Segments {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Segment> {
        self.list[..self.count].iter()
    }

    /// Columns of the panel that are in use.
    pub(super) fn columns(&self) -> usize {
        self.iter().last().map_or(0, |last| last.at + last.len)
    }
}

impl Shape {
    /// `None` where the padded image is smaller than the kernel.
    pub(super) fn new(
        (batch, in_channels, height, width): (usize, usize, usize, usize),
        (out_channels, kernel_height, kernel_width): (usize, usize, usize),
        stride: usize,
        padding: Padding,
    ) -> Option<Self> {
        let out = |size: usize, before: usize, after: usize, kernel: usize| {
            Some((size + before + after).checked_sub(kernel)? / stride + 1)
        };
        Some(Self {
            batch,
            in_channels,
            height,
            width,
            out_channels,
            kernel_height,
            kernel_width,
            out_height: out(height, padding.top, padding.bottom, kernel_height)?,
            out_width: out(width, padding.left, padding.right, kernel_width)?,
            stride,
            top: padding.top,
            left: padding.left,
        })
    }

    /// A 1 x 1 convolution without stride sees each image as one long row: fewer, longer segments.
    pub(super) fn flattened(mut self) -> Self {
        if self.pointwise() {
            self.width *= self.height;
            self.height = 1;
            self.out_width = self.width;
            self.out_height = 1;
        }
        self
    }

    /// Whether each output pixel comes from the input pixel at its own place.
    pub(super) fn pointwise(&self) -> bool {
        let alone = self.taps() == 1 && self.stride == 1 && self.top == 0 && self.left == 0;
        alone && (self.out_height, self.out_width) == (self.height, self.width)
    }

    /// Whether the kernel lies on the whole image, at one place.
    pub(super) fn whole(&self) -> bool {
        let covers = (self.kernel_height, self.kernel_width) == (self.height, self.width);
        covers && self.out_plane() == 1 && self.top == 0 && self.left == 0
    }

    /// Values under one output pixel: the depth of the matrix product.
    pub(super) fn depth(&self) -> usize {
        self.in_channels * self.taps()
    }

    /// Kernel positions per channel.
    pub(super) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Output pixels of one channel of one image.
    pub(super) fn out_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Input pixels of one channel of one image.
    pub(super) fn in_plane(&self) -> usize {
        self.height * self.width
    }

    /// Channel, kernel row and kernel column of depth `k`.
    pub(super) fn tap(&self, k: usize) -> (usize, usize, usize) {
        let (channel, tap) = (k / self.taps(), k % self.taps());
        (channel, tap / self.kernel_width, tap % self.kernel_width)
    }

    /// Splits columns `first ..` (counted over images, rows, pixels; at most [`NR`], ending at `end`) into segments.
    pub(super) fn segments(&self, first: usize, end: usize) -> Segments {
        let columns = NR.min(end.saturating_sub(first));
        let mut segments = Segments { list: [Segment::default(); NR], count: 0 };
        let plane = self.out_plane();
        let mut at = 0;
        while at < columns {
            let column = first + at;
            let (image, pixel) = (column / plane, column % plane);
            let (y, x) = (pixel / self.out_width, pixel % self.out_width);
            let len = (self.out_width - x).min(columns - at);
            segments.list[segments.count] = Segment { at, len, image, y, x };
            segments.count += 1;
            at += len;
        }
        segments
    }

    /// For kernel position (`ky`, `kx`) and a segment: the input row, and for the columns `skip .. skip + len`
    /// of the segment the first input column. `None` where the kernel lies in the padding altogether.
    #[inline(always)]
    pub(super) fn source(&self, segment: &Segment, ky: usize, kx: usize) -> Option<Source> {
        let row = (segment.y * self.stride + ky).checked_sub(self.top).filter(|&row| row < self.height)?;
        let padded = segment.x * self.stride + kx;
        let skip = self.left.saturating_sub(padded).div_ceil(self.stride);
        let column = padded + skip * self.stride - self.left;
        if skip >= segment.len || column >= self.width {
            return None;
        }
        let len = (segment.len - skip).min((self.width - column).div_ceil(self.stride));
        Some(Source { row, column, skip, len })
    }
}

/// Where the values of a segment come from: see [`Shape::source`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub row: usize,
    pub column: usize,
    pub skip: usize,
    pub len: usize,
}
