#!/usr/bin/env bash
# What `--shard` and `pd merge` promise, under a real scheduler: any number of shards gives the bytes of one run, killed nodes
# cost nothing that was finished, and nothing is merged of what is incomplete, changed or made otherwise.
#
#   tests/slurm.sh PD [STEP...]     steps: count graphs power_cut cut_off again failed strangers finetune ranks (all if none is named);
#                                   about ten minutes
#
# Needs `sbatch` and a directory that all nodes see (TMPDIR). `power_cut` needs PD_SLURM_KILL, a command that powers a node off by
# name, `cut_off` PD_SLURM_CUT, one that takes a node's network while its processes go on (on this machine), and both
# PD_SLURM_START, one that brings it back; without them these steps are left out, as `ranks` is without MPI. Exits with 77 where
# there is no SLURM.
set -euo pipefail

pd=$(realpath "${1:?the program}")
shift
tiny=$(realpath "$(dirname "$0")/../src/extract/tiny.safetensors")
digits=$(realpath "$(dirname "$0")/../examples/digits.zip")
command -v sbatch >/dev/null || { echo "skipped: no sbatch"; exit 77; }
sinfo -h >/dev/null 2>&1 || { echo "skipped: no SLURM controller answers"; exit 77; }

work=$(mktemp -d)
cd "$work"
export PD_CACHE=$work/cache
ok() { echo "ok    $* (${SECONDS} s)"; }
fail() { echo "FAIL  $*"; tail -n 5 log-* 2>/dev/null; exit 1; }
trap 'code=$?; scancel --quiet --name=pd-test 2>/dev/null || true; [ $code -ne 0 ] || rm -rf "$work"' EXIT
wait_for() { # SECONDS COMMAND...
    local t
    for ((t = 0; t < $1 * 2; t++)); do "${@:2}" && return; sleep 0.5; done
    fail "waited $1 s for: ${*:2}"
}
finished() { [ -z "$(squeue -h -j "$1" 2>/dev/null)" ]; }
array() { # TASKS COMMAND: an array job; prints its number
    sbatch --parsable --requeue --open-mode=append --job-name=pd-test -c1 -o "log-%A-%a" --array="$1" --wrap "$2"
}
after() { # JOB COMMAND: what runs when all of it went well
    sbatch --parsable --job-name=pd-test -c1 -o "log-%A" --dependency="afterok:$1" --kill-on-invalid-dep=yes --wrap "$2"
}
same() { diff -r "$1" "$2" >/dev/null || fail "$1 and $2 differ"; }
shard() { echo "$pd $1 -q --threads 1 --shard auto/$2"; }

# 10 000 images, ten chunks, five of them damaged.
mkdir photos half
for ((i = 0; i < 10000; i++)); do
    printf -v name '%05d.pgm' "$i"
    if ((i % 2000 == 3)); then text='P2 broken'; else text="P2 2 2 255 $((i * 7919 % 256)) $((i * 104729 % 256)) $((i % 251)) 9"; fi
    echo "$text" >"photos/$name"
    ((i % 3)) || echo "$text" >"half/$name"
done
"$pd" embed photos -q -o bare >/dev/null
cp -r bare ref
"$pd" index ref -q --index exact --no-predictor >/dev/null

count() {
    local n score='score half --reference ref' sample='sample --seeds 0-900 --bias match -n 150' eval='eval --real ref --generated half'
    # shellcheck disable=SC2086
    { "$pd" $score -q -o scores.csv; "$pd" $sample -q -o sampled; "$pd" $eval -q -o eval.json; } >/dev/null
    for n in 1 3 4 7 16; do
        rm -rf embedded scored drawn evaluated
        local embed merge index others last
        embed=$(array 0-$((n - 1)) "$(shard 'embed photos -o embedded' $n)")
        merge=$(after "$embed" "$pd merge -q embedded && cp -r embedded embedded.bare")
        index=$(sbatch --parsable --job-name=pd-test -c1 -o 'log-%A-%a' --array=0-$((n - 1)) --dependency="afterok:$merge" \
            --kill-on-invalid-dep=yes --wrap "$(shard 'index embedded --index exact --no-predictor' $n)")
        last=$(after "$index" "$pd merge -q embedded")
        others=$(array 0-$((n - 1)) "$(shard "$score -o scored" $n) && $(shard "$sample -o drawn" $n) && $(shard "$eval -o evaluated" $n)")
        others=$(after "$others" "$pd merge -q scored && $pd merge -q drawn && $pd merge -q evaluated")
        wait_for 400 finished "$others"
        wait_for 400 finished "$last"
        same bare embedded.bare
        same ref embedded
        cmp scores.csv scored/scores.csv || fail "scores of $n shards"
        same sampled drawn
        cmp eval.json evaluated/eval.json || fail "eval of $n shards"
        rm -rf embedded.bare
        ok "$n shards: embed, index, score, sample and eval give the bytes of one run"
    done
}

