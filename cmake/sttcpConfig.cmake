# SPDX-License-Identifier: MIT
# find_package(sttcp) gives sttcp::sttcp (shared) and sttcp::sttcp_static.
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/sttcpTargets.cmake")
