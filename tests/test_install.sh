#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs into a directory of its own, and builds and runs a program outside of this project
# against it: with pkg-config and with CMake, shared and static.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
source=$STTCP_SOURCE_DIR/tests/install
cc=${CC:-cc}
cflags=${CFLAGS:-}

must_exist()
{
	for file in "$@"; do
		[ -e "$file" ] || { echo "not installed: $file" >&2 && exit 1; }
	done
}

run()
{
	echo "$*"
	env LD_LIBRARY_PATH="$libdir" "$@"
}

cmake --install "$STTCP_BUILD_DIR" --prefix "$prefix" >/dev/null
# The folder of the libraries is the system's choice: lib, lib64 or lib/<machine>.
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name sttcp.pc)")
export PKG_CONFIG_PATH
libdir=$(dirname "$PKG_CONFIG_PATH")
must_exist "$prefix/include/sttcp.h" "$libdir/libsttcp.a" "$libdir/libsttcp.so" \
	"$libdir/libsttcp.so.0"
must_exist "$prefix/share/sttcp/sttcp.supp"
sections=37
if [ -x "$STTCP_BUILD_DIR/cli/sttcp" ]; then
	sections=137
	must_exist "$prefix/share/bash-completion/completions/sttcp" \
		"$prefix/share/zsh/site-functions/_sttcp"
	# It finds the library beside it without any help.
	[ "$("$prefix/bin/sttcp" --version)" = "sttcp $(sed -n 's/^Version: //p' "$libdir/pkgconfig/sttcp.pc")" ]
fi
for page in "$STTCP_SOURCE_DIR"/man/*.[$sections]; do
	[ ! -e "$page" ] || must_exist "$prefix/share/man/man${page##*.}/${page##*/}"
done

# It is the same library wherever it was built; a sanitizer's tells where it is from.
case $cflags in
*-fsanitize=*) ;;
*)
	if readelf -p .rodata "$libdir/libsttcp.so" | grep -F "$STTCP_SOURCE_DIR"; then
		echo "the folder of the sources is in the library" >&2
		exit 1
	fi
	;;
esac

# Each function has a page.
functions=$("$cc" -E -P "$prefix/include/sttcp.h" | tr '\n' ' ' | grep -o 'sttcp_[a-z0-9_]* *(' |
	tr -d ' (' | sort -u)
[ "$(echo "$functions" | wc -l)" -ge 100 ]
for function in $functions; do
	grep -qx '\.so man3/sttcp\.3' "$prefix/share/man/man3/$function.3" ||
		{ echo "not installed: the page of $function" >&2 && exit 1; }
done

# shellcheck disable=SC2046,SC2086 # flags are words on purpose
{
	"$cc" $cflags -o "$work/shared" "$source/outside.c" $(pkg-config --cflags --libs sttcp)
	"$cc" $cflags -o "$work/static" "$source/outside.c" $(pkg-config --cflags sttcp) \
		-Wl,-Bstatic $(pkg-config --static --libs sttcp) -Wl,-Bdynamic
}
run "$work/shared"
run "$work/static"

