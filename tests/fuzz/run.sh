#!/usr/bin/env bash
# Coverage-guided fuzzing of every reader of files, with libFuzzer. Needs Rust (stable), a C++ compiler and Python 3.
#
#   tests/fuzz/run.sh MINUTES [KIND…]   fuzzes each kind (all of them, if none is named) for so many minutes on one core, and
#                                       prints a line for each; what it finds stays in target/fuzz/
#   tests/fuzz/run.sh keep [KIND…]      reduces what was found to the small archives in tests/fuzz/corpus/, which `cargo test` reads
#
# An input that fails is kept as target/fuzz/KIND/failures/…; `FUZZ=KIND target/fuzz/build/…/fuzz FILE` repeats it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$here/../../target/fuzz
# Small archives: what `cargo test` reads takes seconds.
most_kept=49152
host=$(rustc -vV | sed -n 's/^host: //p')

what=${1:?MINUTES or keep}
shift
kinds=("$@")
if [ ${#kinds[@]} -eq 0 ]; then
    mapfile -t kinds < <(sed -n 's/^ *reader("\([^"]*\)".*/\1/p' "$here/../../src/internals/readers.rs")
fi

# The flags that cargo-fuzz gives; with a target named they are not applied to build scripts.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares"
# The versions that are shipped; cargo adds its own of what only fuzzing needs.
cp "$here/../../Cargo.lock" "$here/Cargo.lock"
RUSTFLAGS=$(echo $flags) cargo build -q --release --manifest-path "$here/Cargo.toml" --target "$host" --target-dir "$work/build"
fuzz=$work/build/$host/release/fuzz

# Inputs are written to files; in memory that takes no time.
if [ -d /dev/shm ]; then
    export TMPDIR=/dev/shm
fi

for kind in "${kinds[@]}"; do
    found=$work/$kind
    mkdir -p "$found/inputs" "$found/failures"
    kept=$here/corpus/$kind.zip
    if [ -e "$kept" ]; then
        python3 -m zipfile -e "$kept" "$found/inputs"
    fi
    export FUZZ=$kind
    if [ "$what" = keep ]; then
        rm -rf "$found/least"
        mkdir "$found/least"
        "$fuzz" -merge=1 "$found/least" "$found/inputs" 2>"$found/log"
        python3 - "$found/least" "$kept" "$most_kept" <<'PYTHON'
import os, sys, zipfile
folder, archive, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
names = sorted(os.listdir(folder), key=lambda name: (os.path.getsize(os.path.join(folder, name)), name))
os.makedirs(os.path.dirname(archive), exist_ok=True)
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
    for name in names:
        most -= os.path.getsize(os.path.join(folder, name))
        if most < 0 and out.namelist():
            break
        out.writestr(zipfile.ZipInfo(name), open(os.path.join(folder, name), "rb").read(), zipfile.ZIP_DEFLATED)
    print(f"{os.path.basename(archive)}: {len(out.namelist())} of {len(names)} inputs")
PYTHON
        continue
    fi
    status=0
    "$fuzz" "$found/inputs" -max_total_time=$((60 * what)) -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$found/failures/" 2>"$found/log" || status=$?
    last() { sed -n "s/.*$1 *\([0-9][0-9]*\).*/\1/p" "$found/log" | tail -1; }
    printf '%-14s %10s executions  %6s edges  %5s inputs  %6s kB at most  %5s MB process  %s\n' "$kind" \
        "$(last executed_units:)" "$(last cov:)" "$(find "$found/inputs" -type f | wc -l)" \
        "$(($(last 'most memory:') / 1024))" "$(last peak_rss_mb:)" "$([ $status = 0 ] && echo passed || echo "FAILED: $found/failures")"
done
