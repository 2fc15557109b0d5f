# SPDX-License-Identifier: MIT
"""What is measured: the cells, and the figures that are made of them.

A cell is a few runs that belong together and are interleaved; a run is one
server under one load. A figure divides the best of one run by the best of
another (or by a number) and has a mark that it should reach.
"""

from dataclasses import dataclass

GIB = 1 << 30
KIB = 1 << 10
IDLE_SECONDS = 3
HIGH_WATER = 512 * KIB  # the options' defaults, sttcp.h
SEND_QUEUE_MAX = 1024 * KIB
READ = 60 * KIB  # that may come on top of the high-water mark


@dataclass
class Run:
    name: str
    # epoll, threads, sttcp, python, python-await or socketserver, epoll_tls or sttcp_tls; or one of
    # others.py
    server: str
    load: list  # arguments of the load generator; --seconds is added where there is none
    hog: bool = False  # a process burns the server's CPU meanwhile
    words: tuple = ()  # more for the server's command line; {certs} is the folder of certs.py
    spread: bool = False  # server and load share all CPUs
    behind: str = None  # the server that a relay connects to, beside the load


@dataclass
class Figure:
    text: str
    run: str
    key: str  # of the line that the load generator prints
    base: object = None  # name of another run, a number to divide by, or None
    mark: float = None
    most: bool = False  # the mark is an upper one
    near: float = 0.03  # this close to the mark it takes nine rounds to decide
    plain: bool = False  # by medians instead of the best
    worst: bool = False  # the worst round, of the median


@dataclass
class Cell:
    name: str
    runs: list
    figures: list
    once: bool = False  # counts, that no noise changes: one round is enough
    seconds: float = 0  # 0: as the form (short or full) says
    rounds: int = 0  # of the full form, a tenth of them in the short one; 0: as the form says


def args(mode, quick=0, slow=0, sleep_us=None, *more):
    line = [mode, "--conns", str(quick), "--slow", str(slow)]
    if sleep_us is not None:
        line += ["--sleep-us", str(sleep_us)]
    return line + [str(word) for word in more]


def same_load(load, *servers):
    return [Run(server, server, load) for server in servers]


def echo(conns):
    figures = [
        Figure("per CPU second, of epoll loop", "sttcp", "quick_cpu", "epoll", 0.92 if conns == 1 else 0.93),
        Figure("(threads, of epoll loop)", "threads", "quick_cpu", "epoll"),
    ]
    if conns == 1:
        figures.append(Figure("p50, of epoll loop", "sttcp", "quick_p50_us", "epoll", 1.1, most=True))
    return Cell(f"echo-{conns}", same_load(args("echo", conns), "sttcp", "epoll", "threads"), figures)


def asleep(slow):
    """256 connections, some of them in handlers that sleep 50 ms. Where handlers block, rates are
    per second of the clock: a loop that stands still uses no CPU, and that must not flatter it."""
    load = args("mixed", 256 - slow, slow, 50000)
    runs = [Run("none", "sttcp", args("mixed", 256 - slow)), *same_load(load, "sttcp", "threads")]
    return Cell(f"asleep-{slow}", runs, [
        Figure("the others, of none asleep", "sttcp", "quick_p90", "none", 0.95, near=0.08),
        Figure("the others, of threads", "sttcp", "quick_p90", "threads", 1.45, near=0.08),
        Figure("p99 of the others, of none asleep", "sttcp", "quick_p99_us", "none", 1.5, most=True, near=0.08),
        Figure("slow ones, of the ideal", "sttcp", "slow_rate", slow / 0.05, 0.97),
        Figure("(slow ones of threads, of the ideal)", "threads", "slow_rate", slow / 0.05),
    ])


def asleep500(ms, others, slow):
    return Cell(f"asleep-500-{ms}ms", same_load(args("mixed", 100, 500, ms * 1000), "sttcp", "threads"), [
        Figure("the others, of threads", "sttcp", "quick_p90", "threads", others, near=0.08),
        Figure("slow ones, of threads", "sttcp", "slow_p90", "threads", slow, near=0.08),
    ])


