# SPDX-License-Identifier: MIT
"""Builds the package (PEP 517, PEP 660), with nothing but Python and a C compiler.

The extension and the library's own sources become one shared object, so that a
wheel needs no library beside it. In a checkout the sources lie in ../src and
../include; a source distribution brings them in core/.

CC, CFLAGS, CPPFLAGS and LDFLAGS of the environment are heeded; JOBS says how
much is compiled at a time. STTCP_TLS is ON, OFF or AUTO, as for CMake: with
TLS, without it, or with it if OpenSSL 3 is there, which is the default.
"""

import base64
import gzip
import hashlib
import io
import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "sttcp"
# Nothing that a wheel holds depends on when it was built.
EPOCH = max(int(os.environ.get("SOURCE_DATE_EPOCH") or 0), 315532800)


class BuildError(Exception):
    """What cannot be built, and what to do about it."""


def core():
    """Where the library's src/ and include/ are."""
    for place in (os.path.join(HERE, "core"), os.path.dirname(HERE)):
        if os.path.exists(os.path.join(place, "include", "sttcp.h")):
            return place
    raise BuildError("the library's sources are neither in core/ nor beside this directory; "
                     "pip before 21.3 copies the directory alone: update pip")


def project():
    """The [project] table, as far as it is strings and lists of strings."""
    with open(os.path.join(HERE, "pyproject.toml"), encoding="utf-8") as file:
        text = file.read()
    table = text.split("[project]\n", 1)[1].split("\n[", 1)[0]
    found = dict(re.findall(r'^([a-z-]+) = "(.*)"$', table, re.M))
    listed = re.search(r"^classifiers = \[(.*?)^\]", table, re.M | re.S)
    found["classifiers"] = re.findall(r'"(.*?)"', listed.group(1))
    return found


def full_name():
    """The name and version as file names have it."""
    about = project()
    return about["name"].replace("-", "_") + "-" + about["version"]


def metadata():
    about = project()
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    lines = ["Metadata-Version: 2.1", "Name: " + about["name"], "Version: " + about["version"],
             "Summary: " + about["description"], "License: MIT",
             "Requires-Python: " + about["requires-python"]]
    lines += ["Classifier: " + classifier for classifier in about["classifiers"]]
    lines += ["Description-Content-Type: text/markdown", "", readme]
    return "\n".join(lines)


# ---------------------------------------------------------------- compiling


def sources(has_tls):
    """Those of the extension, and those of the library in all of its layers. Of TLS one file takes
    the place of all others where it is left out."""
    tls = os.path.join(core(), "src", "tls")
    library = [file for file in below(os.path.join(core(), "src"), ".c")
               if os.path.dirname(file) != tls
               or (os.path.basename(file) == "none.c") != has_tls]
    return sorted([*below(os.path.join(HERE, "ext"), ".c"), *library])


def words(name):
    return shlex.split(os.environ.get(name, ""))


