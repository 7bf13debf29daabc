"""echo_client, against the echo server and against worse ones."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess

import support
from support import DEADLINE, MEBIBYTE

ECHO_CLIENT = None
ECHO_SERVER = None


class ClientCase(support.Case):

    def serve(self, address="0"):
        server = support.Server(ECHO_SERVER, address)
        self.addCleanup(server.end)
        return server

    def accept(self, listener):
        s, _ = listener.accept()
        s.settimeout(DEADLINE)
        return self.close_later(s)

    def client_of_ours(self, **kwargs):
        """A client, and our end of its connection."""
        listener = self.listener()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        client = self.program(ECHO_CLIENT, address, **kwargs)
        return client, self.accept(listener), address.encode()


class TestEcho(ClientCase):

    def assert_copies(self, data, address="0"):
        server = self.serve(address)
        with open(self.path("data"), "wb") as f:
            f.write(data)
        with open(self.path("data"), "rb") as f:
            done = support.run(ECHO_CLIENT, server.address, stdin=f)
        self.assertEqual((done[0], done[2]), (0, b""))
        self.assertTrue(done[1] == data, "not what was sent")
        self.assertEqual(server.stop(), (0, b"", b""))

    def test_file(self):
        self.assert_copies(os.urandom(16 * MEBIBYTE + 1))

    def test_file_unix(self):
        self.assert_copies(os.urandom(16 * MEBIBYTE + 1),
                           "unix:" + self.path("socket"))

    def test_empty_file(self):
        self.assert_copies(b"")

    def test_pipes(self):
        """As in a shell: producer | echo_client | consumer."""
        data = os.urandom(16 * MEBIBYTE + 1)
        done = support.run(ECHO_CLIENT, self.serve().address, input=data)
        self.assertEqual((done[0], done[2]), (0, b""))
        self.assertTrue(done[1] == data, "not what was sent")

    def test_output_to_a_file(self):
        data = os.urandom(4 * MEBIBYTE)
        with open(self.path("out"), "wb") as out:
            done = support.run(ECHO_CLIENT, self.serve().address, input=data,
                               stdout=out)
        self.assertEqual(done, (0, None, b""))
        with open(self.path("out"), "rb") as out:
            self.assertTrue(out.read() == data, "not what was sent")

    def test_dev_null(self):
        with open("/dev/null", "r+b") as null:
            done = support.run(ECHO_CLIENT, self.serve().address, stdin=null,
                               stdout=null)
        self.assertEqual(done, (0, None, b""))

    def test_line_by_line(self):
        """Nothing waits for more."""
        client = self.program(ECHO_CLIENT, self.serve().address,
                              stdin=subprocess.PIPE)
        for i in range(20):
            line = b"line %d\n" % i
            client.stdin.write(line)
            self.assertEqual(client.read_until(b"\n"), line)
        client.stdin.close()
        client.process.stdin = None
        self.assertEqual(client.finish(), (0, b"", b""))

    def test_output_that_nobody_reads(self):
        """Endless input: memory stays bounded, no time is used, and when it
        is read at last nothing is missing."""
        server = self.serve()
        with open("/dev/zero", "rb") as zero:
            client = self.program(ECHO_CLIENT, server.address, stdin=zero)
        client.read_until(b"\0")
        self.assert_stays_asleep(client, 1, support.PAUSED_LOOKS)
        before = client.memory()
        for _ in range(64):
            support.read_exactly(client.stdout, MEBIBYTE)
        self.assert_stays_asleep(client, 1, support.PAUSED_LOOKS)
        self.assertLess(client.memory() - before, 32 * MEBIBYTE)

    def test_input_that_does_not_come(self):
        client = self.program(ECHO_CLIENT, self.serve().address,
                              stdin=subprocess.PIPE)
        client.stdin.write(b"x")
        client.read_until(b"x")
        self.assert_stays_asleep(client, 1)


class TestTerminal(ClientCase):

    def test_terminal(self):
        """Input and output are one open file; it blocks again afterwards."""
        server = self.serve()
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        client = self.program(ECHO_CLIENT, server.address, stdin=slave,
                              stdout=slave)
        os.write(master, b"typed\n")
        shown = b""
        while shown.count(b"typed\r\n") < 2:
            ready, _, _ = select.select([master], [], [], DEADLINE)
            self.assertTrue(ready, shown)
            shown += os.read(master, 100)
        os.write(master, b"\x04")
        self.assertEqual(client.finish(), (0, None, b""))
        flags = fcntl.fcntl(slave, fcntl.F_GETFL)
        self.assertEqual(flags & os.O_NONBLOCK, 0)


class TestBrokenConnection(ClientCase):

    def assert_fails(self, client, *parts):
        status, _, err = client.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, *parts)

    def test_refused(self):
        listener = self.listener()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        listener.close()
        self.assert_fails(self.program(ECHO_CLIENT, address),
                          address.encode(), b"Connection refused")

    def test_no_such_path(self):
        address = "unix:" + self.path("none")
        self.assert_fails(self.program(ECHO_CLIENT, address),
                          address.encode(), b"No such file")

    def test_input_is_not_touched_when_refused(self):
        with open(self.path("data"), "wb") as f:
            f.write(b"precious")
        with open(self.path("data"), "rb") as f:
            client = self.program(ECHO_CLIENT, "unix:" + self.path("none"),
                                  stdin=f)
            client.finish()
            self.assertEqual(os.lseek(f.fileno(), 0, os.SEEK_CUR), 0)

    def test_server_resets(self):
        client, s, address = self.client_of_ours(stdin=subprocess.PIPE)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                     struct.pack("ii", 1, 0))
        s.close()
        self.assert_fails(client, address, b"Connection reset")

    def test_server_ends_before_the_input_does(self):
        client, s, address = self.client_of_ours(stdin=subprocess.PIPE)
        s.sendall(b"last words")
        s.close()
        self.assertEqual(client.read_until(b"the end of output"),
                         b"last words")
        self.assert_fails(client, address, b"closed")

    def test_server_killed(self):
        server = self.serve()
        with open("/dev/zero", "rb") as zero:
            client = self.program(ECHO_CLIENT, server.address, stdin=zero,
                                  stdout=subprocess.DEVNULL)
        server.wait_for_clients(1)
        server.signal(signal.SIGKILL)
        self.assert_fails(client, server.address.encode())

    def test_server_that_ends_while_output_is_stuck(self):
        """What has come is still written: pipe, buffer and all."""
        client, s, _ = self.client_of_ours()
        data = os.urandom(100000)  # more than a pipe holds, less than both
        s.sendall(data)
        self.assertEqual(s.recv(1), b"")
        s.close()
        self.assertEqual(client.finish(), (0, data, b""))


class TestBrokenFiles(ClientCase):

    def test_output_closed(self):
        """Told at once, and not by a signal."""
        read, write = os.pipe()
        client = self.program(ECHO_CLIENT, self.serve().address,
                              stdin=subprocess.PIPE, stdout=write)
        os.close(write)
        os.close(read)
        status, _, err = client.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: Broken pipe")

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            done = support.run(ECHO_CLIENT, self.serve().address, input=b"x",
                               stdout=full)
        self.assertEqual(done[0], 1)
        self.assert_one_line(done[2], b"standard output: No space left")

    def test_input_is_a_directory(self):
        directory = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        status, out, err = support.run(ECHO_CLIENT, self.serve().address,
                                       stdin=directory)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, b"standard input: Is a directory")


class TestMisuse(ClientCase):

    def test_bad_arguments(self):
        for arguments in ([], ["nonsense"], [""], ["::1:80"], ["1", "2"],
                          ["127.0.0.1"], ["--nonsense"], ["unix:"]):
            with self.subTest(arguments):
                self.assert_misuse(ECHO_CLIENT, *arguments)

    def test_help(self):
        self.assert_help(ECHO_CLIENT)


if __name__ == "__main__":
    support.main(["ECHO_CLIENT", "ECHO_SERVER"])
