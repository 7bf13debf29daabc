"""Conversations with an SMTP server. smtp_transcript.json holds what Python
3.11's smtpd says in them, as smtpd_reference.py has recorded it."""

import json
import os
import select
import socket

TRANSCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          "smtp_transcript.json")


class Dialogue:
    """What a client sends, and how the server is set up."""

    def __init__(self, name, *lines, size=None, smtputf8=False, end=b"\r\n"):
        self.name = name
        self.data = b"\r\n".join(lines) + end
        self.options = []
        if size is not None:
            self.options += ["--size", str(size)]
        if smtputf8:
            self.options += ["--smtputf8"]


HELO = b"HELO example"
EHLO = b"EHLO example"
MAIL = b"MAIL FROM:<eggs@example>"
RCPT = b"RCPT TO:<spam@example>"
START = (HELO, MAIL, RCPT, b"DATA")
VERBS = (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP",
         b"QUIT", b"VRFY", b"HELP", b"EXPN")


def mail_of(size):
    """A MAIL command of so many bytes."""
    frame = b"MAIL FROM:<@example>"
    return frame.replace(b"@", b"a" * (size - len(frame)) + b"@")


DIALOGUES = [
    Dialogue("nothing", end=b""),
    Dialogue("empty lines", b"", b"", HELO, b""),
    Dialogue("spaces", b" ", b" NOOP", b"NOOP ", b"NOOP  ", b"\tNOOP",
             b"NOOP\t", b"HELO  example  ", b"RSET \t "),
    Dialogue("HELO", HELO, HELO, EHLO, b"NOOP"),
    Dialogue("EHLO", EHLO, EHLO, HELO, b"NOOP"),
    Dialogue("greetings without a name", b"HELO", b"EHLO", b"HELO ", b"EHLO  ",
             b"helo x", b"EHLO"),
    Dialogue("any case", b"ehlo example", b"mail from:<a@b> size=20",
             b"Rcpt To:<c@d>", b"dAtA", b"text", b".", b"quit"),
    Dialogue("unknown", b"UNKNOWN_CMD", b"unknown cmd", b"x", b"DATAA",
             b"\"", b"MAIL:", b"NOOP\x00x".replace(b"\x00", b"\x01"),
             b"a\nb c"),
    Dialogue("NOOP", b"NOOP", b"NOOP hi", HELO, b"NOOP", b"NOOP hi"),
    Dialogue("QUIT", b"QUIT", b"NOOP", b"NOOP"),
    Dialogue("QUIT with an argument", HELO, b"QUIT bye bye"),
    Dialogue("QUIT in a mail", *START[:3], b"quit"),
    Dialogue("RSET", b"RSET", b"RSET hi", HELO, MAIL, RCPT, b"RSET hi",
             b"RSET", RCPT, b"DATA", MAIL, RCPT, b"DATA", b"x", b".", HELO),
    Dialogue("HELP", b"HELP", *(b"HELP " + v for v in VERBS), b"HELP SPAM",
             b"help mail", b"HELP MAIL x", b"HELP  NOOP "),
    Dialogue("HELP for more", EHLO, b"HELP",
             *(b"HELP " + v for v in VERBS), b"HELP SPAM"),
    Dialogue("VRFY", b"VRFY", b"VRFY eggs@example", b"VRFY <eggs@example>",
             b"VRFY eggs", b"VRFY \"\"", b"VRFY eggs@example spam",
             b"VRFY Eggs <eggs@example>", b"VRFY <>"),
    Dialogue("EXPN", b"EXPN", b"EXPN list"),
    Dialogue("no greeting", MAIL, RCPT, b"DATA", b"DATA x", b"MAIL", b"RCPT"),
    Dialogue("MAIL first", HELO, RCPT, b"RCPT", b"DATA", b"RCPT TO:<"),
    Dialogue("RCPT first", HELO, MAIL, b"DATA", b"DATA x"),
    Dialogue("nested MAIL", HELO, MAIL, MAIL, b"MAIL FROM:", b"MAIL",
             b"MAIL FROM:<x@y> size=1"),
    Dialogue("nested MAIL with more", EHLO, MAIL, MAIL, b"MAIL FROM:<x@y> =",
             b"MAIL FROM:<x@y> BODY=x"),
    Dialogue("MAIL", HELO, b"MAIL", b"MAIL ", b"MAIL from", b"MAIL from:",
             b"MAIL from: ", b"MAIL from eggs@example", b"MAIL <eggs@example>",
             b"MAIL TO:<eggs@example>", b"MAIL FROM :<eggs@example>",
             b"MAIL  FROM:<eggs@example>"),
    Dialogue("MAIL for more", EHLO, b"MAIL", b"MAIL from:",
             b"MAIL from eggs@example", b"MAIL from:  <eggs@example>   size=9"),
    Dialogue("RCPT", HELO, MAIL, b"RCPT", b"RCPT to:", b"RCPT to spam@example",
             b"RCPT FROM:<spam@example>", b"RCPT TO:spam@example",
             b"RCPT to: spam@example", b"RCPT TO:<spam@example> x=y", RCPT),
    Dialogue("RCPT for more", EHLO, MAIL, b"RCPT", b"RCPT to:",
             b"RCPT TO:<spam@example> x=y", b"RCPT TO:<spam@example> x",
             b"RCPT TO:<spam@example> =", b"RCPT TO:<spam@example> x=",
             b"RCPT TO:<spam@example> x-y=z", b"RCPT TO:<spam@example> SIZE=1",
             RCPT),
    Dialogue("parameters without EHLO", HELO, b"MAIL FROM:<a@b> SIZE=1",
             b"MAIL FROM:<a@b> x", b"MAIL FROM:<a@b> ", MAIL),
    Dialogue("SIZE", EHLO, b"MAIL FROM:<a@b> SIZE=33554432", b"RSET",
             b"MAIL FROM:<a@b> SIZE=33554433", b"MAIL FROM:<a@b> SIZE=",
             b"MAIL FROM:<a@b> SIZE=invalid", b"MAIL FROM:<a@b> SIZE=-1",
             b"MAIL FROM:<a@b> SIZE=1.5", b"MAIL FROM:<a@b> SIZE=1x",
             b"MAIL FROM:<a@b> SIZE=99999999999999999999999999999",
             b"MAIL FROM:<a@b> SIZE=000000000000000000000000000001", b"RSET",
             b"MAIL FROM:<a@b> SIZE=0", b"RSET",
             b"MAIL FROM:<a@b> SIZE=x SIZE=1", b"RSET",
             b"MAIL FROM:<a@b> SIZE=1 SIZE=x", b"MAIL FROM:<a@b>SIZE=1"),
    Dialogue("another size", EHLO, b"MAIL FROM:<a@b> SIZE=2096",
             b"MAIL FROM:<a@b> SIZE=2048", size=2048),
    Dialogue("no size", EHLO, b"MAIL FROM:<a@b> SIZE=99999999999999999999",
             RCPT, b"DATA", b"x" * 5000, b".", mail_of(512), mail_of(513),
             size=0),
    Dialogue("BODY", EHLO, b"MAIL FROM:<a@b> BODY=7BIT", b"RSET",
             b"MAIL FROM:<a@b> body=8bitmime SIZE=20", b"RSET",
             b"MAIL FROM:<a@b> BODY=UNKNOWN", b"MAIL FROM:<a@b> BODY",
             b"MAIL FROM:<a@b> BODY=", b"MAIL FROM:<a@b> BODY=7BIT BODY=x",
             b"MAIL FROM:<a@b> BODY=x BODY=7BIT"),
    Dialogue("unknown parameters", EHLO, b"MAIL FROM:<a@b> ham=green",
             b"MAIL FROM:<a@b> ham", b"MAIL FROM:<a@b> SIZE=20 ham",
             b"MAIL FROM:<a@b> ham-egg=1", b"MAIL FROM:<a@b> ham==",
             b"MAIL FROM:<a@b> =x", b"MAIL FROM:<a@b> =",
             b"MAIL FROM:<a@b> SIZE=x ham", b"MAIL FROM:<a@b> BODY=x ham",
             b"MAIL FROM:<a@b> SMTPUTF8", b"MAIL FROM:<a@b> SMTPUTF8=1",
             b"MAIL FROM:<a@b> size=20 SMTPUTF8 BODY=UNKNOWN",
             b"MAIL FROM:<a@b> SIZE=20\tBODY=7BIT"),
    Dialogue("SMTPUTF8", EHLO, b"MAIL FROM:<a@b> SMTPUTF8", b"RSET",
             b"MAIL FROM:<a@b> SMTPUTF8=1", b"MAIL FROM:<a@b> SMTPUTF8=",
             b"MAIL FROM:<a@b> size=20 body=8bitmime smtputf8 x",
             b"MAIL FROM:<a@b> size=20 body=8bitmime smtputf8",
             "VRFY élan".encode(), "RCPT TO:<élan@example>".encode(),
             "NÖNSENSE x".encode(), b"DATA", "héllo".encode(), b".",
             mail_of(548), b"RSET", mail_of(549), smtputf8=True),
    Dialogue("addresses", EHLO, *(
        line for address in (
            b"eggs@example", b"<eggs@example>", b"<>", b"<eggs>", b"eggs",
            b"<eggs@example", b"<eggs@example> SIZE=1", b"<eggs@example SIZE=1",
            b"eggs@example SIZE=1", b"eggs SIZE=1", b"<eggs@example>>",
            b"<eggs@example>x", b"<eggs@example> x", b"<eggs@example>,",
            b"<\"Fred Blogs\"@example.com>", b"\"Fred Blogs\"@example.com",
            b"<\"Fred Blogs\"@example.com> SIZE=1000",
            b"\"Fred Blogs\"@example.com SIZE=1000", b"<\"a\\\"b\"@c>",
            b"<\"\"@example>", b"\"\"@example", b"<\"\">", b"\"\"", b"<\"a\">",
            b"<\"a\"b@c>", b"<a\"b\"@c>", b"\"a", b"<\"a@b>",
            b"<a.b.c@d.e.f>", b"<.a@b>", b"<a.@b>", b"<a..b@c>", b"<a b@c>",
            b"<a . b@c>", b"< a @ b >", b"<a @b.c>", b"<a@b .c>", b"<a@b. c>",
            b"<(x)a(y)@(z)b(w)>", b"<a(b(c)d)@e>", b"<a(b\\)c)@d>", b"<a@b(",
            b"<a@[1.2.3.4]>", b"<a@[IPv6:::1]>", b"<a@[]>",
            b"<a@[ 1.2 ]>", b"a@[1.2.3.4] SIZE=1", b"<@x:a@b>", b"<@x,@y:a@b>",
            b"<@x,,@y:a@b>", b"<,@x:a@b>", b"<a\\b@c>", b"<\\@c>", b"<a;b@c>",
            b"<a,b@c>", b"<a:b@c>", b"a,b@c", b"a:b", b"a<b@c>", b"Eggs <a@b>",
            b"<a@b>(c)", b"<a@b> (c)", b"<a@b>(c) SIZE=1",
            b"<a!#$%&'*+-/=?^_`{|}~@b>", b"<a\x01\x7f@b>", b"<a\nb@c>",
            "<élan@example>".encode())
        for line in (b"MAIL FROM:" + address, b"RSET"))),
    Dialogue("long lines", b"x" * 512, b"x" * 513, b"NOOP" + b" " * 508,
             b"NOOP" + b" " * 509, b"HELO " + b"x" * 507, mail_of(512),
             b"RSET", mail_of(513), b"x" * 100000, b"NOOP"),
    Dialogue("long lines for more", EHLO, mail_of(538), b"RSET", mail_of(539),
             b"NOOP" + b" " * 508, b"NOOP" + b" " * 509, b"x" * 538,
             b"x" * 539, b"x" * 100000, b"NOOP"),
    Dialogue("a mail", *START, b"Subject: x", b"", b"data", b"more", b".",
             b"QUIT"),
    Dialogue("a mail without headers", *START, b"data", b"."),
    Dialogue("a mail without text", *START, b"", b"."),
    Dialogue("many recipients", HELO, MAIL, *[RCPT] * 100, b"DATA", b"x", b"."),
    Dialogue("dots", *START, b"..", b"..x", b"...", b".x", b"x.", b". ", b"",
             b"."),
    Dialogue("a dot in front", *START, b".x", b"x", b"."),
    Dialogue("line ends of other kinds", *START, b"a\nb\rc\n\rd\r", b"\r",
             b"\n.\ne", b".\n.\r.", b"\r", b"."),
    Dialogue("almost the end", *START, b"\r", b"\r\n.", b"\r.", b"\r\r", b".x",
             b"."),
    Dialogue("bytes", *START, bytes(range(256)).replace(b"\r\n", b""),
             b"it's", b"it's \"it\"", b"\"it\"", b"back\\slash", b"."),
    Dialogue("options", EHLO, MAIL + b" SIZE=9 BODY=8BITMIME", RCPT, b"DATA",
             b"Subject: x", b"", b"", b"x", b"."),
    Dialogue("one mail after another", HELO, MAIL, RCPT, b"DATA", b"1", b".",
             RCPT, b"DATA", MAIL, RCPT, b"DATA", b"2", b".", b"QUIT"),
    Dialogue("pipelining", EHLO, MAIL, RCPT, b"RCPT", RCPT, b"DATA", b"1",
             b"NOOP", b"QUIT", b".", b"NOOP", MAIL, b"QUIT"),
    Dialogue("small enough", *START, b"x" * 32, b".", size=32),
    Dialogue("small enough for all its dots", *START, b"..", b"x" * 28, b".",
             size=32),
    Dialogue("small enough for all its lines", *START, b"", b"", b".", size=2),
    Dialogue("too many lines", *START, b"", b"", b"", b".", size=2),
    Dialogue("too much data", *START, b"x" * 33, b".", size=32),
    Dialogue("too much data in lines", *START, *[b"x" * 8] * 4, b".", size=32),
    Dialogue("far too much data", *START, *[b"x" * 98] * 10000, b".", size=32),
    Dialogue("cut off", *START, b"x", end=b""),
]


def transcript():
    """{name: (replies, what was printed)}; the server's name is HOST."""
    with open(TRANSCRIPT, encoding="ascii") as f:
        return {name: [text.encode("latin-1") for text in texts]
                for name, texts in json.load(f).items()}


def without_host(replies, host):
    """Replies as they would be anywhere; the greeting names a program."""
    lines = replies.split(b"\r\n")
    if lines[0].startswith(b"220 " + host + b" "):
        lines[0] = b"220 HOST"
    names = {b"250 " + host: b"250 HOST", b"250-" + host: b"250-HOST"}
    return b"\r\n".join(names.get(line, line) for line in lines)


def everything(s):
    """What comes until the end."""
    data = b""
    while True:
        piece = s.recv(65536)
        if not piece:
            return data
        data += piece


def play(server, dialogue):
    """What it says, in a connection of its own."""
    with server.connect() as s:
        s.sendall(dialogue.data)
        s.shutdown(socket.SHUT_WR)
        return everything(s)


def printed(server):
    """What it has printed, which it does before it says so."""
    data = b""
    while select.select([server.stdout], [], [], 0)[0]:
        piece = os.read(server.stdout.fileno(), 65536)
        if not piece:
            break
        data += piece
    return data
