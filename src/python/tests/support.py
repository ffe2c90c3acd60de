"""What several tests need: pictures, features, and the command that the numbers are compared with."""

import csv
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np


def pictures(count, side=40, seed=0):
    """Pictures that differ, uint8 [count, side, side, 3]."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (count, 5, 5, 3)).astype(np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((1, side // 5, side // 5, 1), np.uint8)))


def features(count, width=6, seed=0, scale=1.0):
    """Features of nothing, float32 [count, width]."""
    return (scale * np.random.RandomState(seed).randn(count, width)).astype(np.float32)


def ppm(picture):
    """The bytes of an image file."""
    height, width, _ = picture.shape
    return f"P6\n{width} {height}\n255\n".encode() + picture.tobytes()


def write_pictures(folder, images):
    """A folder of image files, in the order of their names."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(images):
        (folder / f"{number:03}.ppm").write_bytes(ppm(picture))
    return folder


def pd(*words):
    """Runs the command; returns what it printed."""
    command = [sys.executable, "-m", "pseudo_density", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def column(path, name):
    """The numbers of a column of a CSV file, empty cells as NaN."""
    with open(path, newline="") as file:
        return np.array([float(row[name] or "nan") for row in csv.DictReader(file)])


def files(folder):
    """The content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


class InFolder(unittest.TestCase):
    """Tests that write into a folder of their own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
