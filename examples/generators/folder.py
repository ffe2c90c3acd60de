"""Images that exist already, the one of each seed by its place: pd sample --generator-command 'python folder.py DIR' --seeds 0-99 ..."""
import json
import pathlib
import shutil
import sys

folder = pathlib.Path(sys.argv[1])
kinds = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)

for line in sys.stdin:
    request = json.loads(line)
    if "hello" in request:
        answer = {"name": "folder", "version": f"{len(images)} images"}
    elif request["seed"] < len(images):
        image = images[request["seed"]]
        output = pathlib.Path(request["output"]).with_suffix(image.suffix)
        shutil.copyfile(image, output)
        answer = {"id": request["id"], "output": str(output)}
    else:
        answer = {"id": request["id"], "error": f"{folder} has {len(images)} images: list them by --seeds 0-{len(images) - 1}"}
    print(json.dumps(answer), flush=True)
