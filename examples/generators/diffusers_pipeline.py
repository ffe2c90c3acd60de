"""Images of a diffusers pipeline: pd sample --generator-command 'python diffusers_pipeline.py PIPELINE' --prompts prompts.txt ..."""
import argparse
import hashlib
import inspect
import json
import sys

import diffusers
import numpy
import torch

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("pipeline", help="directory of a pipeline, or its name on the hub")
options.add_argument("--lora", action="append", default=[], help="its file, directory or name on the hub; may be repeated")
options.add_argument("--latents", action="store_true", help="let pd make the initial noise: needed by pd perturb")
options.add_argument("--dtype", default="float32", help="such as bfloat16")
options.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="such as num_inference_steps=30 height=512")
options = options.parse_args()
answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer


def value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


pipeline = diffusers.DiffusionPipeline.from_pretrained(options.pipeline, torch_dtype=getattr(torch, options.dtype))
for lora in options.lora:
    pipeline.load_lora_weights(lora)
device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
pipeline.to(device).set_progress_bar_config(disable=True)
fixed = {name: value(text) for name, text in (pair.split("=", 1) for pair in options.set)}
module = sys.modules[type(pipeline).__module__]  # where the pipeline takes its noise from
draw = getattr(module, "randn_tensor", None)


def generate(seed, prompt, first_noise):
    def noise(*arguments, **named):  # the first noise of a pipeline is its latent
        module.randn_tensor = draw
        return first_noise(draw(*arguments, **named))

    module.randn_tensor = noise if first_noise else draw
    told = dict(fixed, prompt=prompt or fixed.get("prompt", "")) if "prompt" in inspect.signature(pipeline.__call__).parameters else fixed
    return pipeline(generator=torch.Generator("cpu").manual_seed(seed), **told).images[0]


digest = hashlib.sha256(repr(options).encode()).hexdigest()[:8]  # other options are another generator
hello = {"name": type(pipeline).__name__, "version": f"diffusers {diffusers.__version__}, options {digest}"}
if options.latents:
    generate(0, "", lambda drawn: hello.update(latent=list(drawn.shape[1:])) or drawn)

for request in map(json.loads, sys.stdin):
    answer = {"id": request["id"]} if "id" in request else hello
    if "id" in request:
        given = (lambda drawn: torch.from_numpy(numpy.load(request["latent"]))[None].to(drawn)) if "latent" in request else None
        generate(request["seed"], request.get("prompt"), given).save(request["output"])
    print(json.dumps(answer), file=answers, flush=True)
