"""Writes small files of every kind as other programs write them, for fuzzing to begin with.

    python3 tests/fuzz/seeds.py PD      PD is the binary; needs numpy, Pillow and torch

They go to target/fuzz/KIND/inputs; `tests/fuzz/run.sh` takes them from there.
"""

import io
import json
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin

TESTS = Path(__file__).resolve().parents[1]
FOUND = TESTS.parent / "target" / "fuzz"
PD = Path(sys.argv[1]).resolve()
random = np.random.RandomState(0)


def put(kind, name, data):
    folder = FOUND / kind / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def saved(save):
    out = io.BytesIO()
    save(out)
    return out.getvalue()


def picture(mode, size=(9, 7)):
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = size[::-1] + ((channels,) if channels > 1 else ())
    return Image.fromarray(random.randint(0, 255, shape).astype(np.uint8)).convert(mode)


def images():
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a red shoe\nNegative prompt: blurred\nSteps: 20")
    text.add_itxt("prompt", json.dumps({"3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a shoe"}}}))
    for kind, modes, options in [
        ("jpeg", ["RGB", "L", "CMYK"], [{}, {"exif": exif}, {"progressive": True}]),
        ("png", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"], [{}, {"pnginfo": text, "exif": exif}]),
        ("webp", ["RGB", "RGBA"], [{}, {"lossless": True}, {"exif": exif}]),
        ("gif", ["P", "L"], [{}, {"save_all": True, "append_images": [picture("P")]}]),
        ("bmp", ["RGB", "RGBA", "L", "1", "P"], [{}]),
        ("pnm", ["RGB", "L", "1"], [{}]),
        ("tiff", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "LAB", "F", "I;16"],
         [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}, {"compression": "packbits"}]),
        ("tiff", ["RGB"], [{"compression": "jpeg"}, {"tiffinfo": exif}]),
        ("tiff", ["1"], [{"compression": "group4"}, {"compression": "group3"}]),
    ]:
        name = {"pnm": "ppm"}.get(kind, kind)
        for mode in modes:
            for i, option in enumerate(options):
                image = picture("L").convert("I").convert(mode) if mode == "I;16" else None
                image = image or (picture("L").convert(mode) if mode in "F1P" else picture(mode) if mode != "LAB" else None)
                if image is None:
                    image = Image.frombytes("LAB", (9, 7), bytes(random.randint(0, 255, 189).astype(np.uint8)))
                put(kind, f"{mode}-{i}".replace(";", ""), saved(lambda out: image.save(out, name, **option)))


