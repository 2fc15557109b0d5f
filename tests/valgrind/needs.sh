# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For scripts that run something under valgrind: leaves with 77 where that cannot be.
command -v valgrind >/dev/null || { echo "skipped: valgrind is not there" && exit 77; }
case ${CFLAGS:-} in
*-fsanitize=*) echo "skipped: valgrind cannot run what a sanitizer is in" && exit 77 ;;
esac
# The suppressions are for what glibc keeps of threads and of names; and others have no fibers.
echo '#include <features.h>' | ${CC:-cc} -E -dM - | grep -q __GLIBC__ ||
	{ echo "skipped: the C library is not glibc" && exit 77; }

[ "${STTCP_BITS:-64}" = 64 ] ||
	{ echo "skipped: valgrind wants the symbols of a C library of $STTCP_BITS bits" && exit 77; }