def short_sleep(us):
    return Cell(f"short-{us}us", same_load(args("mixed", 0, 64, us), "sttcp", "threads"), [
        Figure("64 sleep: slow ones, of threads", "sttcp", "slow_p90", "threads", 0.95, near=0.08),
    ])


def beside_short(us):
    return Cell(f"beside-{us}us", same_load(args("mixed", 64, 8, us), "sttcp", "threads"), [
        Figure("64 quick beside 8: quick, of threads", "sttcp", "quick_p90", "threads", 1.0, near=0.08),
        Figure("(slow ones, of threads)", "sttcp", "slow_p90", "threads"),
    ])


def last_answer(mode, text, *more):
    return Cell(mode, same_load(args(mode, 500, 0, 50000, *more), "sttcp", "threads"), [
        Figure(text, "sttcp", "last_ms", "threads", 1.5, most=True, near=0.08),
    ])


def talk(conns, mark):
    """The echo as one function, the connection handler, which waits in recv. All connections are open
    and were served once before the time begins."""
    load = args("visited", conns)
    return Cell(f"talk-{conns}", [Run("sttcp", "sttcp", load, words=("talk", "fibers")),
                                  *same_load(load, "epoll", "threads")], [
        Figure("per CPU second, of epoll loop", "sttcp", "quick_cpu", "epoll", mark),
        Figure("(threads, of epoll loop)", "threads", "quick_cpu", "epoll"),
        Figure("p99, of epoll loop", "sttcp", "quick_p99_us", "epoll", 1.5, most=True, near=0.08),
        Figure("(threads at the end)", "sttcp", "threads"),
    ])


def talk_asleep(slow):
    """256 dialogues, some of which sleep 50 ms in a call that is not the library's."""
    words = ("talk", "fibers")
    return Cell(f"talk-asleep-{slow}", [
        Run("none", "sttcp", args("mixed", 256 - slow), words=words),
        Run("sttcp", "sttcp", args("mixed", 256 - slow, slow, 50000), words=words),
    ], [
        Figure("the others, of none asleep", "sttcp", "quick_p90", "none", 0.9, near=0.08),
        Figure("slow ones, of the ideal", "sttcp", "slow_rate", slow / 0.05, 0.97),
    ])


def talk_naps():
    """As asleep-500-10ms, in sttcp_sleep."""
    load = args("mixed", 100, 500, 10000)
    return Cell("naps-500-10ms", [Run("sttcp", "sttcp", load, words=("talk", "fibers", "nap")),
                                  *same_load(load, "threads")], [
        Figure("the others, of threads", "sttcp", "quick_p90", "threads", 2.8, near=0.08),
        Figure("slow ones, of threads", "sttcp", "slow_p90", "threads", 1.1, near=0.08),
    ])


def talk_idle(conns):
    load = args("idle", conns, 0, None, "--warm", 3, "--seconds", IDLE_SECONDS)
    return Cell(f"talk-idle-{conns}", [Run("sttcp", "sttcp", load, words=("talk", "fibers"))], [
        Figure("memory each, bytes", "sttcp", "bytes_per_conn", None, 6144, most=True),
        Figure("threads more", "sttcp", "grown_threads", None, 0, most=True),
    ], once=True)


def fibers_unused(conns):
    """A receive handler that has a stack of its own, and never waits."""
    load = args("echo", conns)
    return Cell(f"fibers-echo-{conns}", [Run("sttcp", "sttcp", load, words=("fibers",)),
                                         Run("without", "sttcp", load)], [
        Figure("per CPU second, of the same without", "sttcp", "quick_cpu", "without", 0.96),
    ])


def bulk(conns):
    servers = ["sttcp", "epoll"] + (["threads"] if conns > 1 else [])
    load = args("bulk", conns, 0, None, "--bytes", 2 * GIB, "--warm", 0, "--seconds", 20)
    figures = [Figure(f"2 GiB, bytes a second, of {base}", "sttcp", "bytes_per_s", base, 0.9, plain=True)
               for base in servers[1:]]
    return Cell(f"bulk-{conns}", same_load(load, *servers), figures)


