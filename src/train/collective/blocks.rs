//! A sum over ranks that is added up where the values are: with as little traffic as any way takes, and the same bits each time.

use candle_core::{Result, Tensor};

/// The sum over `size` ranks of a tensor that each has in the same shape. Each rank adds up one block, in the order of ranks, and
/// hands it to all, so that the bits depend neither on a library's choice of algorithm nor on the network.
///
/// `all_to_all` is given `[size, block]` and returns as much: row r is this rank's own row of what rank r gave. `all_gather` is given `[block]`
/// and returns `[size, block]`: row r is what rank r gave.
///
/// # Errors
/// What `all_to_all`, `all_gather` and candle's operations return.
pub(super) fn sum_in_blocks(
    x: &Tensor,
    size: usize,
    all_to_all: impl FnOnce(&Tensor) -> Result<Tensor>,
    all_gather: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let count = x.elem_count();
    let block = count.div_ceil(size);
    let padded = x.flatten_all()?.pad_with_zeros(0, 0, block * size - count)?;
    let own = all_to_all(&padded.reshape((size, block))?.contiguous()?)?;
    let mut total = own.get(0)?;
    for rank in 1..size {
        total = (total + own.get(rank)?)?;
    }
    all_gather(&total)?.flatten_all()?.narrow(0, 0, count)?.reshape(x.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, IndexOp};

    /// What rank `rank` finds if all ranks in turn do as it does.
    fn found(all: &[Tensor], rank: usize) -> Tensor {
        let size = all.len();
        let rows = |block: usize| -> Vec<Tensor> {
            let padded = |x: &Tensor| {
                let flat = x.flatten_all().unwrap();
                flat.pad_with_zeros(0, 0, block * size - flat.elem_count()).unwrap()
            };
            all.iter().map(|x| padded(x).reshape((size, block)).unwrap()).collect()
        };
        let all_to_all = |given: &Tensor| {
            let rows = rows(given.dim(1)?);
            assert_eq!(rows[rank].to_vec2::<f32>()?, given.to_vec2::<f32>()?);
            Tensor::stack(&rows.iter().map(|row| row.i(rank).unwrap()).collect::<Vec<_>>(), 0)
        };
        let all_gather = |own: &Tensor| {
            let sums = rows(own.dim(0)?).into_iter().reduce(|a, b| (a + b).unwrap()).unwrap();
            assert_eq!(sums.i(rank)?.to_vec1::<f32>()?, own.to_vec1::<f32>()?);
            Ok(sums)
        };
        sum_in_blocks(&all[rank], size, all_to_all, all_gather).unwrap()
    }

    #[test]
    fn every_rank_finds_the_sum_whatever_its_length() {
        for (size, shape) in [(1, vec![3, 2]), (2, vec![5]), (3, vec![2, 2, 2]), (4, vec![1]), (3, vec![])] {
            let count: usize = shape.iter().product();
            let values = |rank: usize| (0..count).map(|i| (i * 7 + rank * 100) as f32).collect::<Vec<_>>();
            let tensor = |rank| Tensor::from_vec(values(rank), shape.clone(), &Device::Cpu).unwrap();
            let all: Vec<Tensor> = (0..size).map(tensor).collect();
            let expected: Vec<f32> =
                (0..count).map(|i| (0..size).map(|rank| values(rank)[i]).sum()).collect();
            for rank in 0..size {
                let sum = found(&all, rank);
                assert_eq!(sum.dims(), shape);
                assert_eq!(sum.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
            }
        }
    }
}
