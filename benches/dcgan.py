"""A DCGAN (`main.N` of PyTorch's example) in PyTorch, for the scripts beside this file."""

import torch
from torch import nn


def load(path):
    weights = torch.load(path, map_location="cpu", weights_only=True)
    kernels = [value for key, value in weights.items() if key.endswith("weight") and value.dim() == 4]
    return {key.removeprefix("main."): value for key, value in weights.items()}, kernels


def generator(path):
    """The network and the length of its latents."""
    weights, kernels = load(path)
    layers = []
    for i, kernel in enumerate(kernels):
        ins, outs = kernel.shape[:2]
        layers.append(nn.ConvTranspose2d(ins, outs, 4, 2 if i else 1, 1 if i else 0, bias=False))
        layers += [nn.Tanh()] if kernel is kernels[-1] else [nn.BatchNorm2d(outs), nn.ReLU()]
    model = nn.Sequential(*layers)
    model.load_state_dict(weights)
    return model, kernels[0].shape[0]


def discriminator(path):
    weights, kernels = load(path)
    layers = []
    for i, kernel in enumerate(kernels):
        outs, ins = kernel.shape[:2]
        last = kernel is kernels[-1]
        layers.append(nn.Conv2d(ins, outs, 4, 1 if last else 2, 0 if last else 1, bias=False))
        if not last:
            layers += [nn.BatchNorm2d(outs)] if i else []
            layers.append(nn.LeakyReLU(0.2))
    model = nn.Sequential(*layers)
    model.load_state_dict(weights)
    return model
