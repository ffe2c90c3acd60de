"""Scores the image column of a Hugging Face data set: the most typical and the most unusual pictures.

    pip install pseudo-density datasets pandas
    python score_datasets.py imagefolder --data-dir photos/
"""

import argparse

import pseudo_density
from datasets import Image, load_dataset

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("dataset", help="its name, or imagefolder with --data-dir")
options.add_argument("--data-dir", help="a folder of pictures")
options.add_argument("--split", default="train")
options.add_argument("--column", default="image")
options = options.parse_args()

rows = load_dataset(options.dataset, data_dir=options.data_dir, split=options.split)
rows = rows.cast_column(options.column, Image(decode=False))


class Column:
    """The files of the column, each read when its turn comes, so that they are never in memory together."""

    def __len__(self):
        return len(rows)

    def __getitem__(self, number):
        if number >= len(rows):
            raise IndexError(number)
        picture = rows[number][options.column]
        if picture["bytes"] is not None:
            return picture["bytes"]
        with open(picture["path"], "rb") as file:
            return file.read()


features = pseudo_density.embed(Column(), progress=lambda step, done, total: print(f"\r{step}: {done}/{total}", end=""))
scores = pseudo_density.score(features)
table = scores.to_pandas().sort_values("pseudo_density", ascending=False)
print("\nmost typical\n", table.head(5)[["path", "pseudo_density", "nearest"]].to_string(index=False))
print("most unusual\n", table.tail(5)[["path", "pseudo_density", "nearest"]].to_string(index=False))
