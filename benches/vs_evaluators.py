#!/usr/bin/env python3
"""`pd eval --preset` beside the programs whose protocols the presets follow, on random weights and random images.

    pip install numpy scipy pillow torch torchvision pytorch-fid clean-fid torch-fidelity timm scikit-learn tensorflow-cpu
    cargo build --release
    python benches/vs_evaluators.py FOLDER [pytorch-fid clean-fid torch-fidelity adm=EVALUATOR.PY dgm=DIR edm2=DIR dinov2=DIR]
                                    [real=IMAGES fake=IMAGES]

FOLDER keeps weights, images and features. `adm` is evaluations/evaluator.py of openai/guided-diffusion, which runs as it is on a graph
made here of the same weights; `dgm`, `edm2` and `dinov2` are checkouts of layer6ai-labs/dgm-eval, NVlabs/edm2 and
facebookresearch/dinov2, of which the first two need the third. Without names, the programs of the package index run. With `real` and
`fake` they compare these images, which `adm` wants of one size. Prints for every value what the program says, what `pd` says, and their
relative difference, and for torch-fidelity the seconds of both.
"""

import contextlib
import importlib.util
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PD = os.environ.get("PD", os.path.join(os.path.dirname(__file__), "..", "target", "release", "pd"))
#: Images of each set.
COUNT = 48
#: Images of each subset of KID.
KID_SUBSET = 1000
#: The sets of one size, which the evaluator of ADM takes, and those of several.
SIZES = {"one": [(64, 64)], "several": [(64, 64), (96, 70), (340, 400), (32, 32)]}


