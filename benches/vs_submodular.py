"""Choosing a set with facility location: `pd select` beside apricot-select and submodlib.

    python benches/vs_submodular.py [ROWS [WIDTH [N]]]

Needs numpy, apricot-select and submodlib-py. Rows are a mixture of Gaussians. The peers get the matrix of similarities
max(0, 1 - d^2 / r^2), r the median distance of two rows, which `pd` never makes; the time to make it counts for them.
All sets are judged by the same function in numpy. `pd` also swaps after its greedy choice; --quality none leaves its other term out.
"""

import csv
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

PD = pathlib.Path(__file__).resolve().parent.parent / "target" / "release" / "pd"


def squared_distances(a, b):
    d = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.maximum(d, 0, out=d)


def timed(work):
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def with_pd(pd, rows, n, folder):
    np.save(folder / "rows.npy", rows)
    args = ["select", folder / "rows.npy", "-n", str(n), "--quality", "none", "-o", folder / "out", "-q", "--threads", "2"]
    _, seconds = timed(lambda: subprocess.run([pd, *args], check=True, stdout=subprocess.DEVNULL))
    with open(folder / "out" / "selected.csv") as table:
        return [int(row["path"].split(":")[1]) for row in csv.DictReader(table)], seconds


def main():
    count, width, n = (int(v) for v in (sys.argv[1:] + ["5000", "64", "100"][len(sys.argv) - 1 :]))
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, width)) * 2
    rows = (centres[rng.integers(0, 40, count)] + rng.normal(size=(count, width))).astype(np.float32)
    pairs = rng.integers(0, count, (2, 200_000))
    radius = np.median(np.linalg.norm(rows[pairs[0]] - rows[pairs[1]], axis=1))

    def similarities():
        return np.maximum(0, 1 - squared_distances(rows, rows) / radius**2)

    def value(chosen):
        # In parts, so that a large pool needs no matrix.
        parts = [squared_distances(rows[i : i + 1000], rows[chosen]).min(1) for i in range(0, count, 1000)]
        return 100 * np.maximum(0, 1 - np.concatenate(parts) / radius**2).mean()

    with tempfile.TemporaryDirectory() as folder:
        chosen, own = with_pd(PD, rows, n, pathlib.Path(folder))
    print(f"pd                {own:8.2f} s  facility {value(chosen):.4f} %")
    if count > 20_000:
        return print("the peers' matrix would not fit: they are left out")

    def apricot():
        from apricot import FacilityLocationSelection

        model = FacilityLocationSelection(n, metric="precomputed", optimizer="lazy")
        return model.fit(similarities()).ranking

    def submodlib():
        from submodlib import FacilityLocationFunction

        function = FacilityLocationFunction(n=count, mode="dense", sijs=similarities().astype(np.float32), separate_rep=False)
        return [row for row, _ in function.maximize(budget=n, optimizer="LazyGreedy", show_progress=False)]

    for name, peer in (("apricot-select", apricot), ("submodlib", submodlib)):
        chosen, seconds = timed(peer)
        print(f"{name:17} {seconds:8.2f} s  facility {value(list(chosen)):.4f} %  ratio {own / seconds:.2f}")


main()
