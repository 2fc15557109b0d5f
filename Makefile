# SPDX-License-Identifier: MIT
# The verbs that people know; CMake does the work.
#
#   BUILD=dir          where to build (build)
#   CMAKE_FLAGS=...    passed to cmake, such as -DSTTCP_SANITIZE=thread
#   JOBS=n             how much runs at a time (the number of CPUs)
#   TESTS=n            how many tests do (twice as many: most of them wait most of the time)
#   PREFIX=, DESTDIR=  for install (/usr/local, none)
#   PYTHON=program     for which Python the package is built (/usr/bin/python3); empty: for none
#   BENCH_FLAGS=...    passed to bench/run.py (--short)
#   COMPARE_FLAGS=...  passed to python/bench/compare.py (--rounds 3)
#   DEPS=0             never install missing packages

BUILD ?= build
CMAKE_FLAGS ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
TESTS ?= $(shell expr 2 '*' $(JOBS))
PREFIX ?= /usr/local
PYTHON ?= /usr/bin/python3
BENCH_FLAGS ?= --short
COMPARE_FLAGS ?= --rounds 3

# What CMake has to complain of goes to stderr. This make's state is not for the one that it runs.
CMAKE_IS_THERE = command -v cmake >/dev/null || { echo 'CMake is not there, which builds all of this: \
	please install it (3.22 or later), or let scripts/deps.sh do that: without DEPS=0' >&2; exit 2; }
CONFIGURE = $(CMAKE_IS_THERE); cmake -S . -B '$(BUILD)' $(CMAKE_FLAGS) >/dev/null
# What root makes in the build directory belongs to whose it is: "sudo make install" stands in no way of
# the next "make".
OWNER = $$(stat -L -c %u:%g '$(BUILD)' 2>/dev/null || stat -c %u:%g .)
GIVE_BACK = [ "$$(id -u)" != 0 ] || [ ! -e '$(BUILD)' ] || chown -R "$$owner" '$(BUILD)/.'
COMPILE = env -u MAKEFLAGS -u MAKELEVEL cmake --build '$(BUILD)' --parallel $(JOBS)

.PHONY: all demo test python-test bench bench-python install uninstall html dist sdist wheel deb abi models
.PHONY: check format clean help
.NOTPARALLEL:

all:
	@scripts/deps.sh demo
	@$(CONFIGURE)
	@$(COMPILE) --target sttcp sttcp_static sttcp_programs

demo:
	@scripts/deps.sh demo
	@$(CONFIGURE)
	@$(COMPILE) --target example_01_meow
	@scripts/demo.sh '$(BUILD)'

test:
	@scripts/deps.sh test
	@$(CONFIGURE) -DSTTCP_TESTS=ON
	@$(COMPILE)
	@ctest --test-dir '$(BUILD)' --parallel $(TESTS) --output-on-failure --no-tests=error
	@PYTHON='$(PYTHON)' JOBS=$(JOBS) scripts/test-python.sh '$(BUILD)/python' --if-headers

python-test:
	@PYTHON='$(PYTHON)' JOBS=$(JOBS) scripts/test-python.sh '$(BUILD)/python'

bench:
	@scripts/deps.sh bench
	@$(CONFIGURE) -DSTTCP_BENCH=ON
	@$(COMPILE)
	@$(or $(PYTHON),python3) bench/run.py --programs '$(BUILD)/bench' $(BENCH_FLAGS)

bench-python:
	@PYTHON='$(PYTHON)' scripts/deps.sh bench-python
	@$(CONFIGURE) -DSTTCP_BENCH=ON
	@$(COMPILE) --target sttcp_bench_load sttcp_bench_epoll
	@$(or $(PYTHON),python3) -B python/backend/sttcp_build.py '$(BUILD)/python'
	@$(or $(PYTHON),python3) python/bench/compare.py --programs '$(BUILD)/bench' --python '$(BUILD)/python' \
		--plot '$(BUILD)/bench-python.svg' $(COMPARE_FLAGS)

install:
	@scripts/deps.sh demo
	@owner=$(OWNER); $(CONFIGURE) -DCMAKE_INSTALL_PREFIX='$(PREFIX)' && \
		$(COMPILE) --target sttcp sttcp_static sttcp_programs && \
		DESTDIR='$(DESTDIR)' cmake --install '$(BUILD)'; \
		status=$$?; $(GIVE_BACK); exit $$status

uninstall:
	@owner=$(OWNER); $(CONFIGURE) -DCMAKE_INSTALL_PREFIX='$(PREFIX)' && \
		$(COMPILE) --target sttcp sttcp_static sttcp_programs && \
		scripts/uninstall.sh '$(BUILD)' '$(PREFIX)' '$(DESTDIR)'; \
		status=$$?; $(GIVE_BACK); exit $$status

html:
	@scripts/deps.sh html
	@scripts/html.sh '$(BUILD)/html'

dist:
	@scripts/dist.sh dist

sdist wheel:
	@scripts/deps.sh demo
	@mkdir -p dist
	@cd python && PYTHONPATH=backend $(or $(PYTHON),python3) -B -c \
		'import sttcp_build; print("dist/" + sttcp_build.build_$@("../dist"))'

deb:
	@scripts/deps.sh deb
	@scripts/deb.sh dist

abi:
	@scripts/deps.sh abi
	@$(CONFIGURE)
	@$(COMPILE) --target sttcp
	@scripts/abi.sh --write '$(BUILD)'

models:
	@scripts/deps.sh models
	@models/run.sh --large

# From the quick ones to the slow; the library is built for its symbols alone.
check:
	@scripts/deps.sh check
	@scripts/check-commits.sh
	@scripts/check-layers.sh
	@scripts/check-lists.sh
	@scripts/check-names.sh
	@scripts/check-format.sh
	@$(CONFIGURE)
	@$(COMPILE) --target sttcp >/dev/null
	@scripts/check-circles.sh '$(BUILD)'
	@scripts/check-exports.sh '$(BUILD)'
	@scripts/abi.sh '$(BUILD)'
	@scripts/html.sh '$(BUILD)/html'
	@scripts/check-threads.sh
	@scripts/check-headers.sh

format:
	@scripts/deps.sh check
	@scripts/check-format.sh --fix

clean:
	rm -rf build build-* dist

help:
	@echo 'make              the library and the sttcp command, in $(BUILD)/ and $(BUILD)/cli/'
	@echo 'make demo         builds the first example and shows it at work'
	@echo 'make test         builds and runs all tests'
	@echo 'make python-test  builds and tests the Python package, for $(PYTHON)'
	@echo 'make bench        builds and runs the benchmarks'
	@echo 'make bench-python runs the Python package beside socketserver, asyncio, uvloop, gevent, trio'
	@echo 'make install      into PREFIX ($(PREFIX)), below DESTDIR if that is set'
	@echo 'make uninstall    removes what install has installed'
	@echo 'make html         the manual for a browser, in $(BUILD)/html'
	@echo 'make dist         a tarball of what is committed, in dist/'
	@echo 'make deb          packages for Debian, in dist/'
	@echo 'make sdist wheel  packages for pip, in dist/'
	@echo 'make abi          writes down the ABI of a new version, for make check'
	@echo 'make models       searches the models of the hand-over, exhaustively'
	@echo 'make check        what can be told without running anything: layers, lists, commits, ...'
	@echo 'make format       formats the source'
	@echo 'make clean        removes all that was built'
	@echo 'Missing packages are installed first (as root or with sudo -n); DEPS=0 forbids it.'
