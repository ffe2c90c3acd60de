#!/usr/bin/env python3
"""Metrics of two feature sets: prdc, pytorch-fid, torch-fidelity and `pd eval`, in turns in one run.

    pip install numpy scipy prdc pytorch-fid torch-fidelity
    cargo build --release
    python benches/vs_prdc.py [ROUNDS [N [WIDTH]]]

Prints the time of each, the median ratio (below 1: ours is faster) and the largest relative difference of the values.
Two threads each; ours includes starting the process and reading the files. prdc holds N x N distances: mind the memory.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402  (reads the number of threads)
import torch  # noqa: E402
from prdc import compute_prdc  # noqa: E402
from pytorch_fid.fid_score import calculate_frechet_distance  # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # noqa: E402

from clustered import clustered  # noqa: E402

K = 5
PD = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))


def with_prdc(real, fake):
    with contextlib.redirect_stdout(io.StringIO()):
        return compute_prdc(real, fake, K)


def with_pytorch_fid(real, fake):
    statistics_of = [(x.mean(0), np.cov(x, rowvar=False)) for x in (real.astype(np.float64), fake.astype(np.float64))]
    return {"fd": calculate_frechet_distance(*statistics_of[0], *statistics_of[1])}


def with_torch_fidelity(real, fake):
    # One subset of all rows is the estimate from all pairs.
    found = kid_features_to_metric(
        torch.from_numpy(real.astype(np.float64)),
        torch.from_numpy(fake.astype(np.float64)),
        kid_subsets=1,
        kid_subset_size=len(real),
        verbose=False,
    )
    return {"kid": found["kernel_inception_distance_mean"]}


PEERS = {
    "prdc": (with_prdc, ["precision", "recall", "density", "coverage"]),
    "pytorch-fid": (with_pytorch_fid, ["fd"]),
    "torch-fidelity": (with_torch_fidelity, ["kid"]),
}


def ours(folder, metrics):
    command = [PD, "eval", "--real", "real.npy", "--generated", "fake.npy", "--json", "--quiet"]
    command += ["--threads", str(THREADS), "--k", str(K), "--k-density", str(K), "--metrics", ",".join(metrics)]
    printed = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return json.loads(printed.stdout)["generated"][0]


def timed(function, *arguments):
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    width = int(sys.argv[3]) if len(sys.argv) > 3 else 2048
    torch.set_num_threads(THREADS)
    both = clustered(2 * n, width)
    real, fake = both[::2].copy(), both[1::2].copy()
    fake += 0.05 * np.random.default_rng(1).standard_normal(fake.shape, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, "real.npy"), real)
        np.save(os.path.join(folder, "fake.npy"), fake)
        for name, (peer, metrics) in PEERS.items():
            ratios = []
            for _ in range(rounds):
                theirs, peer_time = timed(peer, real, fake)
                found, own_time = timed(ours, os.path.abspath(folder), metrics)
                ratios.append(own_time / peer_time)
                print(f"  {n} x {width}: {name} {peer_time:.2f} s, ours {own_time:.2f} s", flush=True)
            difference = max(abs(found[m] - theirs[m]) / max(abs(theirs[m]), 1e-300) for m in metrics)
            print(
                f"{', '.join(metrics)}: ratio {statistics.median(ratios):.2f}, largest relative difference {difference:.1e}",
                flush=True,
            )


main()
