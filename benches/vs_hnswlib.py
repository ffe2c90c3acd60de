#!/usr/bin/env python3
"""All-pairs 10-NN by HNSW, build plus search: hnswlib and `examples/knn.rs`, in turns in one run.

    pip install numpy hnswlib
    cargo build --release --example knn
    python benches/vs_hnswlib.py [ROUNDS [N [WIDTH ...]]]

Prints the median ratios of wall and of processor time (below 1: ours is faster) and both recalls, the exact answers
being those of `knn ... exact`. Two threads each; M 16, ef 200 and 100 for hnswlib, the defaults for ours.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import hnswlib
import numpy as np

from clustered import clustered

THREADS = 2
K = 10
KNN = os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "knn")


def processor_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def peer(features):
    wall, processor = time.perf_counter(), processor_seconds(resource.RUSAGE_SELF)
    index = hnswlib.Index("l2", features.shape[1])
    index.init_index(len(features), M=16, ef_construction=200)
    index.set_num_threads(THREADS)
    index.add_items(features)
    index.set_ef(100)
    rows, _ = index.knn_query(features, k=K + 1)
    return time.perf_counter() - wall, processor_seconds(resource.RUSAGE_SELF) - processor, rows


def ours(kind, path, out):
    processor = processor_seconds(resource.RUSAGE_CHILDREN)
    printed = subprocess.run([KNN, path, str(K), kind, str(THREADS), out], capture_output=True, check=True)
    processor = processor_seconds(resource.RUSAGE_CHILDREN) - processor
    times = json.loads(printed.stdout)
    return times["build"] + times["search"], processor, np.fromfile(out, "<u4").reshape(-1, K)


def recall(found, exact):
    return np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, exact)])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    widths = [int(w) for w in sys.argv[3:]] or [64, 768]
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            features = clustered(n, width)
            path, out = os.path.join(folder, "features.npy"), os.path.join(folder, "rows.bin")
            np.save(path, features)
            exact_wall, exact_processor, exact = ours("exact", path, out)
            print(f"  {n} x {width}: exact {exact_wall:.2f} s (processor {exact_processor:.2f} s)", flush=True)
            walls, processors = [], []
            for _ in range(rounds):
                wall, processor, theirs = peer(features)
                own_wall, own_processor, rows = ours("hnsw", path, out)
                walls.append(own_wall / wall)
                processors.append(own_processor / processor)
                print(
                    f"  {n} x {width}: hnswlib {wall:.2f} s (processor {processor:.2f} s), "
                    f"ours {own_wall:.2f} s (processor {own_processor:.2f} s)",
                    flush=True,
                )
            print(
                f"{n} x {width}: ratio {statistics.median(walls):.2f} (processor {statistics.median(processors):.2f}), "
                f"recall of hnswlib {recall(theirs, exact):.4f}, ours {recall(rows, exact):.4f}",
                flush=True,
            )


main()