def room(members, others):
    """As the broadcast, to a part of the connections. Each is in its place among all of them, in the
    library's memory and in the kernel's, and so are those that the epoll loop sends to."""
    return Cell(f"room-{members + others}", [
        *same_load(args("room", members, others), "sttcp", "epoll"),
        Run("broadcast", "sttcp", args("broadcast", members)),
    ], [
        Figure(f"to {members} of {members + others}, of a loop of send()", "sttcp", "quick_cpu", "epoll", 0.92),
        Figure("(of a broadcast to as many)", "sttcp", "quick_cpu", "broadcast"),
    ])


def idle(conns):
    load = args("idle", conns, 0, None, "--warm", 1, "--seconds", IDLE_SECONDS)
    figures = [
        Figure(f"context switches in {IDLE_SECONDS} s", "sttcp", "switches", None, 0, most=True),
        Figure(f"CPU in {IDLE_SECONDS} s, us", "sttcp", "cpu_us", None, 0, most=True),
    ]
    if conns:
        figures += [
            Figure("memory each, bytes", "sttcp", "bytes_per_conn", None, 512, most=True),
            Figure("threads more", "sttcp", "grown_threads", None, 0, most=True),
        ]
    return Cell(f"idle-{conns}", same_load(load, "sttcp"), figures, once=True)


def idle_timeouts(conns):
    """As many connections, each with a deadline that is far away: nothing may wake up for that."""
    seconds = 5
    load = args("idle", conns, 0, None, "--warm", 1, "--seconds", seconds)
    return Cell("idle-timeouts", [Run("sttcp", "sttcp", load, words=("idle-ms=60000",))], [
        Figure(f"context switches in {seconds} s", "sttcp", "switches", None, 0, most=True),
        Figure(f"CPU in {seconds} s, us", "sttcp", "cpu_us", None, seconds * 10000, most=True),
        Figure("(memory each, bytes)", "sttcp", "bytes_per_conn"),
    ], once=True)


def deaf(conns):
    """Connections that send for 10 s and never read, beside 64 quick ones."""
    return Cell("deaf", [
        Run("alone", "sttcp", args("deaf", 64, 0, None, "--seconds", 3)),
        Run("sttcp", "sttcp", args("deaf", 64, conns, None, "--seconds", 10)),
    ], [
        Figure(f"KiB grown, of {conns} high-water marks and reads", "sttcp", "grown_kib",
               conns * (HIGH_WATER + READ) / KIB, 1.0, most=True, near=0),
        Figure(f"(of {conns} send_queue_max)", "sttcp", "grown_kib", conns * SEND_QUEUE_MAX / KIB),
        Figure("p99 of 64 quick ones, of alone", "sttcp", "quick_p99_us", "alone", 2.0, most=True, near=0.08),
    ])


def convoy(conns):
    """All handlers share a lock, and answer while they hold it. On all CPUs, for on one nobody waits."""
    load = args("lines", conns, 0, None, "--seconds", 1)
    return Cell("convoy", [Run(word, "sttcp", load, words=(word,), spread=True) for word in ("locked", "unlocked")], [
        Figure("worst round, of the median", "locked", "quick_rate", mark=0.7, worst=True, near=0),
        Figure("answer under a lock, of after it", "locked", "quick_rate", "unlocked", 0.9, plain=True, near=0),
        Figure("(worst round of answers after the lock)", "unlocked", "quick_rate", worst=True),
        Figure("(threads at the end)", "locked", "threads"),
    ], rounds=100)


def waves(kind, conns, words=()):
    """Memory after waves of connections: the short form has fewer of them."""
    load = args(f"waves-{kind}", conns, 0, 200000 if kind == "asleep" else None, "--waves", 50)
    return Cell(f"waves-{kind}", [Run("sttcp", "sttcp", load, words=words)], [
        Figure("resident from the 5th wave on, of after the 5th", "sttcp", "flat", None, 1.03, most=True),
        Figure("KiB more than before the first", "sttcp", "grown_kib", None, 1536, most=True),
    ], once=True)


