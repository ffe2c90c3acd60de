#!/usr/bin/env python3
"""Forward and backward pass of the operations that training lives on: PyTorch and `examples/time_training.rs`, in turns.

    pip install torch
    cargo build --release --example time_training
    python benches/vs_pytorch_training.py [ROUNDS [PASSES]]

Prints the median over the rounds of the ratio of the times of one pass (below 1: ours is faster). Two threads each;
gradients of the input and of the parameters.
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
from torch.nn import functional as F  # noqa: E402

TIMER = os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "time_training")

CASES = [
    ("conv3x3", (32, 128, 32, 32), [(128, 128, 3, 3)], lambda x, w: F.conv2d(x, w, padding=1)),
    ("conv4x4-stride2", (64, 64, 32, 32), [(128, 64, 4, 4)], lambda x, w: F.conv2d(x, w, stride=2, padding=1)),
    (
        "conv-transpose4x4-stride2",
        (64, 128, 16, 16),
        [(128, 64, 4, 4)],
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
    ),
    (
        "batch-norm",
        (64, 64, 32, 32),
        [(64,), (64,)],
        lambda x, scale, shift: F.relu(F.batch_norm(x, None, None, scale, shift, training=True)),
    ),
]


def peer(shape, parameters, operation, passes):
    x = torch.randn(shape, requires_grad=True)
    parameters = [torch.randn(p, requires_grad=True) for p in parameters]
    gradient = torch.ones_like(operation(x, *parameters))
    times = []
    for _ in range(passes + 1):
        start = time.perf_counter()
        torch.autograd.grad(operation(x, *parameters), [x, *parameters], gradient)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[1:])


def ours(name, passes):
    printed = subprocess.run([TIMER, name, str(passes), str(THREADS)], capture_output=True, check=True)
    return statistics.median(json.loads(printed.stdout))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    passes = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    torch.set_num_threads(THREADS)
    for name, shape, parameters, operation in CASES:
        pairs = [(peer(shape, parameters, operation, passes), ours(name, passes)) for _ in range(rounds)]
        torch_ms, our_ms = (statistics.median(times) for times in zip(*pairs))
        ratio = statistics.median(own / theirs for theirs, own in pairs)
        print(f"{name} {shape}: PyTorch {torch_ms:.0f} ms, ours {our_ms:.0f} ms, ratio {ratio:.2f}", flush=True)


main()
