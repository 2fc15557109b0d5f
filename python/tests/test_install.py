# SPDX-License-Identifier: MIT
"""pip install ./python in a virtual environment, and what else a build back end is asked for.
Nothing here needs an index."""

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile

import sttcp
from support import DEADLINE, HERE, data_file
from test_seed import Terminal, program_of_seed, take_seed_port

PROJECT = os.path.dirname(HERE)
# Neither the package under test nor this machine's settings of pip are to be seen.
PLAIN = {name: value for name, value in os.environ.items()
         if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))}
PLAIN.update(PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
HOOK = """import sys
sys.dont_write_bytecode = True
sys.path.insert(0, 'backend')
import sttcp_build
%s
print(getattr(sttcp_build, sys.argv[1])(sys.argv[2]))
"""


def run(*command, check=True, cwd=None, **environment):
    """Runs a program; returns what it printed."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
                            universal_newlines=True, env={**PLAIN, **environment},
                            timeout=DEADLINE * 30)  # pip compiles the library
    if check and result.returncode:
        raise AssertionError("%s: exit status %d\n%s" % (" ".join(command), result.returncode,
                                                         result.stdout))
    return result.stdout


def call_hook(name, target, project=PROJECT, before="", check=True, CFLAGS="-O0", **environment):
    """A hook of the back end, called as pip does: from the project's directory. What is built runs
    a few lines at most, so it is compiled quickly."""
    return run(sys.executable, "-c", HOOK % before, name, target, cwd=project, check=check,
               CFLAGS=CFLAGS, **environment)


def listing(folder):
    """All files below it, but for what Python keeps for itself."""
    return sorted(os.path.join(path, name) for path, _, names in os.walk(folder)
                  for name in names if not path.endswith("__pycache__"))


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        work = contextlib.ExitStack()
        cls.addClassCleanup(work.close)
        cls.work = work.enter_context(tempfile.TemporaryDirectory())
        cls.venv = os.path.join(cls.work, "venv")
        try:
            run(sys.executable, "-m", "venv", cls.venv)
        except AssertionError as error:
            raise AssertionError("no virtual environment; on Debian: sudo apt-get install "
                                 "python3-venv\n%s" % error) from None
        cls.python = os.path.join(cls.venv, "bin", "python")
        cls.wheel = os.path.join(cls.work, call_hook("build_wheel", cls.work,
                                                     SOURCE_DATE_EPOCH="1").strip())

    def pip(self, *arguments, **environment):
        return run(self.python, "-m", "pip", "--isolated", *arguments, cwd=self.work, **environment)

    def install(self, *what, **environment):
        self.pip("install", "--no-index", *what, **environment)
        self.addCleanup(self.pip, "uninstall", "--yes", "simple-threaded-tcp")

    def in_venv(self, text):
        return run(self.python, "-c", text, cwd=self.work).strip()

    def temporary(self):
        work = contextlib.ExitStack()
        self.addCleanup(work.close)
        return work.enter_context(tempfile.TemporaryDirectory())

    def unpacked_sdist(self):
        target = self.temporary()
        name = call_hook("build_sdist", target).strip()
        with tarfile.open(os.path.join(target, name)) as archive:
            archive.extractall(target)
        return os.path.join(target, name[:-len(".tar.gz")])

    def test_installs_without_an_index_and_runs_the_seed_program(self):
        before = listing(PROJECT)
        empty = listing(self.venv)
        self.install(PROJECT)
        self.assertEqual(listing(PROJECT), before, "the checkout is left as it was")
        where = self.in_venv("import sttcp, sttcp._sttcp as c; print(sttcp.__file__, c.__file__)")
        for path in where.split():
            self.assertTrue(path.startswith(self.venv + os.sep), path)
        self.assertEqual(self.in_venv(
            "import sttcp; print([line for line in open('/proc/self/maps') if 'libsttcp' in line])"
        ), "[]", "the library is inside the extension")

        take_seed_port(self)
        program = os.path.join(self.work, "program.py")
        with open(program, "w", encoding="utf-8") as file:
            file.write(program_of_seed())
        terminal = Terminal(program, self.python, PLAIN)
        self.addCleanup(terminal.kill)
        terminal.read_until(lambda output: "Disconnected by " in output
                            and "Disconnected from " in output and output.endswith("\n"))
        terminal.interrupt()
        self.assertEqual(terminal.end(), 0)
        self.assertIn('Received string "Meow!"\n', terminal.output)

        self.pip("check")
        self.pip("uninstall", "--yes", "simple-threaded-tcp")
        self.assertEqual(listing(self.venv), empty, "RECORD names every file")

    def test_metadata_names_and_types_come_along(self):
        self.install(self.wheel)
        shown = self.pip("show", "--files", "simple-threaded-tcp")
        version = self.in_venv("import sttcp; print(sttcp.__version__)")
        self.assertIn("Name: simple-threaded-tcp\n", shown)
        self.assertIn("Version: %s\n" % version, shown)
        self.assertIn("License: MIT\n", shown)
        for name in ("py.typed", "_sttcp.pyi", "server.py", "client.py", "general.py"):
            self.assertIn(" sttcp/%s\n" % name, shown)
        self.assertIn(".dist-info/LICENSE\n", shown)
        with open(os.path.join(PROJECT, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        self.assertEqual(self.in_venv(
            "from importlib.metadata import metadata\n"
            "print(metadata('simple-threaded-tcp').get_payload())"), readme.strip())

    def test_source_distribution_stands_alone(self):
        project = self.unpacked_sdist()
        target = self.temporary()
        name = call_hook("build_wheel", target, project).strip()
        with zipfile.ZipFile(os.path.join(target, name)) as wheel:
            names = wheel.namelist()
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len([each for each in names if each.endswith(".so")]), 1)
        self.assertIn("sttcp/py.typed", names)
        # What only a checkout has does not go into it, and what its own tests need does.
        for path in listing(project):
            self.assertFalse(path.endswith((".so", ".pyc", ".o")), path)
        self.assertTrue(os.path.exists(os.path.join(project, "tests", "data", "seed_README.md")))
        self.assertTrue(os.path.exists(os.path.join(project, "LICENSE")))

    def test_wheel_does_not_depend_on_when_it_was_built(self):
        target = self.temporary()
        name = call_hook("build_wheel", target, SOURCE_DATE_EPOCH="2000000000").strip()
        self.assertEqual(name, os.path.basename(self.wheel))
        with open(self.wheel, "rb") as one, open(os.path.join(target, name), "rb") as other:
            self.assertEqual(one.read(), other.read())

    def test_metadata_of_its_own_is_that_of_the_wheel(self):
        target = self.temporary()
        info = os.path.join(target,
                            call_hook("prepare_metadata_for_build_wheel", target).strip())
        with zipfile.ZipFile(self.wheel) as wheel:
            for path in glob.glob(os.path.join(info, "*")):
                with open(path, "rb") as file:
                    self.assertEqual(wheel.read("/".join(path.split(os.sep)[-2:])), file.read())

    def test_editable_install_follows_its_sources(self):
        project = self.unpacked_sdist()
        self.install("--editable", project, CFLAGS="-O0")
        self.assertEqual(self.in_venv("import sttcp; print(sttcp.__file__)"),
                         os.path.join(project, "src", "sttcp", "__init__.py"))
        with open(os.path.join(project, "src", "sttcp", "__init__.py"), "a",
                  encoding="utf-8") as file:
            file.write("changed = 'indeed'\n")
        self.assertEqual(self.in_venv("import sttcp; print(sttcp.changed)"), "indeed")

    def test_without_openssl_it_is_built_without_tls(self):
        target = self.temporary()
        said = call_hook("build_wheel", target, before="sttcp_build.TRY_OPENSSL = '#error'")
        self.assertIn("TLS is left out: OpenSSL 3 is not there; on Debian: sudo apt-get install "
                      "libssl-dev\n", said)
        self.install(*glob.glob(os.path.join(target, "*.whl")))
        # Objects can be made, and the start says why.
        self.assertEqual(self.in_venv(
            "import sttcp\n"
            "from sttcp.client import Client\n"
            "print(sttcp.HAS_TLS)\n"
            "tls = sttcp.TLS('cert.pem', 'key.pem', trust='ca.pem', alpn=['h2'], ciphers='x')\n"
            "for call in (Client('127.0.0.1', 1, tls=True).start, tls.reload,\n"
            "             sttcp.server.Server('127.0.0.1', 0, tls=tls).start):\n"
            "    try:\n"
            "        call()\n"
            "    except sttcp.TLSError as error:\n"
            "        print(error.name, 'built without TLS' in str(error))"),
            "False\n" + "\n".join(["ENOSYS True"] * 3))

    def test_with_tls_it_needs_the_systems_openssl(self):
        if not sttcp.HAS_TLS:
            self.skipTest("built without TLS")
        folder = self.temporary()
        for name in "libssl.so.3", "libcrypto.so.3":
            with open(os.path.join(folder, name), "wb"):
                pass
        said = run(sys.executable, "-c", "import sttcp", check=False, LD_LIBRARY_PATH=folder,
                   PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(sttcp.__file__))))
        self.assertRegex(said, "ImportError: sttcp was built with TLS, and OpenSSL 3 is not there: "
                               "[^ ]*lib(ssl|crypto)[^\n]*apt-get install libssl3; or .* STTCP_TLS=OFF")

    def build_error(self, **how):
        said = call_hook("build_wheel", self.temporary(), check=False, **how)
        self.assertIn("sttcp_build.BuildError: ", said)
        return said.split("sttcp_build.BuildError: ", 1)[1]

    def test_errors_tell_what_to_install(self):
        self.assertIn("apt-get install gcc libc6-dev", self.build_error(PATH=self.temporary()))
        self.assertIn("apt-get install libssl-dev", self.build_error(
            STTCP_TLS="ON", before="sttcp_build.TRY_OPENSSL = '#error'"))
        self.assertIn("ON, OFF or AUTO", self.build_error(STTCP_TLS="YES"))
        self.assertIn("apt-get install python3-dev", self.build_error(
            before="real = sttcp_build.sysconfig.get_paths\n"
                   "sttcp_build.sysconfig.get_paths = lambda *arguments: "
                   "{**real(*arguments), 'include': '/nowhere'}"))
        lonely = os.path.join(self.temporary(), "python")
        shutil.copytree(PROJECT, lonely, ignore=lambda folder, names: {"core", "__pycache__"})
        self.assertIn("update pip", self.build_error(project=lonely))

    def test_error_of_the_compiler_is_told(self):
        said = self.build_error(CFLAGS="-include no_such_header.h")
        self.assertIn("no_such_header.h", said.split("\n", 1)[1])


if __name__ == "__main__":
    unittest.main()
