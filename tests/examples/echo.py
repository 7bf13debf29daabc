"""What the tests of echo_server share: the server, and clients of it."""

import __main__
import fcntl
import os
import random
import selectors
import signal
import socket
import struct
import termios
import time

import support
from support import BACKEND, DEADLINE, LINGERS

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(s):
    """Closes a TCP connection the rude way, with RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    s.close()


def count_bytes(s, request):
    """FIONREAD: what we have not read; TIOCOUTQ: what the peer has not, or
    over TCP its kernel."""
    return struct.unpack("i", fcntl.ioctl(s, request, bytes(4)))[0]


class EchoClient:
    """Sends data in odd-sized pieces, half-closes, and wants it all back. One
    of many in a selector's loop."""

    def __init__(self, s, data, seed):
        self.socket = s
        self.data = memoryview(data)
        self.random = random.Random(seed)
        self.sent = self.received = 0
        s.setblocking(False)
        if not data:
            s.shutdown(socket.SHUT_WR)

    def events(self):
        if self.sent < len(self.data):
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        return selectors.EVENT_READ

    def write(self):
        size = self.random.randrange(1, 60000, 2)
        self.sent += self.socket.send(self.data[self.sent:self.sent + size])
        if self.sent == len(self.data):
            self.socket.shutdown(socket.SHUT_WR)

    def read(self):
        """False at the end."""
        piece = self.socket.recv(65536)
        start, self.received = self.received, self.received + len(piece)
        if piece != self.data[start:self.received]:
            raise AssertionError("not what was sent, at %d" % start)
        return bool(piece)


def run_clients(clients, deadline=90):
    until = time.monotonic() + deadline
    with selectors.DefaultSelector() as selector:
        for c in clients:
            selector.register(c.socket, c.events(), c)
        while selector.get_map():
            ready = selector.select(until - time.monotonic())
            if not ready:
                raise AssertionError("%d clients are still waiting"
                                     % len(selector.get_map()))
            for key, events in ready:
                client = key.data
                if events & selectors.EVENT_WRITE:
                    client.write()
                if events & selectors.EVENT_READ and not client.read():
                    selector.unregister(client.socket)
                    if client.received != len(client.data):
                        raise AssertionError("ended after %d of %d bytes" % (
                            client.received, len(client.data)))
                elif client.events() != key.events:
                    selector.modify(client.socket, client.events(), client)


class EchoCase(support.Case):
    """A case with an echo server that must end well, and silent."""

    options = []

    def command(self, *arguments):
        backend = ["--backend", BACKEND] if BACKEND else []
        return [__main__.ECHO_SERVER] + backend + list(arguments)

    def serve(self, address="0", **kwargs):
        server = support.Server(*self.command(*self.options, address), **kwargs)
        self.addCleanup(server.end)
        return server

    def connect(self, server):
        return self.close_later(server.connect())

    def assert_echoes(self, s, data=b"are you there?"):
        s.sendall(data)
        self.assertEqual(support.receive_exactly(s, len(data)), data)

    def assert_serves(self, server):
        with server.connect() as s:
            self.assert_echoes(s)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(s.recv(1), b"")

    def assert_stops(self, server, number=signal.SIGTERM):
        self.assertEqual(server.stop(number), (0, b"", b""))


