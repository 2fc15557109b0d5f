# SPDX-License-Identifier: MIT
"""nginx on the other end: as a client of our server (stream, HTTPS), and in front of our client."""

from __future__ import annotations

import http.client
import os
import socket
import unittest
from pathlib import Path

from peers import DEADLINE_S, EchoServer, Pair, PeerCase, Program, need

MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

CONFIG = """
daemon off;
worker_processes 1;
user root root;
pid {folder}/nginx.pid;
error_log stderr info;
load_module {module};
events {{ worker_connections 256; }}
stream {{
{stream}
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""

PROXY_TLS = """
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {root};
        proxy_ssl_server_name on;
        proxy_ssl_name {name};
        proxy_ssl_session_reuse on;
        proxy_ssl_protocols {versions};
"""


class Nginx(PeerCase):
    ann: Pair

    @classmethod
    def setUpClass(cls) -> None:
        need("nginx")
        if not Path(MODULE).exists():
            need("nginx with its stream module")
        super().setUpClass()
        cls.ann = cls.certificates.make("ann")

    def nginx(self, *, stream: str = "", http: str = "") -> tuple[Program, int]:
        """It inherits its listening socket, which "{listen}" stands for, as in an upgrade of its
        program: so nobody else can have the port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            listen = f"listen 127.0.0.1:{port}"
            config = self.certificates.write("nginx.conf", CONFIG.format(
                folder=self.certificates.folder, module=MODULE,
                stream=stream.replace("listen", listen, 1), http=http.replace("listen", listen, 1)))
            program = self.start("nginx", "-p", str(self.certificates.folder), "-e", "stderr", "-c",
                                 config, environment={"NGINX": f"{listener.fileno()};"},
                                 descriptors=(listener.fileno(),))
            program.expect("start worker process ")
        return program, port

    def proxy_tls(self, versions: str = "TLSv1.2 TLSv1.3", name: str = "localhost") -> str:
        return PROXY_TLS.format(root=self.root, name=name, versions=versions)

    def test_a_stream_goes_on_to_our_server(self) -> None:
        server, port = self.server("-t", self.root, "-r", "required")
        for version in ("TLSv1.2", "TLSv1.3"):
            with self.subTest(version):
                _, front = self.nginx(stream=f"""
    server {{
        listen;
        proxy_pass 127.0.0.1:{port};
        proxy_ssl on;
        proxy_ssl_certificate {self.ann.cert};
        proxy_ssl_certificate_key {self.ann.key};
        {self.proxy_tls(version)}
    }}""")
                for data in (b"hello", os.urandom(1_000_000), b"again"):
                    self.echo(front, data)
                server.expect(f"^open version={version} .*name=localhost verified=1 resumed=0 .*"
                              "subject=CN=ann$")
                # It keeps the session.
                server.expect("^open .*resumed=1 ")
        self.stop(server)

    def test_https_goes_on_to_our_server(self) -> None:
        server, port = self.server("-H", "-t", self.root, "-r", "asked")
        _, front = self.nginx(http=f"""
    server {{
        listen;
        location / {{
            proxy_pass https://127.0.0.1:{port};
            proxy_http_version 1.1;
            {self.proxy_tls()}
        }}
    }}""")
        for _ in range(3):
            conn = http.client.HTTPConnection("127.0.0.1", front, timeout=DEADLINE_S)
            conn.request("GET", "/")
            answer = conn.getresponse()
            self.assertEqual(answer.status, 200)
            self.assertIn(b"version=TLSv1.3 name=localhost", answer.read())
            conn.close()
        server.expect("^open .*resumed=0 ")
        server.expect("^open .*resumed=1 ")
        self.stop(server)

    def test_it_refuses_a_name_that_is_not_ours(self) -> None:
        server, port = self.server()
        nginx, front = self.nginx(stream=f"""
    server {{
        listen;
        proxy_pass 127.0.0.1:{port};
        proxy_ssl on;
        {self.proxy_tls(name="b.example")}
    }}""")
        with socket.create_connection(("127.0.0.1", front), DEADLINE_S) as conn:
            self.assertEqual(conn.recv(1), b"")
        nginx.expect('certificate does not match "b.example"')
        self.stop(server)

    def test_it_terminates_in_front_of_our_client(self) -> None:
        echo = EchoServer()
        self.addCleanup(echo.close)
        for version in ("TLSv1.2", "TLSv1.3"):
            with self.subTest(version):
                _, front = self.nginx(stream=f"""
    server {{
        listen ssl;
        ssl_protocols {version};
        ssl_certificate {self.good.cert};
        ssl_certificate_key {self.good.key};
        ssl_client_certificate {self.root};
        ssl_verify_client on;
        ssl_session_cache shared:peers:1m;
        proxy_pass 127.0.0.1:{echo.port};
    }}""")
                client = self.client(front, "-c", self.ann.cert, "-k", self.ann.key, "-s", "hello\\n",
                                     "-e", "hello", "-N", "3")
                for resumed in (0, 1, 1):
                    client.expect(f"^open version={version} .*verified=1 resumed={resumed} ")
                    client.expect("^got hello")
                    client.expect("^end OK: ")
                self.assertEqual(client.wait(), 0)


if __name__ == "__main__":
    unittest.main()
