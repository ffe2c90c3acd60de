#!/usr/bin/env bash
# Runs the comparisons one after the other and writes what they print, with the machine and the versions of the peers.
#
#     benches/all.sh OUT [SCRIPT ...]
#
# OUT gets a file for each script and `figures.md` with all of them. Scripts are named without `.py`; all of them take hours, in which
# the machine should do nothing else. The peers that a script names at its top go into an environment of its own under OUT.
# Some need what the project does not hold, and are left out without it:
#
#     PHOTOS=FOLDER   photographs, the network `efficientnet-lite0` in the cache: vs_fastdup, vs_cleanvision, vs_dataloader
#     DCGAN=FOLDER    G.pth and D.pth of a DCGAN, and its images in images/: vs_pytorch_finetune, vs_pytorch_perturb
set -euo pipefail

if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
    exit 2
fi
benches=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$benches/.."
pd=$PWD/target/release/pd

scripts=("$@")
if [ $# -eq 0 ]; then
    scripts=(vs_faiss knn_graph growth vs_runtimes vs_pytorch_training vs_prdc metric_sanity vs_submodular protocol
        vs_fastdup vs_cleanvision vs_dataloader vs_pytorch_finetune vs_pytorch_perturb)
fi
cargo build --release --bins --examples

# What a script is given, one argument a line. Fails where something is missing.
arguments_of() {
    case $1 in
    knn_graph | growth) printf '%s\n' "$out/$1.png" ;;
    vs_fastdup | vs_cleanvision) printf '%s\n' "${PHOTOS:?is not set}" ;;
    vs_dataloader) printf '%s\n' "${PHOTOS:?is not set}" "$("$pd" weights path efficientnet-lite0)" 1 efficientnet-lite0 ;;
    vs_pytorch_finetune | vs_pytorch_perturb)
        local dcgan=${DCGAN:?is not set}
        [ -d "$out/dcgan-reference" ] || {
            "$pd" embed "$dcgan/images" -o "$out/dcgan-reference" -q >&2
            "$pd" index "$out/dcgan-reference" -q >&2
        }
        case $1 in
        vs_pytorch_finetune) printf '%s\n' "$dcgan/G.pth" "$dcgan/D.pth" "$dcgan/images" "$out/dcgan-reference" ;;
        *) printf '%s\n' "$dcgan/G.pth" "$out/dcgan-reference" ;;
        esac
        ;;
    esac
}

figures=$out/figures.md
{
    printf '# %s\n\n' "$(date -u +%F)"
    printf -- '- %s\n' "$("$pd" --version | tr '\n' ' ')" "$(rustc --version)" "$(python3 --version)" \
        "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)"
} | tee "$figures"
for script in "${scripts[@]}"; do
    printf '\n## %s\n\n' "$script" | tee -a "$figures"
    if ! given=$(arguments_of "$script" 2>"$out/$script.txt"); then
        printf 'left out: %s\n' "$(tail -n1 "$out/$script.txt")" | tee -a "$figures"
        continue
    fi
    mapfile -t given < <(printf '%s' "$given")
    packages=$(sed -n 's/^ *pip install \(.*\)$/\1/p' "$benches/$script.py" | head -n1)
    python=$out/environments/$script/bin/python
    [ -x "$python" ] || python3 -m venv "$out/environments/$script"
    if [ -n "$packages" ]; then
        # The line is a shell's: it quotes version limits.
        eval "\"$python\" -m pip install --quiet $packages"
        "$python" -m pip list --format freeze | paste -sd' ' - | tee -a "$figures"
        echo | tee -a "$figures"
    fi
    { printf '```\n' && "$python" "$benches/$script.py" "${given[@]}" 2>&1 && printf '```\n'; } | tee "$out/$script.txt" | tee -a "$figures" ||
        printf '```\n\nfailed\n' | tee -a "$figures"
done
