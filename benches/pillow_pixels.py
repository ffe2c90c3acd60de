"""Every pixel of a folder of image files, at full size, against Pillow.

    cargo build --example decode_images
    pip install pillow numpy
    python benches/pillow_pixels.py target/debug/examples/decode_images FOLDER [--rows table.csv]

FOLDER is meant to be Tests/images of Pillow's source archive: `pip download --no-binary :all: --no-deps pillow`.
Prints how many files are equal, close (no pixel differs by more than 3 of 255), different, refused by one side or by both.
"""

import argparse
import collections
import csv
import pathlib
import subprocess
import tempfile
import warnings

import numpy
from PIL import Image, ImageOps

CLOSE = 3


def on_white(image):
    """8-bit RGB as `pd` defines it: upright, transparency on white, the high byte of 16 bits."""
    if image.mode.startswith("I;16"):
        return numpy.repeat((numpy.asarray(image).astype(numpy.uint16) >> 8).astype(numpy.uint8)[..., None], 3, 2)
    if image.mode in ("I", "F"):
        return None
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = numpy.asarray(image.convert("RGBA")).astype(numpy.uint32)
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(numpy.uint8)
    return numpy.asarray(image.convert("RGB"))


def pillow(path):
    """Pixels, or why there are none; and the format and mode."""
    try:
        image = Image.open(path)
        kind = f"{image.format} {image.mode}"
    except Exception as error:  # Pillow has no common base of its errors
        return None, f"refused: {type(error).__name__}", ""
    try:
        image.load()
        pixels = on_white(ImageOps.exif_transpose(image))
        return pixels, "range of its own" if pixels is None else "", kind
    except Exception as error:
        return None, f"refused: {type(error).__name__}: {error}"[:80], kind


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("decoder")
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--rows", help="write a row for each file to this table")
    arguments = arguments.parse_args()
    warnings.simplefilter("ignore")
    files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    counts, rows = collections.Counter(), []
    with tempfile.TemporaryDirectory() as place:
        command = [arguments.decoder, place, *map(str, files)]
        lines = subprocess.run(command, capture_output=True, check=True, text=True, errors="replace").stdout.splitlines()
        said = dict(line.split("\t", 1) for line in lines if "\t" in line)
        for number, path in enumerate(files):
            ours = pathlib.Path(place, f"{number}.ppm")
            note = said.get(str(number), "").split("\t")[-1]
            theirs, reason, kind = pillow(path)
            if not ours.exists():
                outcome = "both refuse" if reason.startswith("refused") else "only we refuse"
                detail = note
            elif reason.startswith("refused"):
                outcome, detail = "only Pillow refuses", reason
            elif theirs is None:
                outcome, detail = "no measure", f"{reason}; {note}"
            else:
                own = numpy.asarray(Image.open(ours))
                if own.shape != theirs.shape:
                    outcome, detail = "different", f"{own.shape} {theirs.shape}"
                else:
                    worst = int(numpy.abs(own.astype(int) - theirs.astype(int)).max())
                    outcome = "equal" if worst == 0 else "close" if worst <= CLOSE else "different"
                    detail = f"{worst}; {note}"
            if not kind and outcome == "both refuse":
                outcome = "no image to either"
            counts[outcome] += 1
            rows.append([str(path.relative_to(arguments.folder)), kind, outcome, detail])
    for outcome, count in counts.most_common():
        print(f"{count:5}  {outcome}")
    if arguments.rows:
        with open(arguments.rows, "w", newline="") as out:
            csv.writer(out).writerows([["file", "kind", "outcome", "detail"], *rows])


main()
