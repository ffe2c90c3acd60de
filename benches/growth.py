#!/usr/bin/env python3
"""Time and peak memory of `pd score` on N features of 128 numbers, exact and with the graph, and the exponents of N that fit them.

    pip install numpy matplotlib
    cargo build --release
    python benches/growth.py OUT.png [N ...]

Two threads. Prints a table and draws it; the exponent is the slope of a straight line through the logarithms. Each size runs once.
"""

import os
import subprocess
import sys
import tempfile
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of where to draw)
import numpy as np  # noqa: E402

from clustered import clustered  # noqa: E402

WIDTH = 128
THREADS = "2"
SIZES = [10_000, 30_000, 100_000, 300_000]
PD = os.environ.get("PD", os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))


def measured(features, index, folder):
    """Seconds and MiB of one run."""
    out = os.path.join(folder, f"{index}.csv")
    start = time.perf_counter()
    child = subprocess.Popen([PD, "score", features, "--index", index, "--threads", THREADS, "-q", "-o", out])
    peak = 0
    while child.poll() is None:
        peak = max(peak, high_water(child.pid))
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    if child.returncode:
        sys.exit(f"pd score failed on {features}")
    os.remove(out)
    return seconds, peak / 1024


def high_water(pid):
    """KiB of the program alone: what `wait4` says begins with the memory of the process that started it."""
    with open(f"/proc/{pid}/status") as status:
        lines = [line.split()[1] for line in status if line.startswith("VmHWM")]
    return int(lines[0]) if lines else 0


def exponent(sizes, values):
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sizes = [int(n) for n in sys.argv[2:]] or SIZES
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            path = os.path.join(folder, f"{n}.npy")
            np.save(path, clustered(n, WIDTH))
            for index in ("exact", "graph"):
                found[index, n] = measured(path, index, folder)
                print("{} of {}: {:.1f} s, {:.0f} MiB".format(index, n, *found[index, n]), flush=True)
            os.remove(path)
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, what, label in zip(panels, (0, 1), ("seconds", "MiB at most")):
        for index in ("exact", "graph"):
            values = [found[index, n][what] for n in sizes]
            slope = exponent(sizes, values)
            panel.loglog(sizes, values, "o-", label=f"{index}, N^{slope:.2f}")
            print(f"{index}: {label} grow as N^{slope:.2f}")
        panel.set(xlabel=f"N ({WIDTH} numbers each)", ylabel=label)
        panel.legend()
    figure.savefig(sys.argv[1], dpi=100)


main()
