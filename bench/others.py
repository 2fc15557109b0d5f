# SPDX-License-Identifier: MIT
"""The examples and the command beside programs of others that do the same (redis-server, socat,
HAProxy), and redis-benchmark as their load."""

import os
import shutil
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
START_SECONDS = 10
PIECES = 4  # redis-benchmark tells nothing of its course, so a run is several of them: the best counts
FIRST_REQUESTS = 20000

# Neither prints its port, so each is given one that was free a moment ago.
COMMANDS = {
    "keyvalue": "{examples}/15_keyvalue {port}",
    "redis": "redis-server --port {port} --bind 127.0.0.1 --save  --appendonly no --loglevel warning",
    "relay": "{examples}/14_relay {port} 127.0.0.1 {target}",
    "proxy": "{examples}/../cli/sttcp proxy 127.0.0.1:{port} 127.0.0.1:{target}",
    "socat": "socat -lf /dev/null TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork TCP:127.0.0.1:{target}",
    "haproxy": "haproxy -db -f {here}/haproxy.cfg",
}


class OtherFailed(Exception):
    pass


def find_program(name, examples):
    """The file of a server, or None. Debian's redis-tools contain redis-server by another name."""
    program = COMMANDS[name].split()[0].format(examples=examples)
    found = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    return found or (shutil.which("redis-check-rdb") if name == "redis" else None)


def listen():
    """A listening socket on a port that the kernel chooses."""
    return socket.create_server(("127.0.0.1", 0))


def free_port():
    with listen() as found:
        return found.getsockname()[1]


def command_of(name, examples, port, target):
    """The command line, and what it needs in its environment."""
    words = COMMANDS[name].split(" ")
    return ([word.format(examples=examples, port=port, target=target, here=HERE) for word in words],
            {"STTCP_BENCH_PORT": str(port), "STTCP_BENCH_TARGET": str(target)})


def wait_for_listener(process, port):
    """Without a connection to it, which a relay would pass on."""
    wanted = f":{port:04X} 00000000:0000 0A"
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with open("/proc/net/tcp", encoding="ascii") as table:
            if wanted in table.read():
                return
        time.sleep(0.02)
    raise OtherFailed("the server did not start")


def cpu_seconds(pid):
    """Of all its threads, ended ones included: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def redis_benchmark(run_child, words, port, pid, seconds):
    """Runs it some times. The figures are those of the best: requests per second of server CPU, and
    per second of the clock."""
    count = FIRST_REQUESTS
    best = {"mode": "redis", "conns": 50, "errors": 0, "requests_cpu": 0.0, "requests_rate": 0.0}
    for piece in range(PIECES + 1):
        # The first one warms up, and sets what the others may get.
        command = ["redis-benchmark", "-p", str(port), "-c", "50", "-n", str(count), "-q", *words]
        if piece == 0:
            command += ["-t", "set"]
        cpu, clock = cpu_seconds(pid), time.monotonic()
        child = run_child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = child.communicate(timeout=60)[0]
        cpu, clock = cpu_seconds(pid) - cpu, time.monotonic() - clock
        if child.returncode or "requests per second" not in text:
            raise OtherFailed("redis-benchmark: " + text[-200:])
        if piece == 0:  # it tells how many take the time that is given
            count = max(count, int(count / clock * seconds / PIECES))
            continue
        best["requests_cpu"] = max(best["requests_cpu"], count / cpu)
        best["requests_rate"] = max(best["requests_rate"], count / clock)
    return best
