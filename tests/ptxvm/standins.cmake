# The stand-in libraries, built into <build>/testdev under the names that programs look for:
#   libcuda.so.1, libcublasLt.so.13 (and .so.12), libnvidia-ml.so.1, libnccl.so.2
# LD_LIBRARY_PATH=<build>/testdev puts them in front of the real ones (tools/on-test-device.sh).
if(NOT GRAFT_CUDA_INCLUDE)
  get_filename_component(nvcc_path ${GRAFT_NVCC} REALPATH)
  get_filename_component(nvcc_folder ${nvcc_path} DIRECTORY)
  find_path(GRAFT_CUDA_INCLUDE cuda.h HINTS ${nvcc_folder}/../include)
endif()
find_path(GRAFT_CUBLASLT_INCLUDE cublasLt.h HINTS ${GRAFT_CUDA_INCLUDE})
find_path(GRAFT_NCCL_INCLUDE nccl.h HINTS ${GRAFT_CUDA_INCLUDE})
if(NOT GRAFT_CUDA_INCLUDE OR NOT GRAFT_CUBLASLT_INCLUDE)
  message(STATUS "No cuda.h or no cublasLt.h: no stand-in libraries")
  return()
endif()

function(ptxvm_standin name version)
  add_library(standin_${name} SHARED ${ARGN})
  target_include_directories(standin_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_include_directories(standin_${name} SYSTEM PUBLIC ${GRAFT_CUDA_INCLUDE}
                                                           ${GRAFT_CUBLASLT_INCLUDE})
  # Optimised whatever the build type: whole models run through it.
  target_compile_options(
    standin_${name} PRIVATE -O3 -g1 -mavx2 -mfma -mf16c -ffp-contract=off -fvisibility=hidden
                            -Wall -Wextra -Wshadow $<$<BOOL:${GRAFT_WERROR}>:-Werror>)
  target_link_options(standin_${name} PRIVATE
                      "LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/standins.map"
                      LINKER:-z,defs)
  set_target_properties(
    standin_${name} PROPERTIES OUTPUT_NAME ${name} VERSION ${version} SOVERSION ${version}
                               LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/testdev
                               BUILD_RPATH_USE_ORIGIN ON
                               LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/standins.map)
endfunction()

ptxvm_standin(
  cuda 1
  standin_cuda_device.cpp
  standin_cuda_fatbin.cpp
  standin_cuda_graph.cpp
  standin_cuda_memory.cpp
  standin_cuda_module.cpp
  standin_cuda_names.cpp
  standin_cuda_stream.cpp)
target_link_libraries(standin_cuda PRIVATE ptxvm Threads::Threads ${CMAKE_DL_LIBS})
ptxvm_standin(cublasLt 13 standin_cublaslt.cpp standin_cublaslt_gemm.cpp
              standin_cublaslt_matmul.cpp)
target_link_libraries(standin_cublasLt PRIVATE standin_cuda)
add_custom_command(
  TARGET standin_cublasLt POST_BUILD
  COMMAND ${CMAKE_COMMAND} -E create_symlink libcublasLt.so.13
          ${CMAKE_BINARY_DIR}/testdev/libcublasLt.so.12)
ptxvm_standin(nvidia-ml 1 standin_nvml.c)
add_custom_target(ptxvm_standins ALL DEPENDS standin_cuda standin_cublasLt standin_nvidia-ml)
if(GRAFT_NCCL_INCLUDE)
  ptxvm_standin(nccl 2 standin_nccl.cpp standin_nccl_exchange.cpp)
  target_include_directories(standin_nccl SYSTEM PUBLIC ${GRAFT_NCCL_INCLUDE})
  target_link_libraries(standin_nccl PRIVATE standin_cuda Threads::Threads)
  add_dependencies(ptxvm_standins standin_nccl)
else()
  message(STATUS "No nccl.h: no stand-in for NCCL")
endif()

# ---- their tests ---------------------------------------------------------------------------------
function(ptxvm_standin_test name)
  add_executable(test_ptxvm_${name} test_${name}.c)
  target_link_libraries(test_ptxvm_${name} PRIVATE graft_flags PkgConfig::CRITERION standin_cuda
                                                   ${ARGN})
  target_compile_options(test_ptxvm_${name} PRIVATE -Wno-pedantic)
  add_test(NAME ptxvm_${name} COMMAND test_ptxvm_${name} -j1)
  set_tests_properties(ptxvm_${name} PROPERTIES TIMEOUT 600)
endfunction()
ptxvm_standin_test(standin_cuda)
ptxvm_standin_test(standin_graph)
ptxvm_standin_test(standin_cublaslt standin_cublasLt)
if(TARGET standin_nccl AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/test_standin_nccl.c)
  ptxvm_standin_test(standin_nccl standin_nccl)
endif()
add_test(NAME ptxvm_on_test_device COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/on_test_device_test.sh
                                           ${CMAKE_BINARY_DIR})
