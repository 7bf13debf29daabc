"""first_line, against lines however they are split."""

import fcntl
import socket
import struct
import termios

import support
from support import DEADLINE

FIRST_LINE = None


class LineCase(support.Case):

    def setUp(self):
        super().setUp()
        self.where = "unix:" + self.path("socket")
        self.server = self.listener(socket.AF_UNIX, self.path("socket"))

    def client(self):
        program = self.program(FIRST_LINE, self.where)
        s, _ = self.server.accept()
        s.settimeout(DEADLINE)
        return program, self.close_later(s)

    def send_and_see_read(self, s, data):
        """Unlike TCP, a unix socket tells what its peer has not read."""
        s.sendall(data)
        support.wait_until(
            lambda: struct.unpack("i", fcntl.ioctl(
                s, termios.TIOCOUTQ, bytes(4)))[0] == 0, "it is read")


class TestLine(LineCase):

    def assert_prints(self, pieces, line):
        program, s = self.client()
        for piece in pieces[:-1]:
            self.send_and_see_read(s, piece)
        s.sendall(pieces[-1])
        self.assertEqual(program.finish(), (0, line, b""))

    def test_whole(self):
        self.assert_prints([b"hello\n"], b"hello\n")

    def test_in_pieces(self):
        self.assert_prints([b"he", b"ll", b"o", b"\n"], b"hello\n")

    def test_byte_by_byte(self):
        line = b"a longer line\r\n"
        self.assert_prints([bytes([c]) for c in line], line)

    def test_more_behind_it(self):
        self.assert_prints([b"first\nsecond\nthi"], b"first\n")

    def test_end_in_the_middle_of_a_piece(self):
        self.assert_prints([b"fir", b"st\nsecond\n"], b"first\n")

    def test_empty(self):
        self.assert_prints([b"\n"], b"\n")

    def test_any_bytes(self):
        line = bytes(c for c in range(256) if c != 10) + b"\n"
        self.assert_prints([line], line)

    def test_long(self):
        line = b"x" * 60000 + b"\n"
        self.assert_prints([line[:30000], line[30000:]], line)

    def test_tcp(self):
        server = self.listener()
        program = self.program(
            FIRST_LINE, "127.0.0.1:%d" % server.getsockname()[1])
        s, _ = server.accept()
        self.close_later(s).sendall(b"over TCP\n")
        self.assertEqual(program.finish(), (0, b"over TCP\n", b""))

    def test_it_leaves(self):
        """The server sees the end."""
        program, s = self.client()
        s.sendall(b"hello\n")
        self.assertEqual(s.recv(1), b"")
        self.assertEqual(program.finish(), (0, b"hello\n", b""))


class TestNoLine(LineCase):

    def assert_fails(self, program, reason):
        status, out, err = program.finish()
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, self.where.encode(), reason)

    def test_end_within_the_line(self):
        program, s = self.client()
        s.sendall(b"no newline")
        s.close()
        self.assert_fails(program, b"ended")

    def test_end_without_a_byte(self):
        program, s = self.client()
        s.close()
        self.assert_fails(program, b"ended")

    def test_endless(self):
        program, s = self.client()
        with self.assertRaises(OSError):
            while True:
                s.sendall(bytes(65536))
        self.assert_fails(program, b"too long")

    def test_nobody_there(self):
        self.server.close()
        self.assert_fails(self.program(FIRST_LINE, self.where),
                          b"Connection refused")

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            program = self.program(FIRST_LINE, self.where, stdout=full)
        s, _ = self.server.accept()
        self.close_later(s).sendall(b"hello\n")
        status, _, err = program.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: No space left")


class TestMisuse(LineCase):

    def test_bad_arguments(self):
        for arguments in ([], ["nonsense"], [""], ["1", "2"], ["--nonsense"]):
            with self.subTest(arguments):
                self.assert_misuse(FIRST_LINE, *arguments)

    def test_help(self):
        self.assert_help(FIRST_LINE)


if __name__ == "__main__":
    support.main(["FIRST_LINE"])
