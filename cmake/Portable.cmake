# SPDX-License-Identifier: MIT
# Asks the C library for what not every one has: src/base/portable.h says what stands in for it.
# The answers go to everything that includes the library's inner headers.

include(CheckSymbolExists)

function(sttcp_ask name symbol header)
	set(CMAKE_REQUIRED_DEFINITIONS -D_GNU_SOURCE)
	set(CMAKE_REQUIRED_LIBRARIES Threads::Threads)
	check_symbol_exists(${symbol} ${header} STTCP_HAVE_${name})
	target_compile_definitions(sttcp_flags INTERFACE STT_HAVE_${name}=$<BOOL:${STTCP_HAVE_${name}}>)
endfunction()

sttcp_ask(STRERRORNAME_NP strerrorname_np string.h)
sttcp_ask(SEM_CLOCKWAIT sem_clockwait semaphore.h)
