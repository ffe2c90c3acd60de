#!/usr/bin/env python3
"""How often the 95 % intervals of `pd eval --bootstrap` hold the mean over many generated sets, on made-up features.

    pip install numpy
    cargo build --release
    python benches/intervals.py [SETS]

One real set, SETS (150) generated ones of the same distribution, in three settings. Prints for each metric the mean and the deviation from
set to set, the half width of an interval over 1.96 deviations (1 is right, more is careful), how many intervals hold the mean, and how many
of neighbouring sets the verdict calls different, which should be 5 % or fewer.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PD = os.environ.get("PD", os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))
METRICS = ["precision", "density", "recall", "coverage", "clipped-coverage", "p-precision", "p-recall", "kid", "fd", "vendi"]
#: Rows of the real set and of a generated one, numbers of a row, and how the generated ones are scaled and shifted.
SETTINGS = [(2000, 300, 8, 1.1, 0.3), (800, 800, 32, 0.8, 0.1), (1000, 1000, 4, 1.0, 0.0)]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    for rows, generated, numbers, scale, shift in SETTINGS:
        random = np.random.default_rng(5)
        with tempfile.TemporaryDirectory() as folder:
            real = Path(folder, "real.npy")
            np.save(real, random.normal(size=(rows, numbers)).astype("f4"))
            paths = [Path(folder, f"{i}.npy") for i in range(count)]
            for path in paths:
                np.save(path, (scale * random.normal(size=(generated, numbers)) + shift).astype("f4"))
            words = [PD, "eval", "--real", real, "--generated", *paths, "--bootstrap", "100", "--json", "--quiet"]
            run = subprocess.run([*words, "--metrics", ",".join(METRICS)], check=True, capture_output=True, text=True)
        sets = json.loads(run.stdout)["generated"]
        print(f"\n{rows} real and {generated} generated rows of {numbers}, scaled by {scale}, shifted by {shift}\n")
        print("| metric | mean | deviation | interval | holds | called different |\n|---|---|---|---|---|---|")
        for name in METRICS:
            column = name.replace("-", "_")
            values = np.array([found[column] for found in sets])
            low, high = np.array([found["intervals"][column] for found in sets]).T
            half, deviation = (high - low) / 2, values.std(ddof=1)
            holds = np.mean((low <= values.mean()) & (values.mean() <= high))
            different = np.mean(np.abs(np.diff(values)) > np.hypot(half[:-1], half[1:]))
            width = np.sqrt(np.mean(half**2)) / 1.96 / deviation if deviation else np.nan
            print(f"| {name} | {values.mean():.4g} | {deviation:.2g} | {width:.2f} | {holds:.0%} | {different:.0%} |")


if __name__ == "__main__":
    main()
