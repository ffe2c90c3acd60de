"""Sets of N images of a pool, judged in a second feature space: `pd select` beside random, densest, k-means medoids and weighted draws.

    python benches/selection.py POOL REF JUDGE_POOL JUDGE_REF N... [-- PD_SELECT_OPTION...]

Needs numpy and scikit-learn. POOL and JUDGE_POOL are reference directories (`pd embed`) of the same generated images by two extractors,
REF and JUDGE_REF indexed references (`pd index`) of the same real images by the same two. Recall (k 3) and coverage (k 5, over parts of
N real images), Vendi score (cosine), smallest distance and mean pseudo density are computed here, in the judge's space.
"""

import csv
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from sklearn.cluster import KMeans

PD = pathlib.Path(__file__).resolve().parent.parent / "target" / "release" / "pd"
RANDOM_SETS = 20
PARTS = 20


def squared_distances(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0)


def load(folder):
    with open(pathlib.Path(folder) / "images.csv") as table:
        names = [row["path"] for row in csv.DictReader(table)]
    return names, np.load(pathlib.Path(folder) / "features.npy")


def run_pd(*args):
    subprocess.run([PD, *map(str, args), "-q"], check=True, stdout=subprocess.DEVNULL)


class Judge:
    def __init__(self, pool, reference, folder):
        _, self.pool = load(pool)
        _, self.real = load(reference)
        run_pd("score", pool, "--reference", reference, "-o", folder / "judged.csv")
        with open(folder / "judged.csv") as table:
            self.density = np.array([float(row["pseudo_density"]) for row in csv.DictReader(table)])
        self.order = np.random.default_rng(1).permutation(len(self.real))

    def figures(self, rows):
        rows = np.asarray(rows)
        chosen, n = self.pool[rows], len(rows)
        within = squared_distances(chosen, chosen)
        np.fill_diagonal(within, np.inf)
        radii = np.sort(within, 1)[:, 2]
        recall = (squared_distances(self.real, chosen) < radii).any(1).mean()
        covered = []
        for part in range(min(PARTS, len(self.real) // n)):
            real = self.real[self.order[part * n : (part + 1) * n]]
            among = squared_distances(real, real)
            np.fill_diagonal(among, np.inf)
            covered.append((squared_distances(real, chosen).min(1) < np.sort(among, 1)[:, 4]).mean())
        unit = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        spectrum = np.linalg.eigvalsh(unit @ unit.T / n)
        spectrum = spectrum[spectrum > 1e-12]
        vendi = np.exp(-(spectrum * np.log(spectrum)).sum())
        return np.array([recall, np.mean(covered), vendi, np.sqrt(within.min()), self.density[rows].mean()])


def medoids(pool, n):
    centres = KMeans(n, n_init=4, random_state=0).fit(pool).cluster_centers_
    taken = []
    for distances in squared_distances(centres, pool):
        distances[taken] = np.inf
        taken.append(int(distances.argmin()))
    return taken


def main():
    words = sys.argv[1:]
    extra = words[words.index("--") + 1 :] if "--" in words else []
    words = words[: words.index("--")] if "--" in words else words
    pool, reference, judge_pool, judge_reference = words[:4]
    names, features = load(pool)
    at = {name: row for row, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        judge = Judge(judge_pool, judge_reference, folder)
        run_pd("score", pool, "--reference", reference, "-o", folder / "own.csv")
        with open(folder / "own.csv") as table:
            own = np.array([float(row["pseudo_density"]) for row in csv.DictReader(table)])

        def read(path, kept):
            with open(path) as table:
                return [at[row["path"]] for row in csv.DictReader(table) if kept(row)]

        def select(n, *options):
            out = folder / ("select" + "".join(options) + str(n))
            run_pd("select", pool, "--reference", reference, "-n", n, "-o", out, *options)
            return read(out / "selected.csv", lambda row: True)

        def sample(n, seed):
            out = folder / f"sample{n}-{seed}"
            run_pd("sample", "--pool", pool, "--reference", reference, "--bias", "match", "--distinct", "10", "--level", "similar", "-n", n, "--seed", seed, "-o", out)
            return read(out / "samples.csv", lambda row: row["decision"] == "kept")

        print("| N | set | recall | coverage | Vendi | smallest distance | mean density |")
        print("|---|---|---|---|---|---|---|")
        for n in map(int, words[4:]):
            rng = np.random.default_rng(0)
            sets = {
                "random": [rng.permutation(len(names))[:n] for _ in range(RANDOM_SETS)],
                "highest density": [np.argsort(-own, kind="stable")[:n]],
                "k-means medoids": [medoids(features, n)],
                "`pd sample --bias match --distinct 10 --level similar`": [sample(n, seed) for seed in range(5)],
                "`pd select`": [select(n, *extra)],
                "`pd select --quality density`": [select(n, "--quality", "density", *extra)],
                "`pd select --set spread`": [select(n, "--set", "spread", *extra)],
                "`pd select --set rke`": [select(n, "--set", "rke", *extra)],
            }
            for name, rows in sets.items():
                figures = np.mean([judge.figures(chosen) for chosen in rows], 0)
                print(f"| {n} | {name} | " + " | ".join(f"{f:.3f}" for f in figures[:2]) + " | " + " | ".join(f"{f:.2f}" for f in figures[2:]) + " |", flush=True)


main()
