#!/usr/bin/env python3
"""Forward passes of frozen networks: PyTorch, ONNX Runtime and `examples/time_network.rs`, in turns in one run.

    pip install torch timm onnx onnxruntime onnxscript
    cargo build --release --example time_network
    python benches/vs_runtimes.py [ROUNDS [SECONDS [NETWORK ...]]]

In a round each runs as many batches as ONNX Runtime does in that many seconds, at least three. Prints the medians over the
rounds, and the medians of the ratios to each peer (below 1: ours is faster). Two threads each; random weights, as time does not
depend on values. timm's networks, exported to ONNX for the other runtime.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
FEWEST_BATCHES = 3
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import onnxruntime  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

TIMER = os.path.join(os.path.dirname(__file__), "..", "target", "release", "examples", "time_network")


class Residual(nn.Module):
    """A block of the CIFAR ResNets; its shortcut has no parameters: every second pixel, the new channels zero."""

    def __init__(self, ins, outs):
        super().__init__()
        self.stride, self.zeros = (1, 0) if ins == outs else (2, (outs - ins) // 2)
        self.first, self.second = conv_norm(ins, outs, self.stride), conv_norm(outs, outs)

    def forward(self, x):
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros))
        return F.relu(self.second(F.relu(self.first(x))) + shortcut)


def conv_norm(ins, outs, stride=1):
    return nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs))


def cifar_resnet(depth):
    layers, ins = [conv_norm(3, 16), nn.ReLU()], 16
    for outs in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            layers.append(Residual(ins, outs))
            ins = outs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def of_timm(name, **options):
    return lambda: timm.create_model(name, pretrained=False, num_classes=0, **options)


NETWORKS = [
    ("cifar-resnet56", 32, 64, lambda: cifar_resnet(56)),
    ("resnet18", 224, 8, of_timm("resnet18")),
    ("resnet50", 224, 8, of_timm("resnet50")),
    ("efficientnet-lite0", 224, 8, of_timm("tf_efficientnet_lite0")),
    ("vgg16", 224, 8, of_timm("vgg16")),
    # Differs from the FID network in the pooling of two blocks only.
    ("inception-fid", 299, 8, of_timm("inception_v3", aux_logits=False)),
    ("vit-b16", 224, 8, of_timm("vit_base_patch16_224")),
    ("dinov2-s14", 224, 8, of_timm("vit_small_patch14_dinov2", img_size=224)),
]


def timed(run, batches):
    times = []
    for _ in range(batches + 1):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[1:])


def ours(name, size, batch, batches):
    command = [TIMER, name, str(size), str(batch), str(batches), str(THREADS)]
    printed = subprocess.run(command, capture_output=True, check=True)
    return statistics.median(json.loads(printed.stdout))


def session(network, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.onnx")
        torch.onnx.export(network, (images,), path, input_names=["images"], dynamo=True, verbose=False)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    wanted = sys.argv[3:]
    torch.set_num_threads(THREADS)
    for name, size, batch, build in NETWORKS:
        if wanted and name not in wanted:
            continue
        network, images = build().eval(), torch.randn(batch, 3, size, size)
        exported, feed = session(network, images), {"images": images.numpy()}
        # A process that has just begun is slow for its first tenths of a second.
        batches = max(FEWEST_BATCHES, round(1e3 * seconds / timed(lambda: exported.run(None, feed), FEWEST_BATCHES)))
        times = []
        with torch.inference_mode():
            for _ in range(rounds):
                times.append((
                    timed(lambda: network(images), batches),
                    timed(lambda: exported.run(None, feed), batches),
                    ours(name, size, batch, batches),
                ))
        torch_ms, onnx_ms, our_ms = (statistics.median(column) / batch for column in zip(*times))
        to_torch = statistics.median(own / peer for peer, _, own in times)
        to_onnx = statistics.median(own / peer for _, peer, own in times)
        print(
            f"{name} x {batch} at {size}, one image: PyTorch {torch_ms:.1f} ms, ONNX Runtime {onnx_ms:.1f} ms, "
            f"ours {our_ms:.1f} ms; ratio {to_torch:.2f} to PyTorch, {to_onnx:.2f} to ONNX Runtime",
            flush=True,
        )


main()
