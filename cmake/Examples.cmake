# SPDX-License-Identifier: MIT
# Every examples/*.c becomes a program in build/examples/, built as a user would build it: with
# the public header and the shared library, and nothing else.

file(GLOB examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.c)
add_custom_target(examples)
foreach(source IN LISTS examples)
	cmake_path(GET source STEM name)
	add_executable(example_${name} ${source})
	target_link_libraries(example_${name} PRIVATE sttcp::sttcp sttcp_flags Threads::Threads)
	set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name}
	                      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
	add_dependencies(examples example_${name})
endforeach()

# One is a client of Redis; without hiredis it only says so.
find_path(STTCP_HIREDIS_INCLUDE hiredis/hiredis.h)
find_library(STTCP_HIREDIS_LIBRARY hiredis)
mark_as_advanced(STTCP_HIREDIS_INCLUDE STTCP_HIREDIS_LIBRARY)
if(STTCP_HIREDIS_INCLUDE AND STTCP_HIREDIS_LIBRARY)
	target_compile_definitions(example_22_redis PRIVATE HAVE_HIREDIS)
	target_include_directories(example_22_redis SYSTEM PRIVATE ${STTCP_HIREDIS_INCLUDE})
	target_link_libraries(example_22_redis PRIVATE ${STTCP_HIREDIS_LIBRARY})
endif()
