#!/usr/bin/env python3
"""All-pairs 10-NN: FAISS's flat index and `examples/knn.rs`, in turns in one run.

    pip install numpy faiss-cpu
    cargo build --release --example knn
    python benches/vs_faiss.py [ROUNDS [N [WIDTH ...]]]

Prints the median ratio of the times (below 1: ours is faster) and the share of equal neighbours. Two threads each.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import faiss  # noqa: E402  (reads OMP_NUM_THREADS)
import numpy as np  # noqa: E402

from clustered import clustered  # noqa: E402

K = 10
KNN = os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "knn")


def flat(features):
    start = time.perf_counter()
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    _, rows = index.search(features, K + 1)
    return time.perf_counter() - start, rows


def ours(path, out):
    printed = subprocess.run([KNN, path, str(K), "exact", str(THREADS), out], capture_output=True, check=True)
    times = json.loads(printed.stdout)
    return times["build"] + times["search"], np.fromfile(out, "<u4").reshape(-1, K)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    widths = [int(w) for w in sys.argv[3:]] or [64, 768]
    faiss.omp_set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            features = clustered(n, width)
            path, out = os.path.join(folder, "features.npy"), os.path.join(folder, "rows.bin")
            np.save(path, features)
            ratios = []
            for _ in range(rounds):
                peer, theirs = flat(features)
                own, rows = ours(path, out)
                ratios.append(own / peer)
                print(f"  {n} x {width}: faiss {peer:.2f} s, ours {own:.2f} s", flush=True)
            # FAISS returns the row itself, usually first.
            equal = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(theirs, rows)])
            print(f"{n} x {width}: ratio {statistics.median(ratios):.2f}, equal neighbours {equal:.5f}", flush=True)


main()