def make_images(folder):
    for kind, sizes in SIZES.items():
        for side, seed in (("real", 0), ("fake", 1)):
            place = folder / kind / side
            if place.is_dir():
                continue
            place.mkdir(parents=True)
            random = np.random.RandomState(seed)
            for k in range(COUNT):
                width, height = sizes[k % len(sizes)]
                cell = [4, 8, 16][random.randint(3)]
                blocks = random.randint(0, 256, (height // cell + 1, width // cell + 1, 3))
                picture = np.kron(blocks, np.ones((cell, cell, 1)))[:height, :width]
                picture = picture + random.normal(0, 15, (height, width, 3)) + 10 * seed
                Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(place / f"{k:03}.png")


def inception_weights(folder):
    """A file in the names of pytorch-fid."""
    path = folder / "inception.pth"
    if path.exists():
        return path
    import torchvision

    torch.manual_seed(3)
    network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    weights = network.state_dict()
    for name, value in weights.items():
        if name.endswith("running_var"):
            weights[name] = torch.rand_like(value) * 0.5 + 1
        elif name.endswith("running_mean"):
            weights[name] = torch.randn_like(value) * 0.1
        elif name.endswith("bn.weight"):
            weights[name] = 1 + 0.1 * torch.randn_like(value)
        elif name.endswith("bias"):
            weights[name] = 0.05 * torch.randn_like(value)
        elif value.ndim >= 2:
            weights[name] = torch.randn_like(value) * 1.6 / np.sqrt(np.prod(value.shape[1:]))
    torch.save(weights, path)
    return path


def inception(folder, **options):
    import pytorch_fid.inception as module

    weights = torch.load(inception_weights(folder))
    module.load_state_dict_from_url = lambda *_, **__: weights
    return module.InceptionV3([3], **options).eval()


def files(folder, kind, side):
    return sorted(str(path) for path in images(folder, kind, side).rglob("*") if path.suffix in (".png", ".jpg"))


def images(folder, kind, side):
    return Path(OPTIONS[side]) if side in OPTIONS else folder / kind / side


def batches(files, most=32):
    """Pixels `[B, 3, H, W]`, 0 to 255, of images that follow each other with one size."""
    pixels = (torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) for file in files)
    for _, same in itertools.groupby(pixels, key=lambda image: image.shape):
        while batch := list(itertools.islice(same, most)):
            yield torch.stack(batch)


def moments(features):
    features = np.asarray(features, dtype=np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


def ours(folder, kind, preset, weights, *options, real=None, fake=None):
    """The values of all spaces."""
    sets = ["--real", real or images(folder, kind, "real"), "--generated", fake or images(folder, kind, "fake")]
    command = [PD, "eval", *sets, "--preset", preset, "--json", "--quiet"]
    for name, file in weights.items():
        command += ["--weights-of", f"{name}={file}"]
    # Nothing that an earlier run kept.
    with tempfile.TemporaryDirectory() as cache:
        variables = {**os.environ, "PD_CACHE": cache}
        done = subprocess.run([*command, *options], cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    spaces = json.loads(done.stdout)["spaces"]
    return {name: value for space in spaces for name, value in space["generated"][0].items()}


def report(preset, name, program, value, found):
    difference = abs(found[name] - value) / max(abs(value), 1e-300)
    print(f"| `--preset {preset}`: {name} | {program} {value:.9g} | {found[name]:.9g} | {difference:.1e} |", flush=True)


def distance(real, fake):
    from pytorch_fid.fid_score import calculate_frechet_distance

    return calculate_frechet_distance(*moments(fake), *moments(real))


def with_pytorch_fid(folder, _):
    from pytorch_fid.fid_score import get_activations

    network = inception(folder)
    real, fake = (get_activations(files(folder, "several", side), network, 1, 2048, "cpu", 0) for side in ("real", "fake"))
    found = ours(folder, "several", "pytorch-fid", {"inception-fid": inception_weights(folder)})
    report("pytorch-fid", "fid", "pytorch-fid", distance(real, fake), found)
    report("pytorch-fid", "fid", BY_SINGULAR_VALUES, exact_distance(real, fake), found)


def with_clean_fid(folder, _):
    from cleanfid import fid

    def features(network, dtype):
        def model(x):
            return network((x.to(dtype) - 128) / 128)[0].squeeze(-1).squeeze(-1)

        return [
            fid.get_files_features(
                files(folder, "several", side), model, num_workers=0, batch_size=8, device="cpu", mode="clean", verbose=False
            )
            for side in ("real", "fake")
        ]

    plain = inception(folder, resize_input=False, normalize_input=False)

    real, fake = features(plain, torch.float32)
    found = ours(folder, "several", "clean-fid", {"inception-fid": inception_weights(folder)})
    report("clean-fid", "fid", "clean-fid", fid.frechet_distance(*moments(fake), *moments(real)), found)
    report("clean-fid", "fid", BY_SINGULAR_VALUES, exact_distance(real, fake), found)
    exact = exact_distance(*features(plain.to(torch.float64), torch.float64))
    report("clean-fid", "fid", "the same of its features in float64", exact, found)


def with_torch_fidelity(folder, _):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    weights = inception_weights(folder)
    started = time.perf_counter()
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )

    def features(side):
        with torch.no_grad():
            rows = [network(pixels) for pixels in batches(files(folder, "several", side))]
        return [torch.cat(part) for part in zip(*rows)]

    (real, _), (fake, logits) = features("real"), features("fake")
    score = isc_features_to_metric(logits)
    fid = fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real), verbose=False)
    precision, recall = (float(value) for value in calculate_precision_recall_full(fake, real, 3)[:2])
    theirs = {
        "inception_score": score["inception_score_mean"],
        "inception_score_std": score["inception_score_std"],
        "fid": fid["frechet_inception_distance"],
        "precision": precision,
        "recall": recall,
    }
    metrics = "inception-score,fd,precision,recall"
    if min(len(real), len(fake)) > KID_SUBSET:
        kid = kid_features_to_metric(fake, real, kid_subsets=100, kid_subset_size=KID_SUBSET, verbose=False)
        theirs["kid_subsets"] = kid["kernel_inception_distance_mean"]
        metrics += ",kid-subsets"
    done = time.perf_counter()
    found = ours(folder, "several", "torch-fidelity", {"inception-fid": weights}, "--metrics", metrics)
    seconds = time.perf_counter() - done
    for name, value in theirs.items():
        report("torch-fidelity", name, "torch-fidelity", value, found)
    report("torch-fidelity", "fid", BY_SINGULAR_VALUES, exact_distance(real.numpy(), fake.numpy()), found)
    names = f"seconds for {len(real)} and {len(fake)} images"
    print(f"| {names} | torch-fidelity {done - started:.1f} | {seconds:.1f} | ratio {seconds / (done - started):.2f} |")