# The examples are C11, and say so where they need POSIX.
for example in "$STTCP_SOURCE_DIR"/examples/*.c; do
	"$cc" -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" "$example"
done

# The version that a program asks for in its build is the one that the library tells at run time.
[ "$(run "$work/shared" --version | tail -n 1)" = "$(pkg-config --modversion sttcp)" ]

cmake -S "$source" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
	-Dversion="$(pkg-config --modversion sttcp)" >/dev/null
cmake --build "$work/cmake" >/dev/null
run "$work/cmake/outside_shared"
run "$work/cmake/outside_static"

# A static program needs no library at run time, a shared one does.
readelf -d "$work/shared" | grep -q 'libsttcp\.so\.0'
readelf -d "$work/cmake/outside_shared" | grep -q 'libsttcp\.so\.0'
for program in "$work/static" "$work/cmake/outside_static"; do
	if readelf -d "$program" | grep -q libsttcp; then
		echo "$program is not static" >&2
		exit 1
	fi
done

# DESTDIR goes before the prefix in where things land, and into no file.
DESTDIR=$work/stage cmake --install "$STTCP_BUILD_DIR" --prefix /opt/sttcp >/dev/null
must_exist "$work/stage/opt/sttcp/include/sttcp.h"
pc=$(find "$work/stage" -name sttcp.pc)
grep -qx 'prefix=/opt/sttcp' "$pc"
if grep -rIl "$work" "$work/stage"; then
	echo "the staging directory is in a file" >&2
	exit 1
fi

# The command finds its library also where the folder of that is given as an absolute path.
if [ -x "$STTCP_BUILD_DIR/cli/sttcp" ]; then
	cmake -S "$STTCP_SOURCE_DIR" -B "$work/absolute" -DCMAKE_C_COMPILER="$cc" -DSTTCP_TESTS=OFF \
		-DSTTCP_EXAMPLES=OFF -DCMAKE_INSTALL_PREFIX=/opt/sttcp \
		-DCMAKE_INSTALL_LIBDIR=/opt/sttcp/libraries >/dev/null
	grep -q 'ORIGIN/\.\./libraries"' "$work/absolute/cmake_install.cmake"
fi

# As a part of another project it installs nothing with that, unless it is told to.
mkdir "$work/parent"
cat >"$work/parent/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.22)
project(parent C)
add_subdirectory("$STTCP_SOURCE_DIR" sttcp)
END
cmake -S "$work/parent" -B "$work/parent/build" -DCMAKE_C_COMPILER="$cc" >/dev/null
cmake --install "$work/parent/build" --prefix "$work/parent/prefix" >/dev/null
[ ! -e "$work/parent/prefix" ]

# A space in the prefix, too, with files beside it that have the names of its parts.
spaced="$work/with a space"
cmake --install "$STTCP_BUILD_DIR" --prefix "$spaced" >/dev/null
(
	PKG_CONFIG_PATH=$(dirname "$(find "$spaced" -name sttcp.pc)")
	libdir=$(dirname "$PKG_CONFIG_PATH")
	# The flags are quoted as a shell reads them.
	eval "\"\$cc\" $cflags -o \"\$work/spaced\" \"\$source/outside.c\" $(pkg-config --cflags --libs sttcp)"
	run "$work/spaced"
	[ "$(pkg-config --variable=prefix sttcp)" = "$spaced" ]
)
echo mine >"$work/with"
(cd "$work" && mkdir -p space && echo mine >space/include && "$STTCP_SOURCE_DIR/scripts/uninstall.sh" \
	"$STTCP_BUILD_DIR" "$spaced")
[ "$(cat "$work/with" "$work/space/include")" = "$(printf 'mine\nmine')" ]
rest=$(find "$spaced" ! -type d)
[ -z "$rest" ] || {
	echo "left after uninstall.sh: $rest" >&2
	exit 1
}

# The words reach CMake whole. A stand-in for it writes them down, and nothing is built.
mkdir "$work/bin"
cat >"$work/bin/cmake" <<'END'
#!/bin/sh
for word in "${DESTDIR:-}" "$@"; do echo "<$word>"; done >>"$SAID"
[ -z "${MADE:-}" ] || : >>"$MADE"
END
chmod +x "$work/bin/cmake"
make_install()
{
	: >"$work/said"
	SAID=$work/said PATH=$work/bin:$PATH DEPS=0 make -s -C "$STTCP_SOURCE_DIR" install "$@"
}
make_install BUILD="$work/the build" PREFIX='/opt/the prefix' DESTDIR="$work/the stage"
for word in "$work/the build" "$work/the stage"; do
	grep -qx "<$word>" "$work/said" || { cat "$work/said" && echo "not whole: $word" >&2 && exit 1; }
done
grep -qx '<.*/opt/the prefix>' "$work/said"

# Root leaves nothing of its own in somebody's build directory.
if [ "$(id -u)" = 0 ]; then
	mkdir "$work/build"
	chown 65534:65534 "$work/build"
	MADE=$work/build/made make_install BUILD="$work/build"
	[ "$(stat -c %u:%g "$work/build/made")" = 65534:65534 ]
fi

# Where CMake is missing, and nothing may be installed, a sentence says what to do.
mkdir "$work/bare"
for program in make sh env id stat nproc expr; do
	ln -s "$(command -v "$program")" "$work/bare"
done
if PATH=$work/bare DEPS=0 make -s -C "$STTCP_SOURCE_DIR" BUILD="$work/none" >"$work/said" 2>&1; then
	echo "built without CMake" >&2
	exit 1
fi
grep -q 'please install it' "$work/said"

# What was installed goes again, and nothing else does.
echo mine >"$work/stage/opt/sttcp/include/mine.h"
"$STTCP_SOURCE_DIR/scripts/uninstall.sh" "$STTCP_BUILD_DIR" /opt/sttcp "$work/stage"
rest=$(cd "$work/stage" && find . ! -type d)
[ "$rest" = ./opt/sttcp/include/mine.h ] || {
	echo "left after uninstall.sh: $rest" >&2
	exit 1
}
