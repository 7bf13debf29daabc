"""What echo_server asks of the kernel, as strace counts it: nothing when
idle; when busy one recv, one send and a share of one wait for each message.
What is built for debugging also asks, before each wait, which process it is."""

import collections
import os
import re
import shutil
import sys
import time
import unittest

import support
from support import BACKEND

ECHO_SERVER = None

CONNECTIONS = 50
ROUNDS = 40
MESSAGE = b"m" * 64
WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
         "select", "pselect6")


def can_trace():
    if shutil.which("strace") is None:
        return False
    status, _, _ = support.run("strace", "-o", os.devnull, "true")
    return status == 0


class TracedServer(support.Server):
    """Started by strace, for attaching takes a permission that few have."""

    def __init__(self, log, *command):
        # A sanitizer that looks for leaks traces, too: there cannot be two.
        environment = dict(os.environ)
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
        self.log = log
        super().__init__("strace", "-o", log, *command, env=environment)

    def find_subject(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            return int(f.read().split()[0])

    def calls(self):
        """How many of each call it has made by now, those that have come
        back."""
        with open(self.log) as f:
            return collections.Counter(
                re.findall(r"^(\w+)\(.* = ", f.read(), re.MULTILINE))


@unittest.skipUnless(can_trace(), "strace is not here, or not permitted")
class TestSystemCalls(support.Case):

    def setUp(self):
        super().setUp()
        backend = ["--backend", BACKEND] if BACKEND else []
        self.server = TracedServer(self.path("log"), ECHO_SERVER, *backend,
                                   "0")
        self.addCleanup(self.server.end)
        self.clients = [self.close_later(self.server.connect())
                        for _ in range(CONNECTIONS)]
        for _ in range(2):
            self.exchange()

    def exchange(self):
        """Each sends, and then each receives."""
        for s in self.clients:
            s.sendall(MESSAGE)
        for s in self.clients:
            self.assertEqual(support.receive_exactly(s, len(MESSAGE)),
                             MESSAGE)

    def settled_calls(self):
        """The calls when the last of them is in the log: it sleeps."""
        support.wait_until(self.server.sleeps, "it sleeps")
        calls = self.server.calls()
        while True:
            time.sleep(0.05)
            before, calls = calls, self.server.calls()
            if calls == before:
                return calls

    def test_idle(self):
        before = self.settled_calls()
        self.assertGreater(before["recvfrom"], 0)
        time.sleep(1)
        self.assertEqual(self.server.calls() - before, {})

    def test_busy(self):
        before = self.settled_calls()
        for _ in range(ROUNDS):
            self.exchange()
        calls = self.settled_calls() - before
        messages = CONNECTIONS * ROUNDS
        waits = sum(calls[name] for name in WAITS)
        self.assertLessEqual(calls.pop("getpid", 0), waits)
        allowed = {"recvfrom", "sendto"}.union(WAITS)
        self.assertEqual(set(calls) - allowed, set(), calls)
        self.assertEqual(calls["recvfrom"], messages)
        self.assertEqual(calls["sendto"], messages)
        self.assertLessEqual(waits, messages)
        print("%d messages: %s" % (messages, dict(calls)), file=sys.stderr)


if __name__ == "__main__":
    support.main(["ECHO_SERVER"])
