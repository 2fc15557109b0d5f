# SPDX-License-Identifier: MIT
# How everything here is compiled. sttcp_flags never reaches who uses the library.

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "The type of the build" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(sttcp_flags INTERFACE)
target_compile_options(sttcp_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       $<$<C_COMPILER_ID:Clang>:-Wthread-safety> $<$<BOOL:${STTCP_WERROR}>:-Werror>)

# The environment lets the tests fail at the first finding, and goes with them under plain ctest.
set(STTCP_SANITIZE_FLAGS)
set(STTCP_SANITIZE_ENVIRONMENT)
if(STTCP_SANITIZE STREQUAL "address")
	set(STTCP_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
	set(STTCP_SANITIZE_ENVIRONMENT
	    "ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
	    "UBSAN_OPTIONS=print_stacktrace=1")
elseif(STTCP_SANITIZE STREQUAL "thread")
	# die_after_fork would forbid what the library promises: new objects in a forked child.
	set(STTCP_SANITIZE_FLAGS -fsanitize=thread)
	set(STTCP_SANITIZE_ENVIRONMENT
	    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0:suppressions='${PROJECT_SOURCE_DIR}/tests/thread_sanitizer.txt'")
elseif(STTCP_SANITIZE)
	message(FATAL_ERROR "STTCP_SANITIZE is address or thread, not ${STTCP_SANITIZE}")
endif()
# Assertions stay in where errors are looked for; an optimised build is without them.
if(STTCP_SANITIZE)
	list(APPEND STTCP_SANITIZE_FLAGS -fno-omit-frame-pointer -UNDEBUG)
	add_compile_options(${STTCP_SANITIZE_FLAGS})
	add_link_options(${STTCP_SANITIZE_FLAGS})
else()
	# A sanitizer's run time comes with the program; without one the library must be complete.
	add_link_options($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY>:LINKER:-z,defs>)
endif()
