//! The mapping network: from z and a label to w, with the running average that truncation pulls towards.

use super::config::MappingConfig;
use super::layers::{Connected, FullyConnected};
use crate::error::Result;
use crate::generate::layers::normalize_2nd_moment;
use crate::generate::options::{ForwardOptions, Mode, Truncation};
use crate::generate::variables::{Builder, Init};
use candle_core::{Tensor, Var};

/// `MappingNetwork`.
pub(super) struct Mapping {
    embed: Option<FullyConnected>,
    layers: Vec<FullyConnected>,
    /// Absent in discriminators.
    w_avg: Option<Var>,
    w_avg_beta: f64,
    c_dim: usize,
}

impl Mapping {
    /// The tensors under `mapping.`: from z of `z_dim` (0 for none) and labels of `c_dim` to `w_dim`.
    pub(super) fn new(
        builder: &mut Builder,
        config: &MappingConfig,
        (z_dim, c_dim, w_dim): (usize, usize, usize),
        averaged: bool,
    ) -> Result<Self> {
        let embed_features = if c_dim > 0 { config.embed_features.unwrap_or(w_dim) } else { 0 };
        let embed = match c_dim {
            0 => None,
            _ => {
                Some(FullyConnected::new(builder, "mapping.embed", c_dim, embed_features, Connected::LINEAR)?)
            }
        };
        let kind = Connected { lr_multiplier: config.lr_multiplier, bias_init: 0.0, activated: true };
        let mut ins = z_dim + embed_features;
        let mut layers = Vec::new();
        for i in 0..config.num_layers {
            let last = i + 1 == config.num_layers;
            let outs = if last { w_dim } else { config.layer_features.unwrap_or(w_dim) };
            layers.push(FullyConnected::new(builder, &format!("mapping.fc{i}"), ins, outs, kind)?);
            ins = outs;
        }
        let w_avg = match averaged {
            true => Some(builder.buffer("mapping.w_avg", &[w_dim], Init::Constant(0.0))?),
            false => None,
        };
        Ok(Self { embed, layers, w_avg, w_avg_beta: config.w_avg_beta, c_dim })
    }

    /// Labels `[B, c_dim]` of classes.
    pub(super) fn labels(&self, classes: Option<&[u32]>, like: &Tensor) -> Result<Option<Tensor>> {
        let Some(classes) = classes.filter(|_| self.c_dim > 0) else { return Ok(None) };
        let mut labels = vec![0f32; classes.len() * self.c_dim];
        for (row, &class) in labels.chunks_exact_mut(self.c_dim).zip(classes) {
            if let Some(place) = row.get_mut(class as usize) {
                *place = 1.0;
            }
        }
        let labels = Tensor::from_vec(labels, (classes.len(), self.c_dim), like.device())?;
        Ok(Some(labels.to_dtype(like.dtype())?))
    }

    /// `[B, w_dim]` of z `[B, z_dim]` and labels `[B, c_dim]`, whichever there are. The pass of a training step moves the running
    /// average, by the batch of all processes.
    pub(super) fn forward(&self, z: Option<&Tensor>, labels: Option<&Tensor>, mode: Mode) -> Result<Tensor> {
        let mut parts = Vec::new();
        if let Some(z) = z {
            parts.push(normalize_2nd_moment(z)?);
        }
        if let (Some(embed), Some(labels)) = (&self.embed, labels) {
            parts.push(normalize_2nd_moment(&embed.forward(labels, mode)?)?);
        }
        let mut x = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 1)? };
        for layer in &self.layers {
            x = layer.forward(&x, mode)?;
        }
        if let Some(w_avg) = self.w_avg.as_ref().filter(|_| mode.is_first_order()) {
            let beta = self.w_avg_beta;
            let now = mode.mean_over_processes(&x.detach().mean(0)?)?;
            let moved = ((w_avg.as_detached_tensor() * beta)? + (now * (1.0 - beta))?)?;
            w_avg.set(&moved)?;
        }
        Ok(x)
    }

    /// One w for each layer, `[B, num_ws, w_dim]`.
    pub(super) fn ws(&self, z: &Tensor, options: &ForwardOptions, num_ws: usize) -> Result<Tensor> {
        let labels = self.labels(options.classes, z)?;
        let w = self.forward(Some(z), labels.as_ref(), options.mode)?;
        let (rows, width) = w.dims2()?;
        self.truncate(&w.unsqueeze(1)?.broadcast_as((rows, num_ws, width))?.contiguous()?, options.truncation)
    }

    /// `[B, num_ws, w_dim]` moved towards the average, the first `cutoff` entries only where one is given.
    pub(super) fn truncate(&self, ws: &Tensor, truncation: Option<Truncation>) -> Result<Tensor> {
        let (Some(Truncation { psi, cutoff }), Some(w_avg)) = (truncation, &self.w_avg) else {
            return Ok(ws.clone());
        };
        let count = ws.dim(1)?;
        let cutoff = cutoff.unwrap_or(count).min(count);
        let middle = (w_avg.as_detached_tensor() * (1.0 - psi))?;
        let first = (ws.narrow(1, 0, cutoff)? * psi)?.broadcast_add(&middle)?;
        match cutoff == count {
            true => Ok(first),
            false => Ok(Tensor::cat(&[&first, &ws.narrow(1, cutoff, count - cutoff)?], 1)?),
        }
    }
}
