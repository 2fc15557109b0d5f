# SPDX-License-Identifier: MIT
"""Certificates that a test makes for itself, with the command openssl."""

import os
import shutil
import subprocess
import unittest

from support import DEADLINE


def openssl(*arguments):
    result = subprocess.run(["openssl", *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True, timeout=DEADLINE)
    if result.returncode:
        raise AssertionError("openssl %s\n%s" % (" ".join(arguments), result.stdout))
    return result.stdout


def need_openssl():
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            raise AssertionError("openssl is not there; on Debian: sudo apt-get install openssl")
        raise unittest.SkipTest("the command openssl is not there")


class Certificates:
    """Those of one folder: an authority, ca.pem, and what it signs."""

    def __init__(self, folder):
        self.folder = folder
        self.make("ca", authority=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def make(self, name, names="DNS:localhost,IP:127.0.0.1", authority=False, days=2):
        """Writes name.pem and name.key and returns their paths; of days below 0 it has expired."""
        pem, key, request = (self.path(name + end) for end in (".pem", ".key", ".csr"))
        extensions = self.path(name + ".ext")
        with open(extensions, "w", encoding="ascii") as file:
            # What Python 3.13 wants to see.
            file.write("basicConstraints=critical,CA:%s\nsubjectKeyIdentifier=hash\n"
                       % str(authority).upper())
            if authority:
                file.write("keyUsage=critical,keyCertSign\n")
            else:
                file.write("subjectAltName=%s\nauthorityKeyIdentifier=keyid\n" % names)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", "/O=Test/CN=" + name, "-keyout", key, "-out", request)
        if authority:
            signer = ["-signkey", key]
        else:
            signer = ["-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"), "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, "-days", str(days), "-extfile", extensions,
                "-out", pem, *signer)
        return pem, key

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)
        return self.path(name)
