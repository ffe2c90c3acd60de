"""A pool as people have it: new pictures, edited copies of a catalogue, repeats of the new pictures, and broken files.

    python benches/pool_of_copies.py CATALOGUE NEW POOL

CATALOGUE and NEW are folders of pictures. POOL gets each picture of NEW, edited copies of pictures of CATALOGUE (12 for each kind of edit and
strength of `plant_copies.py`), repeats of pictures of NEW (4 for each), and 20 files that are cut short. POOL.csv says of each file what it
is (new, copy, repeat, broken), the kind and strength of the edit, and its source. The same inputs give the same pool. Needs Pillow.
"""

import csv
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import plant_copies  # noqa: E402

COPIES, REPEATS, BROKEN = 12, 4, 20


def main():
    catalogue, new = (plant_copies.pictures(Path(folder)) for folder in sys.argv[1:3])
    pool = Path(sys.argv[3])
    draw = random.Random(0)
    made = [("new", "", "", name, opened()) for name, opened in new]
    for what, sources, number in (("copy", catalogue, COPIES), ("repeat", new, REPEATS)):
        for kind, edit in plant_copies.KINDS.items():
            for strength in range(3):
                for name, opened in draw.sample(sources, number):
                    made.append((what, kind, strength, name, edit(opened(), strength, draw)))
    draw.shuffle(made)
    pool.mkdir(parents=True)
    with open(f"{pool}.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "what", "kind", "strength", "source"])
        for number, (what, kind, strength, source, image) in enumerate(made):
            image.save(pool / f"{number:04}.jpg", quality=92)
            table.writerow([f"{number:04}.jpg", what, kind, strength, source])
        for number in range(BROKEN):
            whole = (pool / f"{draw.randrange(len(made)):04}.jpg").read_bytes()
            (pool / f"broken-{number:02}.jpg").write_bytes(whole[: len(whole) // 3])
            table.writerow([f"broken-{number:02}.jpg", "broken", "", "", ""])


if __name__ == "__main__":
    main()
