"""Images of a ComfyUI workflow: pd sample --generator-command 'python comfyui.py workflow.json --prompt 6.text' --prompts prompts.txt ..."""
import argparse
import hashlib
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request as web

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("workflow", help="file that File > Export (API) of ComfyUI has written, with a node that saves or previews the image")
parser.add_argument("--server", default="http://127.0.0.1:8188", help="where ComfyUI runs [default: %(default)s]")
parser.add_argument("--seed", nargs="+", metavar="NODE.INPUT", help="what the seed goes to [default: inputs called seed or noise_seed]")
parser.add_argument("--prompt", metavar="NODE.INPUT", help="what the prompt goes to, such as 6.text")
options = parser.parse_args()
workflow = json.loads(pathlib.Path(options.workflow).read_text(encoding="utf-8"))
nodes = {node: held["inputs"] for node, held in workflow.items() if isinstance(held, dict) and "class_type" in held}
# A list is a link to another node.
inputs = [f"{node}.{name}" for node, held in nodes.items() for name, value in held.items() if not isinstance(value, list)]
seeds = options.seed or [place for place in inputs if place.endswith((".seed", ".noise_seed"))]
for place in (seeds or ["called seed or noise_seed"]) + [options.prompt] * bool(options.prompt):
    if place not in inputs:
        parser.error(f"the workflow has no input {place}; it has {', '.join(inputs) or 'none: is it from File > Export (API)?'}")


def ask(path, message=None):
    try:
        with web.urlopen(options.server + path, json.dumps(message).encode() if message else None) as answer:
            return answer.read()
    except web.URLError as error:
        answered = isinstance(error, web.HTTPError)
        raise OSError(error.read().decode(errors="replace") if answered else f"{error.reason}: is ComfyUI running there?") from error


def generate(request):
    if "prompt" in request and not options.prompt:
        raise OSError("--prompt has to name the input that the prompt goes to, such as 6.text")
    for place in seeds + [options.prompt] * ("prompt" in request):
        node, name = place.split(".", 1)
        nodes[node][name] = request["prompt" if place == options.prompt else "seed"]
    job = json.loads(ask("/prompt", {"prompt": workflow}))["prompt_id"]
    while not (found := json.loads(ask(f"/history/{job}"))):
        time.sleep(0.05)
    if not (images := [image for node in found[job]["outputs"].values() for image in node.get("images", [])]):
        raise OSError(f"the workflow made no image: {json.dumps(found[job]['status'])}")
    return ask("/view?" + urllib.parse.urlencode(min(images, key=lambda image: image["type"] != "output")))


for request in map(json.loads, sys.stdin):
    try:
        if "id" in request:
            pathlib.Path(request["output"]).write_bytes(generate(request))
            answer = {"id": request["id"]}
        else:
            server, told = json.loads(ask("/system_stats"))["system"]["comfyui_version"], repr((workflow, seeds, options.prompt))
            answer = {"name": "ComfyUI", "version": f"{server}, workflow {hashlib.sha256(told.encode()).hexdigest()[:8]}"}
    except OSError as error:
        answer = {"id": request.get("id"), "error": f"{options.server}: {error}"}
    print(json.dumps(answer), flush=True)