def tls_runs(load, *servers, kind="p256"):
    """The same load over TLS, with a certificate of that kind."""
    load = [*load, "--tls"]
    return [Run(server, server + "_tls", load, words=(f"tls={{certs}}/{kind}.pem",)) for server in servers]


def tls_echo(text, conns, size, mark):
    """All connections are open and were served once before the time begins: a thousand handshakes
    take longer than the time to warm up."""
    load = args("visited", conns, 0, None, "--size", size)
    return Cell(f"tls-echo-{text}", [*tls_runs(load, "sttcp", "epoll"), Run("plain", "epoll", load)], [
        Figure("per CPU second, of epoll loop over TLS", "sttcp", "quick_cpu", "epoll", mark),
        Figure("(epoll loop over TLS, of the one without)", "epoll", "quick_cpu", "plain"),
    ])


def tls_handshakes(name, kind, mark, *more):
    """Connections that come, shake hands, say one message and go. The clients use up the CPU that they
    have, so that the server's is partly idle."""
    load = args("churn", 32, 0, None, *more)
    return Cell(f"tls-{name}", tls_runs(load, "sttcp", "epoll", kind=kind), [
        Figure("handshakes per CPU second, of epoll loop", "sttcp", "quick_cpu", "epoll", mark),
        Figure("(per second of the clock)", "sttcp", "quick_p90", "epoll"),
    ])


def tls_bulk(direction):
    """On the way out the library's server is measured with a short queue, too: what waits in a long
    one has left the CPU's cache when it is encrypted."""
    runs = tls_runs(args(direction, 4), "sttcp", "epoll")
    figures = [
        Figure("bytes per CPU second, of epoll loop", "sttcp", "bytes_cpu", "epoll", 0.93),
        Figure("(per second of the clock)", "sttcp", "bytes_p90", "epoll"),
    ]
    if direction == "out":
        (short,) = tls_runs(args(direction, 4), "sttcp")
        short.name = "short queue"
        short.words += (f"queue-max={128 * KIB}",)
        runs.append(short)
        figures.append(Figure("(with send_queue_max of 128 KiB)", "short queue", "bytes_cpu", "epoll"))
    return Cell(f"tls-{direction}", runs, figures)


def tls_idle(conns):
    load = args("idle", conns, 0, None, "--warm", 1, "--seconds", IDLE_SECONDS)
    return Cell(f"tls-idle-{conns}", tls_runs(load, "sttcp", "epoll"), [
        Figure("memory each, bytes", "sttcp", "bytes_per_conn", None, 15500, most=True),
        Figure("(memory each, of epoll loop)", "sttcp", "bytes_per_conn", "epoll"),
        Figure("threads more", "sttcp", "grown_threads", None, 0, most=True),
    ], once=True)


def tls_asleep(slow):
    """As without TLS: asleep()."""
    (none,) = tls_runs(args("mixed", 256 - slow), "sttcp")
    none.name = "none"
    return Cell(f"tls-asleep-{slow}", [none, *tls_runs(args("mixed", 256 - slow, slow, 50000), "sttcp")], [
        Figure("the others, of none asleep", "sttcp", "quick_p90", "none", 0.95, near=0.08),
        Figure("p99 of the others, of none asleep", "sttcp", "quick_p99_us", "none", 1.5, most=True, near=0.08),
        Figure("slow ones, of the ideal", "sttcp", "slow_rate", slow / 0.05, 0.97),
    ])


