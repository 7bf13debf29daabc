"""chat_client, with the chat server and with worse ones."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess

import support
from chat import HELLO, WELCOME, ChatCase, alone, together
from support import DEADLINE, MEBIBYTE

CHAT_SERVER = None
CHAT_CLIENT = None


class ClientCase(ChatCase):

    def client(self, address, **kwargs):
        kwargs.setdefault("stdin", subprocess.PIPE)
        return self.program(CHAT_CLIENT, address, **kwargs)

    def client_of_ours(self, **kwargs):
        """A client, and our end of its connection."""
        listener = self.listener()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        client = self.client(address, **kwargs)
        s, _ = listener.accept()
        s.settimeout(DEADLINE)
        return client, self.close_later(s), address.encode()

    def expect(self, client, *lines):
        for line in lines:
            self.assertEqual(client.read_until(b"\n"), line.encode() + b"\n")

    def end_input(self, client):
        client.process.stdin.close()
        client.process.stdin = None

    def assert_fails(self, client, *parts):
        status, _, err = client.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, *parts)


class TestPipes(ClientCase):

    def test_script(self):
        """(echo robot; uptime) | chat_client"""
        for address in ("0", "unix:" + self.path("socket")):
            server = self.serve(address)
            ann, = self.people(server, "ann")
            status, out, err = support.run(
                CHAT_CLIENT, server.address,
                input="robot\nup \u00e9ver\n/who\n".encode())
            self.assertEqual((status, err), (0, b""))
            self.assertEqual(out.decode().split("\n"),
                             [WELCOME, HELLO % "robot", together("lobby", 1),
                              "* ann robot", "* Goodbye!", ""])
            ann.expect("* robot has come in", "robot: up \u00e9ver",
                       "* robot has left")
            ann.close()
            self.assert_stops(server)

    def test_talk(self):
        """Nothing waits for more."""
        server = self.serve()
        ann, = self.people(server, "ann")
        client = self.client(server.address)
        self.expect(client, WELCOME)
        client.stdin.write(b"bob\n")
        self.expect(client, HELLO % "bob", together("lobby", 1))
        ann.expect("* bob has come in")
        for i in range(20):
            ann.say("line %d" % i)
            self.expect(client, "ann: line %d" % i)
            client.stdin.write(b"answer %d\n" % i)
            ann.expect("bob: answer %d" % i)
        client.stdin.write(b"/quit\n")
        self.expect(client, "* Goodbye!")
        self.assertEqual(client.finish(), (0, b"", b""))

    def test_nothing_to_say(self):
        server = self.serve()
        status, out, err = support.run(CHAT_CLIENT, server.address)
        self.assertEqual((status, err), (0, b""))
        self.assertEqual(out.decode(), WELCOME + "\n* Goodbye!\n")

    def test_server_closes_down(self):
        server = self.serve()
        client = self.client(server.address)
        self.expect(client, WELCOME)
        self.assert_stops(server)
        self.assertEqual(client.finish(),
                         (0, b"* The server is closing down. Goodbye!\n", b""))

    def test_much_to_say(self):
        """More than the server takes at once: a reader that is slow slows
        its input, and nothing is lost."""
        data = b"".join(b"line %d\n" % i for i in range(1000000))
        with open(self.path("data"), "wb") as f:
            f.write(data)
        with open(self.path("data"), "rb") as f:
            client, s, _ = self.client_of_ours(stdin=f)
        support.wait_until(lambda: client.sleeps(), "it waits")
        if not client.is_sanitized():
            self.assertLess(client.memory("VmHWM"), 4 * MEBIBYTE)
        self.assertEqual(support.receive_exactly(s, len(data)), data)
        self.assertEqual(s.recv(1), b"")
        s.close()
        self.assertEqual(client.finish(), (0, b"", b""))

    def test_output_that_nobody_reads(self):
        """The server is not read from either; nothing is lost."""
        client, s, _ = self.client_of_ours()
        line = b"x" * 99 + b"\n"
        s.setblocking(False)
        sent = 0

        def is_full():
            nonlocal sent
            try:
                while sent < 64 * MEBIBYTE:
                    sent += s.send(line[sent % 100:] + line * 1000)
            except BlockingIOError:
                return client.sleeps()
            raise AssertionError("it takes all")
        support.wait_until(is_full, "it waits")
        self.end_input(client)
        s.settimeout(DEADLINE)
        self.assertEqual(s.recv(1), b"")
        expected = (line * (sent // 100 + 1))[:sent]
        got = support.read_exactly(client.stdout, sent - sent % 100)
        self.assertTrue(got == expected[:sent - sent % 100])
        s.close()
        rest = expected[sent - sent % 100:] + b"\n" if sent % 100 else b""
        self.assertEqual(client.finish(), (0, rest, b""))


class TestLines(ClientCase):

    def assert_shows(self, sent, shown):
        client, s, _ = self.client_of_ours()
        s.sendall(sent)
        s.close()
        self.assertEqual(client.finish(), (0, shown, b""))

    def test_ends(self):
        self.assert_shows(b"one\ntwo\r\n\r\nthree", b"one\ntwo\n\nthree\n")

    def test_control_characters(self):
        """A server, too, may be a stranger."""
        self.assert_shows(b"\x1b[2Ja\xffb\x07\xc2\x9b\n", b"[2Ja?b\n")

    def test_long(self):
        line = b"x" * 65536
        self.assert_shows(line + b"\n", line + b"\n")

    def test_too_long(self):
        client, s, address = self.client_of_ours()
        s.sendall(b"x" * 70000)
        self.assert_fails(client, address, b"Message too long")


class TestTerminal(ClientCase):

    def start(self, address):
        """On a terminal of its own: input and output are one open file."""
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        return self.client(address, stdin=self.slave, stdout=self.slave)

    def type(self, text):
        os.write(self.master, text)

    def show(self, *lines):
        self.show_text("".join(line + "\r\n" for line in lines))

    def show_text(self, text):
        shown, wanted = b"", text.encode()
        while len(shown) < len(wanted):
            ready, _, _ = select.select([self.master], [], [], DEADLINE)
            self.assertTrue(ready, shown)
            shown += os.read(self.master, len(wanted) - len(shown))
        self.assertEqual(shown, wanted)

    def assert_blocks_again(self):
        flags = fcntl.fcntl(self.slave, fcntl.F_GETFL)
        self.assertEqual(flags & os.O_NONBLOCK, 0)

    def test_end_of_input(self):
        client = self.start(self.serve().address)
        self.show(WELCOME)
        self.type(b"ann\n")
        self.show("ann", HELLO % "ann", alone("lobby"))
        self.type(b"\x04")
        self.show("* Goodbye!")
        self.assertEqual(client.finish(), (0, None, b""))
        self.assert_blocks_again()

    def test_typing_while_lines_come_in(self):
        server = self.serve()
        client = self.start(server.address)
        self.show(WELCOME)
        self.type(b"ann\n")
        self.show("ann", HELLO % "ann", alone("lobby"))
        bob = self.guest(server)
        self.type(b"half a ")
        self.show_text("half a ")
        bob.say("bob")
        bob.expect(HELLO % "bob", together("lobby", 1))
        self.show("* bob has come in")
        self.type(b"line\n")
        bob.expect("ann: half a line")
        self.show("line")
        self.type(b"/quit\n")
        self.show("/quit", "* Goodbye!")
        self.assertEqual(client.finish(), (0, None, b""))

    def test_interrupted(self):
        """By Ctrl-C, which leaves the terminal as it was."""
        server = self.serve()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            client = self.start(server.address)
            self.show(WELCOME)
            client.signal(number)
            self.assertEqual(client.finish(), (-number, None, b""))
            self.assert_blocks_again()
        server.wait_for_clients(0)


class TestBroken(ClientCase):

    def test_refused(self):
        listener = self.listener()
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        listener.close()
        self.assert_fails(self.client(address), address.encode(),
                          b"Connection refused")
        self.assert_fails(self.client("unix:" + self.path("none")),
                          b"No such file")

    def test_reset(self):
        client, s, address = self.client_of_ours()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                     struct.pack("ii", 1, 0))
        s.close()
        self.assert_fails(client, address, b"Connection reset")

    def test_output_closed(self):
        read, write = os.pipe()
        client = self.client(self.serve().address, stdout=write)
        os.close(write)
        os.close(read)
        self.assert_fails(client, b"standard output: Broken pipe")

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            client = self.client(self.serve().address, stdout=full)
            self.assert_fails(client, b"standard output: No space left")

    def test_input_is_a_directory(self):
        directory = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        client = self.client(self.serve().address, stdin=directory)
        self.assert_fails(client, b"standard input: Is a directory")

    def test_misuse(self):
        for arguments in ([], ["nonsense"], [""], ["::1:80"], ["1", "2"],
                          ["127.0.0.1"], ["--nonsense"], ["unix:"]):
            with self.subTest(arguments):
                self.assert_misuse(CHAT_CLIENT, *arguments)
        self.assert_help(CHAT_CLIENT)


if __name__ == "__main__":
    support.main(["CHAT_SERVER", "CHAT_CLIENT"])
