# SPDX-License-Identifier: MIT
"""testssl.sh's report on our server. It takes a minute, so it is not among the quick tests."""

from __future__ import annotations

import json
import subprocess
import unittest
from datetime import datetime, timedelta, timezone

from peers import PATH, PeerCase, need

# What is found goes from "OK", "INFO" and "LOW" up to these.
BAD = ("MEDIUM", "HIGH", "CRITICAL")
RUN_S = 900


class Report(PeerCase):
    @classmethod
    def setUpClass(cls) -> None:
        need("testssl")
        super().setUpClass()

    def test_nothing_above_low_is_found(self) -> None:
        # A lifetime that browsers accept: neither over 398 days nor about to end.
        now = datetime.now(timezone.utc)
        start, end = (f"{now + timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (-1, 300))
        ec = self.certificates.make("ec", start=start, end=end)
        rsa = self.certificates.make("rsa", start=start, end=end, key="rsa")
        server, port = self.server("-H", "-c", rsa.cert, "-k", rsa.key, pair=ec)
        report = self.certificates.path("report.json")
        # Protocols, categories of ciphers, key exchange, preferences, defaults, and all known
        # vulnerabilities; it asks no name server.
        done = subprocess.run(
            ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip",
             "127.0.0.1", "--add-ca", self.root, "-p", "-s", "-f", "-P", "-S", "-U", "--jsonfile",
             report, f"localhost:{port}"], env={"PATH": PATH, "HOME": str(self.certificates.folder)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False)
        with open(report) as file:
            findings = json.load(file)
        self.assertGreater(len(findings), 60, done.stdout)  # it has come to its end
        bad = [f"{one['severity']} {one['id']}: {one['finding']}" for one in findings
               if one["severity"] in BAD]
        self.assertEqual(bad, [], done.stdout)
        self.assertIn("offered (OK): final", done.stdout)  # TLS 1.3
        self.stop(server)


if __name__ == "__main__":
    unittest.main()
