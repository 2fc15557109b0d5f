# SPDX-License-Identifier: MIT
# The command: cli/*.c over the public header and the shared library. It needs argp, which glibc
# has; elsewhere argp-standalone may be installed. sttcp_programs is there without it, too.

if(PROJECT_IS_TOP_LEVEL)
	set(STTCP_CLI AUTO CACHE STRING "Build the sttcp command: ON, OFF, or AUTO (if argp is there)")
else()
	set(STTCP_CLI OFF CACHE STRING "Build the sttcp command: ON, OFF, or AUTO (if argp is there)")
endif()

include(CheckCSourceCompiles)

set(STTCP_ARGP_LIBRARY "")
set(STTCP_HAVE_CLI OFF)
if(STTCP_CLI)
	set(try_argp "#include <argp.h>
int main(int argc, char **argv) { return argp_parse(0, argc, argv, 0, 0, 0); }")
	check_c_source_compiles("${try_argp}" STTCP_ARGP_IN_LIBC)
	if(STTCP_ARGP_IN_LIBC)
		set(STTCP_HAVE_CLI ON)
	else()
		set(CMAKE_REQUIRED_LIBRARIES argp)
		check_c_source_compiles("${try_argp}" STTCP_ARGP_STANDALONE)
		unset(CMAKE_REQUIRED_LIBRARIES)
		if(STTCP_ARGP_STANDALONE)
			set(STTCP_ARGP_LIBRARY argp)
			set(STTCP_HAVE_CLI ON)
		elseif(STTCP_CLI STREQUAL "AUTO")
			message(STATUS "argp is not there (glibc, or argp-standalone): the sttcp command is left out")
		else()
			message(FATAL_ERROR "The sttcp command needs argp: glibc, or argp-standalone")
		endif()
	endif()
endif()

add_custom_target(sttcp_programs)
if(STTCP_HAVE_CLI)
	file(GLOB cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/*.c)
	# SHA-256: OpenSSL's where the library has it already.
	set(other_sha256 ${PROJECT_SOURCE_DIR}/cli/sha256_openssl.c)
	set(cli_crypto "")
	if(STTCP_HAVE_TLS)
		set(other_sha256 ${PROJECT_SOURCE_DIR}/cli/sha256_plain.c)
		set(cli_crypto ${STTCP_TLS_LIBRARIES})
	endif()
	list(REMOVE_ITEM cli_sources ${other_sha256})

	add_executable(sttcp_command ${cli_sources})
	set_target_properties(sttcp_command PROPERTIES OUTPUT_NAME sttcp C_EXTENSIONS OFF
	                      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/cli)
	target_compile_definitions(sttcp_command PRIVATE _GNU_SOURCE _FILE_OFFSET_BITS=64)
	target_include_directories(sttcp_command SYSTEM PRIVATE ${OPENSSL_INCLUDE_DIR})
	target_link_libraries(sttcp_command PRIVATE sttcp::sttcp sttcp_flags Threads::Threads m
	                      ${STTCP_ARGP_LIBRARY} ${STTCP_ATOMIC_LIBRARY} ${cli_crypto})
	# It finds its library wherever both are moved to.
	file(RELATIVE_PATH to_library "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
	set_target_properties(sttcp_command PROPERTIES INSTALL_RPATH "$ORIGIN/${to_library}")
	add_dependencies(sttcp_programs sttcp_command)

	if(STTCP_INSTALL)
		install(TARGETS sttcp_command)
		file(GLOB cli_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.1)
		install(FILES ${cli_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
		install(FILES cli/completions/sttcp.bash RENAME sttcp
		        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
		install(FILES cli/completions/_sttcp DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
	endif()
endif()
