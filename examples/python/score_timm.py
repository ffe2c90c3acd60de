"""Scores a folder of pictures by DINOv2 features of timm.

    pip install pseudo-density timm
    python score_timm.py photos/ -o scores.csv
"""

import argparse
from pathlib import Path

import numpy as np
import pseudo_density
import timm
import torch
from PIL import Image

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("photos", type=Path, help="a folder of pictures")
options.add_argument("--model", default="vit_small_patch14_dinov2.lvd142m", help="any model of timm")
options.add_argument("--batch", type=int, default=32)
options.add_argument("-o", "--output", default="scores.csv", help=".csv, .jsonl, .json or .parquet")
options = options.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
model = timm.create_model(options.model, pretrained=True, num_classes=0).eval().to(device)
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)

paths = sorted(path for path in options.photos.rglob("*") if path.suffix.lower() in EXTENSIONS)
features = []
with torch.no_grad():
    for first in range(0, len(paths), options.batch):
        pictures = [prepare(Image.open(path).convert("RGB")) for path in paths[first : first + options.batch]]
        features.append(model(torch.stack(pictures).to(device)).cpu().numpy())

# Directions say more than lengths: features of DINOv2 are compared by their angle.
features = np.concatenate(features)
features /= np.linalg.norm(features, axis=1, keepdims=True)
scores = pseudo_density.score(features, paths=[str(path) for path in paths])
scores.save(options.output)
for row in np.argsort(scores.pseudo_density)[:5]:
    print(f"{scores.pseudo_density[row]:.3f}  {paths[row]}")
