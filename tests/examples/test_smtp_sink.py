"""smtp_sink: what it says is compared with what Python 3.11's smtpd says, or
has said where that is no longer there; and it is sent mail by smtplib, curl
and swaks."""

import array
import email.message
import email.policy
import fcntl
import os
import random
import resource
import shutil
import signal
import smtplib
import socket
import struct
import sys
import termios
import threading
import time
import unittest
import warnings

import smtp_dialogues
import support
from smtp_dialogues import DIALOGUES, EHLO, HELO, MAIL, RCPT, START, Dialogue
from support import BACKEND, DEADLINE, MEBIBYTE

if sys.version_info[:2] == (3, 11):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import smtpd
        import smtpd_reference
else:
    smtpd = None

SMTP_SINK = None

HOST = socket.gethostname().encode()
OK = b"250 OK\r\n"


class SmtpCase(support.Case):

    def command(self, *arguments):
        backend = ["--backend", BACKEND] if BACKEND else []
        return [SMTP_SINK] + backend + list(arguments)

    def serve(self, *options, address="0", **kwargs):
        server = support.Server(*self.command(*options, address), **kwargs)
        self.addCleanup(server.end)
        return server

    def connect(self, server):
        return self.close_later(server.connect())

    def play(self, server, *lines, **kwargs):
        """What the server says after its greeting."""
        replies = smtp_dialogues.play(server, Dialogue("", *lines, **kwargs))
        replies = smtp_dialogues.without_host(replies, HOST)
        self.assertEqual(replies[:10], b"220 HOST\r\n")
        return replies[10:]

    def ask(self, s, line):
        """The answer, of one line, to one line."""
        s.sendall(line + b"\r\n")
        return self.hear(s)

    def hear(self, s):
        answer = b""
        while not answer.endswith(b"\r\n"):
            piece = s.recv(1)
            if not piece:
                raise AssertionError("the end after %r" % answer)
            answer += piece
        return answer

    def smtp(self, server):
        family, address = server.sockaddr()
        self.assertEqual(family, socket.AF_INET)
        client = smtplib.SMTP(*address, timeout=DEADLINE)
        self.addCleanup(client.close)
        return client

    def maildir(self, name="mail"):
        return self.path(name)

    def mails(self, name="mail"):
        """Those that have arrived, the first first."""
        new = os.path.join(self.path(name), "new")
        files = sorted(os.listdir(new),
                       key=lambda f: int(f.split("Q")[1].split(".")[0]))
        texts = []
        for file in files:
            with open(os.path.join(new, file), "rb") as f:
                texts.append(f.read())
        self.assertEqual(os.listdir(os.path.join(self.path(name), "tmp")), [])
        return texts

    def assert_stops(self, server, printed=b"", number=signal.SIGTERM):
        self.assertEqual(server.stop(number), (0, printed, b""))

    def assert_serves(self, server):
        self.assertEqual(self.play(server, b"NOOP"), OK)


class TestLikeSmtpd(SmtpCase):

    def each_dialogue(self, kind):
        """(dialogue, its server, (replies, what was printed))"""
        transcript = smtp_dialogues.transcript()
        servers = {}
        for i, dialogue in enumerate(DIALOGUES):
            options = tuple(dialogue.options)
            if options not in servers:
                address = "0" if kind == "tcp" else "unix:" + self.path(str(i))
                servers[options] = self.serve(*options, address=address)
            yield dialogue, servers[options], transcript[dialogue.name]
        for server in servers.values():
            self.assert_stops(server)

    def test_at_once(self):
        """The whole dialogue in one piece; also what is printed."""
        for dialogue, server, (replies, printed) in self.each_dialogue("tcp"):
            self.assertEqual(smtp_dialogues.without_host(
                smtp_dialogues.play(server, dialogue), HOST), replies,
                dialogue.name)
            self.assertEqual(smtp_dialogues.printed(server), printed,
                             dialogue.name)

    def test_byte_by_byte(self):
        """Each is read by the server before the next one is sent: what waits
        in a unix socket is the sender's until then."""
        waiting = array.array("i", [0])
        for dialogue, server, (replies, printed) in self.each_dialogue("unix"):
            if len(dialogue.data) > 5000:
                continue
            s = self.connect(server)
            end = time.monotonic() + DEADLINE
            for i in range(len(dialogue.data)):
                try:
                    s.send(dialogue.data[i:i + 1])
                except BrokenPipeError:
                    break  # it has said goodbye
                waiting[0] = 1
                while waiting[0] > 0:
                    self.assertLess(time.monotonic(), end)
                    fcntl.ioctl(s, termios.TIOCOUTQ, waiting)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(smtp_dialogues.without_host(
                smtp_dialogues.everything(s), HOST), replies, dialogue.name)
            self.assertEqual(
                smtp_dialogues.printed(server),
                printed.replace(b"X-Peer: 127.0.0.1", b"X-Peer: localhost"),
                dialogue.name)

    @unittest.skipUnless(smtpd, "no smtpd")
    def test_transcript(self):
        """That it is what smtpd says."""
        self.maxDiff = None
        self.assertEqual(smtpd_reference.transcript(),
                         smtp_dialogues.transcript())


