"""Weighs the pictures of a torch generator in memory, and trains on them by weight with WeightedRandomSampler.

    pip install pseudo-density torch
    python weighted_torch.py photos/ generator.pt --latent 128
"""

import argparse

import numpy as np
import pseudo_density
import torch
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("photos", help="a folder of real pictures")
options.add_argument("generator", help="a generator as torch.jit.save wrote it: latents [B, D] to pictures [B, 3, H, W], -1 to 1")
options.add_argument("--latent", type=int, required=True, help="D")
options.add_argument("--seeds", default="0-1999", help="which pictures it makes [default: 0-1999]")
options.add_argument("--extractor", default="tiny", help="network of the features: `pd weights list` shows all [default: tiny]")
options.add_argument("--rule", default="ratio:0", help="the rule of the weights [default: ratio:0, towards the real pictures]")
options = options.parse_args()

device = "cuda" if torch.cuda.is_available() else "cpu"
generator = torch.jit.load(options.generator, map_location=device).eval()
latents = torch.from_numpy(pseudo_density.latents(options.seeds, options.latent))
with torch.no_grad():
    pictures = torch.cat([generator(batch.to(device)).cpu() for batch in latents.split(64)])

# [N, H, W, 3] of uint8, as they would be saved.
seen = ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
real = pseudo_density.embed(options.photos, extractor=options.extractor)
generated = pseudo_density.embed(seen, extractor=options.extractor)
weights = pseudo_density.weights(real, generated, rule=options.rule)
print(f"{len(weights)} pictures, worth {weights.effective_sample_size:.0f} that all weigh the same")

sampler = WeightedRandomSampler(weights.weight, num_samples=len(weights) // 4, replacement=False)
loader = DataLoader(TensorDataset(pictures, torch.arange(len(pictures))), batch_size=32, sampler=sampler)
drawn = np.concatenate([rows.numpy() for _, rows in loader])
sets = {"all": generated, "drawn by weight": generated.take(drawn)}
print(pseudo_density.evaluate(real, sets, ["fd", "precision", "recall"]).table.to_dict())
