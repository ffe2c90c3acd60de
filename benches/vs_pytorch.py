#!/usr/bin/env python3
"""Forward passes of frozen networks: PyTorch and `examples/time_network.rs`, in turns in one run.

    pip install torch
    cargo build --release --example time_network
    python benches/vs_pytorch.py [ROUNDS [BATCHES]]

Prints the median over the rounds of the ratio of the times of one batch (below 1: ours is faster). Two threads each;
random weights, as time does not depend on values.
"""

import json
import os
import statistics
import subprocess
import sys
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

TIMER = os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "time_network")


def conv_norm(ins, outs, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(ins, outs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outs)
    )


class Residual(nn.Module):
    """`relu(branch(x) + shortcut(x))` with a ReLU between the convolutions of the branch."""

    def __init__(self, convolutions, shortcut):
        super().__init__()
        self.convolutions, self.shortcut = nn.ModuleList(convolutions), shortcut

    def forward(self, x):
        y = x
        for i, convolution in enumerate(self.convolutions):
            y = convolution(F.relu(y) if i else y)
        return F.relu(y + self.shortcut(x))


class EverySecondPixel(nn.Module):
    """The parameter-free shortcut: half the size, the new channels zero."""

    def __init__(self, zeros):
        super().__init__()
        self.zeros = zeros

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.zeros, self.zeros))


def cifar_resnet(depth):
    layers, ins = [conv_norm(3, 16, 3), nn.ReLU()], 16
    for outs in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            stride = 1 if ins == outs else 2
            shortcut = nn.Identity() if ins == outs else EverySecondPixel((outs - ins) // 2)
            layers.append(Residual([conv_norm(ins, outs, 3, stride), conv_norm(outs, outs, 3)], shortcut))
            ins = outs
    return layers


def resnet(blocks, bottleneck):
    layers, ins = [conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        outs = width * 4 if bottleneck else width
        for i in range(count):
            stride = 2 if stage and not i else 1
            if bottleneck:
                branch = [conv_norm(ins, width, 1), conv_norm(width, width, 3, stride), conv_norm(width, outs, 1)]
            else:
                branch = [conv_norm(ins, width, 3, stride), conv_norm(width, outs, 3)]
            same = stride == 1 and ins == outs
            layers.append(Residual(branch, nn.Identity() if same else conv_norm(ins, outs, 1, stride)))
            ins = outs
    return layers


NETWORKS = [
    ("cifar-resnet56", 32, 64, lambda: cifar_resnet(56)),
    ("resnet18", 224, 8, lambda: resnet((2, 2, 2, 2), False)),
    ("resnet50", 224, 8, lambda: resnet((3, 4, 6, 3), True)),
]


def peer(network, images, batches):
    times = []
    for _ in range(batches + 1):
        start = time.perf_counter()
        network(images)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[1:])


def ours(name, size, batch, batches):
    command = [TIMER, name, str(size), str(batch), str(batches), str(THREADS)]
    printed = subprocess.run(command, capture_output=True, check=True)
    return statistics.median(json.loads(printed.stdout))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    batches = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    torch.set_num_threads(THREADS)
    for name, size, batch, layers in NETWORKS:
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        network = nn.Sequential(*layers(), *pool).eval()
        images = torch.randn(batch, 3, size, size)
        pairs = []
        with torch.inference_mode():
            for _ in range(rounds):
                pairs.append((peer(network, images, batches), ours(name, size, batch, batches)))
        torch_ms, our_ms = (statistics.median(times) for times in zip(*pairs))
        ratio = statistics.median(own / theirs for theirs, own in pairs)
        print(
            f"{name} x {batch} at {size}: PyTorch {torch_ms:.0f} ms, ours {our_ms:.0f} ms, ratio {ratio:.2f}",
            flush=True,
        )


main()
