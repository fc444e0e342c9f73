#!/usr/bin/env bash
# Install mmcv with its compiled ops:  install_mmcv.sh PYTHON onedl-mmcv==2.3.6
#
# The wheel comes from the folder $WHEELHOUSE, or from this machine's cache of built wheels, or from the compiler. uv does
# the rest of the set-up, but not this part. It compiles in a folder with a new name each time, so an interrupted build
# starts again, and if the index sends no caching headers, it compiles again for every environment.
set -euo pipefail
python=$1 name=${2%==*} version=${2#*==}
fail() { echo "error: $1" >&2; exit 1; }

{ read -r site; read -r include; read -r tag; } < <("$python" -c 'import sys, sysconfig
print(sysconfig.get_path("purelib"), sysconfig.get_path("include"), "cp%d%d" % sys.version_info[:2], sep="\n")')
file=${name//-/_}-$version
[ -d "$site/$file.dist-info" ] && compgen -G "$site/mmcv/_ext*.so" > /dev/null && exit

# Ops for CUDA are built if there are a GPU and an nvcc of torch's own CUDA, since torch refuses any other. mmcv's own
# rule is any visible GPU, which fails without nvcc.
cuda=
nvcc=${CUDA_HOME:+$CUDA_HOME/bin/}nvcc
found=$({ "$nvcc" --version || true; } 2> /dev/null | sed -n 's/.* release \([0-9]*\).*/\1/p')
wanted=$(sed -n "s/^cuda\b[^']*'\([0-9]*\).*/\1/p" "$site/torch/version.py")
if [ "${FORCE_CUDA:-0}" = 1 ] || { [ -e /dev/nvidia0 ] && [ -n "$found" ] && [ "$found" = "$wanted" ]; }; then
    cuda=-cuda
fi
torch=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$site/torch/version.py")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mmasl/wheels/torch$torch-$tag-linux_$(uname -m)$cuda
find_wheel() { compgen -G "$1/$file-$tag-$tag-*$(uname -m).whl" | head -1 || true; }

build() {
    command -v g++ > /dev/null || fail 'mmcv needs gcc and g++ to be built. Run: apt-get install g++'
    [ -e "$include/Python.h" ] || fail "mmcv needs Python.h to be built. Run: apt-get install python${tag/cp3/3.}-dev"
    mkdir -p "$cache"
    exec 9> "$cache/lock" && flock 9
    [ -z "$(find_wheel "$cache")" ] || return 0  # another process has built it meanwhile
    # one compiler per core and per 2 GiB of memory, which the largest files take
    jobs=$(awk -v cores="$(nproc)" '/MemTotal/ {n = int($2 / 2097152); print n < 1 ? 1 : n < cores ? n : cores}' /proc/meminfo)
    export MAX_JOBS=${MAX_JOBS:-$jobs} CFLAGS=${CFLAGS:--O2 -g0}
    if [ -n "$cuda" ]; then export FORCE_CUDA=1; else export CUDA_VISIBLE_DEVICES=; fi
    if [ ! -d "$cache/build" ]; then
        rm -rf "$cache/part"
        "$python" -m pip -q download --no-deps --no-build-isolation --no-binary "$name" -d "$cache/part" "$2"
        mkdir "$cache/part/mmcv"
        tar xzf "$cache"/part/*.tar.gz --strip-components=1 -C "$cache/part/mmcv"
        mv "$cache/part" "$cache/build"
    fi
    echo "Compiling mmcv's ops, $MAX_JOBS file(s) at a time. This takes 10 to 25 minutes on two cores, once per machine."
    echo "An interrupted build continues where it stopped. The whole output is in $cache/build/log"
    "$python" -m pip wheel -v --no-deps --no-build-isolation --no-cache-dir -w "$cache/build" "$cache/build/mmcv" 2>&1 |
        tee "$cache/build/log" | sed -un 's/^ *\(\[[0-9]*\/[0-9]*\]\).*/\1/p' ||
        fail "$(grep -m 1 -E 'fatal error:|(ERROR|Error): ' "$cache/build/log" || echo 'the build failed'). The whole output is in $cache/build/log"
    mv "$(find_wheel "$cache/build")" "$cache/"
    rm -rf "$cache/build"
}

wheel=
if [ -n "${WHEELHOUSE:-}" ]; then
    wheel=$(find_wheel "$WHEELHOUSE")
    [ -n "$wheel" ] || echo "$WHEELHOUSE has no $file for $tag"
fi
wheel=${wheel:-$(find_wheel "$cache")}
if [ -z "$wheel" ]; then
    build "$@"
    wheel=$(find_wheel "$cache")
fi
"$python" -m uv pip install -q --python "$python" --no-deps --reinstall-package "$name" "$wheel"
"$python" -c 'import torch, mmcv._ext' || {
    "$python" -m uv pip uninstall -q --python "$python" "$name"
    fail "$wheel has no ops, or ops for another torch. Remove it, or leave out WHEELHOUSE"
}
