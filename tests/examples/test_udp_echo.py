"""udp_echo, and datagrams of every size."""

import os
import signal
import socket
import time
import unittest

import support

UDP_ECHO = None


class UdpCase(support.Case):

    def serve(self, address="0"):
        server = support.Server(UDP_ECHO, address)
        self.addCleanup(server.end)
        return server

    def connect(self, server):
        return self.close_later(server.connect(socket.SOCK_DGRAM))

    def assert_echoes(self, s, data):
        s.send(data)
        self.assertEqual(s.recv(65536), data)


class TestEcho(UdpCase):

    def test_datagrams(self):
        server = self.serve()
        self.assertRegex(server.address, r"^127\.0\.0\.1:[1-9][0-9]*$")
        s = self.connect(server)
        for size in (1, 2, 1000, 65507):
            self.assert_echoes(s, os.urandom(size))
        self.assertEqual(server.stop(), (0, b"", b""))

    def test_empty_datagrams(self):
        server = self.serve()
        s = self.connect(server)
        for _ in range(10):
            self.assert_echoes(s, b"")
        self.assert_echoes(s, b"still there")
        self.assertEqual(server.stop(), (0, b"", b""))

    def test_each_his_own(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(50)]
        for i, s in enumerate(clients):
            s.send(b"client %d" % i)
        for i, s in enumerate(clients):
            self.assertEqual(s.recv(100), b"client %d" % i)

    def test_client_that_has_gone(self):
        """What ICMP tells of one client is not an error of the server."""
        server = self.serve()
        for _ in range(50):
            s = self.connect(server)
            s.send(b"x")
            s.close()
        self.assert_echoes(self.connect(server), b"still there")
        self.assertEqual(server.stop(), (0, b"", b""))

    def test_names_and_hosts(self):
        for address in ("127.0.0.1:0", "localhost:0"):
            self.assert_echoes(self.connect(self.serve(address)), b"x")

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        server = self.serve("[::1]:0")
        self.assertRegex(server.address, r"^\[::1\]:[1-9][0-9]*$")
        self.assert_echoes(self.connect(server), b"x")

    def test_idle(self):
        server = self.serve()
        self.assert_echoes(self.connect(server), b"x")
        self.assert_stays_asleep(server, 1)


class TestEnd(UdpCase):

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            server = self.serve()
            self.assertEqual(server.stop(number), (0, b"", b""))

    def test_what_has_arrived_is_answered(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(50)]
        server.freeze()
        for s in clients:
            for data in (b"one", b"", b"three"):
                s.send(data)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.thaw()
        for s in clients:
            for data in (b"one", b"", b"three"):
                self.assertEqual(s.recv(100), data)
        self.assert_stops_in_time(server, started, None)

    def test_busy_port(self):
        server = self.serve()
        status, out, err = support.run(UDP_ECHO, server.address)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, server.address.encode(),
                             b"Address already in use")
        self.assert_echoes(self.connect(server), b"x")

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            status, _, err = support.run(UDP_ECHO, "0", stdout=full)
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: No space left")

    def test_bad_arguments(self):
        for arguments in (["nonsense"], [""], ["1", "2"], ["unix:/tmp/x"],
                          ["--nonsense"]):
            with self.subTest(arguments):
                self.assert_misuse(UDP_ECHO, *arguments)

    def test_help(self):
        self.assert_help(UDP_ECHO)


if __name__ == "__main__":
    support.main(["UDP_ECHO"])
