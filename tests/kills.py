#!/usr/bin/env python3
"""Kills every command that writes, runs it again, and compares what there is with a run that nobody disturbed, byte by byte.

    cargo build --release
    python3 tests/kills.py --pd target/release/pd                 every command: 50 random moments and every kind of step of its end
    python3 tests/kills.py --pd target/release/pd embed merge-embed   those that are named
    python3 tests/kills.py --list

Random moments are SIGKILL and SIGTERM in turn. Steps are calls of the system that change a directory: strace counts them in one run and
kills the process as it enters one of them (`apt-get install strace`; without it they are left out). A trial has failed if the second run
ends otherwise than the undisturbed one, if a file differs, is missing or is too many (a temporary file, a lock), or if the process still
lives ten seconds after SIGTERM. Failed trials stay in the working directory, each with the file `trial.txt`. Python 3.9, nothing else.
"""
import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

# Calls that make, name, empty or remove something, and those that make it last.
STEPS = ("openat", "mkdir", "rename", "renameat2", "link", "linkat", "symlink", "symlinkat", "ftruncate", "fsync", "fdatasync", "unlink",
         "unlinkat", "rmdir")
# Times of day, which pages tell, are the only thing that may differ.
TIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?")
# Seconds that a process may live on after SIGTERM.
PATIENCE = 10
# Where in the directory of a trial the program keeps what no result depends on: only what is left over there counts.
CACHE = "cache"
TEMPORARY = re.compile(r"\.pd\.tmp$|\.lock$")
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Case:
    """A command: the words before it prepare its directory."""

    def __init__(self, name, command, *before, once=False):
        # `once`: where it is finished, a second run is an error that changes nothing.
        self.name, self.command, self.before, self.once = name, command, before, once


REFERENCE = ("embed digits -o ref", "index ref --k 5")
CASES = [
    Case("embed", "embed digits -o ref"),
    Case("embed-again", "embed digits -o ref", "embed digits -o ref", "@change digits"),
    Case("index", "index ref --k 5", "embed digits -o ref"),
    Case("score", "score digits --k 5 -o scores.csv"),
    Case("sample", "sample --generator generator --reference ref --bias match -n 8 --pilot 40 --grid -o out", *REFERENCE),
    Case("sample-pool", "sample --pool pool --reference ref --bias match -n 20 --grid --distinct -o out", *REFERENCE),
    Case("perturb", "perturb --generator generator --reference ref --bias diversity --seeds 0-3 --steps 2 -o out", *REFERENCE),
    Case("sweep", "sweep --generator generator --reference ref -n 128 -o out", *REFERENCE),
    Case("finetune", "finetune --generator generator --data digits --reference ref --bias fidelity --steps 6 --snap 2 -o out",
         *REFERENCE),
    Case("select", "select pool -n 12 --reference ref --novel --distinct -o out", *REFERENCE),
    Case("resample", "resample pool --reference ref --bias diversity --for kohya -o out", *REFERENCE),
    Case("eval", "eval --real digits --generated pool --groups folder -o eval.csv --per-sample rows.csv"),
    Case("eval-shard", "eval --real digits --generated pool --shard 0/1 -o parts"),
    Case("dups-move", "dups pool --move copies"),
    Case("dups-delete", "dups pool --delete"),
    Case("dups-undo", "dups --undo copies", "dups pool --move copies", once=True),
    Case("report", "report ref --images digits", *REFERENCE),
    Case("merge-embed", "merge ref", "embed digits -o ref --shard 0/2", "embed digits -o ref --shard 1/2"),
    Case("merge-index", "merge ref", "embed digits -o ref", "index ref --k 5 --shard 0/2", "index ref --k 5 --shard 1/2"),
    Case("merge-sample", "merge out", *REFERENCE,
         *(f"sample --generator generator --reference ref --bias match -n 8 --pilot 40 --seeds 0-255 --shard {i}/2 -o out" for i in range(2))),
    Case("merge-eval", "merge parts", *(f"eval --real digits --generated pool --shard {i}/2 -o parts" for i in range(2))),
]


