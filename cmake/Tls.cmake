# SPDX-License-Identifier: MIT
# Whether TLS is built in: its sources, and STTCP_TLS_LIBRARIES, which a static program needs, too.

set(STTCP_TLS AUTO CACHE STRING "Build with TLS: ON, OFF, or AUTO (if OpenSSL 3 is there)")

include(CheckCSourceCompiles)

# Whether it compiles and links, because headers may be there for another machine than the target
# (-m32), and libraries for another C library (musl).
function(sttcp_try_openssl libraries)
	set(CMAKE_REQUIRED_LIBRARIES ${libraries} Threads::Threads)
	set(CMAKE_REQUIRED_INCLUDES ${OPENSSL_INCLUDE_DIR})
	check_c_source_compiles("#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error OpenSSL 3 is needed
#endif
int main(void) { return SSL_CTX_new(TLS_method()) == 0; }" STTCP_HAS_OPENSSL)
endfunction()

set(STTCP_TLS_LIBRARIES "")
set(STTCP_HAVE_TLS OFF)
if(STTCP_TLS)
	# One of the user's own is found with OPENSSL_ROOT_DIR. The system's needs no search, which
	# could only find that of another system.
	if(OPENSSL_ROOT_DIR)
		find_package(OpenSSL 3.0 REQUIRED)
		set(STTCP_TLS_LIBRARIES ${OPENSSL_LIBRARIES})
	else()
		set(STTCP_TLS_LIBRARIES ssl crypto)
	endif()
	sttcp_try_openssl("${STTCP_TLS_LIBRARIES}")
	if(STTCP_HAS_OPENSSL)
		set(STTCP_HAVE_TLS ON)
	elseif(STTCP_TLS STREQUAL "AUTO")
		set(STTCP_TLS_LIBRARIES "")
		message(STATUS "OpenSSL 3 is not there: TLS is left out")
	else()
		message(FATAL_ERROR "TLS needs OpenSSL 3 (scripts/deps.sh demo installs it)")
	endif()
endif()

file(GLOB STTCP_TLS_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tls/*.c)
set(none ${PROJECT_SOURCE_DIR}/src/tls/none.c)
if(STTCP_HAVE_TLS)
	list(REMOVE_ITEM STTCP_TLS_SOURCES ${none})
else()
	set(STTCP_TLS_SOURCES ${none})
endif()