graphs() {
    local n round merge index
    for n in 1 3; do
        for round in first second; do
            rm -rf "graphs-$round"
            cp -r bare "graphs-$round"
            index=$(array 0-$((n - 1)) "$(shard "index graphs-$round --index hnsw --no-predictor" $n)")
            merge=$(after "$index" "$pd merge -q graphs-$round")
            wait_for 200 finished "$merge"
        done
        same graphs-first graphs-second
        "$pd" score half --reference graphs-first -q -o graphs.csv >/dev/null
        ok "$n shards of HNSW: the same bytes twice, $(grep -o '"recall": [0-9.]*' graphs-first/manifest.json)"
    done
}

power_cut() {
    [ -n "${PD_SLURM_KILL:-}" ] || { echo "left out: power_cut (PD_SLURM_KILL says how to power a node off)"; return; }
    rm -rf out
    local job merge node chunks
    job=$(array 0-1 "$(shard 'embed photos -o out' 2)")
    merge=$(after "$job" "$pd merge -q out")
    chunks='out/parts/.chunks-00001-of-00002-*'
    # shellcheck disable=SC2086
    begun() { ls $chunks/chunk-*.json >/dev/null 2>&1; }
    wait_for 60 begun
    node=$(squeue -h -r -j "$job" -t RUNNING -o '%K %N' | awk '$1 == 1 {print $2}')
    $PD_SLURM_KILL "$node"
    # shellcheck disable=SC2086
    local first before
    first=$(ls $chunks/chunk-*.json | head -1)
    # shellcheck disable=SC2086
    before=$(ls $chunks/chunk-*.json | wc -l)
    ln "$first" finished-before
    # shellcheck disable=SC2086
    more() { [ "$(ls $chunks/chunk-*.json 2>/dev/null | wc -l)" -gt "$before" ]; }
    wait_for 120 more
    [ finished-before -ef "$first" ] || fail "power_cut: a finished chunk was made again"
    wait_for 120 finished "$merge"
    ${PD_SLURM_START:?} "$node"
    same bare out
    ok "node $node killed after $before chunks of 5: queued again, these not made again, same bytes"
}

cut_off() { # two writers of one shard: the first, which the controller has lost, goes on beside the second, or when all is merged
    [ -n "${PD_SLURM_CUT:-}" ] || { echo "left out: cut_off (PD_SLURM_CUT says how to take a node's network)"; return; }
    local late job node first chunks='out/parts/.chunks-00001-of-00002-*'
    # shellcheck disable=SC2086
    begun() { ls $chunks/chunk-*.json >/dev/null 2>&1; }
    ended() { ! kill -0 "$first" 2>/dev/null; }
    for late in beside after; do
        rm -rf out writer-*
        job=$(array 0-1 "echo \$\$ >writer-\$SLURM_ARRAY_TASK_ID-\${SLURM_RESTART_COUNT:-0}; exec $(shard 'embed photos -o out' 2)")
        wait_for 60 begun
        first=$(cat writer-1-0)
        kill -STOP "$first"
        node=$(squeue -h -r -j "$job" -t RUNNING -o '%K %N' | awk '$1 == 1 {print $2}')
        $PD_SLURM_CUT "$node"
        wait_for 120 test -s writer-1-1
        [ $late = after ] || kill -CONT "$first"
        wait_for 120 finished "$job"
        if [ $late = beside ]; then
            wait_for 60 ended
            [ -z "$(find out/parts -maxdepth 1 -name '.*')" ] || fail "cut_off: something is left beside the parts"
            "$pd" merge -q out >/dev/null
        else
            "$pd" merge -q out >/dev/null
            kill -CONT "$first"
            wait_for 60 ended
        fi
        same bare out
        ${PD_SLURM_START:?} "$node"
        ok "node $node cut off: the first writer of shard 1 went on $late the second, same bytes, nothing left"
    done
}