if smtpd:
    class Reference(smtpd.SMTPChannel):
        """A channel without a socket: what it would say to one command."""

        def __init__(self, extended):
            self.said = []
            self.data_size_limit = smtpd.DATA_SIZE_DEFAULT
            self.enable_SMTPUTF8 = self._decode_data = False
            self._emptystring, self._linesep = b"", b"\r\n"
            self._dotsep, self._newline = ord("."), b"\n"
            self.extended_smtp = extended
            self.seen_greeting = "example"
            self.fqdn = "HOST"
            self.command_size_limits.clear()
            if extended:
                self.command_size_limits["MAIL"] += 26
            self._set_rset_state()

        def set_terminator(self, terminator):
            pass

        def push(self, text):
            self.said.append(text.encode("ascii"))

        def say(self, line):
            """Its answer, or None: it dies of an exception."""
            self.said = []
            try:
                self.collect_incoming_data(line)
                self.found_terminator()
            except Exception:
                self._set_rset_state()
                return None
            return b"\r\n".join(self.said)


@unittest.skipUnless(smtpd, "no smtpd")
class TestLikeSmtpdAtRandom(SmtpCase):

    def compare(self, greeting, lines):
        """Where smtpd would die, the answer is that nothing is wrong with us:
        501, or 502 for VRFY."""
        server = self.serve()
        reference = Reference(greeting == EHLO)
        replies = self.play(server, greeting, *lines).split(b"\r\n")
        replies = replies[4 if greeting == EHLO else 1:-1]
        self.assertEqual(len(replies), len(lines))
        died = 0
        for line, reply in zip(lines, replies):
            expected = reference.say(line)
            if expected is not None:
                self.assertEqual(reply, expected, line)
            else:
                died += 1
                self.assertIn(reply[:4], (b"501 ", b"502 "), line)
        self.assertLess(died, len(lines) * 2 / 3)
        self.assert_stops(server)

    ADDRESSES = [b"a", b"b", b"user", b"example", b".", b".", b"@", b"@",
                 b"<", b">", b"<", b">", b"\"", b"\\", b" ", b" ", b"\t",
                 b"(", b")", b"[", b"]", b",", b":", b";", b"=", b"SIZE=1",
                 b"x.y", b"1.2.3.4", b"\x0b", b"BODY=7BIT", b"\xc3\xa9"]

    def addresses(self, seed, count):
        rng = random.Random(seed)
        for _ in range(count):
            address = b"".join(rng.choice(self.ADDRESSES)
                               for _ in range(rng.randrange(1, 14)))
            if rng.random() < 0.5:
                address = b"<" + address
            if rng.random() < 0.3:
                address = address.replace(b"<user", b"<user@example")
            yield address

    def test_addresses(self):
        for greeting in (HELO, EHLO):
            lines = []
            for address in self.addresses(1, 5000):
                lines += [b"MAIL FROM:" + address, b"RSET"]
            self.compare(greeting, lines)

    def test_recipients(self):
        for greeting in (HELO, EHLO):
            lines = []
            for address in self.addresses(2, 2000):
                lines += [MAIL, b"RCPT TO:" + address, b"RSET"]
            self.compare(greeting, lines)

    def test_vrfy(self):
        # What is not ASCII smtpd cannot say.
        self.compare(HELO, [b"VRFY " + address.replace(b"\xc3\xa9", b"e")
                            for address in self.addresses(3, 2000)])

    def test_parameters(self):
        rng = random.Random(4)
        pieces = [b"SIZE", b"BODY", b"7BIT", b"8BITMIME", b"=", b"=", b" ",
                  b" ", b"1", b"99999999", b"SMTPUTF8", b"x", b"-", b"\t"]
        lines = []
        for _ in range(3000):
            lines += [b"MAIL FROM:<a@b> " + b"".join(
                rng.choice(pieces) for _ in range(rng.randrange(8))), b"RSET"]
        for greeting in (HELO, EHLO):
            self.compare(greeting, lines)

    def test_sequences(self):
        rng = random.Random(5)
        commands = [HELO, EHLO, MAIL, MAIL, MAIL, RCPT, RCPT, RCPT, b"RSET",
                    b"NOOP", b"HELP", b"HELP MAIL", b"VRFY x", b"EXPN", b"X",
                    b"DATA x", b"MAIL", b"RCPT", b"", b"x" * 600,
                    MAIL + b" SIZE=5", RCPT + b" x"]
        lines = [rng.choice(commands) for _ in range(5000)]
        for greeting in (HELO, EHLO):
            self.compare(greeting, lines)


