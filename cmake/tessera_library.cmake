# tessera_library(NAME SOURCES ... LINK ...): one folder, one static library; LINK lists its permitted includes and nothing else.
# ATen is 10 s a file; one precompiled header, built once, serves every folder.
set(TESSERA_WARNINGS -Wall -Wextra -Wshadow -Wno-unknown-pragmas)

add_library(tessera_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(tessera_pch PUBLIC tessera::torch)
target_precompile_headers(tessera_pch PRIVATE <ATen/ATen.h> <nlohmann/json.hpp> <filesystem> <functional> <map> <string> <vector>)

function(tessera_compile_options target)
  target_compile_options(${target} PRIVATE ${TESSERA_WARNINGS})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  if(TESSERA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=address,undefined -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=address,undefined)
  endif()
  if(TESSERA_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link -fno-sanitize=vptr -fno-sanitize-recover=undefined)
  endif()
endfunction()
tessera_compile_options(tessera_pch)

function(tessera_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(tessera_${name} STATIC ${arg_SOURCES})
  target_include_directories(tessera_${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(tessera_${name} PUBLIC tessera::torch ${arg_LINK} PRIVATE ${arg_PRIVATE_LINK})
  tessera_compile_options(tessera_${name})
  target_precompile_headers(tessera_${name} REUSE_FROM tessera_pch)
endfunction()