class StopTests:
    """What is promised of the end, for cases with whatever options."""

    def test_what_has_arrived_is_answered(self):
        """On connections, and on those that nobody has accepted yet."""
        server = self.serve()
        clients = [self.connect(server) for _ in range(180)]
        for s in clients:
            self.assert_echoes(s)
        server.freeze()
        clients += [self.connect(server) for _ in range(20)]
        data = os.urandom(5000)
        for s in clients:
            s.sendall(data)
        for s in clients:
            support.wait_until_arrived(s)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.thaw()
        for s in clients:
            self.assertEqual(support.receive_exactly(s, len(data)), data)
            self.assertEqual(s.recv(1), b"")
        self.assert_stops_in_time(server, started, None)

    def test_in_the_middle_of_much(self):
        """What has arrived by the signal comes back, whatever else is under
        way."""
        server = self.serve()
        data = os.urandom(65536)
        clients = [self.connect(server) for _ in range(200)]
        arrived = {}
        for s in clients:
            s.setblocking(False)
        for s in clients:
            arrived[s] = s.send(data)
        for s in clients:
            arrived[s] -= count_bytes(s, termios.TIOCOUTQ)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        for s in clients:
            s.settimeout(DEADLINE)
            answer = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                answer += piece
            self.assertGreaterEqual(len(answer), arrived[s])
            self.assertEqual(answer, data[:len(answer)])
            s.close()
        self.assert_stops_in_time(server, started, None)

    def test_who_stays(self):
        """They have heard of the end, and do nothing about it."""
        server = self.serve()
        clients = [self.connect(server) for _ in range(10)]
        for s in clients:
            self.assert_echoes(s)
        started = time.monotonic()
        taken = self.assert_stops_in_time(server, started)
        self.assertGreater(taken, LINGERS - 0.01)
        for s in clients:
            self.assertEqual(s.recv(1), b"")

    def test_who_goes(self):
        """Nobody waits for longer than there is somebody to wait for."""
        def attempt():
            server = self.serve()
            clients = [self.connect(server) for _ in range(10)]
            for s in clients:
                self.assert_echoes(s)
            started = time.monotonic()
            server.signal(signal.SIGTERM)
            for s in clients:
                self.assertEqual(s.recv(1), b"")
                s.close()
            return server, self.assert_stops_in_time(server, started, None)
        self.assert_does_not_linger(attempt)

    def test_who_does_not_read(self):
        server = self.serve()
        for _ in range(3):
            s = self.connect(server)
            s.setblocking(False)
            self.assertRaises(BlockingIOError, self.send_for_ever, s)
        self.assert_serves(server)
        self.assert_stops_in_time(server, time.monotonic())

    def send_for_ever(self, s):
        while True:
            s.send(bytes(65536))

    def test_who_does_not_stop_sending(self):
        """It gets the end of what is said to it, not a reset."""
        server = self.serve()
        s = self.connect(server)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        piece = b"x"
        s.setblocking(False)
        while piece:
            try:
                s.send(bytes(4096))
            except BlockingIOError:
                pass
            try:
                piece = s.recv(65536)
            except BlockingIOError:
                pass
        s.close()
        self.assert_stops_in_time(server, started, None)

    def test_second_signal(self):
        def connect():
            server = self.serve()
            s = self.connect(server)
            self.assert_echoes(s)
            return server, s
        self.assert_heeds_second_signal(connect)

    def test_nobody_else_comes_in(self):
        """From the moment on when it has heard of the end, not only from its
        own end on; whatever worker it would be."""
        def attempt():
            server = self.serve(address)
            s = self.connect(server)
            self.assert_echoes(s)
            started = time.monotonic()
            server.signal(signal.SIGTERM)
            support.wait_until(
                lambda: all(self.is_refused(server) for _ in range(30)),
                "new connections are refused")
            taken = time.monotonic() - started
            self.assert_stops_in_time(server, started, None)
            return server, taken
        for address in ("0", "unix:" + self.path("socket")):
            self.assert_does_not_linger(attempt)

    def is_refused(self, server):
        """A SYN that meets the listener's last moment is lost, and is sent
        again after a second."""
        family, address = server.sockaddr()
        with socket.socket(family) as s:
            s.settimeout(0.2)
            try:
                s.connect(address)
            except (ConnectionError, FileNotFoundError):
                return True
            except socket.timeout:
                pass
        return False

    def test_nobody_there(self):
        def attempt():
            server = self.serve()
            return server, self.assert_stops_in_time(server, time.monotonic())
        self.assert_does_not_linger(attempt)

    def test_unix(self):
        path = self.path("socket")
        server = self.serve("unix:" + path)
        clients = [self.connect(server) for _ in range(20)]
        for s in clients:
            self.assert_echoes(s)
        server.freeze()
        for s in clients:
            s.sendall(b"still here")
        server.signal(signal.SIGINT)
        server.thaw()
        for s in clients:
            self.assertEqual(support.receive_exactly(s, 10), b"still here")
            self.assertEqual(s.recv(1), b"")
        self.assert_stops_in_time(server, time.monotonic(), None)
        self.assertFalse(os.path.lexists(path))
