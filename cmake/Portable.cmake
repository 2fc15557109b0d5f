# SPDX-License-Identifier: MIT
# Asks the C library for what not every one has: src/base/portable.h says what stands in for it.
# The answers go to everything that includes the library's inner headers.

include(CheckCSourceCompiles)
include(CheckSymbolExists)

function(sttcp_ask name symbol header)
	set(CMAKE_REQUIRED_DEFINITIONS -D_GNU_SOURCE)
	set(CMAKE_REQUIRED_LIBRARIES Threads::Threads)
	check_symbol_exists(${symbol} ${header} STTCP_HAVE_${name})
	target_compile_definitions(sttcp_flags INTERFACE STT_HAVE_${name}=$<BOOL:${STTCP_HAVE_${name}}>)
endfunction()

sttcp_ask(STRERRORNAME_NP strerrorname_np string.h)
sttcp_ask(SEM_CLOCKWAIT sem_clockwait semaphore.h)
sttcp_ask(MAKECONTEXT makecontext ucontext.h)

# Counters have 64 bits everywhere. Where the processor cannot change so many at once, the compiler
# calls libatomic for it.
set(STTCP_ATOMIC_LIBRARY "")
set(counter "#include <stdatomic.h>
#include <stdint.h>
_Atomic int64_t counter;
int main(int argc, char **argv)
{
	(void)argv;
	atomic_store(&counter, argc);
	return (int)(atomic_load(&counter) + atomic_fetch_add(&counter, 1));
}")
check_c_source_compiles("${counter}" STTCP_COUNTS_64_BITS)
if(NOT STTCP_COUNTS_64_BITS)
	set(CMAKE_REQUIRED_LIBRARIES atomic)
	check_c_source_compiles("${counter}" STTCP_COUNTS_64_BITS_WITH_LIBATOMIC)
	unset(CMAKE_REQUIRED_LIBRARIES)
	if(NOT STTCP_COUNTS_64_BITS_WITH_LIBATOMIC)
		message(FATAL_ERROR "Atomic numbers of 64 bits need libatomic, which is not there")
	endif()
	set(STTCP_ATOMIC_LIBRARY atomic)
endif()
