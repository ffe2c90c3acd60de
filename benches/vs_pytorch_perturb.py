#!/usr/bin/env python3
"""Time of one step of `pd perturb` against the same loop in PyTorch, in turns.

    pip install torch numpy safetensors
    cargo build --release
    python benches/vs_pytorch_perturb.py GENERATOR REFERENCE [IMAGES [STEPS [ROUNDS]]]

GENERATOR is a DCGAN (`main.N`), REFERENCE an indexed reference made with `tiny`. Both sides take the neighbours in REFERENCE anew
at every step. The time of a step is the difference between a run of STEPS steps and one of a single step, so that starting and
loading count on neither side; ours also quantises and measures every image on the way. Prints the median over the rounds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from dcgan import generator  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PD = os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd")
TINY = os.path.join(os.path.dirname(__file__), "..", "src", "extract", "tiny.safetensors")
BLOCKS = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2)]
EPS, NEIGHBOURS = 0.1, 10


def tiny():
    from safetensors.torch import load_file

    weights = {key: value.float() for key, value in load_file(TINY).items()}

    def conv(x, name, stride):
        kernel = weights[f"{name}.weight"]
        return F.conv2d(x, kernel, weights[f"{name}.bias"], stride, kernel.shape[-1] // 2)

    def features(images):
        x = F.interpolate((images + 1) / 2, (64, 64), mode="bilinear", antialias=True)
        x = F.relu(conv((x - 0.5) / 0.25, "stem", 2))
        for i, (_, stride) in enumerate(BLOCKS):
            y = conv(F.relu(conv(x, f"blocks.{i}.conv1", stride)), f"blocks.{i}.conv2", 1)
            shortcut = conv(x, f"blocks.{i}.shortcut", stride) if f"blocks.{i}.shortcut.weight" in weights else x
            x = F.relu(y + shortcut)
        return x.mean((2, 3))

    return features


def peer(model, z_dim, features, real, images, steps):
    z0 = torch.cat([torch.from_numpy(np.random.RandomState(s).randn(1, z_dim)).float() for s in range(images)])
    z = z0.clone()
    start = time.perf_counter()
    for _ in range(steps):
        z.requires_grad_(True)
        f = features(model(z[:, :, None, None]))
        distance = torch.cdist(f, real).topk(NEIGHBOURS, largest=False)[0].mean(1)
        (gradient,) = torch.autograd.grad((1 / distance).sum(), z)
        z = (z.detach() + EPS / 4 * gradient.sign()).clamp(z0 - EPS, z0 + EPS)
    return time.perf_counter() - start


def ours(path, reference, images, steps):
    with tempfile.TemporaryDirectory() as out:
        command = [PD, "perturb", "--generator", path, "--reference", reference, "--bias", "fidelity", "--grid", "0"]
        command += ["--seeds", f"0-{images - 1}", "--steps", str(steps), "--threads", str(THREADS), "-q", "-o", out]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def main():
    path, reference = sys.argv[1:3]
    images, steps, rounds = (int(a) for a in [*sys.argv[3:], *["16", "11", "5"][len(sys.argv) - 3:]])
    torch.set_num_threads(THREADS)
    (model, z_dim), features = generator(path), tiny()
    model = model.eval().requires_grad_(False)
    real = torch.from_numpy(np.load(os.path.join(reference, "features.npy")))
    pairs = []
    for _ in range(rounds):
        of = [lambda n: peer(model, z_dim, features, real, images, n), lambda n: ours(path, reference, images, n)]
        pairs.append([(run(steps) - run(1)) / (steps - 1) for run in of])
    theirs, own = (statistics.median(times) * 1e3 for times in zip(*pairs))
    ratio = statistics.median(own / theirs for theirs, own in pairs)
    print(f"{images} images, one step: PyTorch {theirs:.0f} ms, ours {own:.0f} ms, ratio {ratio:.2f}")


main()
