"""What the tests of the chat share: people, alone and in crowds."""

import __main__
import fcntl
import selectors
import signal
import socket
import struct
import termios
import time

import support
from support import BACKEND, DEADLINE

WELCOME = "* Welcome to the chat. What is your name?"
HELLO = "* Hello, %s! Type to talk; /help tells the rest."
DROPPED = "* %s was too far behind, and is dropped"


class Person:
    """One end of a connection to the server, by the line."""

    def __init__(self, server):
        self.socket = server.connect()
        self.name = None
        self.data = b""

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_split(self, data):
        """A byte at a time, each read before the next is sent: which only a
        unix socket tells."""
        for i in range(len(data)):
            self.send(data[i:i + 1])
            support.wait_until(self.is_all_read, "byte %d is read" % i)

    def is_all_read(self):
        left = fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4))
        return struct.unpack("i", left)[0] == 0

    def say(self, *lines):
        self.send("".join(line + "\n" for line in lines).encode())

    def line(self):
        while b"\n" not in self.data:
            piece = self.socket.recv(65536)
            if not piece:
                raise AssertionError("the end; before it: %r" % self.data)
            self.data += piece
        line, self.data = self.data.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise AssertionError("no CR LF: %r" % line)
        return line[:-1].decode()

    def expect(self, *lines):
        for line in lines:
            got = self.line()
            if got != line:
                raise AssertionError("%r instead of %r" % (got, line))

    def expect_bytes(self, data):
        while len(self.data) < len(data):
            self.data += support.receive_exactly(self.socket, 1)
        if not self.data.startswith(data):
            raise AssertionError("%r instead of %r" % (self.data, data))
        self.data = self.data[len(data):]

    def expect_nothing(self):
        """Nothing came before what is asked for now."""
        self.say("/msg %s still nothing?" % self.name)
        self.expect("%s, to you only: still nothing?" % self.name)

    def expect_end(self):
        piece = self.data or self.socket.recv(65536)
        if piece:
            raise AssertionError("%r instead of the end" % piece)
        self.close()


def alone(room):
    return "* You are in %s. Nobody else is here yet." % room


def together(room, others):
    return "* You are in %s, with %d other%s." % (room, others,
                                                 "s" if others > 1 else "")


class Member(Person):
    """One of a crowd, in a selector's loop: talks and keeps what it hears."""

    def __init__(self, server):
        super().__init__(server)
        self.received = []
        self.pending = b""
        self.missing = 0

    def start(self, lines, missing):
        self.socket.setblocking(False)
        self.pending = "".join(line + "\n" for line in lines).encode()
        self.missing = missing

    def events(self):
        if self.pending:
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        return selectors.EVENT_READ

    def write(self):
        self.pending = self.pending[self.socket.send(self.pending):]

    def read(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise AssertionError("the end for %s" % self.name)
        self.received.append(piece)
        self.missing -= piece.count(b"\n")

    def heard(self):
        """The lines by their speakers, and the server's notices sorted."""
        self.socket.settimeout(DEADLINE)
        said, notices = {}, []
        for line in b"".join(self.received).decode().split("\r\n")[:-1]:
            if line.startswith("* "):
                notices.append(line)
            else:
                speaker, text = line.split(": ", 1)
                said.setdefault(speaker, []).append(text)
        return said, sorted(notices)


def run_crowd(members, deadline=100):
    """Until all are heard by all."""
    until = time.monotonic() + deadline
    waiting = len(members)
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.socket, member.events(), member)
        while waiting > 0:
            ready = selector.select(until - time.monotonic())
            if not ready:
                raise AssertionError("%d are still waiting" % waiting)
            for key, events in ready:
                member = key.data
                if events & selectors.EVENT_WRITE:
                    member.write()
                    selector.modify(member.socket, member.events(), member)
                if events & selectors.EVENT_READ:
                    before = member.missing
                    member.read()
                    waiting -= before > 0 >= member.missing


class ChatCase(support.Case):

    def command(self, *arguments):
        backend = ["--backend", BACKEND] if BACKEND else []
        return [__main__.CHAT_SERVER] + backend + list(arguments)

    def serve(self, address="0", options=(), **kwargs):
        server = support.Server(*self.command(*options, address), **kwargs)
        self.addCleanup(server.end)
        return server

    def serve_unix(self, **kwargs):
        return self.serve("unix:" + self.path("socket"), **kwargs)

    def guest(self, server):
        guest = self.close_later(Person(server))
        guest.expect(WELCOME)
        return guest

    def come_in(self, server, name, *present):
        """One who is in the lobby, where those present have seen it."""
        person = self.guest(server)
        person.say(name)
        person.name = name
        person.expect(HELLO % name, together("lobby", len(present))
                      if present else alone("lobby"))
        for other in present:
            other.expect("* %s has come in" % name)
        return person

    def people(self, server, *names):
        """In the lobby, and nothing that happened is left to read."""
        present = []
        for name in names:
            present.append(self.come_in(server, name, *present))
        return present

    def assert_serves(self, server):
        for person in self.people(server, "ann", "bob"):
            person.close()
        server.wait_for_clients(0)

    def assert_stops(self, server, number=signal.SIGTERM):
        self.assertEqual(server.stop(number), (0, b"", b""))

    def gather(self, server, count):
        """A crowd in the lobby, where all have seen the others come in."""
        crowd = []
        for i in range(count):
            member = self.close_later(Member(server))
            member.name = "p%d" % i
            member.say(member.name)
            for _ in (WELCOME, HELLO, "where one is"):
                member.line()
            crowd.append(member)
        for i, member in enumerate(crowd):
            member.expect(*["* %s has come in" % other.name
                            for other in crowd[i + 1:]])
        return crowd

    def assert_all_hear_all(self, server, count, talkers, rounds, stuck=()):
        """The first talkers of the crowd say the lines of a round all at once.
        Everyone hears each of them once, in one order per speaker, but those
        who are stuck, and are dropped in the last round. Returns the others.
        """
        crowd = self.gather(server, count)
        active = [m for i, m in enumerate(crowd) if i not in stuck]
        for number, lines in enumerate(rounds):
            notices = len(stuck) if number == len(rounds) - 1 else 0
            for i, member in enumerate(crowd):
                if i < talkers:
                    member.start(lines, len(lines) * (talkers - 1) + notices)
                else:
                    member.start([], len(lines) * talkers + notices)
            run_crowd(active)
        notices = sorted(DROPPED % crowd[i].name for i in stuck)
        for member in active:
            said = {m.name: sum(rounds, [])
                    for m in crowd[:talkers] if m != member}
            if member.heard() != (said, notices):
                raise AssertionError("%s has not heard all" % member.name)
            member.expect_nothing()
        return active
