# SPDX-License-Identifier: MIT
"""What servers, clients and connections need for TLS: certificates, trust, settings."""

from __future__ import annotations

import errno
import os
from typing import Any, Iterable, NamedTuple, Optional, Tuple, Union

from . import _sttcp
from .errors import TLSError, make_tls_exception

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
#: The file of a certificate, with its key in it; or the certificate's and the key's.
Pair = Union[Path, Tuple[Path, Optional[Path]]]

#: Whether TLS was built in: OpenSSL 3 was there when the package was installed.
HAS_TLS: bool = _sttcp.has_tls

_PEERS = ("none", "optional", "required")  # as ssl.VerifyMode counts them, and sttcp.h
# Those of sttcp.h; of ssl.TLSVersion, with MINIMUM_SUPPORTED and MAXIMUM_SUPPORTED; of TLSInfo.
_VERSIONS: dict[Any, int] = {12: 12, 0x303: 12, "TLSv1.2": 12, -2: 12,
                             13: 13, 0x304: 13, "TLSv1.3": 13, -1: 13}


class TLSInfo(NamedTuple):
    """What the two sides of a connection have agreed on: connection.tls.

    version: 'TLSv1.3'. cipher: 'TLS_AES_256_GCM_SHA384'. alpn: the protocol that
    was chosen, or ''. server_name: that the client asked for, or ''. Of the peer's
    certificate, '' and None where it showed none: peer_subject, as RFC 2253 writes
    it; peer_fingerprint, its SHA-256 in 64 hexadecimal digits; peer_certificate, the
    whole of it in DER form, as ssl.DER_cert_to_PEM_cert takes it. peer_verified:
    it was checked, and is trusted. resumed: from an earlier session.
    """

    version: str
    cipher: str
    alpn: str
    server_name: str
    peer_subject: str
    peer_fingerprint: str
    peer_certificate: bytes | None
    peer_verified: bool
    resumed: bool


def host_name(name: str, what: str = "name") -> str:
    """As the DNS and certificates have it: in ASCII."""
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str or None, not {name!r}")
    if "\0" in name:
        raise ValueError(f"{what} must have no character that is NUL, not {name!r}")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UnicodeError(f"{what} must be a name that can be written in ASCII (IDNA), not {name!r}"
                           ) from error


def _read_version(name: str, version: Any) -> int:
    if isinstance(version, bool) or version not in _VERSIONS:
        raise ValueError(f"{name} must be 12 or 13, or that of ssl.TLSVersion, not {version!r}")
    return _VERSIONS[version]


def _read_peer(who: Any) -> int:
    if isinstance(who, bool):
        return 2 if who else 0
    if isinstance(who, int) and 0 <= who <= 2:
        return int(who)
    if who not in _PEERS:
        raise ValueError(f"require_peer must be True, False, {', '.join(map(repr, _PEERS))} or that "
                         f"of ssl.VerifyMode, not {who!r}")
    return _PEERS.index(who)


def _read_protocol(protocol: str | bytes) -> bytes:
    name = protocol.encode("ascii") if isinstance(protocol, str) else bytes(memoryview(protocol))
    if not name or b"," in name or b"\0" in name:
        raise ValueError(f"a protocol has a name without a comma in it, not {protocol!r}")
    return name


