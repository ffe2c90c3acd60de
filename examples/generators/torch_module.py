"""Images of a torch module: pd sample --generator-command 'python torch_module.py gan.py:Generator g.pth --latent 128' ..."""
import argparse
import hashlib
import importlib.util
import json
import pathlib
import sys

import numpy
import torch

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("module", metavar="FILE:CLASS", help="where the class of the generator is")
options.add_argument("checkpoint", help="its weights, as torch.save wrote them, or .safetensors")
options.add_argument("--latent", type=int, nargs="+", required=True, help="shape of one latent, such as 128 or 128 1 1")
options.add_argument("--arguments", type=json.loads, default={}, help="of the class, as JSON: '{\"width\": 64}'")
options.add_argument("--key", help="entry of the checkpoint that holds the weights, such as g_ema")
options.add_argument("--classes", type=int, help="their number, if forward takes a latent and a class")
options.add_argument("--one-hot", action="store_true", help="forward takes the class as a vector")
options.add_argument("--range", type=float, nargs=2, default=[-1, 1], help="values of black and white [default: -1 1]")
options = options.parse_args()
answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer

file, name = options.module.rsplit(":", 1)
sys.path.insert(0, str(pathlib.Path(file).resolve().parent))
spec = importlib.util.spec_from_file_location("generator", file)
source = importlib.util.module_from_spec(spec)
spec.loader.exec_module(source)
device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
if options.checkpoint.endswith(".safetensors"):
    from safetensors.torch import load_file

    weights = load_file(options.checkpoint)
else:
    weights = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
generator = getattr(source, name)(**options.arguments)
generator.load_state_dict(weights[options.key] if options.key else weights)
generator.to(device).eval()

told = [pathlib.Path(path).read_bytes() for path in (file, options.checkpoint)]
told = hashlib.sha256(repr((told, options.arguments, options.key, options.one_hot)).encode()).hexdigest()[:8]
hello = {"name": f"{pathlib.Path(file).stem}.{name}", "latent": options.latent, "range": options.range}
hello["version"] = f"torch {torch.__version__}, files and options {told}"
if options.classes:
    hello["classes"] = options.classes

for request in map(json.loads, sys.stdin):
    answer = {"id": request["id"]} if "id" in request else hello
    if "id" in request:
        inputs = [torch.from_numpy(numpy.load(request["latent"]))[None].to(device)]
        if options.classes:
            label = torch.tensor([request.get("class", 0)], device=device)
            inputs.append(torch.nn.functional.one_hot(label, options.classes).float() if options.one_hot else label)
        with torch.inference_mode():
            image = generator(*inputs)[0].float().cpu().numpy()
        answer["output"] = str(pathlib.Path(request["output"]).with_suffix(".npy"))
        numpy.save(answer["output"], image)
    print(json.dumps(answer), file=answers, flush=True)