def compiler():
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        found = shlex.split(command) if command else []
        try:
            if found and subprocess.run(found + ["--version"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode == 0:
                # Python's own flags in CC are for its own build.
                return found if command == os.environ.get("CC") else found[:1]
        except OSError:
            pass
    raise BuildError("no C compiler was found; on Debian: sudo apt-get install gcc libc6-dev")


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            universal_newlines=True)
    if result.returncode:
        raise BuildError(" ".join(command) + "\n" + result.stdout)
    if result.stdout:
        sys.stdout.write(result.stdout)


TRY_OPENSSL = """#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error OpenSSL 3 is needed
#endif
int main(void) { return SSL_CTX_new(TLS_method()) == 0; }
"""
OPENSSL = ["-lssl", "-lcrypto"]


def finds_openssl(cc):
    """Whether what needs it compiles and links."""
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "try.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(TRY_OPENSSL)
        return subprocess.run(cc + words("CPPFLAGS") + words("CFLAGS")
                              + ["-o", os.path.join(work, "try"), source] + words("LDFLAGS")
                              + OPENSSL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0


def accepts(cc, flag):
    """Whether the compiler knows it."""
    return subprocess.run(cc + [flag, "-E", "-x", "c", os.devnull], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def wants_tls(cc):
    wish = os.environ.get("STTCP_TLS", "AUTO").upper()
    if wish not in ("ON", "OFF", "AUTO"):
        raise BuildError("STTCP_TLS must be ON, OFF or AUTO, not " + wish)
    if wish == "OFF":
        return False
    if finds_openssl(cc):
        return True
    message = "OpenSSL 3 is not there; on Debian: sudo apt-get install libssl-dev"
    if wish == "ON":
        raise BuildError(message)
    print("TLS is left out: " + message, file=sys.stderr)
    return False


def extension_name():
    return "_sttcp" + sysconfig.get_config_var("EXT_SUFFIX")


def jobs():
    return int(os.environ.get("JOBS") or 0) or len(os.sched_getaffinity(0))


def compile_extension(target):
    """Compiles everything into the shared object `target`."""
    headers = sysconfig.get_paths()["include"]
    if not os.path.exists(os.path.join(headers, "Python.h")):
        raise BuildError("Python.h is not there; on Debian: sudo apt-get install python3-dev")
    place = core()
    cc = compiler()
    has_tls = wants_tls(cc)
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g1", "-DNDEBUG", "-fPIC", "-pthread",
             "-fvisibility=hidden", "-Wall", "-Wextra",
             "-I" + os.path.join(place, "include"), "-I" + os.path.join(place, "src"),
             "-DSTTCP_PYTHON_TLS=%d" % has_tls,
             "-isystem", headers] + words("CPPFLAGS") + words("CFLAGS")
    # Macros of OpenSSL's pass __FILE__ on: what is built does not depend on where.
    mapped = "-fmacro-prefix-map=" + os.path.join(place, "") + "="
    if accepts(cc, mapped):
        flags.append(mapped)
    # glibc keeps room for that in what is loaded later; others refuse to load it.
    if platform.libc_ver()[0] == "glibc":
        flags.append("-ftls-model=initial-exec")
    with tempfile.TemporaryDirectory() as work:
        files = sources(has_tls)
        objects = [os.path.join(work, "%d.o" % number) for number in range(len(files))]
        # Only the module's entry is to be seen: a process may have the library loaded, too.
        script = os.path.join(work, "exports.map")
        with open(script, "w", encoding="utf-8") as file:
            file.write("{ global: PyInit__sttcp; local: *; };\n")
        with ThreadPoolExecutor(jobs()) as pool:
            list(pool.map(lambda pair: run(cc + flags + ["-c", "-o", pair[1], pair[0]]),
                          zip(files, objects)))
        # The library's threads may outlive the module: its code has to stay.
        run(cc + ["-shared", "-pthread", "-Wl,-z,nodelete", "-Wl,--version-script=" + script]
            + words("CFLAGS") + ["-o", target] + objects + words("LDFLAGS")
            + (OPENSSL if has_tls else []))


# ---------------------------------------------------------------- wheels


def tag():
    version = "cp%d%d" % sys.version_info[:2]
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return "-".join((version, version + getattr(sys, "abiflags", "").replace("m", ""), machine))


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


def wheel_description():
    return "\n".join(("Wheel-Version: 1.0", "Generator: sttcp_build", "Root-Is-Purelib: false",
                      "Tag: " + tag(), ""))


def write_wheel(directory, files):
    """Writes a wheel of `files`, a list of (name, bytes)."""
    info = full_name() + ".dist-info"
    with open(core_licence(), "rb") as file:
        files.append((info + "/LICENSE", file.read()))
    files.append((info + "/METADATA", metadata().encode("utf-8")))
    files.append((info + "/WHEEL", wheel_description().encode("ascii")))
    record = ["%s,sha256=%s,%d" % (name, digest(data), len(data)) for name, data in files]
    record.append(info + "/RECORD,,")
    files.append((info + "/RECORD", ("\n".join(record) + "\n").encode("utf-8")))
    name = full_name() + "-" + tag() + ".whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files:
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if path.endswith(".so") else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, data)
    return name


def core_licence():
    for place in (HERE, core()):
        path = os.path.join(place, "LICENSE")
        if os.path.exists(path):
            return path
    raise BuildError("LICENSE is not there")


def python_files():
    folder = os.path.join(HERE, "src", PACKAGE)
    for name in sorted(os.listdir(folder)):
        if name.endswith((".py", ".pyi", ".typed")):
            yield PACKAGE + "/" + name, os.path.join(folder, name)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    files = []
    for name, path in python_files():
        with open(path, "rb") as file:
            files.append((name, file.read()))
    with tempfile.TemporaryDirectory() as work:
        target = os.path.join(work, extension_name())
        compile_extension(target)
        with open(target, "rb") as file:
            files.append((PACKAGE + "/" + extension_name(), file.read()))
    return write_wheel(wheel_directory, files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The extension is built in place, and a .pth file points there."""
    compile_extension(os.path.join(HERE, "src", PACKAGE, extension_name()))
    path = os.path.join(HERE, "src")
    return write_wheel(wheel_directory, [("_simple_threaded_tcp.pth", (path + "\n").encode())])


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = full_name() + ".dist-info"
    os.makedirs(os.path.join(metadata_directory, info), exist_ok=True)
    for name, text in (("METADATA", metadata()), ("WHEEL", wheel_description())):
        with open(os.path.join(metadata_directory, info, name), "w", encoding="utf-8") as file:
            file.write(text)
    return info


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def get_requires_for_build_wheel(config_settings=None):
    return []


get_requires_for_build_sdist = get_requires_for_build_wheel
get_requires_for_build_editable = get_requires_for_build_wheel


# ---------------------------------------------------------------- source distributions


def below(folder, *suffixes):
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.join(path, name)


def sdist_files():
    place = core()
    for name in ("pyproject.toml", "README.md"):
        yield name, os.path.join(HERE, name)
    yield "LICENSE", core_licence()
    for folder, suffixes in (("backend", (".py",)), ("ext", (".c", ".h")),
                             ("src", (".py", ".pyi", ".typed")),
                             ("tests", (".py", ".md", ".txt")), ("bench", (".py", ".md"))):
        for path in below(os.path.join(HERE, folder), *suffixes):
            yield os.path.relpath(path, HERE), path
    for folder in ("include", "src"):
        for path in below(os.path.join(place, folder), ".c", ".h"):
            yield "core/" + os.path.relpath(path, place), path


def build_sdist(sdist_directory, config_settings=None):
    name = full_name() + ".tar.gz"
    files = []
    for path, origin in sdist_files():
        with open(origin, "rb") as file:
            files.append((path, file.read()))
    files.append(("PKG-INFO", metadata().encode("utf-8")))
    with open(os.path.join(sdist_directory, name), "wb") as raw, \
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=EPOCH) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files:
            entry = tarfile.TarInfo(full_name() + "/" + path)
            entry.size = len(data)
            entry.mtime = EPOCH
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    return name


if __name__ == "__main__":
    # sttcp_build.py DIRECTORY: the package, ready to import from there.
    where = os.path.join(sys.argv[1], PACKAGE)
    os.makedirs(where, exist_ok=True)
    for source_name, source_path in python_files():
        with open(source_path, "rb") as source_file:
            content = source_file.read()
        with open(os.path.join(sys.argv[1], source_name), "wb") as target_file:
            target_file.write(content)
    compile_extension(os.path.join(where, extension_name()))
