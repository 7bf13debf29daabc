"""echo_server on several cores: threads, and processes."""

import os
import re
import shutil
import signal
import socket
import time
import unittest

import support
from echo import EchoCase, EchoClient, StopTests, run_clients
from support import BACKEND, MEBIBYTE

ECHO_SERVER = None

WORKERS = 4


def signals_are_late():
    """The thread sanitizer does not know select(2): a signal that comes during
    one waits for the next call that it knows, for ever perhaps."""
    return (BACKEND == "select" and
            support.has_thread_sanitizer(ECHO_SERVER))


def can_trace():
    if shutil.which("strace") is None:
        return False
    status, _, _ = support.run("strace", "-f", "-o", os.devnull, "true")
    return status == 0


def is_traced(pid):
    with open("/proc/%d/status" % pid) as f:
        return not re.search(r"^TracerPid:\s*0$", f.read(), re.MULTILINE)


def read(path):
    with open(path) as f:
        return f.read()


NEEDS_STRACE = unittest.skipUnless(
    can_trace(), "strace is not here, or not permitted")

# What looks for leaks is a tracer itself.
NO_LEAK_CHECK = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")


class WorkersCase(EchoCase):

    def setUp(self):
        super().setUp()
        if signals_are_late():
            self.skipTest("no signals with select under this sanitizer")


class WorkersTests(StopTests):
    """What holds of threads and processes alike."""

    def test_everybody_is_served(self):
        data = os.urandom(MEBIBYTE)
        server = self.serve()
        clients = [EchoClient(self.connect(server), data, i)
                   for i in range(40)]
        run_clients(clients)
        self.assert_stops(server)

    def test_all_work(self):
        """Connections are spread, and each worker serves its own."""
        server = self.serve()
        before = self.activities(server)
        clients = [self.connect(server) for _ in range(50 * WORKERS)]
        for s in clients:
            self.assert_echoes(s)
        after = self.activities(server)
        busy = [worker for worker in after
                if after[worker] - before.get(worker, 0) > 5]
        self.assertEqual(len(busy), WORKERS, after)
        self.assert_stops(server)

    def test_one_worker(self):
        self.options = [self.options[0], "1"]
        server = self.serve()
        for _ in range(10):
            self.assert_serves(server)
        self.assert_stops(server)

    def test_many_workers(self):
        self.options = [self.options[0], "50"]
        server = self.serve()
        for _ in range(100):
            self.assert_serves(server)
        self.assert_stops(server)

    def test_busy_port(self):
        """Though it could be shared."""
        server = self.serve()
        for options in ([], self.options):
            status, out, err = support.run(*self.command(*options,
                                                         server.address))
            self.assertEqual((status, out), (1, b""))
            self.assert_one_line(err, server.address.encode(),
                                 b"Address already in use")
        self.assert_serves(server)
        self.assert_stops(server)

    def test_busy_path(self):
        server = self.serve("unix:" + self.path("socket"))
        status, out, err = support.run(*self.command(*self.options,
                                                     server.address))
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, b"Address already in use")
        self.assert_serves(server)
        self.assert_stops(server)

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        server = self.serve("[::1]:0")
        self.assertRegex(server.address, r"^\[::1\]:[1-9][0-9]*$")
        for _ in range(10):
            self.assert_serves(server)
        self.assert_stops(server)

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            status, _, err = support.run(*self.command(*self.options, "0"),
                                         stdout=full)
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: No space left")

    def test_at_once(self):
        """A signal may come before anything else does."""
        for i in range(10):
            server = self.serve()
            if i % 2:
                server.signal(signal.SIGINT)
            self.assert_stops(server)

    def assert_lacks_descriptors(self, limit):
        # A sanitizer that looks for leaks lacks them, too.
        status, _, err = support.run(
            *self.command(*self.options, "0"),
            env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"),
            preexec_fn=support.limit_descriptors(limit))
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"Too many open files")

    def test_no_descriptors_to_listen(self):
        self.assert_lacks_descriptors(8)


class TestThreads(WorkersTests, WorkersCase):

    options = ["--threads", str(WORKERS)]

    def activities(self, server):
        """How often each has slept, but for the first, who does nothing."""
        result = server.activity()
        del result[server.pid]
        return result

    def test_no_descriptors_for_all(self):
        """Those that run already are stopped."""
        for limit in (14, 20):
            self.assert_lacks_descriptors(limit)

    def test_idle(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(20)]
        for s in clients:
            self.assert_echoes(s)
        self.assert_stays_asleep(server)
        self.assert_stops(server)


