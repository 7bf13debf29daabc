"""echo_server, driven by real clients."""

import os
import signal
import socket
import termios
import time
import unittest

import support
from echo import (EchoCase, EchoClient, StopTests, count_bytes, reset,
                  run_clients)
from support import BACKEND, DEADLINE, MEBIBYTE

ECHO_SERVER = None

class TestAddress(EchoCase):

    def assert_listens(self, given, pattern):
        server = self.serve(given)
        self.assertRegex(server.address, pattern)
        self.assert_serves(server)
        self.assert_stops(server)

    def test_port(self):
        self.assert_listens("0", r"^127\.0\.0\.1:[1-9][0-9]*$")

    def test_host_and_port(self):
        self.assert_listens("127.0.0.1:0", r"^127\.0\.0\.1:[1-9][0-9]*$")

    def test_name_and_port(self):
        self.assert_listens("localhost:0",
                            r"^(127\.0\.0\.1|\[::1\]):[1-9][0-9]*$")

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        self.assert_listens("[::1]:0", r"^\[::1\]:[1-9][0-9]*$")

    def test_unix(self):
        path = self.path("socket")
        self.assert_listens("unix:" + path, "^unix:" + path + "$")
        self.assertFalse(os.path.lexists(path))

    def test_unix_path_relative(self):
        server = self.serve("unix:socket", cwd=self.directory)
        self.assertEqual(server.address, "unix:socket")
        self.assert_stops(server)
        self.assertFalse(os.path.lexists(self.path("socket")))

    def test_default(self):
        """The one fixed port here; a stranger may have it."""
        program = self.program(*self.command())
        if program.read_until(b"\n"):
            program.signal(signal.SIGTERM)
            self.assertEqual(program.finish(), (0, b"", b""))
        else:
            status, _, err = program.finish()
            self.assertEqual(status, 1)
            self.assert_one_line(err, b"127.0.0.1:8007: Address already")


class TestMisuse(EchoCase):

    def test_bad_arguments(self):
        for arguments in (["nonsense"], [""], ["127.0.0.1"], ["::1:80"],
                          ["127.0.0.1:"], ["127.0.0.1:99999"], ["-1"],
                          ["unix:"], ["1", "2"], ["--backend"],
                          ["--backend", "none"], ["--backend", "none", "0"],
                          ["--nonsense"], ["0", "--backend", "poll"],
                          ["--timeout"],
                          ["--timeout", "-1", "0"], ["--timeout", "x", "0"],
                          ["--timeout", "", "0"],
                          ["--timeout", "99999999999", "0"]):
            with self.subTest(arguments):
                self.assert_misuse(ECHO_SERVER, *arguments)

    def test_help(self):
        self.assert_help(ECHO_SERVER)

    def test_backend_from_environment(self):
        environment = dict(os.environ, ASYNCORE_BACKEND="none")
        status, _, err = support.run(ECHO_SERVER, "0", env=environment)
        self.assertEqual(status, 2)
        self.assert_one_line(err)

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            status, _, err = support.run(*self.command("0"), stdout=full)
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: No space left")


class TestTakenAddress(EchoCase):

    def assert_refuses(self, address, reason):
        status, out, err = support.run(*self.command(address))
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, address.encode(), reason)

    def test_busy_port(self):
        server = self.serve()
        self.assert_refuses(server.address, b"Address already in use")
        self.assert_serves(server)

    def test_busy_path(self):
        server = self.serve("unix:" + self.path("socket"))
        self.assert_refuses(server.address, b"Address already in use")
        self.assert_serves(server)
        self.assert_stops(server)

    def test_busy_path_of_a_server_that_has_no_time(self):
        """Its backlog is full: that is not nobody."""
        address = self.path("socket")
        self.listener(socket.AF_UNIX, address).listen(0)
        held = []
        try:
            while len(held) < 100:
                s = self.close_later(socket.socket(socket.AF_UNIX))
                s.setblocking(False)
                s.connect(address)
                held.append(s)
        except BlockingIOError:
            pass
        self.assert_refuses("unix:" + address, b"Address already in use")

    def test_stale_path(self):
        address = "unix:" + self.path("socket")
        killed = self.serve(address)
        killed.signal(signal.SIGKILL)
        killed.finish()
        self.assertTrue(os.path.exists(self.path("socket")))
        server = self.serve(address)
        self.assert_serves(server)
        self.assert_stops(server)
        self.assertFalse(os.path.exists(self.path("socket")))

    def test_path_that_is_no_socket(self):
        with open(self.path("file"), "w") as f:
            f.write("precious")
        os.symlink("nowhere", self.path("link"))
        self.assert_refuses("unix:" + self.path("file"), b"Address already")
        self.assert_refuses("unix:" + self.path("link"), b"Address already")
        with open(self.path("file")) as f:
            self.assertEqual(f.read(), "precious")
        self.assertTrue(os.path.islink(self.path("link")))

    def test_path_in_no_directory(self):
        self.assert_refuses("unix:" + self.path("no/socket"), b"No such file")


