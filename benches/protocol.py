"""What `--generator-command` itself costs: the time of `pd sample` beside that of the program that makes the images.

    python benches/protocol.py [IMAGES]

Needs Python alone. The program is this file: it waits so many milliseconds for each image, as one that computes elsewhere does, writes a
PNG of 64 x 64 pixels and answers. It adds up the time from reading a request to its answer; whatever else passes, between the first image
and the last, is the protocol's: messages, reading, checking and writing the image, the table. Two lengths of one run are taken apart, so
that starting and ending do not count. The shortest of three runs counts.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
import zlib

PD = pathlib.Path(__file__).resolve().parent.parent / "target" / "release" / "pd"
SIDE = 64
OPEN = [1, 8, 32]
WORK = [0, 10, 100]
ROUNDS = 3


def png(seed):
    """Noise, which no compression makes small."""
    state, rows = seed * 2654435761 % 2**32 or 1, bytearray()
    for _ in range(SIDE):
        rows.append(0)
        for _ in range(3 * SIDE):
            state = (state * 1664525 + 1013904223) % 2**32
            rows.append(state >> 24)
    chunk = lambda name, data: len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    header = SIDE.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 1)) + chunk(b"IEND", b"")


def program(work, log):
    ready = [png(seed) for seed in range(8)]
    busy = 0.0
    for line in sys.stdin:
        start = time.perf_counter()
        request = json.loads(line)
        if "hello" in request:
            print(json.dumps({"name": "waits"}), flush=True)
            continue
        time.sleep(work / 1000)
        pathlib.Path(request["output"]).write_bytes(ready[request["seed"] % len(ready)])
        print(json.dumps({"id": request["id"]}), flush=True)
        busy += time.perf_counter() - start
    pathlib.Path(log).write_text(str(busy))


def run(images, work, batch):
    """Seconds of all, and of the program."""
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/busy"
        command = f"{sys.executable} {__file__} --program {work} {log}"
        words = ["sample", "--generator-command", command, "--seeds", f"0-{images - 1}", "--batch", str(batch), "-o", f"{folder}/out", "-q"]
        start = time.perf_counter()
        subprocess.run([PD, *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start, float(pathlib.Path(log).read_text())


def main():
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print("| work of the program | open requests | ms an image | of these the program's | the protocol's | its share |")
    print("|---|---|---|---|---|---|")
    for work in WORK:
        few, many = (images // 8, images // 2) if work == max(WORK) else (images // 4, images + images // 4)
        for batch in OPEN:
            best = lambda n: min(run(n, work, batch) for _ in range(ROUNDS))
            (short, busy_short), (long, busy_long) = best(few), best(many)
            each = 1000 * (long - short) / (many - few)
            busy = 1000 * (busy_long - busy_short) / (many - few)
            print(f"| {work} ms | {batch} | {each:.2f} | {busy:.2f} | {each - busy:.2f} | {100 * (1 - busy / each):.0f} % |", flush=True)


if sys.argv[1:2] == ["--program"]:
    program(float(sys.argv[2]), sys.argv[3])
else:
    main()