def pictures(place):
    """40 digits, and 30 of the photographs of garments, of which some stand twice."""
    with zipfile.ZipFile(os.path.join(PROJECT, "examples/digits.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        for name in names[:: len(names) // 40][:40]:
            archive.extract(name, os.path.join(place, "digits"))
    with zipfile.ZipFile(os.path.join(PROJECT, "examples/garments.zip")) as archive:
        names = [name for name in archive.namelist() if name.startswith("new/") and name.endswith(".jpg")]
        for number, name in enumerate(names[:30]):
            content = archive.read(name)
            for copy in range(2 if number % 5 == 0 else 1):
                path = os.path.join(place, "pool", "ab"[copy], os.path.basename(name))
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(content)


def change(folder):
    """One picture changed, one gone, one new."""
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    shutil.copy(paths[0], os.path.join(folder, "new.png"))
    shutil.copy(paths[1], paths[2])
    os.remove(paths[3])


def content(place):
    """Digests of all files below a directory, the aims of links, and the empty directories."""
    found = {}
    for where, folders, names in os.walk(place):
        where_from = os.path.relpath(where, place)
        if where_from.split(os.sep)[0] == CACHE:
            found.update((os.path.join(where_from, name), "left over") for name in folders + names if TEMPORARY.search(name))
            continue
        if not folders and not names:
            found[where_from + "/"] = "empty"
        for name in names:
            path = os.path.join(where, name)
            if os.path.islink(path):
                found[os.path.join(where_from, name)] = os.readlink(path).replace(place, "")
                continue
            with open(path, "rb") as file:
                data = file.read()
            # Where a file was moved from is written down, and each trial is in a directory of its own.
            data = data.replace(os.fsencode(os.path.realpath(place)), b"")
            if name.endswith(".html"):
                data = TIME.sub(b"", data)
            found[os.path.join(where_from, name)] = hashlib.sha256(data).hexdigest()
    return found


class Runner:
    def __init__(self, pd, work, seed):
        self.pd, self.work, self.random = os.path.abspath(pd), work, random.Random(seed)
        self.generator = os.path.join(work, "generator")

    def start(self, command, place, before=()):
        # What is kept in the cache of a trial spares no other one its work.
        environment = dict(os.environ, PD_CACHE=os.path.join(place, CACHE))
        return subprocess.Popen([*before, self.pd, *command.split()], cwd=place, env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, command, place, before=()):
        process = self.start(command, place, before)
        text = process.communicate()[0].decode(errors="replace")
        return process.returncode, text

    def lay_out(self):
        """The demonstration's generator."""
        place = os.path.join(self.work, "first")
        os.makedirs(place)
        self.run("sample -n 1 -q", place)
        cache = os.path.join(place, CACHE)
        demonstration = next(name for name in os.listdir(cache) if name.startswith("demonstration-"))
        shutil.copytree(os.path.join(cache, demonstration, "generator"), self.generator)

    def fresh(self, start, name):
        place = os.path.join(self.work, name)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(start, place, symlinks=True)
        # Files are put back where they were, wherever their journal lies.
        journal = os.path.join(place, "copies", "moved.jsonl")
        if os.path.exists(journal):
            with open(journal) as file:
                text = file.read()
            with open(journal, "w") as file:
                file.write(text.replace(os.path.realpath(start), os.path.realpath(place)))
        return place

    def case(self, case, moments, steps):
        start = os.path.join(self.work, case.name, "start")
        os.makedirs(start)
        pictures(start)
        shutil.copytree(self.generator, os.path.join(start, "generator"))
        for command in case.before:
            if command.startswith("@change "):
                change(os.path.join(start, command.split()[1]))
                continue
            code, text = self.run(command, start)
            if code != 0:
                sys.exit(f"{case.name}: `pd {command}` ended with {code}:\n{text}")
        whole = self.fresh(start, f"{case.name}/whole")
        begun = time.monotonic()
        code, text = self.run(case.command, whole)
        seconds = time.monotonic() - begun
        if code != 0:
            sys.exit(f"{case.name}: `pd {case.command}` ended with {code}:\n{text}")
        expected = content(whole)
        self.failed, self.slowest, done = [], 0.0, 0
        for number in range(moments):
            name, sent = ("KILL", signal.SIGKILL) if number % 2 == 0 else ("TERM", signal.SIGTERM)
            moment = self.random.uniform(0, seconds)
            place = self.fresh(start, f"{case.name}/moment-{number:03}")
            process = self.start(case.command, place)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                pass
            process.send_signal(sent)
            asked = time.monotonic()
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.fail(place, f"{name} after {moment:.3f} s", "lived on", "")
                continue
            self.slowest = max(self.slowest, time.monotonic() - asked) if name == "TERM" else self.slowest
            done += process.returncode == 0
            self.again(case, place, expected, f"{name} after {moment:.3f} s")
        points = self.points(case, start, steps)
        for number, (call, count) in enumerate(points):
            place = self.fresh(start, f"{case.name}/step-{number:03}")
            inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"]
            self.run(case.command, place, inject)
            self.again(case, place, expected, f"entering {call} for the {count}th time")
        kinds = sorted({kind for kind, _ in self.failed})
        print(f"{case.name:<14} {seconds:7.2f} s {moments:5} moments ({done} too late) {len(points):5} steps {len(self.failed):5} failed "
              f"{self.slowest:6.2f} s to stop  {'; '.join(kinds)}", flush=True)
        if not self.failed:
            shutil.rmtree(os.path.join(self.work, case.name))
        return len(self.failed)

    def points(self, case, start, steps):
        """Kinds of steps with their numbers: the last ones of each kind."""
        if steps == 0 or shutil.which("strace") is None:
            return []
        place = self.fresh(start, f"{case.name}/counted")
        log = os.path.join(self.work, case.name, "calls")
        self.run(case.command, place, ["strace", "-f", "-qq", "-o", log, "-e", "trace=" + ",".join(STEPS)])
        counts, changing = {}, {}
        with open(log, errors="replace") as lines:
            for line in lines:
                found = re.match(r"(\d+) +(\w+)\((.*)", line)
                if not found:
                    continue
                thread, call, rest = found.groups()
                # strace counts the calls of each thread by itself.
                count = counts[thread, call] = counts.get((thread, call), 0) + 1
                if call != "openat" or "O_CREAT" in rest or "O_TMPFILE" in rest or "O_DIRECTORY" in rest:
                    changing.setdefault(call, set()).add(count)
        return [(call, count) for call in STEPS for count in sorted(changing.get(call, ()))[-steps:]]

    def again(self, case, place, expected, how):
        code, text = self.run(case.command, place)
        found = content(place)
        if code != 0 and not (case.once and found == expected):
            self.fail(place, how, "second run failed", f"ended with {code}:\n{text}")
        elif found != expected:
            missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
            other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
            kind = "left over" if more and not missing and not other else "other bytes" if other else "missing"
            self.fail(place, how, kind, f"missing {missing}\ntoo many {more}\nother bytes {other}\n{text}")
        else:
            shutil.rmtree(place)

    def fail(self, place, how, kind, text):
        self.failed.append((kind, how))
        with open(os.path.join(place, "trial.txt"), "w") as file:
            file.write(f"{how}: {kind}\n{text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pd", default=os.path.join(PROJECT, "target/release/pd"), help="the program")
    parser.add_argument("--moments", type=int, default=50, help="random moments for each command")
    parser.add_argument("--steps", type=int, default=12, help="last steps of each kind for each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", help="an empty directory to work in, which stays [default: a temporary one]")
    parser.add_argument("--list", action="store_true", help="list the commands")
    parser.add_argument("names", nargs="*", metavar="COMMAND")
    args = parser.parse_args()
    known = [case.name for case in CASES]
    if args.list:
        print("\n".join(f"{case.name:<14} pd {case.command}" for case in CASES))
        return
    wrong = [name for name in args.names if name not in known]
    if wrong:
        sys.exit(f"unknown: {', '.join(wrong)}; there are {', '.join(known)}")
    work = os.path.abspath(args.work) if args.work else tempfile.mkdtemp(prefix="kills-")
    runner = Runner(args.pd, work, args.seed)
    runner.lay_out()
    failed = sum(runner.case(case, args.moments, args.steps) for case in CASES if not args.names or case.name in args.names)
    if failed:
        sys.exit(f"{failed} trials failed; they are in {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
