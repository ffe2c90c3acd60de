//! Training with penalties on gradients over several ranks gives what one process gives.

use crate::support::*;
use candle_core::DType;
use pseudo_density::internals::finetune::{GanConfig, GanTrainer, PathLengthConfig, R1};
use pseudo_density::internals::generate::ImageShape;

/// With classes, and groups of minibatch standard deviation that both ranks have two of.
const STYLEGAN2: &str = r#"{"family": "stylegan2",
    "generator": {"z_dim": 6, "c_dim": 3, "w_dim": 6, "img_channels": 1, "channels": [6, 4], "mapping": {"num_layers": 2}},
    "discriminator": {"img_channels": 1, "channels": [6, 4], "mbstd_group_size": 3, "c_dim": 3, "cmap_dim": 5,
        "mapping": {"num_layers": 2}}}"#;

#[test]
fn penalties_over_ranks_are_those_of_one_process() {
    keep_graphs();
    let dtype = DType::F64;
    let plain = GanConfig {
        batch: 12,
        loss: LOSS,
        r1: Some(R1 { gamma: 2.0, interval: 2 }),
        adam: ADAM,
        warmup: 0,
        ema: EMA,
        style_mixing: 0.0,
        path_length: None,
    };
    let side = |side| ImageShape { channels: 1, height: side, width: side };
    let dcgan = assert_ranks_agree(10, 1e-9, |ranks| {
        let real = digits(side(16), dtype, false);
        Box::new(GanTrainer::new(networks(DCGAN, dtype), real, None, plain, ranks).unwrap())
    });
    let path_length = Some(PathLengthConfig { weight: 2.0, interval: 3 });
    let styled = GanConfig { style_mixing: 0.7, path_length, ..plain };
    let stylegan = assert_ranks_agree(10, 1e-9, |ranks| {
        let real = digits(side(8), dtype, true);
        Box::new(GanTrainer::new(networks(STYLEGAN2, dtype), real, None, styled, ranks).unwrap())
    });
    let measured = |trained: &Trained, name| trained.scalars[0].iter().any(|(measure, _)| *measure == name);
    assert!(measured(&dcgan, "r1") && measured(&stylegan, "r1") && measured(&stylegan, "pl"));
}
