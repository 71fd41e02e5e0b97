#!/usr/bin/env bash
# The library in an environment made from nothing: the wheel, README's first command, the tests.
#
#   scripts/environments.sh newest FOLDER [TESTS...]   a clean Debian 13 with its Python 3.13 and the newest release
#                                                      of every dependency (needs root; debootstrap is installed)
#   scripts/environments.sh oldest FOLDER [TESTS...]   a venv with the oldest release of every dependency that
#                                                      pyproject.toml allows; PYTHON=python3.11 chooses its Python
#
# TESTS are pytest's arguments (such as -m quick); without any, the whole suite runs. FOLDER is made where it is
# missing, and used as it is where it is there. It is about 7 GB and can be deleted afterwards.
set -euo pipefail

if [ $# -lt 2 ] || { [ "$1" != newest ] && [ "$1" != oldest ]; }; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
kind=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ "$kind" = newest ]; then
    if [ ! -e "$folder/usr/bin/python3" ]; then
        command -v debootstrap > /dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap > /dev/null; }
        debootstrap --variant=minbase --include=python3,python3-venv,python3-dev,ca-certificates,gcc,g++ \
            trixie "$folder" > "$folder/debootstrap.log" || { tail "$folder/debootstrap.log" >&2; exit 1; }
    fi
    # The network and its certificates as they are outside.
    cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
    bundle=/etc/ssl/certs/ca-certificates.crt
    [ ! -e "$bundle" ] || cp -L "$bundle" "$folder$bundle"
    mountpoint -q "$folder/proc" || mount -t proc proc "$folder/proc"
    trap 'umount "$folder/proc"' EXIT
    home=$folder/project
    # Nothing that pip was told outside is true here: what is wanted is what a user gets.
    inside() { env -u PIP_CONSTRAINT -u PIP_FIND_LINKS -u PYTHONPATH chroot "$folder" "$@"; }
    python=/venv/bin/python
    [ -e "$folder/venv" ] || inside python3 -m venv /venv
    place=/project
else
    home=$folder/project
    inside() { env -u PYTHONPATH PIP_CONSTRAINT=/dev/null "$@"; }
    python=$folder/venv/bin/python
    [ -e "$folder/venv" ] || inside "${PYTHON:-python3}" -m venv "$folder/venv"
    place=$home
fi

rm -rf "$home"
mkdir -p "$home"
(cd "$checkout" && git ls-files -z | xargs -0 tar -c) | tar -x -C "$home"

# Every requirement "name>=version" of the project and its test extra; as "name==version" for the oldest, which
# has no int8: that wants a newer OpenVINO than the engine.
requirements() {
    python3 - "$checkout/pyproject.toml" "$kind" << 'PY'
import re, sys, tomllib

project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
wanted = list(project["dependencies"])
for extra in extras["test"]:
    nested = re.fullmatch(r"slowfast-zoo\[(.+)\]", extra)
    keys = [key for key in nested[1].split(",") if (sys.argv[2], key) != ("oldest", "int8")] if nested else []
    wanted += [name for key in keys for name in extras[key]] if nested else [extra]
for requirement in wanted:
    print(requirement.replace(">=", "==") if sys.argv[2] == "oldest" else requirement.split(">=")[0])
PY
}
mapfile -t wanted < <(requirements)
inside "$python" -m pip install --quiet --upgrade "${wanted[@]}" build
inside "$python" -m build --wheel --outdir "$place/dist" "$place" > /dev/null
inside "$python" -m pip install --quiet --no-deps --force-reinstall "$place/dist/$(ls "$home/dist")"
rm -rf "$home/dist" "$home/build"
inside "$python" -m pip list --format freeze |
    grep -iE '^(av|click|filelock|httpx2|huggingface|numpy|onnx|openvino|safetensors|slowfast|torch|tqdm)' | tr '\n' ' '
echo

# README's first command, outside the checkout: the installed wheel answers. A cache of its own, so nothing is there.
example=$place/examples/pan_right.mp4
first="$(dirname "$python")/slowfast-zoo predict $example --model slowfast_tiny"
grep -q '^slowfast-zoo predict examples/pan_right.mp4 --model slowfast_tiny$' "$home/README.md"
inside env -C / SLOWFAST_ZOO_CACHE="$place/.cache" $first
[ "$kind" = newest ] || set -- --ignore tests/inference/engines/test_int8.py "$@"
inside env -C "$place" PATH="$(dirname "$python"):$PATH" "$python" -m pytest "$@"
