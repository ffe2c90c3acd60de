#!/usr/bin/env python3
"""What may be wrong with pictures: `pd score --checks` beside cleanvision at its defaults.

    pip install cleanvision pillow
    cargo build --release
    python benches/vs_cleanvision.py PHOTOS [--pd target/release/pd] [--spoil 20]

Prints for each check how many pictures each tool names, how many both name, and what share of SPOIL pictures that were spoilt on purpose
(blurred, darkened, ..., put among the others) each of them finds.
"""

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

sys.path.insert(0, str(Path(__file__).parent))
import plant_copies  # noqa: E402

# Ours, and cleanvision's.
CHECKS = {
    "blurred": "blurry",
    "dark": "dark",
    "bright": "light",
    "low_information": "low_information",
    "odd_size": "odd_size",
    "odd_aspect": "odd_aspect_ratio",
    "gray": "grayscale",
}

SPOILT = {
    "blurred": lambda im: im.filter(ImageFilter.GaussianBlur(max(im.size) / 60)),
    "dark": lambda im: ImageEnhance.Brightness(im).enhance(0.12),
    "bright": lambda im: Image.blend(im, Image.new("RGB", im.size, "white"), 0.88),
    "low_information": lambda im: Image.new("RGB", im.size, im.resize((1, 1)).getpixel((0, 0))),
    "odd_size": lambda im: im.resize((max(1, im.width // 12), max(1, im.height // 12))),
    "odd_aspect": lambda im: im.resize((im.width, max(1, im.width // 4))),
    "gray": lambda im: im.convert("L").convert("RGB"),
}


def ours(pd, folder, table):
    command = [pd, "score", folder, "--extractor", "tiny", "--checks", "--quiet", "-o", table]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    return {check: {row["path"] for row in rows if check in row["flags"].split(";")} for check in CHECKS}


def theirs(folder):
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues({name: {} for name in CHECKS.values()}, n_jobs=2, verbose=False)
    name = lambda path: Path(path).resolve().relative_to(folder.resolve()).as_posix()  # noqa: E731
    issues = lab.issues
    return {ours: {name(path) for path in issues.index[issues[f"is_{theirs}_issue"]]} for ours, theirs in CHECKS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pd", default="target/release/pd")
    parser.add_argument("--spoil", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "photos")
        shutil.copytree(args.photos, folder)
        every = plant_copies.pictures(folder)
        chosen = random.Random(0).sample(every, args.spoil * len(SPOILT))
        spoilt = {}
        for number, (check, spoil) in enumerate(SPOILT.items()):
            spoilt[check] = set()
            for name, opened in chosen[number * args.spoil : (number + 1) * args.spoil]:
                path = f"spoilt/{check}-{Path(name).stem}.png"
                Path(folder, "spoilt").mkdir(exist_ok=True)
                spoil(opened()).save(folder / path)
                spoilt[check].add(path)
        start = time.perf_counter()
        pd = ours(args.pd, folder, Path(work, "scores.csv"))
        between = time.perf_counter()
        cleanvision = theirs(folder)
        end = time.perf_counter()
        planted = set().union(*spoilt.values())
        print(f"{len(every)} photographs; pd {between - start:.0f} s (with densities and copies), cleanvision {end - between:.0f} s\n")
        print("| check | pd names | cleanvision names | both | spoilt found: pd | cleanvision |")
        print("|---|---|---|---|---|---|")
        for check in CHECKS:
            a, b = pd[check] - planted, cleanvision[check] - planted
            share = lambda found: f"{100 * len(found[check] & spoilt[check]) / args.spoil:.0f} %"  # noqa: E731
            print(f"| {check} | {len(a)} | {len(b)} | {len(a & b)} | {share(pd)} | {share(cleanvision)} |")


if __name__ == "__main__":
    main()
