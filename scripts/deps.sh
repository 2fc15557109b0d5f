#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs the Debian packages that a job needs and that are not there:
#
#	scripts/deps.sh demo|test|peers|musl|32bit|python|bench|bench-python|check|models|html|abi|deb|ci|fresh
#
# What is there already leaves apt untouched, wherever it came from. Only root and "sudo -n" are
# used, never a password prompt; where neither works, the command to run is printed and the exit
# status is 2. DEPS=0 in the environment turns all of it off.
set -eu

[ "${DEPS:-1}" != 0 ] || exit 0

missing=
optional= # of which what cannot be had is only told

# need PACKAGE PROBE...: the probe finds what did not come from a package.
need()
{
	package=$1
	shift
	"$@" >/dev/null 2>&1 && return
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed && return
	missing="$missing $package"
}

command_found()
{
	command -v "$1"
}

# Some programs are in /usr/sbin, which not every PATH has.
sbin_found()
{
	PATH=$PATH:/usr/sbin command -v "$1"
}

header_found()
{
	echo "#include <$1>" | "${CC:-cc}" -E -
}

clang_links()
{
	echo 'int main(void) { return 0; }' | clang -fsanitize=thread -x c -o /dev/null -
}

need_demo()
{
	need gcc command_found "${CC:-cc}"
	need libc6-dev header_found stdio.h
	need make command_found make
	need cmake command_found cmake
	need libssl-dev header_found openssl/ssl.h
}

need_test()
{
	need_demo
	need g++ command_found "${CXX:-c++}"
	need libcmocka-dev header_found cmocka.h
	need pkg-config command_found pkg-config
	need netcat-openbsd command_found nc
	need curl command_found curl
	need socat command_found socat
	need redis-tools command_found redis-cli
	need openssl command_found openssl
	need python3 command_found python3
}

# Who is on the other end in the tests of TLS, and of an example, who draws a plot and who reads a
# manual page. Without them these cases are left out, with a word.
need_peers()
{
	need_test
	need python3 command_found /usr/bin/python3
	need nginx sbin_found nginx
	need libnginx-mod-stream test -e /usr/lib/nginx/modules/ngx_stream_module.so
	need haproxy sbin_found haproxy
	need testssl.sh command_found testssl
	need redis-server command_found redis-server
	need libhiredis-dev header_found hiredis/hiredis.h
	need gnuplot-nox command_found gnuplot
	need groff-base command_found groff
}

need_musl()
{
	need_test
	need musl-tools command_found musl-gcc
}

# 32-bit code, the files that it needs, and a kernel that runs it.
links_32bit()
{
	echo 'int main(void) { return 0; }' | gcc -m32 -x c -o /dev/null -
}

need_32bit()
{
	need_test
	need gcc-multilib links_32bit
}

# A Python of one's own brings its headers and venv along.
python_has()
{
	case $1 in
	Python.h) probe='import os, sysconfig
os.stat(sysconfig.get_paths()["include"] + "/Python.h")' ;;
	venv) probe='import ensurepip, venv' ;;
	pytest) probe='import pytest' ;;
	esac
	"$python" -c "$probe"
}

need_python()
{
	python=${PYTHON:-/usr/bin/python3}
	need gcc command_found "${CC:-cc}"
	need libc6-dev header_found stdio.h
	need python3 command_found "$python"
	need libssl-dev header_found openssl/ssl.h
	need openssl command_found openssl
	need python3-dev python_has Python.h
	need python3-venv python_has venv
	need mypy command_found mypy
	need python3-pytest python_has pytest
}

need_bench()
{
	need_demo
	need python3 command_found python3
	need openssl command_found openssl
	need redis-tools command_found redis-benchmark
	need socat command_found socat
	need haproxy sbin_found haproxy
}

# What is compared with: each of it is left out where it cannot be had.
need_bench_python()
{
	need_demo
	python=${PYTHON:-/usr/bin/python3}
	need python3 command_found "$python"
	need python3-dev python_has Python.h
	for module in uvloop gevent trio; do
		"$python" -c "import $module" >/dev/null 2>&1 || optional="$optional python3-$module"
	done
	command_found gnuplot >/dev/null || optional="$optional gnuplot-nox"
}

need_models()
{
	need_demo
	need spin command_found spin
}

need_html()
{
	need mandoc command_found mandoc
	need cmark-gfm command_found cmark-gfm
}

need_abi()
{
	need_demo
	need abigail-tools command_found abidw
}

need_deb()
{
	need_demo
	need build-essential false # every package is built with it, and dpkg-buildpackage looks for it
	need dpkg-dev command_found dpkg-buildpackage
	need debhelper command_found dh
	need dh-python command_found dh_python3
	need fakeroot command_found fakeroot
	need lintian command_found lintian
	need python3-dev dpkg-query -W python3-dev
	need valgrind-if-available dpkg-query -W valgrind-if-available
}

need_check()
{
	need_test
	need_abi
	need_html
	need clang command_found clang
	need clang-format command_found clang-format
}

need_ci()
{
	need_check
	need_peers
	need_musl
	need_32bit
	need_python
	need libclang-rt-dev clang_links
	need llvm command_found llvm-symbolizer
	need util-linux command_found setarch
	need valgrind command_found valgrind
	need systemd command_found systemd-socket-activate
	need gdb command_found gdb
	need ninja-build command_found ninja
	need_models
}

need_fresh()
{
	need debootstrap command_found debootstrap
	need git command_found git
}

say()
{
	echo "deps: $*" >&2
}

set_name=${1:-}
case $set_name in
demo | test | peers | musl | 32bit | python | bench | check | models | html | abi | deb | ci | \
	fresh) "need_$set_name" ;;
bench-python) need_bench_python ;;
*)
	say "usage: deps.sh demo|test|peers|musl|32bit|python|bench|bench-python|check|models|html|abi|deb|ci|fresh"
	exit 2
	;;
esac
[ -n "$missing$optional" ] || exit 0
say "missing:$missing$optional"

if ! command -v apt-get >/dev/null; then
	say "this system has no apt-get: please install what these Debian packages contain"
	[ -z "$missing" ] || exit 2
	exit 0
fi
if [ "$(id -u)" = 0 ]; then
	root=
elif sudo -n true 2>/dev/null; then
	root="sudo -n"
else
	say "neither root nor sudo without a password: please run"
	echo "  sudo apt-get update && sudo apt-get install --no-install-recommends -y$missing$optional" >&2
	[ -z "$missing" ] || exit 2
	exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt_get()
{
	$root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
		>"$log" 2>&1 </dev/null
}

# The lists have a lock that apt-get does not wait for. When updating fails for another reason,
# such as one source of many, the lists that are there may still do.
say "installing:$missing$optional"
tries=60
until apt_get update; do
	{ grep -q 'Could not get lock' "$log" && [ "$tries" -gt 0 ]; } || break
	tries=$((tries - 1))
	sleep 5
done
# shellcheck disable=SC2086 # the list is words on purpose
if [ -n "$missing" ] && ! apt_get install --no-install-recommends $missing; then
	tail -n 20 "$log" >&2
	say "installing failed"
	exit 2
fi
for package in $optional; do
	apt_get install --no-install-recommends "$package" || say "$package cannot be had; going on without it"
done
say "done"
