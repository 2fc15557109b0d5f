# SPDX-License-Identifier: MIT
"""Certificates for the servers over TLS, made anew for each run of the benchmark."""

import os
import shutil
import subprocess

KINDS = {
    "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["rsa:2048"],
}


class NoCertificates(Exception):
    pass


def can_make():
    return shutil.which("openssl") is not None


def make(folder):
    """A file FOLDER/KIND.pem for each kind: the key, and a certificate that it signed itself."""
    for kind, key in KINDS.items():
        path = os.path.join(folder, kind + ".pem")
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", *key, "-noenc", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", path + ".key", "-out", path + ".crt"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if made.returncode:
            raise NoCertificates("openssl req: " + made.stderr[-200:])
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as both:
            for part in (path + ".key", path + ".crt"):
                with open(part, encoding="ascii") as file:
                    both.write(file.read())
                os.unlink(part)
