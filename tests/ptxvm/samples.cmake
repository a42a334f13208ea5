# The sample kernels and their mutants, as PTX for two architectures.
if(NOT CRITERION_FOUND)
  return()
endif()
set(samples "")
foreach(arch 80 90)
  set(ptx ${CMAKE_CURRENT_BINARY_DIR}/samples_${arch}.ptx)
  add_custom_command(
    OUTPUT ${ptx}
    COMMAND ${GRAFT_NVCC} -std=c++17 -arch=sm_${arch} -lineinfo -ptx
            ${CMAKE_CURRENT_SOURCE_DIR}/samples.cu -o ${ptx}
    DEPENDS samples.cu samples.h
    VERBATIM)
  list(APPEND samples ${ptx})
endforeach()
add_custom_target(ptxvm_samples DEPENDS ${samples})
add_executable(test_ptxvm_mutants test_mutants.cpp sample_cases.cpp)
add_dependencies(test_ptxvm_mutants ptxvm_samples)
target_compile_definitions(
  test_ptxvm_mutants PRIVATE PTXVM_SAMPLES_80="${CMAKE_CURRENT_BINARY_DIR}/samples_80.ptx"
                             PTXVM_SAMPLES_90="${CMAKE_CURRENT_BINARY_DIR}/samples_90.ptx")
target_link_libraries(test_ptxvm_mutants PRIVATE ptxvm_testing)
add_test(NAME ptxvm_mutants COMMAND test_ptxvm_mutants -j1 --verbose)
set_tests_properties(ptxvm_mutants PROPERTIES TIMEOUT 600)