class TestSignals(EchoCase):

    def assert_ends_connections(self, number, address):
        server = self.serve(address)
        clients = [self.connect(server) for _ in range(5)]
        for s in clients:
            self.assert_echoes(s)
        self.assert_stops(server, number)
        for s in clients:
            self.assertEqual(s.recv(1), b"")

    def test_sigint(self):
        self.assert_ends_connections(signal.SIGINT, "0")

    def test_sigterm(self):
        self.assert_ends_connections(signal.SIGTERM, "0")

    def test_path_removed(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.assert_ends_connections(number, "unix:" + self.path("socket"))
            self.assertFalse(os.path.lexists(self.path("socket")))

    def test_both_at_once(self):
        for _ in range(20):
            server = self.serve()
            server.signal(signal.SIGINT)
            self.assert_stops(server, signal.SIGTERM)

    def test_in_the_middle_of_work(self):
        server = self.serve()
        s = self.connect(server)
        s.sendall(bytes(100000))
        self.assert_stops(server)


class TestStop(StopTests, EchoCase):
    pass


class TestTimeout(EchoCase):

    options = ["--timeout", "1"]

    def test_silence(self):
        self.options = ["--timeout", "3"]
        server = self.serve()
        started = time.monotonic()
        silent, talking = self.connect(server), self.connect(server)
        for _ in range(20):
            self.assert_echoes(talking)
            time.sleep(0.2)
        self.assertEqual(silent.recv(1), b"")
        self.assert_echoes(talking)
        self.assertEqual(talking.recv(1), b"")
        self.assertGreater(time.monotonic() - started, 7)
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_client_that_never_reads(self):
        server = self.serve()
        s = self.connect(server)
        s.setblocking(False)
        self.assertRaises(BlockingIOError, self.send_for_ever, s)
        started = time.monotonic()
        server.wait_for_clients(0)
        self.assertLess(time.monotonic() - started, 10)
        self.assert_stops(server)

    def send_for_ever(self, s):
        while True:
            s.send(bytes(65536))


class TestEcho(EchoCase):

    def assert_echoes_all(self, server, data):
        client = EchoClient(self.connect(server), data, len(data))
        run_clients([client])

    def test_several_mebibytes(self):
        data = os.urandom(8 * MEBIBYTE + 1)
        server = self.serve()
        self.assert_echoes_all(server, data)
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_several_mebibytes_unix(self):
        server = self.serve("unix:" + self.path("socket"))
        self.assert_echoes_all(server, os.urandom(8 * MEBIBYTE + 1))
        self.assert_stops(server)

    def test_nothing(self):
        server = self.serve()
        self.assert_echoes_all(server, b"")
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_byte_by_byte(self):
        server = self.serve()
        s = self.connect(server)
        for i in range(256):
            self.assert_echoes(s, bytes([i]))

    def test_half_close_behind_a_queue(self):
        """What is queued is sent before the end. On a unix socket it can be
        seen how much the server has read, and so what it still holds."""
        server = self.serve("unix:" + self.path("socket"))
        s = self.connect(server)
        sent = 0
        while sent == count_bytes(s, termios.FIONREAD):
            s.sendall(bytes(4096))
            sent += 4096
            support.wait_until(
                lambda: count_bytes(s, termios.TIOCOUTQ) == 0, "it is read")
            support.wait_until(server.sleeps, "it has answered")
        s.shutdown(socket.SHUT_WR)
        support.wait_until(server.sleeps, "it has read the end")
        self.assertEqual(support.receive_exactly(s, sent), bytes(sent))
        self.assertEqual(s.recv(1), b"")
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_200_clients_at_once(self):
        base = os.urandom(MEBIBYTE + 200)
        server = self.serve()
        clients = [EchoClient(self.connect(server), base[i:i + MEBIBYTE], i)
                   for i in range(200)]
        run_clients(clients)
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_many_short_connections(self):
        server = self.serve()
        for _ in range(500):
            with server.connect() as s:
                s.send(b"x")
        self.assert_serves(server)
        server.wait_for_clients(0)
        self.assert_stops(server)


class TestRudeClients(EchoCase):

    def test_reset(self):
        server = self.serve()
        for i in range(200):
            s = server.connect()
            if i % 4 > 0:
                s.send(b"x" * (i * 100))
            if i % 4 > 1:
                s.recv(1)
            if i % 4 > 2:
                s.shutdown(socket.SHUT_WR)
            reset(s)
        self.assert_serves(server)
        server.wait_for_clients(0)
        self.assert_stops(server)

    def stuff(self, server):
        """A client that sends until nobody takes more, and reads nothing."""
        s = self.connect(server)
        s.setblocking(False)
        piece, sent, idle = bytes(65536), 0, 0
        while idle < 20 and sent < 512 * MEBIBYTE:
            try:
                sent += s.send(piece)
                idle = 0
            except BlockingIOError:
                idle += 1
                time.sleep(0.01)
        return s, sent

    def test_reset_behind_a_full_queue(self):
        server = self.serve()
        for _ in range(3):
            s, _ = self.stuff(server)
            reset(s)
        server.wait_for_clients(0)
        self.assert_serves(server)
        self.assert_stops(server)

    def test_client_that_never_reads(self):
        server = self.serve()
        before = server.memory()
        stuffed = [self.stuff(server) for _ in range(3)]
        for _, sent in stuffed:
            self.assertLess(sent, 256 * MEBIBYTE)
        self.assertLess(server.memory() - before, 16 * MEBIBYTE)
        for _ in range(100):
            self.assert_serves(server)
        self.assert_stays_asleep(server, 1)
        # It may change its mind.
        s, sent = stuffed[0]
        s.settimeout(DEADLINE)
        self.assertEqual(support.receive_exactly(s, sent), bytes(sent))
        self.assert_echoes(s)
        self.assert_stops(server)


class TestIdle(EchoCase):

    def test_without_clients(self):
        self.assert_stays_asleep(self.serve())

    def test_10000_connections(self):
        limit = support.raise_descriptor_limit()
        count = min(10000, limit - 100)
        if BACKEND == "select":
            count = 1000
        server = self.serve()
        before = server.memory()
        for _ in range(count):
            last = self.connect(server)
        server.wait_for_clients(count)
        self.assert_echoes(last)
        if not server.is_sanitized():
            self.assertLess((server.memory() - before) / count, 512)
        self.assert_stays_asleep(server)
        self.assert_echoes(last)
        self.assert_stops(server)

    def test_half_closed_and_not_read(self):
        """The end of what the client sends is known, and nothing more can be
        done: not to be told of it again and again."""
        server = self.serve()
        s = self.connect(server)
        s.setblocking(False)
        sent = 0
        with self.assertRaises(BlockingIOError):
            while True:
                sent += s.send(bytes(65536))
        s.shutdown(socket.SHUT_WR)
        self.assert_stays_asleep(server, 1)
        s.settimeout(DEADLINE)
        self.assertEqual(support.receive_exactly(s, sent), bytes(sent))
        self.assertEqual(s.recv(1), b"")
        server.wait_for_clients(0)
        self.assert_stops(server)


class TestShortage(EchoCase):

    def test_50_descriptors_200_clients(self):
        server = self.serve(preexec_fn=support.limit_descriptors(50))
        served, refused = [], []
        clients = [self.connect(server) for _ in range(200)]
        for i, s in enumerate(clients):
            try:
                self.assert_echoes(s, b"client %d" % i)
                served.append(s)
            except (AssertionError, OSError):
                refused.append(s)
        self.assertGreaterEqual(len(served), 35)

        # Full: those it has are served, and nothing spins.
        for s in served:
            self.assert_echoes(s)
        waiting = [self.connect(server) for _ in range(20)]
        self.assert_stays_asleep(server, looks=10)
        for s in served:
            self.assert_echoes(s)

        # Room again, for those who come now.
        for s in served[:10]:
            s.close()
        for s in waiting:
            s.close()
        for _ in range(30):
            self.assert_serves_in_the_end(server)
        for s in served[10:]:
            self.assert_echoes(s)
        status, out, err = server.stop()
        self.assertEqual((status, out), (0, b""))
        self.assertIn(b"Too many open files", err)
        self.assertLess(err.count(b"\n"), 20, err)

    def assert_serves_in_the_end(self, server):
        """One that comes before the room has been noticed may be refused."""
        def served():
            try:
                self.assert_serves(server)
                return True
            except (AssertionError, OSError):
                return False
        support.wait_until(served, "a new client is served")


if __name__ == "__main__":
    support.main(["ECHO_SERVER"])