def tensorflow_graph(weights, path):
    """The network as the file of 2015 has it, under the names that programs ask for."""
    import tensorflow.compat.v1 as tf

    weights = {name: value.numpy() for name, value in weights.items()}
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [1, None, None, 3], name="ExpandDims")
        x = (tf.image.resize_bilinear(x, [299, 299]) - 128.0) * 0.0078125

        def conv(x, name, stride=1, padding="SAME", called=None):
            kernel = weights[f"{name}.conv.weight"].transpose(2, 3, 1, 0)
            x = tf.nn.conv2d(x, kernel, [1, stride, stride, 1], padding)
            norm = {part: weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
            x = tf.nn.batch_normalization(x, norm["running_mean"], norm["running_var"], norm["bias"], norm["weight"], 1e-3)
            return tf.nn.relu(x, name=called)

        def chain(x, block, names, last=(1, "SAME")):
            for name in names[:-1]:
                x = conv(x, f"{block}.{name}")
            return conv(x, f"{block}.{names[-1]}", *last)

        def pool(x, kind, size=3, stride=1, padding="SAME"):
            return kind(x, [1, size, size, 1], [1, stride, stride, 1], padding)

        average, largest = tf.nn.avg_pool, tf.nn.max_pool
        x = conv(x, "Conv2d_1a_3x3", 2, "VALID")
        x = conv(x, "Conv2d_2a_3x3", 1, "VALID")
        x = pool(conv(x, "Conv2d_2b_3x3"), largest, 3, 2, "VALID")
        x = conv(x, "Conv2d_3b_1x1", 1, "VALID")
        x = pool(conv(x, "Conv2d_4a_3x3", 1, "VALID"), largest, 3, 2, "VALID")
        double = ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            parts = [chain(x, block, names) for names in (["branch1x1"], ["branch5x5_1", "branch5x5_2"], double)]
            x = tf.concat([*parts, conv(pool(x, average), f"{block}.branch_pool")], 3)
        halved = (2, "VALID")
        parts = [chain(x, "Mixed_6a", ["branch3x3"], halved), chain(x, "Mixed_6a", double, halved)]
        x = tf.concat([*parts, pool(x, largest, 3, 2, "VALID")], 3)
        sevens = [f"branch7x7dbl_{i}" for i in range(1, 6)]
        for block, called in (("Mixed_6b", None), ("Mixed_6c", None), ("Mixed_6d", "mixed_6/conv"), ("Mixed_6e", None)):
            first = conv(x, f"{block}.branch1x1", called=called)
            parts = [chain(x, block, ["branch7x7_1", "branch7x7_2", "branch7x7_3"]), chain(x, block, sevens)]
            x = tf.concat([first, *parts, conv(pool(x, average), f"{block}.branch_pool")], 3)
        sevens = [f"branch7x7x3_{i}" for i in range(1, 5)]
        parts = [chain(x, "Mixed_7a", ["branch3x3_1", "branch3x3_2"], halved), chain(x, "Mixed_7a", sevens, halved)]
        x = tf.concat([*parts, pool(x, largest, 3, 2, "VALID")], 3)
        for block, kind in (("Mixed_7b", average), ("Mixed_7c", largest)):
            short, long = conv(x, f"{block}.branch3x3_1"), chain(x, block, ["branch3x3dbl_1", "branch3x3dbl_2"])
            parts = [conv(short, f"{block}.branch3x3_2{end}") for end in "ab"]
            parts += [conv(long, f"{block}.branch3x3dbl_3{end}") for end in "ab"]
            pooled = conv(pool(x, kind), f"{block}.branch_pool")
            x = tf.concat([conv(x, f"{block}.branch1x1"), *parts, pooled], 3)
        x = tf.nn.avg_pool(x, [1, 8, 8, 1], [1, 1, 1, 1], "VALID", name="pool_3")
        tf.matmul(tf.reshape(x, [-1, 2048]), tf.constant(weights["fc.weight"].T), name="softmax/logits/MatMul")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def with_adm(folder, evaluator):
    import tensorflow.compat.v1 as tf

    graph = folder / "classify_image_graph_def.pb"
    if not graph.exists():
        tensorflow_graph(torch.load(inception_weights(folder)), graph)
    for side in ("real", "fake"):
        pixels = np.stack([np.asarray(Image.open(file)) for file in files(folder, "one", side)])
        np.savez(folder / f"{side}.npz", pixels)
    sys.modules.setdefault("requests", types.ModuleType("requests"))
    program = module_of("evaluator", evaluator)
    os.chdir(folder)
    session = program.Evaluator(tf.Session())
    with contextlib.redirect_stderr(io.StringIO()):
        real, fake = (session.read_activations(f"{side}.npz") for side in ("real", "fake"))
    (stats, spatial), (fake_stats, fake_spatial) = (
        session.read_statistics(f"{side}.npz", acts) for side, acts in (("real", real), ("fake", fake))
    )
    precision, recall = session.compute_prec_recall(real[0], fake[0])
    theirs = {
        "inception_score": session.compute_inception_score(fake[0]),
        "fid": fake_stats.frechet_distance(stats),
        "sfid": fake_spatial.frechet_distance(spatial),
        "precision": precision,
        "recall": recall,
    }
    weights = {"inception-fid": inception_weights(folder)}
    found = ours(folder, "one", "adm", weights, "--save-stats", "adm-real.npz")
    for name, value in theirs.items():
        report("adm", name, "evaluator.py", value, found)
    # Its distances are in half precision, and its root is of a singular product while there are fewer images than numbers.
    exact = exact_precision_recall(real[0], fake[0])
    for name, value in zip(["precision", "recall"], exact):
        report("adm", name, "the same of its features, in float64", value, found)
    report("adm", "fid", BY_SINGULAR_VALUES, exact_distance(real[0], fake[0]), found)
    report("adm", "sfid", BY_SINGULAR_VALUES, exact_distance(real[1], fake[1]), found)
    # Statistics that either program wrote, read by the other.
    np.savez(folder / "their-real.npz", mu=stats.mu, sigma=stats.sigma, mu_s=spatial.mu, sigma_s=spatial.sigma)
    own, own_spatial = session.read_statistics("adm-real.npz", real)
    report("adm", "fid", "evaluator.py, our statistics", fake_stats.frechet_distance(own), found)
    report("adm", "sfid", "evaluator.py, our statistics", fake_spatial.frechet_distance(own_spatial), found)
    found = ours(folder, "one", "adm", weights, real="their-real.npz")
    report("adm, its statistics", "fid", "evaluator.py", theirs["fid"], found)
    report("adm, its statistics", "sfid", "evaluator.py", theirs["sfid"], found)
    # The file that it reads as images, and one with statistics beside them, as its reference files have.
    np.savez(folder / "their-reference.npz", np.load("real.npz")["arr_0"], **dict(np.load("their-real.npz")))
    for reference in ("real.npz", "their-reference.npz"):
        found = ours(folder, "one", "adm", weights, real=reference, fake="fake.npz")
        for name in ("fid", "sfid", "precision", "recall"):
            value = dict(zip(["precision", "recall"], exact)).get(name, theirs[name])
            report(f"adm, {reference} and fake.npz", name, "evaluator.py", value, found)


def exact_precision_recall(real, fake, k=3):
    from scipy.spatial.distance import cdist

    real, fake = real.astype(np.float64), fake.astype(np.float64)
    radii = [np.sort(cdist(rows, rows), axis=1)[:, k] for rows in (real, fake)]
    between = cdist(real, fake)
    return (between <= radii[0][:, None]).any(0).mean(), (between <= radii[1][None]).any(1).mean()


#: There are fewer images than numbers, so that covariances are singular; programs take roots of zeros that are rounding errors.
BY_SINGULAR_VALUES = "the same of its features, by singular values"


def exact_distance(real, fake):
    """The trace of the root of a product of covariances is the sum of the singular values of the product of the centred rows."""
    first, second = (np.asarray(rows, dtype=np.float64) for rows in (real, fake))
    means = first.mean(0) - second.mean(0)
    first, second = ((rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (first, second))
    cross = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return means @ means + (first**2).sum() + (second**2).sum() - 2 * cross


def module_of(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dinov2_weights(folder):
    """A file in the names and with the position embeddings of 518 pixels that are published."""
    path = folder / "dinov2-l14.safetensors"
    if not path.exists():
        import timm
        from safetensors.torch import save_file

        torch.manual_seed(5)
        network = timm.create_model("vit_large_patch14_dinov2.lvd142m", pretrained=False, num_classes=0)
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith("bias"):
                    value.normal_(0, 0.05)
                if name.endswith("gamma"):
                    value.normal_(0, 0.5)
                if name == "pos_embed":
                    value.normal_(0, 0.1)
        save_file(network.state_dict(), path)
    return path


def dinov2(folder, checkout):
    """The authors' network."""
    from safetensors.torch import load_file

    sys.path.insert(0, checkout)
    from dinov2.hub.backbones import dinov2_vitl14

    network = dinov2_vitl14(pretrained=False).eval()
    weights = {name: value for name, value in load_file(dinov2_weights(folder)).items()}
    print(network.load_state_dict(weights, strict=False))
    return network


def with_dgm(folder, checkout):
    """Its network, resizing and metrics; sets of at most 10 000 images are used whole."""
    network = dinov2(folder, OPTIONS["dinov2"])
    encoders = package_of("dgm_eval", checkout)
    encoder = encoders["models.dinov2"].DINOv2Encoder.__new__(encoders["models.dinov2"].DINOv2Encoder)
    torch.nn.Module.__init__(encoder)
    encoder.clean_resize = False

    def features(side):
        rows = []
        for file in files(folder, "several", side):
            with torch.no_grad():
                rows.append(network(encoder.transform(Image.open(file).convert("RGB"))[None].float()))
        return torch.cat(rows).numpy()

    real, fake = features("real"), features("fake")
    theirs = {"fd": encoders["metrics.fd"].compute_FD_with_reps(real.astype(np.float64), fake.astype(np.float64))}
    theirs |= encoders["metrics.prdc"].compute_prdc(real, fake, 5)
    theirs["authenticity"] = encoders["metrics.authpct"].compute_authpct(real, fake) / 100
    found = ours(folder, "several", "dgm", {"dinov2-l14": dinov2_weights(folder)})
    for name, value in theirs.items():
        report("dgm", name, "dgm-eval", value, found)
    report("dgm", "fd", BY_SINGULAR_VALUES, exact_distance(real, fake), found)


def package_of(name, checkout):
    """Modules of a package, without what its own start imports."""
    modules = {}
    for part in ("", ".models", ".metrics"):
        package = types.ModuleType(name + part)
        package.__path__ = [os.path.join(checkout, *(name + part).split("."))]
        sys.modules[name + part] = package
    for part in ("models.dinov2", "metrics.fd", "metrics.prdc", "metrics.authpct"):
        modules[part] = importlib.import_module(f"{name}.{part}")
    return modules


def with_edm2(folder, checkout):
    """Its DINOv2 detector and formula; its Inception network is a file that is not to be had here."""
    for name in ("generate_images", "training", "training.dataset"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["training"].dataset = sys.modules["training.dataset"]
    sys.path.insert(0, checkout)
    program = module_of("calculate_metrics", os.path.join(checkout, "calculate_metrics.py"))
    detector = program.DINOv2Detector.__new__(program.DINOv2Detector)
    detector.model, detector.resize_mode = dinov2(folder, OPTIONS["dinov2"]), "torch"

    def features(side):
        rows = []
        for file in files(folder, "several", side):
            with torch.no_grad():
                rows.append(detector(torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None]))
        return torch.cat(rows).numpy()

    def statistics(features):
        mean, covariance = moments(features)
        return {"fd_dinov2": {"mu": mean, "sigma": covariance}}

    real, fake = features("real"), features("fake")
    value = program.calculate_metrics_from_stats(statistics(fake), statistics(real), ["fd_dinov2"], verbose=False)
    weights = {"dinov2-l14": dinov2_weights(folder), "inception-fid": inception_weights(folder)}
    found = ours(folder, "several", "edm2", weights)
    report("edm2", "fd", "edm2", value["fd_dinov2"], found)
    report("edm2", "fd", BY_SINGULAR_VALUES, exact_distance(real, fake), found)


PROGRAMS = {
    "pytorch-fid": with_pytorch_fid,
    "clean-fid": with_clean_fid,
    "torch-fidelity": with_torch_fidelity,
    "adm": with_adm,
    "dgm": with_dgm,
    "edm2": with_edm2,
}
#: Programs that need no checkout.
INDEXED = ["pytorch-fid", "clean-fid", "torch-fidelity"]
OPTIONS = {}


def main():
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    make_images(folder)
    for argument in sys.argv[2:] or INDEXED:
        name, _, place = argument.partition("=")
        OPTIONS[name] = os.path.abspath(place) if place else None
    print("| | program | `pd` | relative difference |\n|---|---|---|---|")
    for name, place in OPTIONS.items():
        if name in PROGRAMS:
            PROGRAMS[name](folder, place)


main()
