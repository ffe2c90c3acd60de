#!/usr/bin/env python3
"""From image files to features: a PyTorch DataLoader script and `pd embed`, whole commands in turns.

    pip install torch pillow numpy timm
    cargo build --release
    python benches/vs_dataloader.py IMAGES WEIGHTS [ROUNDS [NETWORK]]

IMAGES is a directory of images. NETWORK is cifar-resnet56 (the default; WEIGHTS with the names of
akamaster/pytorch_resnet_cifar10) or resnet50 (WEIGHTS a state dict of timm's, on images squashed to 224). Two threads or workers
each. Prints the ratio of the times (below 1: pd is faster) and the relative difference of the features.
"""

import glob
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

THREADS = 2
PD = os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd")
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


# Side of the images and images of a batch.
NETWORKS = {"cifar-resnet56": (32, 128), "resnet50": (224, 8)}


class Images(torch.utils.data.Dataset):
    def __init__(self, root, side):
        self.size = (side, side)
        self.paths = sorted(glob.glob(root + "/**/*.*", recursive=True), key=lambda p: os.path.relpath(p, root).encode())

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image = Image.open(self.paths[i]).convert("RGB")
        if image.size != self.size:
            image = image.resize(self.size, Image.BILINEAR)
        return torch.from_numpy((np.float32(image) / 255 - MEAN) / STD).permute(2, 0, 1)


class Block(nn.Module):
    def __init__(self, ins, outs):
        super().__init__()
        self.halves, self.zeros = ins != outs, (outs - ins) // 2
        self.conv1 = nn.Conv2d(ins, outs, 3, 2 if self.halves else 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outs)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.halves:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.zeros, self.zeros))
        return F.relu(y + x)


class Network(nn.Module):
    def __init__(self, blocks=9):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for n, (ins, outs) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            stage = [Block(ins, outs)] + [Block(outs, outs) for _ in range(blocks - 1)]
            setattr(self, f"layer{n}", nn.Sequential(*stage))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


def network_of(name, weights):
    state = torch.load(weights, map_location="cpu")
    if name == "resnet50":
        import timm

        network = timm.create_model("resnet50", num_classes=0)
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    else:
        network = Network()
        state = {k.removeprefix("module."): v for k, v in state["state_dict"].items() if "linear" not in k}
    network.load_state_dict(state)
    return network.eval()


def peer(root, weights, name, out):
    torch.set_num_threads(THREADS)
    side, batch = NETWORKS[name]
    network = network_of(name, weights)
    loader = torch.utils.data.DataLoader(Images(root, side), batch_size=batch, num_workers=THREADS)
    with torch.inference_mode():
        np.save(out, torch.cat([network(batch) for batch in loader]).numpy())


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    root, weights = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    name = sys.argv[4] if len(sys.argv) > 4 else "cifar-resnet56"
    pairs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            theirs, ours = out + "/theirs.npy", out + "/ref"
            options = ["--extractor", name, "--weights", weights, "--fit", "squash", "--threads", str(THREADS), "-o", ours]
            script = [sys.executable, __file__, root, weights, "peer", name, theirs]
            pairs.append((timed(script), timed([PD, "embed", root, *options])))
            a, b = np.load(theirs), np.load(ours + "/features.npy")
            print(f"  PyTorch {pairs[-1][0]:.1f} s, pd {pairs[-1][1]:.1f} s", flush=True)
    ratio = statistics.median(own / their for their, own in pairs)
    print(f"{len(a)} images: ratio {ratio:.2f}, relative difference {np.linalg.norm(a - b) / np.linalg.norm(a):.1e}")


if __name__ == "__main__":
    if sys.argv[3:4] == ["peer"]:
        peer(*sys.argv[1:3], *sys.argv[4:6])
    else:
        main()