class TestProcesses(WorkersTests, WorkersCase):

    options = ["--processes", str(WORKERS)]

    def serve(self, *arguments, **kwargs):
        """On its last way a worker may be told to go on, or be killed, and the
        tracer that looks for leaks then spins for ever, or complains."""
        return super().serve(*arguments, env=NO_LEAK_CHECK, **kwargs)

    def activities(self, server):
        result = {}
        support.wait_until(lambda: len(server.workers()) == WORKERS,
                           "all processes")
        for pid in server.workers():
            with open("/proc/%d/status" % pid) as f:
                result[pid] = int(re.search(
                    r"^voluntary_ctxt_switches:\s*(\d+)", f.read(),
                    re.MULTILINE).group(1))
        return result

    def wait_for_workers(self, server, count=WORKERS, but=()):
        """So many that are not of those that there were."""
        support.wait_until(
            lambda: len(set(server.workers()) - set(but) - {server.pid})
            == count, "%d new workers" % count)
        return set(server.workers()) - set(but)

    def assert_stops_after_deaths(self, server, count, number=9):
        status, out, err = server.stop()
        self.assertEqual((status, out), (0, b""))
        self.assertEqual(err.count(b"signal %d\n" % number), count, err)
        self.assertEqual(err.count(b"\n"), count, err)

    def test_idle(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(20)]
        for s in clients:
            self.assert_echoes(s)
        for pid in self.wait_for_workers(server) | {server.pid}:
            server.subject = pid
            self.assert_stays_asleep(server, 0.5)
        server.subject = server.pid
        self.assert_stops(server)

    def test_one_that_is_killed_has_a_successor(self):
        server = self.serve()
        before = self.wait_for_workers(server)
        clients = [self.connect(server) for _ in range(40)]
        for s in clients:
            self.assert_echoes(s)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        self.wait_for_workers(server, 1, before)
        lost = 0
        for s in clients:
            try:
                self.assert_echoes(s)
            except (AssertionError, ConnectionError):
                lost += 1
        self.assertGreater(lost, 0)
        self.assertLess(lost, 40)
        for _ in range(40):
            self.assert_serves(server)
        self.assert_stops_after_deaths(server, 1)

    def test_who_waits_for_one_that_is_killed(self):
        """All are killed with connections that they have not accepted."""
        server = self.serve()
        before = self.wait_for_workers(server)
        server.freeze()
        clients = [self.connect(server) for _ in range(40)]
        for s in clients:
            s.sendall(b"hello?")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for s in clients:
            self.assertEqual(support.receive_exactly(s, 6), b"hello?")
        self.assert_stops_after_deaths(server, WORKERS)

    def test_successors_do_not_come_too_fast(self):
        """A second from one start to the next."""
        self.options = ["--processes", "1"]
        started = time.monotonic()
        server = self.serve()
        for _ in range(3):
            before = self.wait_for_workers(server, 1)
            os.kill(min(before), signal.SIGKILL)
            self.wait_for_workers(server, 1, before)
        self.assert_serves(server)
        self.assertGreater(time.monotonic() - started, 2.9)
        self.assert_stops_after_deaths(server, 3)

    def test_stop_while_one_is_missing(self):
        """It does not wait for what would take its place."""
        def attempt():
            server = self.serve()
            before = self.wait_for_workers(server)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            support.wait_until(
                lambda: not before & set(server.workers()), "they are gone")
            started = time.monotonic()
            status, out, err = server.stop()
            self.assertEqual((status, out), (0, b""))
            self.assertEqual(err.count(b"\n"), WORKERS, err)
            return server, time.monotonic() - started
        self.assert_does_not_linger(attempt)

    def test_one_that_is_told_to_end(self):
        """SIGTERM to one worker: it ends gently, and has a successor."""
        server = self.serve()
        before = self.wait_for_workers(server)
        clients = [self.connect(server) for _ in range(40)]
        for s in clients:
            self.assert_echoes(s)
        server.signal_process(min(before), signal.SIGTERM)
        self.wait_for_workers(server, 1, before)
        for _ in range(20):
            self.assert_serves(server)
        status, out, err = server.stop()
        self.assertEqual((status, out), (0, b""))
        self.assert_one_line(err, b"status 0")

    def test_ctrl_c(self):
        """It goes to all processes at once, and is one signal nevertheless."""
        server = self.serve(start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            server = self.serve(start_new_session=True)
            clients = [self.connect(server) for _ in range(40)]
            for s in clients:
                self.assert_echoes(s)
            server.freeze()
            for s in clients:
                s.sendall(b"wait!")
            started = time.monotonic()
            os.killpg(server.pid, number)
            server.thaw()
            for s in clients:
                self.assertEqual(support.receive_exactly(s, 5), b"wait!")
                self.assertEqual(s.recv(1), b"")
            self.assert_stops_in_time(server, started, None)

    def test_parent_is_killed(self):
        """The workers do not stay behind."""
        server = self.serve()
        workers = self.wait_for_workers(server)
        s = self.connect(server)
        self.assert_echoes(s)
        server.signal(signal.SIGKILL)
        self.assertEqual(s.recv(1), b"")
        support.wait_until(
            lambda: all(support.process_state(pid) in "XZ" for pid in workers),
            "the workers end")

    def test_log_without_reader(self):
        """Nobody hears of the end of a worker; the others serve."""
        server = self.serve()
        before = self.wait_for_workers(server)
        server.process.stderr.close()
        server.process.stderr = None
        os.kill(min(before), signal.SIGKILL)
        self.wait_for_workers(server, 1, before)
        self.assert_serves(server)
        self.assertEqual(server.stop(), (0, b"", None))

    def test_second_signal_to_one_that_hangs(self):
        server = self.serve()
        self.wait_for_workers(server)
        s = self.connect(server)
        self.assert_echoes(s)
        server.freeze()
        server.signal(signal.SIGTERM)
        support.wait_until(lambda: server.signal(0) is None and
                           server.sleeps(), "it waits")
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.finish(), (0, b"", b""))

    def trace(self, pids, *options):
        """strace, attached to all of them, and its log."""
        log = self.path("log")
        tracer = self.program("strace", "-o", log, *options,
                              "-p", ",".join(str(pid) for pid in pids))
        for pid in pids:
            support.wait_until(lambda pid=pid: is_traced(pid), "it is traced")
        return tracer, log

    @NEEDS_STRACE
    def test_second_signal_to_one_that_hangs_in_its_end(self):
        """A worker has gone when its process has, not before."""
        server = self.serve()
        workers = self.wait_for_workers(server)
        tracer, log = self.trace(
            workers, "-e", "trace=rt_sigaction",
            "-e", "inject=rt_sigaction:signal=SIGSTOP:when=1")
        server.signal(signal.SIGTERM)
        support.wait_until(
            lambda: read(log).count("stopped by SIGSTOP") == WORKERS,
            "they stop, serving no more")
        tracer.end()
        self.assert_stops(server)

    @NEEDS_STRACE
    def test_signal_at_the_end(self):
        """It finds nothing left to stop, when the handlers go."""
        server = self.serve()
        workers = self.wait_for_workers(server)
        self.trace(workers | {server.pid}, "-e", "trace=rt_sigaction",
                   "-e", "inject=rt_sigaction:signal=SIGTERM:when=1")
        self.assert_stops(server)

    @NEEDS_STRACE
    def test_signals_at_birth(self):
        """They come when the parent's handlers have gone, that of SIGTERM
        first. By SIGTERM a worker ends gently, SIGINT is for the parent."""
        for number, when, until, end in (
                ("SIGTERM", 1, r"\+\+\+", r"exited with 0 \+\+\+"),
                ("SIGINT", 2, r"\+\+\+|SIGTERM, {sa_handler=0x", r"=0x")):
            server = self.serve()
            workers = self.wait_for_workers(server)
            tracer, log = self.trace(
                [server.pid], "-f", "-e", "trace=rt_sigaction",
                "-e", "inject=rt_sigaction:signal=%s:when=%d" % (number, when))
            os.kill(min(workers), signal.SIGKILL)
            support.wait_until(lambda log=log, until=until:
                               re.search(until, read(log)), "what comes of it")
            self.assertRegex(read(log), end)
            tracer.end()
            status, _, err = server.stop()
            self.assertEqual(status, 0)
            self.assertEqual(re.sub(rb".*(signal 9|status 0)\n", b"", err),
                             b"")