def archives():
    png = saved(lambda out: picture("RGB").save(out, "png"))
    jpeg = saved(lambda out: picture("RGB").save(out, "jpeg"))
    for kind, mode in [("tar", "w"), ("tar-gz", "w:gz")]:
        for form in [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode, format=form) as tar:
                for name, data in [("a/0.png", png), ("a/" + "n" * 90 + "é.jpg", jpeg), ("notes.txt", b"x")]:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            put(kind, f"format-{form}", out.getvalue())
    for method in [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a/0.png", png)
            archive.writestr("é.jpg", jpeg)
            archive.writestr("dataset.json", '{"labels": [["a/0.png", 1]]}')
        put("zip", f"method-{method}", out.getvalue())


def arrays():
    features = random.randn(3, 4)
    for i, array in enumerate([features.astype("<f4"), features, features.astype(">f8"), features.astype("f2"),
                               np.asfortranarray(features), features[:, :, None, None].astype("f4"),
                               np.arange(12).reshape(3, 4)]):
        put("npy", f"array-{i}", saved(lambda out: np.save(out, array)))
        put("npz", f"stored-{i}", saved(lambda out: np.savez(out, features=array, mu=np.zeros(2))))
        put("npz", f"packed-{i}", saved(lambda out: np.savez_compressed(out, array)))


def checkpoints():
    weights = {"w": torch.zeros(2, 3), "n": torch.tensor(3), "h": torch.zeros(2, dtype=torch.half)}
    files = {
        "dict": weights,
        "nested": {"ema": weights, "model": weights, "step": 3, "args": {"size": 5}},
        "module": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)),
        "view": {"a": torch.zeros(4, 4)[1:, ::2]},
    }
    for name, content in files.items():
        put("torch-zip", name, saved(lambda out: torch.save(content, out)))
        put("torch-legacy", name, saved(lambda out: torch.save(content, out, _use_new_zipfile_serialization=False)))
        archive = zipfile.ZipFile(io.BytesIO(saved(lambda out: torch.save(content, out))))
        data = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
        put("pickle", name, archive.read(data))
    for protocol in range(6):
        plain = {"G_ema": [1, 2.5, "x", b"y", None, True, (1, 2, 3), {1, 2}, 1 << 70]}
        put("pickle", f"protocol-{protocol}", pickle.dumps(plain, protocol))
    header = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
              "h": {"dtype": "F16", "shape": [2], "data_offsets": [16, 20]}, "__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    put("safetensors", "two", len(text).to_bytes(8, "little") + text + bytes(20))


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def texts():
    tensor = bytes([1 << 3, 4]) + bytes([2 << 3, 1]) + field(8, b"w") + field(9, bytes(16))
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Gemm")
    shape = field(1, field(1, bytes([1 << 3, 1]) + field(2, field(1, bytes([1 << 3, 4])))))
    graph = field(1, node) + field(5, tensor) + field(11, field(1, b"x") + field(2, shape))
    put("onnx", "gemm", bytes([1 << 3, 8]) + field(7, graph))
    image, sizes = [1, 4, 4], {"z_dim": 4, "w_dim": 4, "c_dim": 0, "img_channels": 3}
    mapping = {"num_layers": 2, "lr_multiplier": 0.01, "w_avg_beta": 0.998}
    projected = {"img_resolution": 8, "img_channels": 3, "c_dim": 0, "num_classes": 1}
    unet = json.loads((TESTS / "fixtures/generators/diffusers-ddpm/pipeline/unet/config.json").read_text())
    scheduler = (TESTS / "fixtures/generators/diffusers-ddpm/pipeline/scheduler/scheduler_config.json").read_text()
    for name, generator, discriminator in [
        ("mlp-gan", {"widths": [4, 8, 16], "image": image}, {"widths": [16, 8, 1], "image": image}),
        ("vae", {"z_dim": 4, "hidden": 8, "image": image}, None),
        ("dcgan", {"z_dim": 4, "channels": [8], "image_channels": 3}, {"channels": [8], "image_channels": 3}),
        ("stylegan2", {**sizes, "channels": [8, 8], "mapping": mapping},
         {"c_dim": 0, "img_channels": 3, "channels": [8, 8], "mbstd_num_channels": 1, "cmap_dim": 0}),
        ("stylegan3", {**sizes, "img_resolution": 16, "mapping": mapping, "channel_base": 64,
                       "channel_max": 8, "num_layers": 4}, None),
        ("projected-gan", {**projected, "z_dim": 4, "ngf": 8, "lite": True, "alternating": False}, None),
        ("diffusers", {"unet": unet, "scheduler": json.loads(scheduler)}, None),
        ("iddpm", {"image_size": 8, "num_channels": 32, "channel_mult": "1", "diffusion_steps": 100}, None),
        ("adm", {"image_size": 8, "num_channels": 32, "channel_mult": "1", "timestep_respacing": "ddim5"}, None),
    ]:
        config = {"family": name, "generator": generator}
        config |= {"discriminator": discriminator} if discriminator else {}
        put("configuration", name, json.dumps(config).encode())
    for name, table in {
        "groups": "path,group\na/b.png,shoes\n",
        "prompts": "prompt,n\na red shoe,3\n\"a, b\",2\n",
        "candidates": "name,key,seed,class,prompt,pseudo_density,percentile,mean_knn_distance,nearest,nearest_distance\n"
                      "0.png,1,1,,a,1.5,50,0.2,a.png,0.1\n",
    }.items():
        put("csv", name, table.encode())


def references():
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/f.npy", random.randn(24, 4).astype("f4"))
        for command in [["embed", "f.npy", "-o", "ref"], ["index", "ref", "--index", "hnsw", "--k", "3"]]:
            subprocess.run([PD, *command, "-q"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        put("manifest", "reference", Path(place, "ref/manifest.json").read_bytes())
        for graph in Path(place, "ref").rglob("*.safetensors"):
            if b"lowest" in graph.read_bytes()[:4096]:
                put("graph", graph.stem, graph.read_bytes())


images()
archives()
arrays()
checkpoints()
texts()
references()
for folder in sorted(FOUND.glob("*/inputs")):
    print(folder.parent.name, len(list(folder.iterdir())))
