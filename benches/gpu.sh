#!/usr/bin/env bash
# gpu.sh - everything that needs a GPU, in one go: checks against the reference implementations, timings, one table.
#
#   usage:  benches/gpu.sh pack DIR     where cargo and the CUDA compiler are: builds, and puts all that a run needs into DIR
#           benches/gpu.sh [DIR]        on the machine with the GPU; no cargo, no network; DIR defaults to this script's
#
# `pack` needs nvcc (CUDA_HOME, PATH) and, where there is no GPU to ask, CUDA_COMPUTE_CAP (90 for an H100 or H200; such a binary
# runs on that architecture only). A run needs the driver, libcublas, libcublasLt and libcurand of the toolkit's release; those of
# a Python package (nvidia-cublas, nvidia-curand, torch) are found by themselves.
# Environment: CUDA_DEVICE (cuda or cuda:N, default cuda), BATCH (default 64), THREADS (of the CPU, default all),
# ROWS (default 50000), CARGO_FLAGS for `pack` (default --features cuda). Exit code 1 if any check fails.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

pack() {
    set -e
    local out=$1 root built flags=${CARGO_FLAGS:---features cuda}
    root=$(dirname "$here")
    mkdir -p "$out/fixtures"
    # Without a driver here the libraries have to be opened at run time, which wants its own target directory.
    export RUSTFLAGS="--cfg feature=\"dynamic-loading\" ${RUSTFLAGS:-}"
    local target=x86_64-unknown-linux-gnu
    (cd "$root" && cargo build --release --target $target $flags --bin pd --example time_network --example knn)
    built=${CARGO_TARGET_DIR:-$root/target}/$target/release
    cp "$built/pd" "$built/examples/time_network" "$built/examples/knn" "$out/"
    local tests
    tests=$(cd "$root" && cargo test --release --target $target $flags --lib --no-run --message-format=json |
        grep '"test":true' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
    cp "$tests" "$out/lib-tests"
    strip "$out/pd" "$out/time_network" "$out/knn" "$out/lib-tests" 2>/dev/null || true
    cp -r "$root/tests/fixtures/extractors" "$out/fixtures/"
    cp "$root/examples/digits.zip" "$here/gpu.sh" "$out/"
    echo "run $out/gpu.sh on the machine with the GPU" >&2
}

if [[ ${1:-} == pack ]]; then
    pack "${2:?the directory to pack into}"
    exit
fi

dir=${1:-$here}
device=${CUDA_DEVICE:-cuda} batch=${BATCH:-64} threads=${THREADS:-$(nproc)} rows=${ROWS:-50000} k=10
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
libraries=$(python3 -c 'import glob, sysconfig
print(":".join(glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib")))' 2>/dev/null) &&
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries
table=()
row() { table+=("$(printf '%-34s %-22s %s' "$1" "$2" "$3")"); }

for program in pd time_network knn lib-tests; do
    [[ -x $dir/$program ]] || { echo "gpu.sh: $dir/$program is missing: see \`gpu.sh pack\`" >&2; exit 2; }
done

# --- state of the machine ---
"$dir/pd" doctor | tee "$work/doctor"
row "CUDA" "$device" "$(sed -n 's/^CUDA *//p' "$work/doctor")"
if ! "$dir/knn" made:64x8 3 "exact@$device" >"$work/small" 2>"$work/error"; then
    cat "$work/error" >&2
    exit 1
fi

# --- networks against the reference implementations, on the device ---
check() { # check NAME FILTER...
    local name=$1
    shift
    if PD_TEST_DEVICE=$device PD_TEST_FIXTURES=$dir/fixtures \
        "$dir/lib-tests" --test-threads 1 "$@" >"$work/tests" 2>&1 && grep -q 'test result: ok. [1-9]' "$work/tests"; then
        row "$name" "$device" "$(sed -n 's/^test result: //p' "$work/tests")"
    else
        failed=1
        grep -E 'panicked|differ|failed|FAILED' "$work/tests" | head -20 >&2
        row "$name" "$device" "FAILED"
    fi
}
check "fixtures of the extractors" extract::tests::

# --- one command on both devices: densities that differ by rounding only ---
score() { "$dir/pd" score "$dir/digits.zip" --quiet "${@:2}" -o "$work/$1.csv"; }
if score cpu --device cpu && score cuda --device "$device" && score bf16 --device "$device" --dtype bf16; then
    for other in cuda bf16; do
        worst=$(paste -d, <(cut -d, -f2 "$work/cpu.csv") <(cut -d, -f2 "$work/$other.csv") |
            awk -F, 'NR > 1 { d = $1 - $2; d = (d < 0 ? -d : d) / $1; if (d > worst) worst = d } END { printf "%.2e", worst }')
        row "pd score, $other beside cpu" "pseudo density" "largest relative difference $worst"
    done
else
    failed=1
    row "pd score" "$device" "FAILED"
fi

# --- milliseconds for each image ---
median() { tr -d '[] ' | tr ',' '\n' | sort -n | awk -v batch="$1" '{ v[NR] = $1 } END { if (NR) printf "%.3f", v[int((NR + 1) / 2)] / batch }'; }
time_of() { "$dir/time_network" "$1" "$2" "$3" 10 "$threads" "${@:4}" 2>"$work/error" | median "$3"; }
for network in resnet18:224 resnet50:224 efficientnet-lite0:224 vit-b16:224 dinov2-s14:224 dinov2-b14:224 vgg16:224 inception-fid:299; do
    name=${network%:*} size=${network#*:}
    on_cpu=$(time_of "$name" "$size" 8 cpu)
    f32=$(time_of "$name" "$size" "$batch" "$device" f32)
    bf16=$(time_of "$name" "$size" "$batch" "$device" bf16)
    [[ -n $f32 && -n $bf16 ]] || { failed=1; cat "$work/error" >&2; }
    row "$name, ms an image" "batch $batch" "cpu ${on_cpu:-FAILED}  f32 ${f32:-FAILED}  bf16 ${bf16:-FAILED}"
done

# --- exact neighbours ---
seconds() { sed 's/.*"search": \([0-9.]*\).*/\1/'; }
on_device=$("$dir/knn" "made:${rows}x768" $k "exact@$device" "$threads" "$work/device.bin" | seconds)
on_cpu=$("$dir/knn" "made:${rows}x768" $k exact "$threads" "$work/cpu.bin" | seconds)
if cmp -s "$work/device.bin" "$work/cpu.bin"; then same="the same neighbours"; else same="OTHER NEIGHBOURS"; failed=1; fi
row "exact neighbours, s" "$rows x 768, k $k" "cpu $on_cpu  $device $on_device  ($same)"

printf '\n%s\n' "${table[@]}"
exit $failed
