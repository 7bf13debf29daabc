"""foreign_loop: a server in somebody else's loop, and lines for its clients."""

import os
import socket
import subprocess
import unittest

import support

FOREIGN_LOOP = None


class TestForeignLoop(support.Case):

    def serve(self, address="0"):
        server = support.Server(FOREIGN_LOOP, address, stdin=subprocess.PIPE)
        self.addCleanup(server.end)
        return server

    def connect(self, server):
        return self.close_later(server.connect())

    def assert_echoes(self, s, data):
        s.sendall(data)
        self.assertEqual(support.receive_exactly(s, len(data)), data)

    def assert_ends(self, server):
        self.assertEqual(server.finish(), (0, b"", b""))

    def test_both_are_served(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(3)]
        for s in clients:
            self.assert_echoes(s, b"hello")
        for line in (b"one\n", b"and another\n"):
            support.write_all(server.stdin, line)
            for s in clients:
                self.assertEqual(support.receive_exactly(s, len(line)), line)
            self.assert_echoes(clients[0], b"still there")
        self.assert_ends(server)
        for s in clients:
            self.assertEqual(s.recv(1), b"")

    def test_half_close(self):
        server = self.serve()
        s = self.connect(server)
        s.sendall(b"all of it")
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(support.receive_exactly(s, 9), b"all of it")
        self.assertEqual(s.recv(1), b"")

    def test_many(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(300)]
        for s in clients:
            s.sendall(b"x")
        for s in clients:
            self.assertEqual(s.recv(1), b"x")
        support.write_all(server.stdin, b"all\n")
        for s in clients:
            self.assertEqual(support.receive_exactly(s, 4), b"all\n")
        for s in clients:
            s.close()
        server.wait_for_clients(0)
        self.assert_echoes(self.connect(server), b"y")
        self.assert_ends(server)

    def test_amount(self):
        server = self.serve()
        s = self.connect(server)
        data = os.urandom(100000)
        for _ in range(20):
            self.assert_echoes(s, data)

    def test_client_that_does_not_read(self):
        """It is not waited for, and the loop does not spin because of it."""
        server = self.serve()
        deaf = self.connect(server)
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(bytes(support.MEBIBYTE))
        except BlockingIOError:
            pass
        other = self.connect(server)
        self.assert_echoes(other, b"hello")
        support.write_all(server.stdin, b"line\n")
        self.assertEqual(support.receive_exactly(other, 5), b"line\n")
        if not server.is_sanitized():
            self.assertLess(server.memory(), 20 * support.MEBIBYTE)

    def test_idle(self):
        server = self.serve()
        s = self.connect(server)
        self.assert_echoes(s, b"x")
        self.assert_stays_asleep(server, 1)

    def test_unix_socket(self):
        server = self.serve("unix:" + self.path("socket"))
        self.assert_echoes(self.connect(server), b"x")
        self.assert_ends(server)

    def test_busy_port(self):
        server = self.serve()
        status, out, err = support.run(FOREIGN_LOOP, server.address)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, server.address.encode(),
                             b"Address already in use")

    def test_arguments(self):
        for arguments in (["nonsense"], [""], ["1", "2"]):
            with self.subTest(arguments):
                self.assert_misuse(FOREIGN_LOOP, *arguments)
        self.assert_help(FOREIGN_LOOP)


if __name__ == "__main__":
    support.main(["FOREIGN_LOOP"])
