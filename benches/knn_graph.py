#!/usr/bin/env python3
"""The 10 nearest of all rows among themselves, by programs that build the graph of nearest neighbours: pynndescent, faiss' NNDescent,
hnswlib and usearch (an index that is then asked for every row), and `examples/knn.rs`.

    pip install numpy pynndescent faiss-cpu hnswlib usearch matplotlib
    cargo build --release --example knn
    python benches/knn_graph.py OUT.png [--rounds R] [--width W ...] [--rows N ...] [--peer NAME ...]

Two threads each, in turns in one run, every one in a process of its own. Prints the median seconds from the loaded array to the
neighbours, the processor seconds (ours with reading the array), the peak memory of the process beyond the array, and the recall on 2 000
rows against a brute force; then the ratio of ours to those of each peer, and which of them finds fewer (a recall more than 0.001 lower).
Processor seconds count on a machine that does other work beside. pynndescent compiles its loops when it is first called: a small set is
given to it before the clock starts.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from clustered import clustered

THREADS = 2
K = 10
ASKED = 2_000
KNN = os.environ.get("KNN", os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "knn"))
os.environ.update(OMP_NUM_THREADS=str(THREADS), NUMBA_NUM_THREADS=str(THREADS))


def pynndescent(features, kept):
    """`kept` neighbours of each row: with more it finds more."""
    from pynndescent import NNDescent

    def neighbours(rows):
        return NNDescent(rows, n_neighbors=kept, n_jobs=THREADS, random_state=0).neighbor_graph[0][:, : K + 1]

    return neighbours, lambda: neighbours(features[:2_000])


def faiss_nndescent(_):
    import faiss

    def neighbours(rows):
        index = faiss.IndexNNDescentFlat(rows.shape[1], 32)
        index.nndescent.K = 32
        index.nndescent.L = 48
        index.add(rows)
        graph = faiss.vector_to_array(index.nndescent.final_graph).reshape(len(rows), -1)
        return graph[:, :K]

    return neighbours, None


def hnswlib(_):
    import hnswlib

    def neighbours(rows):
        index = hnswlib.Index("l2", rows.shape[1])
        index.init_index(len(rows), M=16, ef_construction=200)
        index.set_num_threads(THREADS)
        index.add_items(rows)
        index.set_ef(100)
        return index.knn_query(rows, k=K + 1)[0]

    return neighbours, None


def usearch(_):
    from usearch.index import Index

    def neighbours(rows):
        index = Index(ndim=rows.shape[1], metric="l2sq", dtype="f32", connectivity=16, expansion_add=128, expansion_search=128)
        index.add(np.arange(len(rows)), rows, threads=THREADS)
        return index.search(rows, K + 1, threads=THREADS).keys

    return neighbours, None


PEERS = {
    "pynndescent-16": functools.partial(pynndescent, kept=16),
    "pynndescent-24": functools.partial(pynndescent, kept=24),
    "pynndescent-32": functools.partial(pynndescent, kept=32),
    "faiss-nndescent": faiss_nndescent,
    "hnswlib": hnswlib,
    "usearch": usearch,
}


def memory(process, which):
    """MiB: `VmRSS` now, `VmHWM` at most."""
    with open(f"/proc/{process}/status") as status:
        lines = [line.split()[1] for line in status if line.startswith(which)]
    return int(lines[0]) / 1024 if lines else 0


def processor(whose):
    """Processor seconds so far."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def one(name, path, out):
    """Runs a peer in this process."""
    features = np.load(path)
    neighbours, prepare = PEERS[name](features)
    if prepare:
        prepare()
    before = memory("self", "VmRSS")
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    start, used = time.perf_counter(), processor(resource.RUSAGE_SELF)
    found = np.asarray(neighbours(features))
    seconds, used = time.perf_counter() - start, processor(resource.RUSAGE_SELF) - used
    np.save(out, found)
    print(json.dumps({"seconds": seconds, "processor": used, "memory": memory("self", "VmHWM") - before}))