def tls_beside(rate):
    """64 quick connections beside so many handshakes a second, from 20 that come and go."""
    alone = tls_runs(args("mixed", 64), "sttcp", "epoll", kind="rsa")
    load = args("beside", 64, 20, None, "--period-us", 20 * 1000000 // rate)
    for run in alone:
        run.name += " alone"
    return Cell("tls-beside-new", [*alone, *tls_runs(load, "sttcp", "epoll", kind="rsa")], [
        Figure(f"p99 beside {rate} handshakes a second, of alone", "sttcp", "quick_p99_us", "sttcp alone", 3.0,
               most=True, near=0.3),
        Figure("(epoll loop)", "epoll", "quick_p99_us", "epoll alone"),
        Figure("(handshakes a second, of wanted)", "sttcp", "slow_rate", rate),
    ])


def python_echo(conns, mark):
    """The same handler in Python. All connections are served once before the time begins: the thread
    of socketserver that accepts would else wait for its turn in Python, and never get all of them."""
    return Cell(f"python-{conns}", same_load(args("visited", conns), "python", "socketserver"), [
        Figure("per CPU second, of socketserver", "python", "quick_cpu", "socketserver", mark),
        Figure("threads", "python", "threads", None, 8, most=True),
        Figure("(threads of socketserver)", "socketserver", "threads"),
    ])


def python_await(conns, mark):
    """The same as a dialogue: a coroutine for each connection, which waits in recv."""
    return Cell(f"python-await-{conns}", same_load(args("visited", conns), "python-await", "epoll", "python"), [
        Figure("per CPU second, of epoll loop", "python-await", "quick_cpu", "epoll", mark),
        Figure("(of a receive handler)", "python-await", "quick_cpu", "python"),
        Figure("threads", "python-await", "threads", None, 8, most=True),
    ])


def python_idle(conns):
    load = args("idle", conns, 0, None, "--warm", 1, "--seconds", IDLE_SECONDS)
    return Cell("python-idle", same_load(load, "python", "socketserver"), [
        Figure(f"memory of {conns}, of socketserver", "python", "grown_kib", "socketserver", 0.1, most=True, near=0),
        Figure("(the interpreter's own included)", "python", "rss_kib", "socketserver"),
        Figure("(memory each, bytes)", "python", "bytes_per_conn"),
        Figure("threads more", "python", "grown_threads", None, 0, most=True),
    ], once=True)


def redis(command, pipelined, mark):
    """The example's key-value server beside redis-server, under redis-benchmark's 50 connections."""
    load = ["redis-benchmark", "-t", command, "-P", str(pipelined)]
    return Cell(f"redis-{command}-{pipelined}", same_load(load, "keyvalue", "redis"), [
        Figure("per CPU second, of redis-server", "keyvalue", "requests_cpu", "redis", mark),
        Figure("(per second of the clock)", "keyvalue", "requests_rate", "redis"),
    ])


def relay():
    """One connection through the example's relay, as much as goes through."""
    return Cell("relay", same_load(args("relay", 1), "relay", "socat", "haproxy"), [
        Figure("bytes a second, of socat", "relay", "bytes_p90", "socat", 0.9),
        Figure("bytes a second, of HAProxy", "relay", "bytes_p90", "haproxy", 1.0),
        Figure("(per CPU second, of HAProxy)", "relay", "bytes_cpu", "haproxy"),
    ])


def proxy():
    """The command's proxy beside others, as they are without options."""
    return Cell("proxy-64", same_load(args("relay", 64), "proxy", "socat", "haproxy"), [
        Figure("bytes a second, of HAProxy", "proxy", "bytes_p90", "haproxy", 0.95),
        Figure("bytes a second, of socat", "proxy", "bytes_p90", "socat", 1.0),
        Figure("(per CPU second, of HAProxy)", "proxy", "bytes_cpu", "haproxy"),
    ])


def proxy_new():
    """Connections through it that come, say one message and go."""
    runs = same_load(args("churn", 32), "proxy", "socat", "haproxy")
    for run in runs:
        run.behind = "epoll"
    return Cell("proxy-new", runs, [
        Figure("new connections a second, of HAProxy", "proxy", "quick_p90", "haproxy", 0.95),
        Figure("new connections a second, of socat", "proxy", "quick_p90", "socat", 1.0),
        Figure("(per CPU second, of HAProxy)", "proxy", "quick_cpu", "haproxy"),
    ])


CELLS = [
    *[echo(conns) for conns in (1, 64, 256, 1000)],
    asleep(8),
    asleep(64),
    asleep500(10, 1.6, 0.92),
    asleep500(50, 1.4, 0.97),
    talk(64, 0.88),
    talk(1000, 0.85),
    talk(10000, 0.88),
    talk_asleep(8),
    talk_asleep(64),
    talk_naps(),
    talk_idle(10000),
    fibers_unused(64),
    *[short_sleep(us) for us in (100, 300, 700)],
    *[beside_short(us) for us in (100, 300, 700)],
    Cell("blockchurn", [
        Run("alone", "sttcp", args("mixed", 64)),
        Run("sttcp", "sttcp", args("blockchurn", 64, 64, 20000)),
    ], [Figure("p99 beside 64 that come, block and go", "sttcp", "quick_p99_us", "alone", 2.0, most=True,
               near=0.08)]),
    Cell("hog", [Run("sttcp", "sttcp", args("echo", 64), hog=True)],
         [Figure("take-overs in 10 s beside a CPU hog", "sttcp", "takeovers", None, 19, most=True)],
         once=True, seconds=10),
    Cell("paced", same_load(args("paced", 1), "sttcp", "epoll"), [
        Figure("context switches per message", "sttcp", "switches_per_message", None, 4, most=True),
        Figure("(epoll loop)", "epoll", "switches_per_message"),
    ], once=True, seconds=3),
    last_answer("burst", "500 come and sleep: last answer, of threads"),
    last_answer("surge", "500 quick, then sleep: the same", "--warm", 1),
    idle(0),
    idle(10000),
    idle_timeouts(10000),
    deaf(200),
    Cell("churn", same_load(args("churn", 32), "sttcp", "epoll", "threads"), [
        Figure("connect, message, close: of epoll loop", "sttcp", "quick_cpu", "epoll", 0.93),
        Figure("(threads, of epoll loop)", "threads", "quick_cpu", "epoll"),
    ]),
    Cell("broadcast", same_load(args("broadcast", 1000), "sttcp", "epoll"), [
        Figure("to 1000, of a loop of send()", "sttcp", "quick_cpu", "epoll", 0.92),
    ]),
    room(1000, 0),
    room(1000, 9000),
    Cell("lines", [Run(server, server, args("lines", 64), words=("lines",))
                   for server in ("sttcp", "epoll", "threads")], [
        Figure("64 times 16 lines in flight, of epoll loop", "sttcp", "quick_cpu", "epoll", 0.75),
        Figure("(threads, of epoll loop)", "threads", "quick_cpu", "epoll"),
        Figure("p99, of epoll loop", "sttcp", "quick_p99_us", "epoll", 3.0, most=True),
    ]),
    convoy(50),
    waves("asleep", 300),
    waves("held", 10000, ("lines",)),
    waves("queued", 100),
    waves("clients", 1),
    bulk(1),
    bulk(7),
    redis("set", 1, 0.95),
    redis("get", 1, 0.95),
    redis("set", 16, 0.9),
    redis("get", 16, 0.9),
    relay(),
    proxy(),
    proxy_new(),
    tls_echo("64", 64, 64, 0.92),
    tls_echo("1000", 1000, 64, 0.92),
    tls_echo("16k", 64, 16384, 0.95),
    tls_handshakes("new-p256", "p256", 0.95),
    tls_handshakes("new-rsa", "rsa", 0.97),
    tls_handshakes("resumed", "p256", 0.92, "--resume"),
    tls_bulk("in"),
    tls_bulk("out"),
    tls_idle(10000),
    tls_asleep(8),
    tls_asleep(64),
    tls_beside(200),
    python_echo(64, 1.2),
    python_echo(1000, 1.4),
    python_await(64, 0.75),
    python_await(1000, 0.72),
    python_idle(5000),
]