class TestUnlikeSmtpd(SmtpCase):
    """What smtpd dies or hangs of."""

    def test_commands_after_too_much_data(self):
        server = self.serve("--size", "32")
        replies = self.play(server, *START, b"x" * 33, b".", b"DATA",
                            MAIL, RCPT, b"DATA", b"x" * 32, b".", b"QUIT")
        self.assertEqual(replies, b"250 HOST\r\n" + OK + OK + (
            b"354 End data with <CR><LF>.<CR><LF>\r\n"
            b"552 Error: Too much mail data\r\n"
            b"503 Error: need RCPT command\r\n") + OK + OK + (
            b"354 End data with <CR><LF>.<CR><LF>\r\n" + OK
            + b"221 Bye\r\n"))
        status, printed, _ = server.stop()
        self.assertEqual((status, printed.count(b"x" * 32)), (0, 1))

    def test_mail_that_ends_at_once(self):
        """RFC 5321, 4.1.1.4: the CRLF of DATA may begin the end."""
        server = self.serve("--maildir", self.maildir())
        s = self.connect(server)
        self.hear(s)
        for line in START[:3]:
            self.assertEqual(self.ask(s, line)[:4], b"250 ")
        for _ in range(3):
            self.assertEqual(self.ask(s, b"DATA")[:4], b"354 ")
            self.assertEqual(self.ask(s, b"."), OK)
            self.assertEqual(self.ask(s, MAIL), OK)
            self.assertEqual(self.ask(s, RCPT), OK)
        self.assert_stops(server)
        self.assertEqual(self.mails(), [
            b"Return-Path: <eggs@example>\n"
            b"Delivered-To: <spam@example>\nX-Peer: 127.0.0.1\n"] * 3)

    def test_addresses_that_end_smtpd(self):
        server = self.serve()
        s = self.connect(server)
        self.hear(s)
        self.assertEqual(self.ask(s, HELO)[:4], b"250 ")
        for address in (b"<", b"<@", b"<a@", b"<a@>", b"<@b>", b"<a@b@c>", b"@",
                        b"a@", b"<@x:>", b"<@x:", b"<a@[1.2", b"<a@[1 2]>",
                        b"<a@b.>", b"<a@b..c>", b"\"", b"(", b"<(", b">",
                        b"(x)<a@b>", b"<a@b>SIZE" * 60, b"<" + b"(" * 490):
            self.assertEqual(self.ask(s, b"MAIL FROM:" + address)[:4],
                             b"500 " if len(address) > 502 else b"501 ",
                             address)
        self.assertEqual(self.ask(s, b"VRFY @"), b"502 Could not VRFY @\r\n")
        self.assertEqual(self.ask(s, b"VRFY <a@[1"),
                         b"502 Could not VRFY <a@[1\r\n")
        self.assertEqual(self.ask(s, MAIL), OK)
        self.assert_stops(server)

    def test_size_without_a_number(self):
        server = self.serve()
        self.assertEqual(
            self.play(server, EHLO, MAIL + b" SIZE").split(b"\r\n")[-2],
            b"501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]")
        self.assert_stops(server)

    def test_what_ascii_cannot_say(self):
        server = self.serve()
        bad = b"500 Error: bad syntax\r\n"
        self.assertEqual(
            self.play(server, "élan".encode(), b"\xff", b"VRFY @\xff",
                      b"NO\0OP", b"\0", b"NOOP"), bad * 5 + OK)
        self.assert_stops(server)

    def test_what_utf_8_can_say(self):
        """From MAIL on, if it asks for it, to the end of the mail."""
        server = self.serve("--smtputf8")
        bad = b"500 Error: bad syntax\r\n"
        good = "500 Error: command \"é\" not recognized\r\n".encode()
        self.assertEqual(
            self.play(server, b"\xc3\xa9", EHLO, MAIL, b"\xc3\xa9", b"RSET",
                      MAIL + b" SMTPUTF8", b"\xc3\xa9", b"RSET", b"\xc3\xa9",
                      MAIL + b" SMTPUTF8", RCPT, b"DATA", b"\xc3\xa9", b".",
                      b"\xc3\xa9"),
            bad + b"250-HOST\r\n250-SIZE 33554432\r\n250-8BITMIME\r\n"
            b"250-SMTPUTF8\r\n250 HELP\r\n" + OK + bad + OK * 2 + good + OK
            + bad + OK * 2 + b"354 End data with <CR><LF>.<CR><LF>\r\n" + OK
            + bad)
        self.assertEqual(server.stop()[0], 0)

    def test_1000_recipients(self):
        server = self.serve("--maildir", self.maildir())
        replies = self.play(server, HELO, MAIL, *[RCPT] * 1002, b"DATA", b".")
        self.assertEqual(replies, b"250 HOST\r\n" + OK * 1001
                         + b"452 Error: too many recipients\r\n" * 2
                         + b"354 End data with <CR><LF>.<CR><LF>\r\n" + OK)
        self.assert_stops(server)
        self.assertEqual(self.mails()[0].count(b"Delivered-To: "), 1000)

    def test_timeout(self):
        server = self.serve("--timeout", "3")
        started = time.monotonic()
        silent = self.connect(server)
        self.hear(silent)
        speaking = self.connect(server)
        self.hear(speaking)
        self.ask(speaking, HELO)
        silent.settimeout(0)
        answer = None
        while answer is None:
            self.assertEqual(self.ask(speaking, b"NOOP"), OK)
            self.assertLess(time.monotonic() - started, DEADLINE)
            try:
                answer = silent.recv(1)
            except BlockingIOError:
                pass
        self.assertGreaterEqual(time.monotonic() - started, 3)
        silent.settimeout(DEADLINE)
        self.assertEqual(answer + self.hear(silent), b"421 Error: timeout\r\n")
        self.assertEqual(silent.recv(1), b"")
        self.assertEqual(self.ask(speaking, b"NOOP"), OK)
        self.assert_stops(server)

    def test_a_byte_at_a_time(self):
        """A command has the same time, and a mail's data much more."""
        server = self.serve("--timeout", "3")
        slow = self.connect(server)
        self.hear(slow)
        patient = self.connect(server)
        self.hear(patient)
        for command in (HELO, b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA"):
            self.ask(patient, command)
        slow.settimeout(0.1)
        started = time.monotonic()
        answer = None
        while answer is None:
            slow.sendall(b"N")
            patient.sendall(b"x")
            self.assertLess(time.monotonic() - started, DEADLINE)
            try:
                answer = slow.recv(1)
            except socket.timeout:
                pass
        self.assertGreaterEqual(time.monotonic() - started, 2.9)
        slow.settimeout(DEADLINE)
        self.assertEqual(answer + self.hear(slow), b"421 Error: timeout\r\n")
        for _ in range(10):
            patient.sendall(b"x")
            time.sleep(0.1)
        self.assertEqual(self.ask(patient, b"\r\n."), OK)
        self.assertEqual(self.ask(patient, b"NOOP"), OK)
        status, printed, errors = server.stop(signal.SIGTERM)
        self.assertEqual((status, errors), (0, b""))
        self.assertRegex(printed, rb"\nb'x{11,}'\n")

    def test_no_timeout(self):
        server = self.serve("--timeout", "0")
        self.assert_serves(server)
        self.connect(server)
        server.wait_for_clients(1)
        self.assert_stays_asleep(server, 1)
        self.assert_stops(server)


class TestLimits(SmtpCase):

    WORD = b"421 Error: too many connections\r\n"

    def come(self, server, source="127.0.0.1"):
        s = self.close_later(socket.create_connection(
            server.sockaddr()[1], DEADLINE, (source, 0)))
        return s, self.hear(s)

    def assert_refused(self, server, source="127.0.0.1"):
        s, answer = self.come(server, source)
        self.assertEqual(answer, self.WORD)
        self.assertEqual(s.recv(1), b"")

    def assert_taken(self, server, source="127.0.0.1"):
        s, answer = self.come(server, source)
        self.assertEqual(answer[:4], b"220 ")
        return s

    def assert_taken_soon(self, server, source="127.0.0.1"):
        """After somebody has left, of which the server may not know yet."""
        end = time.monotonic() + DEADLINE
        answer = self.WORD
        while answer == self.WORD and time.monotonic() < end:
            s, answer = self.come(server, source)
        self.assertEqual(answer[:4], b"220 ")
        return s

    def test_connections(self):
        server = self.serve("--connections", "3")
        clients = [self.assert_taken(server, "127.0.0.%d" % i)
                   for i in range(1, 4)]
        for i in range(1, 4):
            self.assert_refused(server, "127.0.0.%d" % i)
        for s in clients:
            self.assertEqual(self.ask(s, b"NOOP"), OK)
        # One leaves in order, one just goes.
        self.assertEqual(self.ask(clients[0], b"QUIT"), b"221 Bye\r\n")
        self.assertEqual(clients[0].recv(1), b"")
        self.assert_taken_soon(server)
        self.assert_refused(server)
        clients[1].close()
        self.assert_taken_soon(server)
        self.assert_refused(server)
        self.assert_stops(server)

    def test_per_peer(self):
        server = self.serve("--per-peer", "2", "--connections", "0")
        for i in range(1, 20):
            source = "127.0.0.%d" % i
            clients = [self.assert_taken(server, source) for _ in range(2)]
            self.assert_refused(server, source)
        clients[0].close()
        self.assert_taken_soon(server, source)
        self.assert_refused(server, source)
        self.assert_stops(server)

    def test_unless_told_otherwise(self):
        server = self.serve()
        for _ in range(100):
            self.assert_taken(server)
        self.assert_refused(server)
        self.assert_taken(server, "127.0.0.2")
        self.assert_stops(server)

    def test_mail_that_is_on_its_way_already(self):
        """A client that does not wait for the greeting hears why."""
        server = self.serve("--connections", "1")
        self.assert_taken(server)
        for _ in range(50):
            s = self.connect(server)
            s.sendall(b"HELO me\r\n" + b"NOOP\r\n" * 1000)
            self.assertEqual(smtp_dialogues.everything(s), self.WORD)
        self.assert_stops(server)

    def test_smtplib(self):
        server = self.serve("--connections", "1")
        first = self.smtp(server)
        with self.assertRaises(smtplib.SMTPConnectError) as caught:
            self.smtp(server)
        self.assertEqual(caught.exception.smtp_code, 421)
        first.quit()
        self.assert_stops(server)

    def test_misuse(self):
        for option in ("--connections", "--per-peer"):
            for value in ("", "-1", "many"):
                self.assertEqual(support.run(
                    *self.command(option, value, "0"))[0], 2)


class TestRudeClients(SmtpCase):

    def test_client_that_does_not_read(self):
        """It costs little, and may change its mind."""
        server = self.serve()
        before = server.memory()
        s = self.connect(server)
        data = b"X\r\n" * 300000

        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for _ in range(100):
            self.assert_serves(server)
        if not server.is_sanitized():
            self.assertLess(server.memory() - before, 4 * MEBIBYTE)
        replies = b""
        while True:
            piece = s.recv(MEBIBYTE)
            if not piece:
                break
            replies += piece
        sender.join(DEADLINE)
        greeting, replies = replies.split(b"\r\n", 1)
        self.assertEqual(greeting[:4], b"220 ")
        self.assertEqual(
            replies, b"500 Error: command \"X\" not recognized\r\n" * 300000)
        self.assert_stops(server)

    def test_endless_line(self):
        server = self.serve()
        before = server.memory()
        s = self.connect(server)
        self.hear(s)
        for _ in range(64):
            s.sendall(b"x" * MEBIBYTE)
        self.assertEqual(self.ask(s, b""), b"500 Error: line too long\r\n")
        self.assertEqual(self.ask(s, b"NOOP"), OK)
        if not server.is_sanitized():
            self.assertLess(server.memory() - before, 4 * MEBIBYTE)
        self.assert_stops(server)

    def test_endless_data(self):
        server = self.serve("--size", "100000")
        before = server.memory()
        for body in (b"x" * MEBIBYTE, b"\r" * MEBIBYTE):
            s = self.connect(server)
            self.hear(s)
            for line in START:
                self.ask(s, line)
            for _ in range(16):
                s.sendall(body)
            self.assertEqual(self.ask(s, b"\r\n."),
                             b"552 Error: Too much mail data\r\n")
            self.assertEqual(self.ask(s, b"NOOP"), OK)
        if not server.is_sanitized():
            self.assertLess(server.memory() - before, 8 * MEBIBYTE)
        self.assert_stops(server)

    def test_reset(self):
        server = self.serve()
        data = b"\r\n".join(START + (b"x" * 100, b"y"))
        for i in range(len(data)):
            s = self.connect(server)
            s.sendall(data[:i])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
            s.close()
        server.wait_for_clients(0)
        self.assert_serves(server)
        self.assert_stops(server)

    def test_stops_with_clients_inside(self):
        server = self.serve()
        for lines in ((), (HELO,), START[:2], START, START + (b"x",)):
            s = self.connect(server)
            self.hear(s)
            for line in lines[:4]:
                self.ask(s, line)
            for line in lines[4:]:
                s.sendall(line)
        self.assert_stops(server, number=signal.SIGINT)


class TestMaildir(SmtpCase):

    def test_what_is_stored(self):
        server = self.serve("--maildir", self.maildir())
        self.play(server, EHLO, b"MAIL FROM:<\"a b\"@example> SIZE=10", RCPT,
                  b"RCPT TO:ham", b"DATA", b"Subject: x", b"", b"..dot",
                  b"\xff end", b".",
                  b"MAIL FROM:<>", RCPT, b"DATA", b"x\n", b".",
                  b"MAIL FROM:<\"a\nX-Evil: yes\"@b>",
                  b"RCPT TO:<\"\x1b[1m\x7f\"@b>", b"DATA", b"x", b".")
        self.assert_stops(server)
        self.assertEqual(self.mails(), [
            b"Return-Path: <\"a b\"@example>\nDelivered-To: <spam@example>\n"
            b"Delivered-To: <ham>\nX-Peer: 127.0.0.1\n"
            b"Subject: x\n\n.dot\n\xff end\n",
            b"Return-Path: <>\nDelivered-To: <spam@example>\n"
            b"X-Peer: 127.0.0.1\nx\n",
            b"Return-Path: <\"a?X-Evil: yes\"@b>\n"
            b"Delivered-To: <\"?[1m?\"@b>\nX-Peer: 127.0.0.1\nx\n"])
        for name in os.listdir(os.path.join(self.maildir(), "new")):
            self.assertRegex(name, r"^[0-9]+\.M[0-9]{6}P%dQ[0-9]+\.[^/:]+$"
                             % server.pid)
            mode = os.stat(os.path.join(self.maildir(), "new", name)).st_mode
            self.assertEqual(mode & 0o777, 0o600)

    def test_an_old_maildir(self):
        for name in ("", "cur", "new", "tmp"):
            os.mkdir(os.path.join(self.maildir(), name))
        with open(os.path.join(self.maildir(), "cur", "old"), "w"):
            pass
        server = self.serve("--maildir", self.maildir())
        self.play(server, *START, b"x", b".")
        self.assert_stops(server)
        self.assertEqual(len(self.mails()), 1)
        self.assertEqual(os.listdir(os.path.join(self.maildir(), "cur")),
                         ["old"])

    def test_no_maildir(self):
        for path in (self.path("none/mail"), "/dev/null"):
            status, out, err = support.run(
                *self.command("--maildir", path, "0"))
            self.assertEqual((status, out), (1, b""))
            self.assert_one_line(err, path.encode())

    def test_many_at_once(self):
        server = self.serve("--maildir", self.maildir())
        clients = [self.connect(server) for _ in range(20)]
        for i, s in enumerate(clients):
            s.sendall(b"\r\n".join((HELO,) + sum(
                ((MAIL, RCPT, b"DATA", b"%d.%d" % (i, j), b".")
                 for j in range(10)), ())) + b"\r\nQUIT\r\n")
        for s in clients:
            replies = smtp_dialogues.everything(s)
            self.assertEqual(replies.count(OK), 30)
            self.assertTrue(replies.endswith(b"221 Bye\r\n"))
        self.assert_stops(server)
        self.assertEqual(
            sorted(text.split(b"\n")[-2] for text in self.mails()),
            sorted(b"%d.%d" % (i, j) for i in range(20) for j in range(10)))

    def send(self, server, *more):
        return self.play(server, HELO, MAIL, RCPT, b"DATA", b"x" * 5000, b".",
                         *more).split(b"\r\n")

    def test_failure_is_told(self):
        server = self.serve("--maildir", self.maildir())
        tmp = os.path.join(self.maildir(), "tmp")
        os.rmdir(tmp)
        replies = self.send(server, MAIL, b"NOOP")
        self.assertEqual(replies[-4:], [b"451 Error: mail not stored",
                                        b"250 OK", b"250 OK", b""])
        status, out, err = server.stop()
        self.assertEqual((status, out), (0, b""))
        self.assert_one_line(err, b"error: mail not stored: ")
        os.mkdir(tmp)
        self.assertEqual(self.mails(), [])

    def test_failure_leaves_nothing(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        server = self.serve("--maildir", self.maildir(), preexec_fn=limit)
        self.assertEqual(self.send(server)[-2], b"451 Error: mail not stored")
        self.play(server, *START, b"small", b".")
        self.assertEqual(server.stop()[0], 0)
        mail, = self.mails()
        self.assertTrue(mail.endswith(b"\nsmall\n"))

    def test_nobody_reads_what_is_printed(self):
        server = self.serve()
        server.stdout.close()
        for _ in range(3):
            self.assertEqual(self.send(server)[-2],
                             b"451 Error: mail not stored")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(DEADLINE), 0)


class TestClients(SmtpCase):

    TEXT = (b"From: eggs@example\r\nSubject: dots\r\n\r\n"
            b".\r\n..\r\n.x\r\nx.\r\n\r\n.\r\n" + b"y" * 2000 + b"\r\n")

    def assert_arrived(self, sender, *recipients, text=TEXT):
        mail = self.mails()[-1].decode()
        head = "Return-Path: <%s>\n%sX-Peer: 127.0.0.1\n" % (
            sender, "".join("Delivered-To: <%s>\n" % r for r in recipients))
        self.assertEqual(mail[:len(head)], head)
        text = text.decode().replace("\r\n", "\n")
        self.assertEqual(mail[-len(text):], text)
        return mail[len(head):]

    def test_smtplib(self):
        server = self.serve("--maildir", self.maildir())
        client = self.smtp(server)
        self.assertEqual(client.sendmail("a@b", ["c@d", "e@f"], self.TEXT), {})
        self.assert_arrived("a@b", "c@d", "e@f")
        self.assertEqual(client.verify("a@b")[0], 252)
        self.assertEqual(client.help(), b"Supported commands: EHLO HELO MAIL "
                         b"RCPT DATA RSET NOOP QUIT VRFY")
        self.assertEqual(client.noop(), (250, b"OK"))
        self.assertTrue(client.has_extn("size"))
        self.assertTrue(client.has_extn("8bitmime"))
        self.assertFalse(client.has_extn("smtputf8"))
        client.sendmail("a@b", "c@d", b"")
        self.assertEqual(client.quit()[0], 221)
        self.assert_stops(server)

    def test_a_message(self):
        server = self.serve("--maildir", self.maildir(), "--smtputf8")
        message = email.message.EmailMessage()
        message["From"] = "élan@example"
        message["To"] = "Héloïse <h@example>"
        message["Subject"] = "œuvre"
        message.set_content("ligne\n.\n..\n" * 1000)
        message.add_attachment(os.urandom(100000), maintype="application",
                               subtype="octet-stream")
        self.smtp(server).send_message(message)
        self.assert_stops(server)
        stored = email.message_from_bytes(self.mails()[0],
                                          policy=email.policy.default)
        self.assertEqual(stored["Return-Path"], "<élan@example>")
        self.assertEqual(stored["Subject"], "œuvre")
        parts = list(stored.iter_parts())
        sent = list(message.iter_parts())
        self.assertEqual(parts[0].get_content(), sent[0].get_content())
        self.assertEqual(parts[1].get_content(), sent[1].get_content())

    def test_large(self):
        server = self.serve("--maildir", self.maildir())
        line = bytes(range(33, 127)) + b"\r\n"
        text = line * (20 * MEBIBYTE // len(line))
        client = self.smtp(server)
        client.sendmail("a@b", "c@d", text)
        self.assert_arrived("a@b", "c@d", text=text)
        with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("a@b", "c@d", text * 2)
        self.assertEqual(refused.exception.smtp_code, 552)
        client.helo()
        client.quit()
        self.assert_stops(server)

    def test_many(self):
        server = self.serve("--maildir", self.maildir())

        def send(i):
            client = self.smtp(server)
            for j in range(10):
                client.sendmail("%d.%d@x" % (i, j), "c@d", self.TEXT)
            client.quit()
        threads = [threading.Thread(target=send, args=(i,), daemon=True)
                   for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        self.assert_stops(server)
        self.assertEqual(
            sorted(mail.split(b"@")[0] for mail in self.mails()),
            sorted(b"Return-Path: <%d.%d" % (i, j)
                   for i in range(20) for j in range(10)))

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_curl(self):
        server = self.serve("--maildir", self.maildir())
        for text in (self.TEXT, b"", b".\r\n", b"x"):
            with open(self.path("message"), "wb") as f:
                f.write(text)
            status, _, err = support.run(
                "curl", "--silent", "--show-error", "smtp://" + server.address,
                "--mail-from", "a@b", "--mail-rcpt", "c@d", "--mail-rcpt",
                "e@f", "--upload-file", self.path("message"))
            self.assertEqual((status, err), (0, b""))
            self.assert_arrived("a@b", "c@d", "e@f",
                                text=text.rstrip(b"\r\n") + b"\r\n"
                                if text else b"\n")
        self.assert_stops(server)

    @unittest.skipUnless(shutil.which("swaks"), "no swaks")
    def test_swaks(self):
        server = self.serve("--maildir", self.maildir())
        host, port = server.address.split(":")
        for pipeline in ([], ["--pipeline"]):
            status, out, err = support.run(
                "swaks", "--server", host, "--port", port, "--from", "a@b",
                "--to", "c@d,e@f", "--body", "text\n.\n..dots\n", *pipeline)
            self.assertEqual(status, 0, (out, err))
            self.assert_arrived("a@b", "c@d", "e@f",
                                text=b"\r\ntext\r\n.\r\n..dots\r\n\r\n")
        self.assert_stops(server)


class TestProgram(SmtpCase):

    def test_unix(self):
        path = self.path("smtp")
        server = self.serve(address="unix:" + path)
        self.assertEqual(server.address, "unix:" + path)
        self.assertEqual(self.play(server, *START, b"a: b", b"", b"x", b".")
                         [-8:], OK)
        self.assert_stops(server, (
            b"---------- MESSAGE FOLLOWS ----------\n"
            b"b'a: b'\nb'X-Peer: localhost'\nb''\nb'x'\n"
            b"------------ END MESSAGE ------------\n"))
        self.assertFalse(os.path.lexists(path))

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        server = self.serve(address="[::1]:0")
        self.assertRegex(server.address, r"^\[::1\]:[1-9][0-9]*$")
        self.play(server, *START, b"", b"x", b".")
        self.assert_stops(server, (
            b"---------- MESSAGE FOLLOWS ----------\n"
            b"b'X-Peer: ::1'\nb''\nb'x'\n"
            b"------------ END MESSAGE ------------\n"))

    def test_busy(self):
        server = self.serve()
        status, out, err = support.run(*self.command(server.address))
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, server.address.encode(), b"in use")
        self.assert_stops(server)

    def test_misuse(self):
        self.assert_help(SMTP_SINK)
        for arguments in (["0", "0"], ["--nonsense"], ["--nonsense", "1", "0"],
                          ["--backend", "nonsense"], ["--size"],
                          ["--size", "x", "0"], ["--size", "-1", "0"],
                          ["--size", "", "0"], ["--size", "9" * 20],
                          ["--timeout", "x"], ["--maildir"]):
            self.assert_misuse(SMTP_SINK, *arguments)
        self.assert_misuse(SMTP_SINK, "nonsense")


class TestStop(SmtpCase):

    GOODBYE = (b"421 Service not available, closing transmission channel\r\n")

    def test_what_has_arrived_is_answered(self):
        server = self.serve("--maildir", self.maildir())
        clients = [self.connect(server) for _ in range(20)]
        for s in clients:
            self.hear(s)
            self.ask(s, b"HELO me")
        server.freeze()
        for s in clients[:10]:
            s.sendall(b"MAIL FROM:<me>\r\nRCPT TO:<you>\r\nDATA\r\nhello\r\n"
                      b".\r\nNOOP\r\n")
        for s in clients[10:]:
            s.sendall(b"MAIL FROM:<me>\r\nRCPT TO:<you>\r\nDATA\r\nhel")
        for s in clients:
            support.wait_until_arrived(s)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.thaw()
        for i, s in enumerate(clients):
            answers = [self.hear(s) for _ in range(6 if i < 10 else 4)]
            self.assertEqual(answers[2][:3], b"354")
            if i < 10:
                self.assertEqual(answers[3:5], [OK, OK])
            self.assertEqual(answers[-1], self.GOODBYE)
            self.assertEqual(s.recv(1), b"")
        self.assert_stops_in_time(server, started, None)
        self.assertEqual(len(self.mails()), 10)

    def test_second_signal(self):
        def connect():
            server = self.serve()
            s = self.connect(server)
            self.hear(s)
            return server, s
        self.assert_heeds_second_signal(connect)

    def test_who_does_not_read(self):
        server = self.serve()
        s = self.connect(server)
        s.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                s.send(b"NOOP\r\n" * 10000)
        self.assert_serves(server)
        self.assert_stops_in_time(server, time.monotonic())


if __name__ == "__main__":
    support.main(["SMTP_SINK"])
