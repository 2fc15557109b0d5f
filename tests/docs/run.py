#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles every block of code that the documents show, and runs those that are programs.

	run.py [--root DIR] [--python] [--only TEXT] [DOCUMENT...]

Blocks of C that are no program are compiled, all of a document's together; prototypes of the manual
are compared with the header; Python and shell are parsed. A console block is typed into a shell, and
what comes has to be what stands there. The blocks of a section share a folder and a shell. A program
that no console block runs has one in sessions.md beside this file; one that has none is an error.

Environment: STTCP_PREFIX, where the library is installed; CC, CXX, CFLAGS; STTCP_BUILD_DIR.
With --python, only sections that need the Python package run, under this interpreter and with
PYTHONPATH as it is; without, they do not.
"""

import argparse
import ast
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import blocks  # noqa: E402
import terminal  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENTS = ["README.md", "python/README.md", "examples/README.md", "bench/README.md", "include/sttcp.h"]
FOLDERS = ("docs", r"\.md$"), ("man", r"\.\d$")
PRELUDE = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sttcp.h>
"""
# What is no program need not use all that it has.
UNUSED = """#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
"""
AT_A_TIME = 4
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# Commands that a shell has, so that no program of that name is looked for.
BUILTINS = {"cd", "kill", "wait", "export", "printf", "echo", "cat", "for", "do", "done", "make", "true", "(sleep",
            "(echo", "(printf", "exec", "jobs", "while", "read", "ulimit", "trap", "set", "{", "}", "make()"}


def with_prelude(program):
    """A program may be shown without its includes, where they do not matter."""
    return program if "#include" in program else PRELUDE + program


def is_run(block, shown):
    """Whether what is typed starts the program, or links the file into another one."""
    stem = (block.name or "").split(".")[0]
    return stem and re.search(r"\./%s\b|\b%s\.o\b" % (stem, stem), shown)


def redeclare(declared):
    """A struct cannot be defined twice: one of another name has to have the same fields at the same places."""
    found = re.match(r"typedef struct (\w+) (\{.*\}) \w+;", declared, re.S)
    if not found:
        return declared
    name, body = found.groups()
    fields = re.findall(r"(\w+)(?=[,;])", body)
    checks = [f"offsetof(struct shown_{name}, {field}) == offsetof({name}, {field})" for field in fields]
    return f"struct shown_{name} {body};" + "".join(
        f' _Static_assert({check}, "not as in the header");'
        for check in [f"sizeof(struct shown_{name}) == sizeof({name})", *checks])