again() {
    rm -rf out
    local job merge before other
    job=$(array 0-3 "$(shard 'embed photos -o out' 4)")
    wait_for 200 finished "$job"
    before=$(sha256sum out/parts/00002-of-00004/*)
    job=$(array 2 "$(shard 'embed photos -o out' 4)")
    wait_for 60 finished "$job"
    [ "$before" = "$(sha256sum out/parts/00002-of-00004/*)" ] || fail "again: shard 2 changed"
    [ -z "$(find out/parts -maxdepth 1 -name '.*' ! -name .)" ] || fail "again: something is left beside the parts"
    ok "shard 2 run twice: the second is dropped"
    rm -rf out/parts/00002-of-00004
    "$pd" merge out >merge.txt 2>&1 && fail "merged without shard 2"
    grep -q 'missing 1 of 4: --array=2$' merge.txt || fail "missing shard not named: $(cat merge.txt)"
    # Other weights: the last number of the network differs in one bit.
    cp "$tiny" other.safetensors
    printf '\001' | dd of=other.safetensors bs=1 seek=$(($(stat -c %s "$tiny") - 4)) conv=notrunc status=none
    SLURM_ARRAY_TASK_ID=2 "$pd" embed photos -q --weights other.safetensors --shard auto/4 -o out >/dev/null
    "$pd" merge out >merge.txt 2>&1 && fail "merged parts of two networks"
    grep -q 'weights_sha256' merge.txt || fail "the weights are not named: $(cat merge.txt)"
    ok "shard 2 of other weights: refused, $(grep -o 'run [0-9a-f]* against run [0-9a-f]*' merge.txt)"
    rm -rf out/parts/00002-of-00004
    job=$(array 2 "$(shard 'embed photos -o out' 4)")
    merge=$(after "$job" "$pd merge -q out")
    wait_for 60 finished "$merge"
    same bare out
    ok "shard 2 removed, asked for as --array=2, made again: same bytes"
}

failed() {
    rm -rf out
    local job merge
    job=$(array 0-2 "[ \$SLURM_ARRAY_TASK_ID -ne 1 ] && $(shard 'embed photos -o out' 3)")
    merge=$(after "$job" "touch merge-ran; $pd merge -q out")
    wait_for 200 finished "$merge"
    [ ! -e merge-ran ] && [ ! -e out/manifest.json ] || fail "the merge ran on partial data"
    ok "a failed shard: the merge never ran"
}

strangers() { # two tasks that do not speak with each other would each do the whole run
    local options
    options=$(tuning 10)
    # shellcheck disable=SC2086
    srun -n 2 "$pd" finetune $options -o strangers >said.txt 2>&1 && fail "two tasks without MPI trained in one directory"
    grep -q '2 processes were started (SLURM_STEP_NUM_TASKS)' said.txt && grep -q -- '--mpi=pmix' said.txt || fail "strangers: $(cat said.txt)"
    [ ! -e strangers ] || fail "strangers: something was written"
    ok "srun -n 2 without --mpi=pmix: refused"
}

tuning() { # STEPS: the options of a fine-tuning of a small GAN
    cat >gan.json <<'JSON'
{"family": "mlp-gan", "generator": {"widths": [8, 32, 64], "image": [1, 8, 8]},
 "discriminator": {"widths": [64, 32, 1], "image": [1, 8, 8]}}
JSON
    echo "--data $digits --init gan.json --batch 8 --steps $1 --snap 1500 --log-every 1 --sheet 2 -q"
}

broken_off() { # LAUNCHER OPTIONS RUN [TASKS]: as a job that USR1 stops at a random step and that queues itself again
    local job run=$3
    cat >"$run.sh" <<SCRIPT
#!/bin/bash
code=0
$1 $pd finetune $2 -o $run || code=\$?
if [ \$code -eq 130 ]; then scontrol requeue \$SLURM_JOB_ID; fi
exit \$code
SCRIPT
    job=$(sbatch --parsable --requeue --open-mode=append --job-name=pd-test -c1 -n "${4:-1}" -o "log-$run" "$run.sh")
    training() { [ "$(cat "$run/log.jsonl" 2>/dev/null | wc -l)" -gt $((RANDOM % 300 + 20)) ]; }
    wait_for 200 training
    scancel --signal=USR1 "$job"
    requeued() { scontrol show job "$job" | grep -q 'Restarts=1'; }
    wait_for 60 requeued
    wait_for 400 finished "$job"
}

finetune() {
    local options
    options=$(tuning 3000)
    # shellcheck disable=SC2086
    "$pd" finetune $options -o whole >/dev/null
    broken_off "srun -n 1" "$options" run
    same whole/snapshot-003000 run/snapshot-003000
    ok "fine-tuning stopped by USR1, queued again: the bytes of the uninterrupted run"
}

ranks() {
    "$pd" doctor --json | grep -q '"mpi"' || { echo "left out: ranks (this pd is built without --features mpi)"; return; }
    local options launcher="srun --mpi=pmix -n 2"
    options=$(tuning 600)
    # shellcheck disable=SC2086
    $launcher "$pd" finetune $options -o whole-ranks >/dev/null
    broken_off "$launcher" "$options" run-ranks 2
    same whole-ranks/snapshot-000600 run-ranks/snapshot-000600
    cmp whole-ranks/log.jsonl run-ranks/log.jsonl || fail "the logs of two ranks"
    ok "fine-tuning on two ranks stopped by USR1, queued again: the bytes of the uninterrupted two-rank run"
}

[ $# -gt 0 ] || set -- count graphs power_cut cut_off again failed strangers finetune ranks
for step in "$@"; do "$step"; done
