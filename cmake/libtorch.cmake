# Imported target tessera::torch: libtorch_cpu and libc10 of the unpacked torch wheel (see scripts/setup).
# The wheel's own find_package(Torch) links libtorch_cuda and needs ten more wheels; the CPU link is enough,
# and `--device cuda` loads libtorch_cuda.so at run time.
set(TESSERA_LIBTORCH "" CACHE PATH "Folder that scripts/setup printed (holds torch/ and nvidia/)")
if(NOT EXISTS "${TESSERA_LIBTORCH}/torch/lib/libtorch_cpu.so")
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/setup OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE
                  RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "scripts/setup failed; its message above says what is missing")
  endif()
  set(TESSERA_LIBTORCH "${found}" CACHE PATH "Folder that scripts/setup printed (holds torch/ and nvidia/)" FORCE)
endif()

set(torch_lib "${TESSERA_LIBTORCH}/torch/lib")
add_library(tessera_torch INTERFACE)
add_library(tessera::torch ALIAS tessera_torch)
target_include_directories(tessera_torch SYSTEM INTERFACE "${TESSERA_LIBTORCH}/torch/include")
target_link_options(tessera_torch INTERFACE "-Wl,-rpath,${torch_lib}" "-Wl,--disable-new-dtags"
                    "-Wl,-rpath-link,${TESSERA_LIBTORCH}/nvidia/cu13/lib")
target_link_libraries(tessera_torch INTERFACE "${torch_lib}/libtorch_cpu.so" "${torch_lib}/libc10.so"
                      "${torch_lib}/libgomp.so.1")
# The C++ frontend (optimizers) has its own include root; only training/ may see it.
set(TESSERA_TORCH_API "${TESSERA_LIBTORCH}/torch/include/torch/csrc/api/include")