class TestMisuse(WorkersCase):

    def test_bad_arguments(self):
        for option in ("--threads", "--processes"):
            for arguments in ([option], [option, "0"], [option, "0", "0"],
                              [option, "-1", "0"], [option, "x", "0"],
                              [option, "4x", "0"], [option, "", "0"],
                              [option, "1001", "0"], ["0", option, "2"],
                              [option, "2", option, "2", "0"],
                              ["--threads", "2", "--processes", "2", "0"],
                              [option, "2", "nonsense"],
                              [option, "2", "1", "2"],
                              ["--backend", "none", option, "2", "0"]):
                with self.subTest(arguments):
                    self.assert_misuse(ECHO_SERVER, *arguments)


@NEEDS_STRACE
class TestSystemCalls(WorkersCase):

    def test_threads_share_no_lock(self):
        """While they serve, none waits for another, or wakes one."""
        log = self.path("log")
        server = support.Server(
            "strace", "-f", "-o", log,
            *self.command("--threads", str(WORKERS), "0"), env=NO_LEAK_CHECK)
        self.addCleanup(server.end)
        clients = [self.connect(server) for _ in range(40)]
        for s in clients:
            self.assert_echoes(s)
        with open(log) as f:
            f.read()
            for _ in range(20):
                for s in clients:
                    self.assert_echoes(s)
            calls = f.read()
        threads = set(re.findall(r"^(\d+) +sendto", calls, re.MULTILINE))
        self.assertEqual(len(threads), WORKERS, threads)
        self.assertEqual(re.findall(r"^.*(?:futex|write|sched_yield)\(.*$",
                                    calls, re.MULTILINE), [])
        with open("/proc/%d/task/%d/children" % (server.pid,
                                                 server.pid)) as f:
            server.subject = int(f.read().split()[0])
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.finish()[0], 0)


if __name__ == "__main__":
    support.main(["ECHO_SERVER"])
