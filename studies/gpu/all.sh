#!/usr/bin/env bash
# All that waits for a GPU, the most important first; every part has its limit, 14 minutes together.
#
#     bash studies/gpu/all.sh OUT     from the root of a checkout; each part leaves OUT/<part>.log
#
# examples/cifar10-jpeg/README.md says which files the last part needs; without them it is left out.
set -uo pipefail
out=${1:?usage: bash studies/gpu/all.sh OUT}
python=${PYTHON:-python}
mkdir -p "$out"
SECONDS=0

part() {
    local name=$1 limit=$2 rc=0
    shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1 || rc=$?
    echo "$name: exit code $rc, $SECONDS s since the start"
    tail -n 8 "$out/$name.log"
}

part tests 210 "$python" -m pytest -m gpu -n 4 tests/unit/test_gpu.py tests/e2e/test_gpu.py
part epoch 180 "$python" studies/gpu/epoch.py 10 "float32, deterministic"
part half 60 "$python" studies/gpu/epoch.py 2 bf16
part workers 60 "$python" studies/gpu/workers.py
cifar=examples/cifar10-jpeg
if [ -e $cifar/data/CIFAR-10-images.tar.xz ]; then
    part cifar10-jpeg 330 "$python" -m finefuse run $cifar/cifar10-jpeg.toml --plugin $cifar/cifar_resnets.py \
        --workers 13 --device cuda --out "$out/results"
else
    echo "cifar10-jpeg: left out, $cifar/data has no images"
fi
