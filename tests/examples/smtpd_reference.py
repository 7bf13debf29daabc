"""Python's own smtpd, while it has one (until 3.11).

    smtpd_reference.py serve [--size BYTES] [--smtputf8]
    smtpd_reference.py record > smtp_transcript.json
"""

import argparse
import asyncore
import json
import smtpd
import socket
import sys

import smtp_dialogues
import support


def serve(size, smtputf8):
    limit = smtpd.DATA_SIZE_DEFAULT if size is None else size
    server = smtpd.DebuggingServer(("127.0.0.1", 0), None,
                                   data_size_limit=limit,
                                   enable_SMTPUTF8=smtputf8)
    print("listening on 127.0.0.1:%d" % server.socket.getsockname()[1],
          flush=True)
    asyncore.loop()


def transcript():
    """{name: [replies, what was printed]}, as in smtp_transcript.json."""
    host = socket.getfqdn().encode()
    texts, servers = {}, {}
    try:
        for dialogue in smtp_dialogues.DIALOGUES:
            options = tuple(dialogue.options)
            if options not in servers:
                servers[options] = support.Server(
                    sys.executable, "-B", "-W", "ignore", __file__, "serve",
                    *options)
            server = servers[options]
            replies = smtp_dialogues.play(server, dialogue)
            printed = smtp_dialogues.printed(server)
            if b"uncaptured python exception" in printed:
                raise AssertionError(dialogue.name + printed.decode())
            texts[dialogue.name] = [
                smtp_dialogues.without_host(replies, host), printed]
    finally:
        for server in servers.values():
            server.end()
    return texts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["serve", "record"])
    parser.add_argument("--size", type=int)
    parser.add_argument("--smtputf8", action="store_true")
    arguments = parser.parse_args()
    if arguments.action == "record":
        texts = {name: [text.decode("latin-1") for text in texts]
                 for name, texts in transcript().items()}
        json.dump(texts, sys.stdout, indent=1)
        print()
    else:
        sys.stdout.reconfigure(line_buffering=True)
        serve(arguments.size, arguments.smtputf8)


if __name__ == "__main__":
    main()
