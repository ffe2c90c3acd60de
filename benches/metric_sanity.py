#!/usr/bin/env python3
"""Which metrics of `pd eval` move the right way on sets whose faults are known.

    pip install numpy
    cargo build --release
    python benches/metric_sanity.py [DIMENSIONS [SIZES]]        as in: 8,64,512 500,2000

The real set is drawn from ten Gaussian modes. Each generated set has one fault: a mode dropped, a mode invented, a few outliers, all rows
blurred, rows drawn towards the centre of their mode, or half of the rows copied from the real set. For every metric that has to see the
fault, prints how far its value is from that of a faultless set, in standard deviations of faultless sets (`SEEDS` of them): negative is
worse, `wrong` is better than faultless beyond chance, `blind` is no change beyond chance. Prints a table in Markdown.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

PD = os.environ.get("PD", os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))
SEEDS = 5
MODES = 10
#: Deviations beyond which a change is no chance.
BEYOND = 3.0
FIDELITY = ["precision", "density", "clipped_density", "p_precision"]
DIVERSITY = ["recall", "coverage", "clipped_coverage", "p_recall"]
DISTANCES = ["fd", "fd_infinity", "kid"]
#: The metrics that have to see each fault.
SEES = {
    "mode dropped": DISTANCES + DIVERSITY + ["vendi", "rke"],
    "mode invented": DISTANCES + FIDELITY,
    "2 % outliers": DISTANCES + FIDELITY,
    "blurred": DISTANCES + FIDELITY,
    "drawn to the centres": DISTANCES + DIVERSITY,
    "half copied": ["authenticity"],
}
METRICS = ["fd", "fd-infinity", "kid", *(name.replace("_", "-") for name in FIDELITY + DIVERSITY), "vendi", "rke", "authenticity"]
LOWER_IS_BETTER = set(DISTANCES)


class Modes:
    """Ten Gaussians whose centres are about as far from each other as the rows of one are."""

    def __init__(self, dimension):
        self.random = np.random.RandomState(dimension)
        self.centres = self.random.randn(MODES + 1, dimension) * 2
        self.dimension = dimension

    def rows(self, n, seed, modes=range(MODES), spread=1.0):
        random = np.random.RandomState(seed)
        modes = np.asarray(modes)[random.randint(len(modes), size=n)]
        return self.centres[modes] + spread * random.randn(n, self.dimension)


def faulty(modes, real, n):
    random = np.random.RandomState(99)
    few = max(1, n // 50)
    fresh = lambda seed, **options: modes.rows(n, seed, **options)
    invented = np.concatenate([modes.rows(n - n // 10, 21), modes.rows(n // 10, 22, modes=[MODES])])
    outliers = fresh(23)
    outliers[:few] *= 6
    copied = fresh(26)
    copied[: n // 2] = real[random.permutation(n)[: n // 2]]
    return {
        "mode dropped": fresh(20, modes=range(MODES - 1)),
        "mode invented": invented,
        "2 % outliers": outliers,
        "blurred": fresh(24) + 0.7 * random.randn(n, modes.dimension),
        "drawn to the centres": fresh(25, spread=0.6),
        "half copied": copied,
    }


def evaluate(real, sets):
    with tempfile.TemporaryDirectory() as place:
        paths = {}
        for name, rows in {"real": real, **sets}.items():
            paths[name] = os.path.join(place, f"{len(paths)}.npy")
            np.save(paths[name], rows.astype("f4"))
        command = [PD, "eval", "--real", paths.pop("real"), "--generated", *paths.values()]
        command += ["--metrics", ",".join(METRICS), "--json", "-q"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return dict(zip(sets, found["generated"]))


def main():
    numbers = lambda at, default: [int(n) for n in (sys.argv[at] if len(sys.argv) > at else default).split(",")]
    columns, lines = [], {}
    for dimension in numbers(1, "8,64,512"):
        for n in numbers(2, "500,2000"):
            modes = Modes(dimension)
            real = modes.rows(n, 0)
            fair = {f"fair {seed}": modes.rows(n, 1 + seed) for seed in range(SEEDS)}
            found = evaluate(real, {**fair, **faulty(modes, real, n)})
            columns.append(f"{dimension}-d, {n}")
            for fault, metrics in SEES.items():
                for metric in metrics:
                    values = np.array([found[name][metric] for name in fair])
                    step = found[fault][metric] - values.mean()
                    step *= -1 if metric in LOWER_IS_BETTER else 1
                    deviations = step / max(values.std(ddof=1), 1e-4 * abs(values.mean()), 1e-9)
                    word = "wrong" if deviations > BEYOND else "" if deviations < -BEYOND else "blind"
                    lines.setdefault((fault, metric), []).append(f"{word} {deviations:+.0f}".strip())
            ideal = [f"{metric} {found['fair 0'][metric]:.3g}" for metric in DISTANCES + FIDELITY + DIVERSITY]
            print(f"real against real, {columns[-1]}: {', '.join(ideal)}", file=sys.stderr)
    print("| fault | metric | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    for (fault, metric), cells in lines.items():
        print(f"| {fault} | `{metric}` | {' | '.join(cells)} |")


main()
