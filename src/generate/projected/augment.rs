//! Differentiable augmentation (Zhao et al. 2020, <https://arxiv.org/abs/2006.10738>), as ProjectedGAN's discriminator has it before the frozen
//! network: colour, translation, cutout, drawn for each image by its key.

use crate::error::Result;
use crate::random::{Purpose, keyed};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;

/// Images move by at most this share of a side.
const SHIFT: f64 = 0.125;
/// Side of what is cut out, as a share.
const CUTOUT: f64 = 0.2;

/// What is drawn for one image.
struct Draw {
    brightness: f64,
    saturation: f64,
    contrast: f64,
    /// Rows and columns that it moves by.
    shift: [i64; 2],
    /// The middle of what is cut out.
    cutout: [i64; 2],
}

impl Draw {
    fn of(key: u64, [height, width]: [i64; 2]) -> Self {
        let mut random = keyed(key, Purpose::Augmentation, 0);
        let shift = [height, width].map(|side| share(side, SHIFT));
        let last = [height, width].map(|side| side + 1 - share(side, CUTOUT) % 2);
        Self {
            brightness: random.random::<f64>() - 0.5,
            saturation: random.random::<f64>() * 2.0,
            contrast: random.random::<f64>() + 0.5,
            shift: shift.map(|most| random.random_range(-most..=most)),
            cutout: last.map(|last| random.random_range(0..last)),
        }
    }
}

/// This share of a side, in whole pixels.
fn share(side: i64, share: f64) -> i64 {
    (side as f64 * share + 0.5) as i64
}

/// Images `[B, C, H, W]`, each changed by its key; differentiable.
///
/// # Errors
/// What candle's operations return.
pub(super) fn augment(images: &Tensor, keys: &[u64]) -> Result<Tensor> {
    let (_, _, height, width) = images.dims4()?;
    let sides = [height as i64, width as i64];
    let draws: Vec<Draw> = keys.iter().map(|&key| Draw::of(key, sides)).collect();
    let column = |value: fn(&Draw) -> f64| {
        let values: Vec<f64> = draws.iter().map(value).collect();
        let values = Tensor::from_vec(values, (draws.len(), 1, 1, 1), &Device::Cpu)?;
        values.to_dtype(images.dtype())?.to_device(images.device())
    };
    let around = |x: &Tensor, mean: &Tensor, factor: &Tensor| {
        x.broadcast_sub(mean)?.broadcast_mul(factor)?.broadcast_add(mean)
    };
    let x = images.broadcast_add(&column(|draw| draw.brightness)?)?;
    let x = around(&x, &x.mean_keepdim(1)?, &column(|draw| draw.saturation)?)?;
    let mean = x.flatten_from(1)?.mean_keepdim(1)?.unsqueeze(2)?.unsqueeze(3)?;
    let x = around(&x, &mean, &column(|draw| draw.contrast)?)?;

    let shift = sides.map(|side| share(side, SHIFT) as usize);
    let padded = x.pad_with_zeros(2, shift[0], shift[0])?.pad_with_zeros(3, shift[1], shift[1])?;
    let moved = draws.iter().enumerate().map(|(i, draw)| {
        let first = |axis: usize| (shift[axis] as i64 + draw.shift[axis]) as usize;
        padded.narrow(0, i, 1)?.narrow(2, first(0), height)?.narrow(3, first(1), width)
    });
    let moved = Tensor::cat(&moved.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    Ok(moved.broadcast_mul(&mask(&draws, sides)?.to_dtype(x.dtype())?.to_device(x.device())?)?)
}

/// `[B, 1, H, W]`: 0 where an image is cut out, else 1.
fn mask(draws: &[Draw], sides: [i64; 2]) -> Result<Tensor> {
    let sizes = sides.map(|side| share(side, CUTOUT));
    let mut values = Vec::new();
    for draw in draws {
        let is_cut = |axis: usize, place: i64| {
            let first = draw.cutout[axis] - sizes[axis] / 2;
            (first..first + sizes[axis]).contains(&place)
        };
        for row in 0..sides[0] {
            values.extend((0..sides[1]).map(|column| u8::from(!(is_cut(0, row) && is_cut(1, column)))));
        }
    }
    let dims = (draws.len(), 1, sides[0] as usize, sides[1] as usize);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::test_support::{relative, values};
    use candle_core::Var;

    #[test]
    fn an_image_is_changed_by_its_own_key_alone() {
        let images = values(&[3, 3, 16, 16], 1, DType::F64);
        let all = augment(&images, &[7, 8, 9]).unwrap();
        assert_eq!(all.dims(), images.dims());
        let second = augment(&images.narrow(0, 1, 1).unwrap(), &[8]).unwrap();
        assert!(relative(&second, &all.narrow(0, 1, 1).unwrap()) < 1e-12);
        assert!(relative(&augment(&images, &[7, 8, 10]).unwrap(), &all) > 1e-3);
    }

    #[test]
    fn what_is_cut_out_and_moved_in_is_black_and_of_the_published_size() {
        let white = Tensor::ones((1, 3, 40, 40), DType::F64, &Device::Cpu).unwrap();
        let mut shifts = std::collections::BTreeSet::new();
        for key in 0..200 {
            let draw = Draw::of(key, [40, 40]);
            assert!(draw.brightness.abs() <= 0.5 && (0.0..2.0).contains(&draw.saturation));
            assert!(
                (0.5..1.5).contains(&draw.contrast) && draw.cutout.iter().all(|&at| (0..=40).contains(&at))
            );
            shifts.extend(draw.shift);
            let y = augment(&white, &[key]).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let black = y.iter().filter(|v| **v == 0.0).count() / 3;
            let moved = 1600 - (40 - draw.shift[0].abs()) * (40 - draw.shift[1].abs());
            assert!(black as i64 >= moved && black as i64 <= moved + 64, "{key}: {black} of {moved}");
        }
        assert!(shifts.into_iter().eq(-5..=5));
    }

    #[test]
    fn the_gradient_agrees_with_differences() {
        let images = values(&[2, 3, 8, 8], 1, DType::F64);
        let (probe, direction) = (values(&[2, 3, 8, 8], 2, DType::F64), values(&[2, 3, 8, 8], 3, DType::F64));
        let value =
            |images: &Tensor| (augment(images, &[1, 2]).unwrap() * &probe).unwrap().sum_all().unwrap();
        let variable = Var::from_tensor(&images).unwrap();
        let grads = value(&variable).backward().unwrap();
        let slope = (grads.get(&variable).unwrap() * &direction).unwrap().sum_all().unwrap();
        const STEP: f64 = 1e-6;
        let at =
            |step: f64| value(&(&images + (&direction * step).unwrap()).unwrap()).to_scalar::<f64>().unwrap();
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let slope = slope.to_scalar::<f64>().unwrap();
        assert!((slope - difference).abs() < 1e-6 * difference.abs().max(1.0), "{slope} and {difference}");
    }
}
