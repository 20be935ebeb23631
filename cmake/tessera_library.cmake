# tessera_library(NAME [SHARED] SOURCES ... LINK ...): one folder, one library, static unless SHARED; LINK lists its permitted
# includes and nothing else.
# ATen is 10 s a file; one precompiled header, built once, serves every folder.
# psabi: only functions that are always inlined pass vectors.
set(TESSERA_WARNINGS -Wall -Wextra -Wshadow -Wno-unknown-pragmas -Wno-psabi)

# GCC 12 sees an access beyond a string where std::string's own operator+ and move are inlined; later versions do not.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND TESSERA_WARNINGS -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
endif()

add_library(tessera_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(tessera_pch PUBLIC tessera::torch)
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

function(tessera_library name)
  cmake_parse_arguments(arg "SHARED" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
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
endfunction()
