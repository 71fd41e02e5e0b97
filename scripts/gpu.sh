#!/usr/bin/env bash
# Everything that wants a GPU, on one, in 8 minutes and without a network: the tests in tests/gpu and benchmarks/gpu.py.
#
#   scripts/gpu.sh OUT [WHEELS]        OUT gets versions.txt, tests.txt, gpu.json and gpu.txt; WHEELS is a folder of
#                                      wheels of what python3 lacks there
#   scripts/gpu.sh OUT --dry-run       on a processor, with tiny sizes, in a minute: the benchmark,
#                                      and of the tests those that resize
#
# The folder is filled where there is a network, here for Python 3.12; the last line is for MMAction2's module,
# without which the plain module is what others are compared with:
#
#   get() { pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp -d WHEELS \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "$@"; }
#   get "av>=18" "huggingface-hub>=2" "click>=8.4.2" "hf-xet>=1.6" httpx2 httpcore2 truststore anyio idna h11 typing_extensions
#   get mmaction2==1.2.0 mmengine==0.10.7 mmcv-lite==2.1.0 addict yapf platformdirs termcolor importlib_metadata==8.7.0 zipp
set -uo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
wheels=${2:-}
python=${PYTHON:-python3}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
site=$(mktemp -d)
trap 'rm -rf --one-file-system "$site"' EXIT

if [ "$wheels" = --dry-run ]; then
    tests=(--gpu-device cpu -k resized)
    benchmark=(--dry-run)
else
    if [ -n "$wheels" ]; then
        "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
            "$wheels"/*.whl || exit 1
    fi
    tests=()
    "$python" -c "import xdist" 2> /dev/null && tests=(-n 3 --dist loadfile)
    benchmark=()
fi
cd "$checkout" || exit 1
export PYTHONPATH="$checkout:$site" PYTHONUNBUFFERED=1
failed=0

"$python" - > "$out/versions.txt" 2>&1 << 'END' || failed=1
import torch
from slowfast_zoo.runtime.machine import versions

packages = ("torch", "torchvision", "triton", "numpy", "av", "huggingface-hub", "safetensors", "mmaction2")
print(versions(*packages), "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
END
if [ "$wheels" != --dry-run ]; then
    nvidia-smi >> "$out/versions.txt" 2>&1
    timeout 60 "$python" -m slowfast_zoo doctor >> "$out/versions.txt" 2>&1
fi
timeout 190 "$python" -m pytest -q -p no:cacheprovider -m gpu "${tests[@]}" \
    tests/gpu/test_gpu_inference.py tests/gpu/test_gpu_training.py tests/gpu/test_gpu_engines.py \
    > "$out/tests.txt" 2>&1 || failed=1
tail -n 30 "$out/tests.txt"
timeout 245 "$python" benchmarks/gpu.py "${benchmark[@]}" --out "$out/gpu.json" > "$out/gpu.txt" 2>&1 || failed=1
cat "$out/gpu.txt"
exit $failed
