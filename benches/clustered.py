"""Features that look like a network's: clusters on a 24-dimensional structure, rectified, with a little noise."""

import numpy as np

CLUSTERS = 200
INTRINSIC = 24


def clustered(n, width, seed=0):
    """`[n, width]` float32."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((CLUSTERS, INTRINSIC))
    inner = centres[random.integers(0, CLUSTERS, n)] + 0.7 * random.standard_normal((n, INTRINSIC))
    spread = random.standard_normal((INTRINSIC, width)) / INTRINSIC**0.5
    return (np.maximum(inner @ spread, 0) + 0.1 * random.standard_normal((n, width))).astype(np.float32)
