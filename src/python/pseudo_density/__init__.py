"""Pseudo density of images: how typical each image of a collection is, and what to do with that number.

    import pseudo_density as pd

    features = pd.embed("photos/")
    scores = pd.score(features)
    scores.to_pandas().sort_values("pseudo_density")

The method is by Li et al., "Controlling the Fidelity and Diversity of Deep Generative Models via Pseudo
Density", TMLR 2024. The numbers are those of the command `pd`, which this package brings too.

Long work shows its progress through a callback `progress(step, done, total)`; Ctrl-C stops it. A process that
is to work here is started with multiprocessing's "spawn": threads do not survive a fork.
"""

from ._native import (
    Evaluation,
    Features,
    Reference,
    Scores,
    Selection,
    SpaceEvaluation,
    Table,
    Weights,
    __version__,
    duplicates,
    embed,
    evaluate,
    evaluate_images,
    latents,
    score,
    select,
    weights,
)

__all__ = [
    "Evaluation",
    "Features",
    "Reference",
    "Scores",
    "Selection",
    "SpaceEvaluation",
    "Table",
    "Weights",
    "__version__",
    "duplicates",
    "embed",
    "evaluate",
    "evaluate_images",
    "latents",
    "score",
    "select",
    "weights",
]
