# tessera_library(NAME [SHARED] SOURCES ... LINK ... PRIVATE_LINK ... NEEDED_BY ...): one folder, one library, static unless SHARED;
# LINK lists its permitted includes and nothing else. NEEDED_BY: further sources, those that need PRIVATE_LINK; both are left out
# where TESSERA_BENCH_GPU_ONLY is on.
# ATen is 10 s a file; one precompiled header, built once, serves every folder.
# psabi: only functions that are always inlined pass vectors.
# shadow: a name of one file is "global" to those that are compiled with it; so is subobject-linkage's anonymous namespace.
set(TESSERA_WARNINGS -Wall -Wextra -Wno-unknown-pragmas -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND TESSERA_WARNINGS -Wshadow=local -Wno-subobject-linkage)
else()
  list(APPEND TESSERA_WARNINGS -Wshadow)
endif()

# GCC 12 sees an access beyond a string where std::string's own operator+ and move are inlined; later versions do not.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND TESSERA_WARNINGS -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
endif()

add_library(tessera_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(tessera_pch PUBLIC tessera::torch nlohmann_json::nlohmann_json)
set(TESSERA_PRECOMPILED <ATen/ATen.h> <nlohmann/json.hpp> <filesystem> <functional> <map> <string> <vector>)
target_precompile_headers(tessera_pch PRIVATE ${TESSERA_PRECOMPILED})

# One set of flags for every target, programs too: the precompiled header serves only those that share it. Hence -fPIC by hand.
# Hidden symbols: the shared library shows what api/ exports and nothing else. Messages name files from the source tree's root.
function(tessera_compile_options target)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE ${TESSERA_WARNINGS} -fPIC -fvisibility=hidden -fvisibility-inlines-hidden
                         -fmacro-prefix-map=${tessera_SOURCE_DIR}/= -fmacro-prefix-map=${TESSERA_LIBTORCH_FOLDER}/=)
  if(TESSERA_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  set(sanitizers_address address,undefined)
  set(sanitizers_thread thread)
  if(TESSERA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${sanitizers_${TESSERA_SANITIZE}} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers_${TESSERA_SANITIZE}})
  endif()
  if(TESSERA_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link -fno-sanitize=vptr -fno-sanitize-recover=undefined)
  endif()
endfunction()
tessera_compile_options(tessera_pch)

# With the precompiled header an empty file still takes 2.3 s of GCC 12 (templates that the headers leave pending), a file of
# ours 3 to 5 s. Five files compiled as one take half the time of all.
option(TESSERA_UNITY "Compile several files of a folder as one" ON)
function(tessera_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TESSERA_UNITY} UNITY_BUILD_BATCH_SIZE 5)
endfunction()

function(tessera_library name)
  cmake_parse_arguments(arg "SHARED" "" "SOURCES;LINK;PRIVATE_LINK;NEEDED_BY" ${ARGN})
  if(TESSERA_BENCH_GPU_ONLY)
    set(arg_PRIVATE_LINK "")
  else()
    list(APPEND arg_SOURCES ${arg_NEEDED_BY})  # last, so that both kinds of build compile the same files as one
  endif()
  if(arg_SHARED)
    add_library(tessera_${name} SHARED ${arg_SOURCES})
    target_link_libraries(tessera_${name} PRIVATE ${arg_LINK})
  else()
    add_library(tessera_${name} STATIC ${arg_SOURCES})
    target_link_libraries(tessera_${name} PUBLIC tessera::torch ${arg_LINK} PRIVATE ${arg_PRIVATE_LINK})
  endif()
  target_include_directories(tessera_${name} PRIVATE ${tessera_SOURCE_DIR})
  tessera_compile_options(tessera_${name})
  target_precompile_headers(tessera_${name} REUSE_FROM tessera_pch)
  tessera_unity(tessera_${name})
endfunction()
