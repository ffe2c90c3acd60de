#!/usr/bin/env python3
"""What settings of `pd finetune` do to a GAN, judged in the space that scored and in one that did not.

One half of the data gives the densities and is trained on, the other half (or --held-out) is what generated images are compared with.
Every setting is run with --seeds seeds where it is named in --repeat, else with one; images are made of the same latents for all.

    python3 benches/finetuning.py --pd target/release/pd --generator G.ckpt --discriminator D.ckpt --data digits.zip \\
        --score lenet5 --judge tiny --weights-of lenet5=lenet.pth --steps 600 -o table/

Prints a table with the mean over the seeds, and the half of their range after +-. Finished runs are not repeated.
"""

import argparse
import json
import subprocess
import zipfile
from pathlib import Path

SETTINGS = {
    "control": "--weight 1",
    "fidelity, two-level": "--weight 33 --threshold p80",
    "diversity, two-level": "--weight 0.03 --threshold p20",
    "power:-2": "--rule power:-2",
    "power:2": "--rule power:2",
    "ratio:0": "--rule ratio:0",
    "ratio:-2": "--rule ratio:-2",
    "ratio:2": "--rule ratio:2",
    "ratio:-2, m halved": "--rule ratio:-2 --dimension HALF",
    "frechet 0.003": "--weight 1 --frechet 0.003",
    "frechet 0.01": "--weight 1 --frechet 0.01",
    "frechet 0.03": "--weight 1 --frechet 0.03",
    "frechet 0.01, both spaces": "--weight 1 --frechet 0.01 --frechet-extractor SCORE,JUDGE",
    "frechet 0.01, power:-2": "--rule power:-2 --frechet 0.01",
    "frechet 0.01, power:2": "--rule power:2 --frechet 0.01",
    "frechet 0.01, ratio:-2": "--rule ratio:-2 --frechet 0.01",
    "frechet 0.01, ratio:0": "--rule ratio:0 --frechet 0.01",
    "kept images, a quarter": "--weight 1 --data-generated KEPT",
}
METRICS = ["precision", "recall", "coverage", "clipped-coverage", "fd"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["pd", "generator", "data", "score", "judge"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--discriminator", help="of a GAN")
    parser.add_argument("--held-out", help="images to compare with [default: every second one of the data]")
    parser.add_argument("--weights-of", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", metavar="SETTING", help=f"of: {'; '.join(SETTINGS)}")
    parser.add_argument("--repeat", nargs="*", default=["control"], metavar="SETTING")
    parser.add_argument("--finetune", default="", help="further options of pd finetune, as one text")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(exist_ok=True, parents=True)
    args.weights = dict(named.split("=", 1) for named in args.weights_of)
    train, held_out = (args.data, args.held_out) if args.held_out else halves(args)
    reference = args.output / "ref"
    if not reference.exists():
        pd(args, "embed", train, "--extractor", args.score, *weights(args, args.score), "-o", reference)
        pd(args, "index", reference, "--no-predictor")
    dimension = json.loads((reference / "manifest.json").read_text())["density"]["intrinsic_dimension"]
    kept = args.output / "kept"
    sources = {"HALF": str(dimension / 2), "SCORE": args.score, "JUDGE": args.judge, "KEPT": str(kept)}

    print(f"intrinsic dimension {dimension:.1f}; {args.steps} steps; {args.images} images", flush=True)
    print("| | space | " + " | ".join(METRICS) + " |\n|---|---|" + "---|" * len(METRICS))
    row(args, "start", [evaluated(args, args.generator, "start", held_out)])
    for name in args.only or SETTINGS:
        flags = [",".join(sources.get(part, part) for part in flag.split(",")) for flag in SETTINGS[name].split()]
        if "KEPT" in SETTINGS[name] and not kept.exists():
            pd(args, "sample", "--generator", args.generator, "--reference", reference, *weights(args, args.score),
               "--bias", "match", "-n", 2000, "-o", kept)
        seeds = range(args.seeds if name in args.repeat else 1)
        row(args, name, [tuned(args, name, flags, seed, train, reference, held_out) for seed in seeds])


def pd(args, *words):
    subprocess.run([args.pd, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)


def weights(args, name):
    return ["--weights", args.weights[name]] if name in args.weights else []


def halves(args):
    """Every second image of an archive, apart."""
    places = [args.output / name for name in ["train", "held-out"]]
    if not places[0].exists():
        with zipfile.ZipFile(args.data) as archive:
            for i, name in enumerate(sorted(name for name in archive.namelist() if not name.endswith("/"))):
                archive.extract(name, places[i % 2])
    return places


def tuned(args, name, flags, seed, train, reference, held_out):
    run = args.output / f"{name.replace(' ', '-').replace(',', '')}-{args.steps}-{seed}"
    adversary = ["--discriminator", args.discriminator] if args.discriminator else []
    pd(args, "finetune", "--generator", args.generator, *adversary, "--data", train, "--reference", reference,
       *weights(args, args.score), *flags, *args.finetune.split(), "--steps", args.steps, "--snap", args.steps,
       "--seed", seed, "-o", run)
    return evaluated(args, run / f"snapshot-{args.steps:06}", run.name, held_out)


def evaluated(args, generator, name, held_out):
    """The metrics of a generator by space."""
    result = args.output / f"{name}.json"
    if not result.exists():
        images = args.output / f"images-{name}"
        pd(args, "sample", "--generator", generator, "--bias", "none", "-n", args.images, "-o", images)
        found = {}
        for space in [args.score, args.judge]:
            out = subprocess.run(
                [args.pd, "eval", "--real", held_out, "--generated", images, "--extractor", space,
                 *weights(args, space), "--metrics", ",".join(METRICS), "--json", "--quiet"],
                check=True, capture_output=True, text=True).stdout
            found[space] = json.loads(out)["generated"][0]
        result.write_text(json.dumps(found))
    return json.loads(result.read_text())


def row(args, name, results):
    for space in [args.score, args.judge]:
        cells = []
        for metric in METRICS:
            values = [result[space][metric.replace("-", "_")] for result in results]
            spread = f" +- {(max(values) - min(values)) / 2:.3g}" if len(values) > 1 else ""
            cells.append(f"{sum(values) / len(values):.3f}{spread}")
        print(f"| {name} | {space} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
