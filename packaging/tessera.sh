#!/bin/sh
# Starts the program of this install with LibTorch from $TESSERA_LIBTORCH (the folder that scripts/setup prints), else with the
# files beside it. The dynamic linker looks for LibTorch before the program can, so the choice is made here.
set -eu
programs=$(dirname -- "$(readlink -f -- "$0")")/../lib/tessera
if [ -n "${TESSERA_LIBTORCH:-}" ]; then
  libraries=$TESSERA_LIBTORCH/torch/lib
  LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
  advice="correct TESSERA_LIBTORCH, the folder that holds torch/lib"
else
  libraries=$programs
  advice="set TESSERA_LIBTORCH to the folder that scripts/setup prints"
fi
if [ ! -e "$libraries/libtorch_cpu.so" ]; then
  echo "tessera: LibTorch is not in $libraries; $advice" >&2
  exit 1
fi
exec "$programs/tessera" "$@"
