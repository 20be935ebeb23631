# Imported target tessera::torch: libtorch_cpu and libc10 of the unpacked torch wheel (see scripts/setup).
# The wheel's own find_package(Torch) links libtorch_cuda and needs ten more wheels; the CPU link is enough,
# and `--device cuda` loads libtorch_cuda.so at run time.
set(TESSERA_LIBTORCH "" CACHE PATH
    "LibTorch's folder, which holds torch/ and nvidia/; empty: the environment's TESSERA_LIBTORCH, else scripts/setup's")

# Where scripts/setup keeps what it downloads.
function(tessera_cache_folder result)
  set(cache "$ENV{HOME}/.cache/tessera")
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(cache "$ENV{XDG_CACHE_HOME}/tessera")
  endif()
  if(DEFINED ENV{TESSERA_CACHE})
    set(cache "$ENV{TESSERA_CACHE}")
  endif()
  set(${result} "${cache}" PARENT_SCOPE)
endfunction()

# The version of a package in one of scripts/*.lock.
function(tessera_pinned_version result lock package)
  file(STRINGS ${PROJECT_SOURCE_DIR}/scripts/${lock} pinned REGEX "^${package}==")
  string(REGEX REPLACE "^[^=]*==([0-9.]+).*" "\\1" version "${pinned}")
  set(${result} "${version}" PARENT_SCOPE)
endfunction()

if(TESSERA_LIBTORCH)
  set(TESSERA_LIBTORCH_FOLDER "${TESSERA_LIBTORCH}")
elseif(DEFINED ENV{TESSERA_LIBTORCH})
  set(TESSERA_LIBTORCH_FOLDER "$ENV{TESSERA_LIBTORCH}")
else()
  tessera_cache_folder(cache)
  tessera_pinned_version(version libtorch.lock torch)
  set(TESSERA_LIBTORCH_FOLDER "${cache}/libtorch-${version}-cpu")
endif()
set(torch_lib "${TESSERA_LIBTORCH_FOLDER}/torch/lib")
set(nvidia_lib "${TESSERA_LIBTORCH_FOLDER}/nvidia/cu13/lib")
if(NOT EXISTS "${torch_lib}/libtorch_cpu.so")
  list(APPEND TESSERA_MISSING "LibTorch (${torch_lib}/libtorch_cpu.so; -DTESSERA_LIBTORCH=DIR names another folder)")
endif()

# All that the program loads at run time on a CPU.
set(TESSERA_LIBTORCH_FILES ${torch_lib}/libtorch_cpu.so ${torch_lib}/libc10.so ${torch_lib}/libgomp.so.1
    ${nvidia_lib}/libcudart.so.13 ${nvidia_lib}/libcupti.so.13)
add_library(tessera_torch INTERFACE)
add_library(tessera::torch ALIAS tessera_torch)
target_include_directories(tessera_torch SYSTEM INTERFACE "${TESSERA_LIBTORCH_FOLDER}/torch/include")
# DT_RUNPATH, not DT_RPATH: LD_LIBRARY_PATH comes before it, by which an installed program finds TESSERA_LIBTORCH.
target_link_options(tessera_torch INTERFACE "-Wl,--enable-new-dtags" "-Wl,-rpath-link,${nvidia_lib}")
target_link_libraries(tessera_torch INTERFACE "${torch_lib}/libtorch_cpu.so" "${torch_lib}/libc10.so"
                      "${torch_lib}/libgomp.so.1")
# The C++ frontend (optimizers) has its own include root; only training/ may see it.
set(TESSERA_TORCH_API "${TESSERA_LIBTORCH_FOLDER}/torch/include/torch/csrc/api/include")