class Runner:
    def __init__(self, options):
        self.root = os.path.abspath(options.root)
        self.python = options.python
        self.only = options.only
        self.failed = 0
        self.counts = {}
        self.left_out = []
        self.prefix = os.environ.get("STTCP_PREFIX", "")
        self.sanitized = "-fsanitize" in os.environ.get("CFLAGS", "")
        built = os.path.join(os.environ.get("STTCP_BUILD_DIR", "/nonexistent"), "cli", "sttcp")
        self.sttcp = built if os.path.exists(built) else None
        self.helps = {}
        self.isolated = terminal.can_isolate()
        self.playing = []  # sections, in namespaces of their own: several at a time, for most of them wait

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def leave_out(self, where, why):
        self.left_out.append(f"{where}: {why}")

    def fail(self, where, text):
        self.failed += 1
        print(f"FAIL {where}: {text}", file=sys.stderr)

    # ------------------------------------------------------------ compiling

    def compile(self, where, language, text, *more):
        compiler = [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE"] if language == "c" else [
            os.environ.get("CXX", "c++"), "-std=c++17"]
        if not shutil.which(compiler[0]):
            self.leave_out(where, f"{compiler[0]} is not there")
            return
        if language == "cpp" and "-m32" in os.environ.get("CFLAGS", ""):
            self.leave_out(where, "a C++ library of 32 bits is none of what the tests need")
            return
        command = [*compiler, *os.environ.get("CFLAGS", "").split(), f"-I{self.root}/include", *WARNINGS, *more,
                   "-x", "c" if language == "c" else "c++", "-c", "-o", "/dev/null", "-"]
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        self.count(f"{language} compiled")
        if done.returncode:
            self.fail(where, f"it does not compile\n{done.stderr}")

    def compile_fragments(self, path, found):
        """What is no program, together: one block may use what another one defines."""
        text = PRELUDE + UNUSED
        fragments = [block for block in found if block.kind == "c" and not block.is_unit]
        for number, block in enumerate(fragments):
            place = f'#line {block.line + 1} "{path}"\n'
            if re.search(r"^(static|int|void|bool|struct|enum|typedef|sttcp_\w+ \*\w+\()", block.text, re.M):
                text += place + block.text
            else:
                text += '#pragma GCC diagnostic ignored "-Wunused-result"\n'
                text += f'#pragma GCC diagnostic ignored "-Wunused-variable"\nvoid statements_{number}(void)\n{{\n'
                text += place + block.text + "}\n"
        if fragments:
            self.compile(path, "c", text)

    def compile_prototypes(self, path, found):
        """Declared once more as the manual has them: what differs from the header is an error."""
        text = PRELUDE + "#include <stddef.h>\n"
        prototypes = [block for block in found if block.kind == "prototypes"]
        for block in prototypes:
            for each in re.findall(r"[^;{]+(?:\{[^}]*\}[^;{]*)?;", block.text):
                if not each.lstrip().startswith("#"):
                    text += f'#line {block.line} "{path}"\n{redeclare(each.strip())}\n'
        if len(prototypes) > 1:
            self.compile(path, "c", text)

    def parse(self, block):
        if block.kind == "python":
            try:
                ast.parse(block.text)
            except SyntaxError as error:
                self.fail(block.where, f"no Python: {error}")
            self.count("python parsed")
        elif block.kind == "sh":
            done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
            self.count("shell parsed")
            if done.returncode:
                self.fail(block.where, done.stderr)
            self.check_targets(block)
        elif block.kind == "cmake":
            self.configure(block)
        elif block.kind == "text":
            self.count("pictures shown")
        if block.kind in ("sh", "console"):
            self.check_command(block)

    def check_units(self, path, found):
        """What systemd says to the units; the program that they start is not installed."""
        units = [block for block in found if block.kind == "ini"]
        verify = shutil.which("systemd-analyze")
        if not units or not verify:
            if units:
                self.leave_out(path, "systemd-analyze is not there, for its units")
            return
        with tempfile.TemporaryDirectory(prefix="sttcp-docs-") as folder:
            for block in units:
                with open(os.path.join(folder, block.name), "w", encoding="utf-8") as file:
                    file.write(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", block.text, flags=re.M))
            done = subprocess.run([verify, "verify", *[block.name for block in units]], cwd=folder, text=True,
                                  capture_output=True, check=False)
            wrong = [line for line in done.stderr.splitlines() if any(block.name in line for block in units)]
            self.count("units verified")
            if wrong:
                self.fail(path, "\n".join(wrong))

    def configure(self, block):
        """The lines of a user's CMakeLists.txt, for a program called echo."""
        if not self.prefix:
            self.leave_out(block.where, "no library is installed for it")
            return
        with tempfile.TemporaryDirectory(prefix="sttcp-docs-") as folder:
            with open(os.path.join(folder, "echo.c"), "w", encoding="utf-8") as file:
                file.write("#include <sttcp.h>\nint main(void)\n{\n\treturn !sttcp_version();\n}\n")
            with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
                head, _, rest = block.text.partition("\n")
                file.write("cmake_minimum_required(VERSION 3.22)\nproject(shown C)\n"
                           f"{head}\nadd_executable(echo echo.c)\n{rest}")
            for command in ["-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={self.prefix}"], ["--build", "build"]:
                done = subprocess.run(["cmake", *command], cwd=folder, text=True, capture_output=True, check=False)
                if done.returncode:
                    self.fail(block.where, done.stdout + done.stderr)
                    return
        self.count("cmake built")

    def help_of(self, verb):
        """What sttcp VERB --help prints, or None where there is no such verb."""
        if verb not in self.helps:
            done = subprocess.run([self.sttcp, verb, "--help"], text=True, capture_output=True, check=False)
            self.helps[verb] = done.stdout if done.returncode == 0 else None
        return self.helps[verb]

    def check_command(self, block):
        """That each verb and option of the sttcp command that is typed there exists."""
        for verb, rest in re.findall(r"(?:^|[$|(;] *)sttcp ([a-z]+)((?:[^\n#&|;]|\\\n)*)", block.text, re.M):
            if not self.sttcp:
                self.leave_out(block.where, "the sttcp command is not built here, for its options")
                return
            told = self.help_of(verb)
            if told is None:
                self.fail(block.where, f"there is no sttcp {verb}")
                continue
            for option in re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", rest.split(" -- ")[0]):
                if not re.search(rf"(?<![\w-]){option}(?![\w-])", told):
                    self.fail(block.where, f"sttcp {verb} has no option {option}")
            self.count("commands of sttcp known")

    def check_targets(self, block):
        with open(f"{self.root}/Makefile", encoding="utf-8") as file:
            targets = set(re.findall(r"^([a-z-]+):", file.read(), re.M))
        for target in re.findall(r"^make ([a-z-]+)", block.text, re.M):
            if target not in targets:
                self.fail(block.where, f"there is no target {target}")
        for flags in re.findall(r"^make bench BENCH_FLAGS='([^']*)'", block.text, re.M):
            done = subprocess.run([sys.executable, "-B", f"{self.root}/bench/run.py", "--list"], text=True,
                                  capture_output=True, check=False)
            for cell in [word for word in flags.split() if not word.startswith("--")]:
                if not re.search(rf"^{cell}", done.stdout, re.M):
                    self.fail(block.where, f"the benchmark has no cell {cell}\n{done.stderr}")

    # -------------------------------------------------------------- running

    def environment(self, folder):
        """As a reader's who has installed the library: nothing of the source is on the way."""
        bin_dir = os.path.join(folder, ".bin")
        os.mkdir(bin_dir)
        os.symlink(sys.executable, os.path.join(bin_dir, "python3"))
        lib = self.library()
        for name, variable in ("cc", "CC"), ("c++", "CXX"):
            path = shutil.which(os.environ.get(variable) or name)
            if path:  # which finds the library as the reader's does after ldconfig
                with open(os.path.join(bin_dir, name), "w", encoding="utf-8") as file:
                    file.write(f'#!/bin/sh\ncase " $* " in *" -c "*) exec {path} "$@" ;; esac\n'
                               f'exec {path} "$@" -Wl,-rpath,{lib}\n')
                os.chmod(os.path.join(bin_dir, name), 0o755)
        env = {name: value for name, value in os.environ.items() if name in ("HOME", "PYTHONPATH", "LANG", "TMPDIR")}
        build = os.environ.get("STTCP_BUILD_DIR", "/nonexistent")
        env.update(PATH=f"{bin_dir}:{self.prefix}/bin:{build}/cli:{os.environ['PATH']}:/usr/sbin",
                   PKG_CONFIG_PATH=f"{lib}/pkgconfig", LD_LIBRARY_PATH=lib, STTCP_PREFIX=self.prefix,
                   STTCP_SOURCE=self.root, STTCP_BUILD=build, PYTHONDONTWRITEBYTECODE="1", TZ="UTC")
        return env

    def library(self):
        for folder, _, names in os.walk(self.prefix or "/nonexistent"):
            if "sttcp.pc" in names:
                return os.path.dirname(folder)
        return "/nonexistent"

    def missing(self, command, env):
        """The first program of a command line that is not there."""
        for part in re.split(r"\||&&|;|\$\(", re.sub(r"'[^']*'", "''", command)):
            words = [word for word in part.split() if not re.match(r"\w+=", word)]
            if words and words[0].startswith("./"):
                continue
            if words and words[0] not in BUILTINS and not shutil.which(words[0], path=env["PATH"]):
                return words[0]
            if words[:2] == ["python3", "-m"] and subprocess.run(
                    [sys.executable, "-c", f"import {words[2]}"], stderr=subprocess.DEVNULL, check=False).returncode:
                return words[2]
        return None

    def commands(self, block):
        """Each command of a console block with the lines that it prints."""
        found = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif found and line.startswith("> ") or found and found[-1][0].endswith("\\"):
                found[-1][0] += "\n" + line[2:]
            elif found:
                found[-1][1].append(line)
            else:
                self.fail(block.where, "the first line of a console block is no command")
        return found

    def play(self, section, folder):
        env = self.environment(folder)
        shell = terminal.Terminal(folder, env)
        try:
            for block in section.blocks:
                if block.name:
                    with open(os.path.join(folder, block.name), "w", encoding="utf-8") as file:
                        file.write(block.text)
                if block.kind != "console":
                    continue
                commands = self.commands(block)
                absent = next(filter(None, (self.missing(command, env) for command, _ in commands)), None)
                if absent:
                    self.leave_out(block.where, f"{absent} is not there")
                    continue
                for command, expected in commands:
                    try:
                        shell.type(command, expected, "figures" in block.mark, "any order" in block.mark)
                    except terminal.Mismatch as mismatch:
                        self.fail(block.where, f"{mismatch}")
                        return
                    self.count("commands run")
            self.count("sessions run")
        finally:
            shell.close()

    def run_section(self, section):
        if self.only and self.only not in section.title:
            return
        if not self.isolated:
            self.leave_out(f"{section.path}, {section.title}", "no network namespace is allowed here")
            return
        with tempfile.TemporaryDirectory(prefix="sttcp-docs-") as folder:
            self.play(section, folder)

    def check_sections(self, found):
        for section in blocks.sections(found):
            shown = "".join(block.text for block in section.of_kind("console"))
            for block in section.blocks:
                if block.is_unit and not self.python and not is_run(block, shown):
                    self.fail(block.where, "nothing runs this program")
            if not shown:
                continue
            if section.path.startswith("man/") and not section.of_kind("c"):
                self.leave_out(section.blocks[0].where, "a log, not a session")
                continue
            needs_package = bool(section.of_kind("python")) or "python3 " in shown
            if needs_package == self.python:
                self.playing.append(section)
            elif needs_package and not self.only:
                self.leave_out(f"{section.path}, {section.title}", "run by the tests of the Python package")

    def sessions(self, path, found):
        """Programs of other documents, each beside the console block that sessions.md has for it."""
        rest = []
        for section in blocks.sections(blocks.markdown("tests/docs/sessions.md", self.session_text)):
            document, _, title = section.title.partition(":")
            title = title.strip()
            if document != path:
                continue
            name, _, marks = section.blocks[0].mark.partition(", ")
            programs = [block for block in found
                        if block.section == title and (block.is_program or block.kind == "console")]
            if len(programs) != 1:
                self.fail(path, f"{len(programs)} programs in '{title}', which sessions.md runs")
                continue
            if programs[0].is_program:
                first = f"/* {name} */\n" + with_prelude(programs[0].text)
                rest.append(blocks.Block(path, programs[0].line, title, "c", first))
            rest += [blocks.Block(block.path, block.line, title, block.kind, block.text, marks)
                     for block in section.of_kind("console")]
            if programs[0].kind == "console":
                programs[0].mark = marks
                rest.append(programs[0])
            found = [block for block in found if block is not programs[0]]
        return found, rest

    def document(self, path):
        found = blocks.find(self.root, path)
        if not self.python:
            self.compile_all(path, found)
        if not self.prefix:
            self.leave_out(path, "nothing is run: STTCP_PREFIX does not tell where the library is")
        elif self.sanitized:
            self.leave_out(path, "nothing is run: programs of users have no sanitizer, and the library has one")
        else:
            rest, others = self.sessions(path, found)
            self.check_sections(rest)
            self.check_sections(others)

    def compile_all(self, path, found):
        for block in found:
            self.parse(block)
            if block.is_unit:
                self.compile(block.where, block.kind, with_prelude(block.text))
        self.compile_fragments(path, found)
        self.compile_prototypes(path, found)
        self.check_units(path, found)

    def all(self, documents):
        with open(f"{HERE}/sessions.md", encoding="utf-8") as file:
            self.session_text = file.read()
        for path in documents:
            self.document(path)
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(self.run_section, self.playing))
        for each in self.left_out:
            print(f"NOT TESTED: {each}")
        print("; ".join(f"{number} {what}" for what, number in sorted(self.counts.items())))
        if self.left_out and os.environ.get("STTCP_ALL_PEERS") == "1":
            beyond = [each for each in self.left_out if "is not there" in each]
            self.failed += len(beyond)
        return self.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*")
    parser.add_argument("--root", default=os.path.join(HERE, "..", ".."))
    parser.add_argument("--python", action="store_true")
    parser.add_argument("--only", metavar="TEXT", help="run only sections whose title has this")
    options = parser.parse_args()
    pages = [f"{folder}/{name}" for folder, ending in FOLDERS
             for name in sorted(os.listdir(f"{options.root}/{folder}")) if re.search(ending, name)]
    sys.exit(1 if Runner(options).all(options.documents or DOCUMENTS + pages) else 0)


if __name__ == "__main__":
    main()