class TLS(_sttcp.TLSBase):
    """Certificates, trust and settings of TLS 1.2 and 1.3, by OpenSSL 3. It is made once, and shared
    by any number of servers, clients and connections.

        server = Server('', 8443, tls=sttcp.TLS('cert.pem', 'key.pem'))
        client = Client('example.org', 443, tls=True)  # the same as tls=sttcp.TLS()

    With a certificate it is a server's, without one a client's; server_side says
    so where that is not meant: TLS('me.pem', 'me.key', server_side=False) is for
    a client that shows a certificate. Files are in PEM format, and a file that
    cannot be read raises OSError (FileNotFoundError), one that holds something
    else a TLSError.

    certificate: a file with the certificate, followed by those of its issuers.
    key: the file of its private key, not encrypted; None: it is in the same file.
    certificates: more of a server's, paths or pairs (certificate, key); a peer
        that asks for a name gets one that has it.
    trust: a file or a directory of certificates that are trusted, instead of
        those that the system trusts. A server trusts nobody without it.
    require_peer: True: the peer has to show a certificate that is trusted
        (a client's default); 'optional': a server asks for one; False: no (a
        server's default; a client then encrypts without knowing to whom). Or
        ssl.CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE.
    alpn: the application's protocols, best first: ['h2', 'http/1.1'].
    minimum_version, maximum_version: 12 or 13, or of ssl.TLSVersion (12 and 13).
    ciphers: in the syntax of openssl-ciphers(1); names that begin with TLS_ are
        those of TLS 1.3. Those without authentication (aNULL) are left out.

    A client checks that the certificate is for the name it asks for, the host
    or the option tls_name. Revocation is not checked. What is set here is set
    before the first start that uses it (later: RuntimeError); reload() may be
    called at any time. Every method may be called from any thread.
    """

    def __init__(self, certificate: Path | None = None, key: Path | None = None, *,
                 server_side: bool | None = None, certificates: Iterable[Pair] = (),
                 trust: Path | None = None, require_peer: bool | str | int | None = None,
                 alpn: str | Iterable[str | bytes] | None = None,
                 minimum_version: int | str | None = None,
                 maximum_version: int | str | None = None, ciphers: str | None = None) -> None:
        if certificate is None and key is not None:
            raise TypeError("a key needs its certificate")
        if server_side and certificate is None:
            raise TypeError("a server needs a certificate")
        #: Whether it is a server's.
        self.server_side: bool = certificate is not None if server_side is None else server_side
        self._certificate = None if certificate is None else os.fsencode(certificate)
        super().__init__(self.server_side, self._certificate,
                         None if key is None else os.fsencode(key))
        versions = (12 if minimum_version is None else minimum_version,
                    13 if maximum_version is None else maximum_version)
        try:
            if not self.server_side and certificate is not None:
                self.set_certificate(certificate, key)
            elif self._error():
                # The file is read once more: that tells the code, too.
                self._check(self._reload())
            for pair in certificates:
                file, its_key = pair if isinstance(pair, tuple) else (pair, None)
                self.add_certificate(file, its_key)
            if trust is not None:
                self.trust(trust)
            if require_peer is not None:
                self.require_peer(require_peer)
            if alpn is not None:
                self.set_alpn(alpn)
            if versions != (12, 13):
                self.set_versions(*versions)
            if ciphers is not None:
                self.set_ciphers(ciphers)
        except TLSError as error:
            # Built without TLS: the start says so.
            if error.code != -errno.ENOSYS:
                raise

    def add_certificate(self, certificate: Path, key: Path | None = None) -> None:
        """One more certificate of a server. A peer that asks for a name (SNI) gets one that has this
        name, or a wildcard for it; of several, one whose key it can use. The first one is for all
        other peers."""
        self._check(self._add_certificate(os.fsencode(certificate),
                                          None if key is None else os.fsencode(key)))

    def set_certificate(self, certificate: Path, key: Path | None = None) -> None:
        """The certificate that a client shows to servers that ask for one."""
        self._check(self._set_certificate(os.fsencode(certificate),
                                          None if key is None else os.fsencode(key)))
        self._certificate = os.fsencode(certificate)

    def load_cert_chain(self, certfile: Path, keyfile: Path | None = None) -> None:
        """add_certificate of a server, set_certificate of a client, by its name in ssl."""
        (self.add_certificate if self.server_side else self.set_certificate)(certfile, keyfile)

    def trust(self, path: Path) -> None:
        """Trusts the certificates in this file, or in all files of this directory, instead of those
        that the system trusts."""
        self._check(self._trust(os.fsencode(path)))

    def load_verify_locations(self, cafile: Path | None = None,
                              capath: Path | None = None) -> None:
        """trust, by its name in ssl: a file or a directory."""
        path = capath if cafile is None else cafile
        if path is None or None not in (cafile, capath):
            raise TypeError("either cafile or capath has to be given")
        self.trust(path)

    def require_peer(self, who: bool | str | int = True) -> None:
        """Whether the peer has to show a certificate: True, False, 'none', 'optional' (a server asks
        for one, and one that is shown has to be good), 'required', or ssl.CERT_NONE and so on."""
        number = _read_peer(who)
        if number == 1 and not self.server_side:
            raise ValueError("a client's require_peer must be True or False: servers always show one")
        self._check(self._require_peer(number))

    def set_alpn(self, protocols: str | Iterable[str | bytes]) -> None:
        """The application's protocols (ALPN), ['h2', 'http/1.1'] or 'h2,http/1.1', best first. The
        server's order decides. With none in common the handshake fails; a peer that offers none is
        served, and connection.tls.alpn is ''."""
        names = protocols.split(",") if isinstance(protocols, str) and protocols else protocols
        self._check(self._set_alpn(b",".join(map(_read_protocol, names))))

    def set_alpn_protocols(self, alpn_protocols: Iterable[str | bytes]) -> None:
        """set_alpn, by its name in ssl."""
        self.set_alpn(alpn_protocols)

    def set_versions(self, minimum: int | str, maximum: int | str = 13) -> None:
        """The versions of TLS that are allowed: 12 for 1.2, 13 for 1.3, or of ssl.TLSVersion."""
        least = _read_version("minimum_version", minimum)
        most = _read_version("maximum_version", maximum)
        if least > most:
            raise ValueError("minimum_version must not be above maximum_version")
        self._check(self._set_versions(least, most))

    def set_ciphers(self, ciphers: str) -> None:
        """The ciphers that are allowed, separated by colons, in the syntax of openssl-ciphers(1).
        Names that begin with TLS_ are those of TLS 1.3. TLSError: an unknown name."""
        self._check(self._set_ciphers(ciphers.encode("ascii")))

    def reload(self) -> None:
        """Reads all files again, while servers run, too. (The first start with it reads them before.)
        Only if all of them are good does that count, for handshakes from then on. Otherwise it raises
        what making it would, and everything stays as it was."""
        self._check(self._reload())

    def _check(self, code: int) -> None:
        if code < 0:
            raise make_tls_exception(code, self._error())

    def __repr__(self) -> str:
        what = "server" if self.server_side else "client"
        if self._certificate is not None:
            what += f" {os.fsdecode(self._certificate)}"
        return f"<sttcp.TLS {what}>"