def measured(name, path, folder):
    """Seconds, processor seconds, MiB beyond the array, and the neighbours `[N, K]` without the rows themselves."""
    rows, width = np.load(path, mmap_mode="r").shape
    out = os.path.join(folder, "found")
    if name in PEERS:
        command = [sys.executable, __file__, "--one", name, path, out + ".npy"]
        printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
        found = np.load(out + ".npy")
        itself = found == np.arange(rows)[:, None]
        # Where a program did not find the row itself, its last neighbour goes.
        itself[~itself.any(1), -1] = found.shape[1] > K
        costs = printed["seconds"], printed["processor"], printed["memory"]
        return *costs, found[~itself].reshape(rows, -1)[:, :K]
    used = processor(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen([KNN, path, str(K), name.removeprefix("pd "), str(THREADS), out], stdout=subprocess.PIPE)
    peak = 0
    while child.poll() is None:
        peak = max(peak, memory(child.pid, "VmHWM"))
        time.sleep(0.01)
    used = processor(resource.RUSAGE_CHILDREN) - used
    times = json.loads(child.stdout.read())
    found = np.fromfile(out, "<u4").reshape(-1, K)
    return times["build"] + times["search"], used, peak - rows * width * 4 / 2**20, found


def truth(path):
    """Some rows and their nearest others."""
    features = np.load(path)
    features -= features.mean(0)
    asked = np.random.default_rng(1).choice(len(features), min(ASKED, len(features)), replace=False)
    norms = np.einsum("ij,ij->i", features, features)
    nearest = []
    for rows in np.array_split(asked, -(-len(asked) // 100)):
        distances = norms[None] - 2 * features[rows] @ features.T
        distances[np.arange(len(rows)), rows] = np.inf
        nearest.append(np.argpartition(distances, K, axis=1)[:, :K])
    return asked, np.concatenate(nearest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.png")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, nargs="+", default=[64, 128, 768])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--peer", nargs="+", default=["pd graph", "pd exact", "pd hnsw", *PEERS])
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "features.npy")
        for width in options.width:
            for rows in options.rows:
                np.save(path, clustered(rows, width))
                asked, nearest = truth(path)
                runs = {name: [] for name in options.peer}
                for _ in range(options.rounds):
                    for name in options.peer:
                        *costs, found = measured(name, path, folder)
                        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found[asked], nearest)])
                        runs[name].append((*costs, recall))
                        print(f"  {line(rows, width, name, *costs, recall)}", flush=True)
                for name, values in runs.items():
                    results[width, rows, name] = [statistics.median(column) for column in zip(*values)]
                report(results, width, rows, options.peer)
    draw(results, options)


def report(results, width, rows, names):
    """One line for each program, with the ratio of our time to its."""
    own = results.get((width, rows, "pd graph"))
    for name in names:
        *costs, recall = results[width, rows, name]
        text = line(rows, width, name, *costs, recall)
        if own and name != "pd graph":
            ratios = [f"{ours / max(theirs, 1e-9):.2f}" for ours, theirs in zip(own, costs)]
            text += f"; ratios {', '.join(ratios)}{'' if recall >= own[-1] - 0.001 else ' (finds fewer)'}"
        print(text, flush=True)


def line(rows, width, name, seconds, used, memory, recall):
    return f"{rows} x {width}: {name} {seconds:.1f} s, {used:.1f} processor seconds, {memory:.0f} MiB, recall {recall:.4f}"


def draw(results, options):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(options.width), figsize=(5 * len(options.width), 4), layout="constrained", squeeze=False)
    for panel, width in zip(panels[0], options.width):
        for name in options.peer:
            values = [results[width, rows, name] for rows in options.rows]
            panel.loglog(options.rows, [v[0] for v in values], "o-", label=f"{name}, recall {min(v[-1] for v in values):.4f}")
        panel.set(xlabel=f"rows of {width} numbers", ylabel="seconds, two threads")
        panel.legend(fontsize=7)
    figure.savefig(options.out, dpi=100)


if sys.argv[1:2] == ["--one"]:
    one(*sys.argv[2:])
else:
    main()
