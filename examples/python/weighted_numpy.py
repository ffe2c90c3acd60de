"""Weighs generated pictures that are in memory, and shows what drawing by these weights changes. Needs numpy alone.

    python weighted_numpy.py
"""

import numpy as np
import pseudo_density

SIDE = 24


def disks(count, kinds, seed):
    """Pictures of disks of several sizes; `kinds` are the probabilities of the sizes. uint8 [count, SIDE, SIDE, 3]"""
    random = np.random.RandomState(seed)
    radius = np.array([4.0, 7.0, 10.0])[random.choice(3, count, p=kinds)] + random.uniform(-0.5, 0.5, count)
    middle = SIDE / 2 + random.uniform(-1.5, 1.5, (2, count, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(rows - middle[0], columns - middle[1])
    colour = random.randint(90, 220, (count, 1, 1, 3))
    inside = np.clip(radius[:, None, None] - distance + 0.5, 0, 1)[..., None]
    return np.round(255 * (1 - inside) + colour * inside).astype(np.uint8)


# What is real has all sizes alike; the generator makes too many small disks.
real = pseudo_density.embed(disks(500, [1 / 3, 1 / 3, 1 / 3], seed=0))
generated = pseudo_density.embed(disks(1600, [0.6, 0.3, 0.1], seed=1))
held_out = pseudo_density.embed(disks(600, [1 / 3, 1 / 3, 1 / 3], seed=2))

weights = pseudo_density.weights(real, generated, rule="ratio:0")
print(f"{len(weights)} pictures, worth {weights.effective_sample_size:.0f} that all weigh the same")

random = np.random.RandomState(3)
count = len(generated) // 4
drawn = random.choice(len(generated), count, replace=False, p=weights.weight / weights.weight.sum())
plain = random.choice(len(generated), count, replace=False)
sets = {"drawn at random": generated.take(plain), "drawn by weight": generated.take(drawn)}
found = pseudo_density.evaluate(held_out, sets, ["fd", "precision", "recall"])
for row in found.to_dict()["generated"]:
    values = "  ".join(f"{name} {row[name]:.3f}" for name in ("fd", "precision", "recall"))
    print(f"{row['path']:>16}: {values}")
before, after = found.table["fd"]
assert after < before, "drawing by weight should bring the pictures nearer to the real ones"
