#!/usr/bin/env python3
"""Time of one step of `pd finetune` on a DCGAN against the same step in PyTorch, in turns.

    pip install torch
    cargo build --release
    python benches/vs_pytorch_finetune.py G.pth D.pth IMAGES REFERENCE [STEPS [ROUNDS]]

A step is one of the discriminator and one of the generator: train-mode batch norm, logistic loss, Adam, an average of the
generator's weights, batches of 64; both sides draw real images without weights. The time of a step is the difference
between a run of STEPS steps and one of a single step, so that starting and decoding count on neither side.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS, BATCH = 2, 64
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from dcgan import discriminator, generator  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PD = os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd")


def peer(g_path, d_path, steps):
    (g, z_dim), d = generator(g_path), discriminator(d_path)
    average = {name: value.clone() for name, value in g.state_dict().items()}
    real = torch.rand(BATCH * 16, 3, 32, 32) * 2 - 1
    g_adam, d_adam = (torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999)) for m in (g, d))
    start = time.perf_counter()
    for _ in range(steps):
        batch = real[torch.randint(len(real), (BATCH,))]
        fake = g(torch.randn(BATCH, z_dim, 1, 1)).detach()
        loss = F.softplus(-d(batch)).mean() + F.softplus(d(fake)).mean()
        d_adam.zero_grad(set_to_none=True)
        loss.backward()
        d_adam.step()
        d.requires_grad_(False)
        loss = F.softplus(-d(g(torch.randn(BATCH, z_dim, 1, 1)))).mean()
        g_adam.zero_grad(set_to_none=True)
        loss.backward()
        g_adam.step()
        d.requires_grad_(True)
        with torch.no_grad():
            for name, value in g.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 0.001)
    return time.perf_counter() - start


def ours(g_path, d_path, images, reference, steps):
    with tempfile.TemporaryDirectory() as out:
        command = [PD, "finetune", "--generator", g_path, "--discriminator", d_path, "--data", images, "--gamma", "0"]
        command += ["--reference", reference, "--weight", "1", "--steps", str(steps), "--batch", str(BATCH), "--sheet", "1", "--mirror", "false"]
        command += ["--threads", str(THREADS), "-q", "-o", os.path.join(out, "run")]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def main():
    g, d, images, reference = sys.argv[1:5]
    steps, rounds = (int(a) for a in [*sys.argv[5:], *["31", "5"][len(sys.argv) - 5:]])
    torch.set_num_threads(THREADS)
    pairs = []
    for _ in range(rounds):
        of = [lambda n: peer(g, d, n), lambda n: ours(g, d, images, reference, n)]
        pairs.append([(run(steps) - run(1)) / (steps - 1) for run in of])
    theirs, own = (statistics.median(times) * 1e3 for times in zip(*pairs))
    ratio = statistics.median(own / theirs for theirs, own in pairs)
    print(f"one step of {BATCH}: PyTorch {theirs:.0f} ms, ours {own:.0f} ms, ratio {ratio:.2f}")


main()
