#!/usr/bin/env python3
"""All-pairs 10-NN: FAISS's flat index and `examples/knn.rs`, in turns in one run.

    pip install numpy faiss-cpu
    cargo build --release --example knn
    python benches/vs_faiss.py [ROUNDS [N [WIDTH ...]]]

Prints the median ratios of wall and of processor time (below 1: ours is faster) and the share of equal neighbours. Two threads each.
"""

import json
import os
import resource
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


def processor_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def flat(features):
    start, processor = time.perf_counter(), processor_seconds(resource.RUSAGE_SELF)
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    _, rows = index.search(features, K + 1)
    return time.perf_counter() - start, processor_seconds(resource.RUSAGE_SELF) - processor, rows


def ours(path, out):
    processor = processor_seconds(resource.RUSAGE_CHILDREN)
    printed = subprocess.run([KNN, path, str(K), "exact", str(THREADS), out], capture_output=True, check=True)
    processor = processor_seconds(resource.RUSAGE_CHILDREN) - processor
    times = json.loads(printed.stdout)
    return times["build"] + times["search"], processor, np.fromfile(out, "<u4").reshape(-1, K)


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
            ratios, processors = [], []
            for _ in range(rounds):
                peer, peer_processor, theirs = flat(features)
                own, own_processor, rows = ours(path, out)
                ratios.append(own / peer)
                processors.append(own_processor / peer_processor)
                print(
                    f"  {n} x {width}: faiss {peer:.2f} s (processor {peer_processor:.2f} s), "
                    f"ours {own:.2f} s (processor {own_processor:.2f} s)",
                    flush=True,
                )
            # FAISS returns the row itself, usually first.
            equal = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(theirs, rows)])
            print(
                f"{n} x {width}: ratio {statistics.median(ratios):.2f} "
                f"(processor {statistics.median(processors):.2f}), equal neighbours {equal:.5f}",
                flush=True,
            )


main()
