"""What the parts of the benchmark share: their command line, servers and the
load, rounds in which everybody has a turn, and tables.

A part is called as

    PART BUILD RAW [--quick]

BUILD is where the programs are. It prints a section in Markdown, and appends
"NAME<TAB>COMPETITOR<TAB>VALUE" to the file RAW, a line for each round.
"""
import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

RAW_EPOLL = 'raw epoll'
ASYNCORE = 'libasyncore'

# In the order of their turns: those that are compared most closely stand
# beside each other.
ECHO = {
    RAW_EPOLL: 'echo_epoll',
    ASYNCORE: 'echo_asyncore',
    'libev': 'echo_libev',
    'libevent event': 'echo_libevent',
    'libevent bufferevent': 'echo_bufferevent',
    'libuv': 'echo_libuv',
}
LINES = {
    RAW_EPOLL: 'lines_epoll',
    'asynchat': 'lines_asynchat',
    'bufferevent, readln': ('lines_bufferevent', 'readln'),
    'bufferevent, pullup': ('lines_bufferevent', 'pullup'),
    'bufferevent, at once': ('lines_bufferevent', 'at-once'),
}
BROADCAST = {
    RAW_EPOLL: 'broadcast_epoll',
    'asynchat': 'broadcast_asynchat',
    'bufferevent': 'broadcast_bufferevent',
    'bufferevent, at once': ('broadcast_bufferevent', 'at-once'),
}

CORES = sorted(os.sched_getaffinity(0))
# The second one is the same where there is but one.
FIRST, SECOND = CORES[0], CORES[-1]
DESCRIPTORS = 20000
# The most that one turn takes, in milliseconds; a tenth of it is the rule.
SLICE = 1000


def more_descriptors():
    """For this process and those it starts; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def settle_on(cores):
    """What a child does before it becomes the program. In SCHED_BATCH nobody
    interrupts the other: on one core server and load take turns."""
    def settle():
        os.sched_setaffinity(0, cores)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return settle


class Server:
    """A server that runs for as long as the with statement: a program, or a
    tuple of one and its arguments. tracer is a command that has another one as
    its child, under one that becomes it."""

    def __init__(self, part, program, cores=(FIRST,), tracer=(), under=()):
        name, *args = program if isinstance(program, tuple) else (program,)
        self.cores = cores
        self.command = [*tracer, 'sh', '-c', 'echo $$; exec "$@"', 'sh',
                        *under, part.program(name), *map(str, args)]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=settle_on(self.cores))
        try:
            self.pid = int(self.process.stdout.readline())
            self.port = int(self.process.stdout.readline().split()[-1])
            # Linux's name for the processor time of another process.
            self.clock = ~self.pid << 3 | 2
        except (ValueError, IndexError):
            self.process.kill()
            sys.exit(f'{self.command}: {self.process.communicate()[1]}')
        return self

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        self.stderr = self.process.communicate()[1]

    def __exit__(self, *_):
        if not self.process.stdout.closed:
            self.stop()

    def cpu(self):
        """The processor time that it has used, in seconds."""
        return time.clock_gettime(self.clock)

    def anonymous(self):
        """The memory of its own that is resident, in bytes."""
        with open(f'/proc/{self.pid}/smaps_rollup') as file:
            return 1024 * int(re.search(r'Anonymous: +(\d+)',
                                        file.read())[1])


class Load:
    """A load on a server, which ends by itself, or with the with statement."""

    def __init__(self, part, mode, server, cores=(FIRST,), **options):
        command = [part.program('load'), mode, str(server.port),
                   '-p', str(server.pid)]
        for option, value in options.items():
            command += ['-' + option, str(value)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=settle_on(cores))

    def wait(self):
        """What it has measured: a dict of floats."""
        output = self.process.communicate()[0]
        if self.process.returncode != 0:
            sys.exit(f'{self.process.args} has failed')
        return {name: float(value) for name, value in
                (line.split() for line in output.splitlines())}

    def expect(self, state):
        if self.process.stdout.readline().strip() != state:
            sys.exit(f'{self.process.args} has failed')

    def go_on(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # It may have lost its server.
        self.process.communicate()


class Part:
    """One part of the benchmark: its command line, and what it measures."""

    def __init__(self):
        parser = argparse.ArgumentParser()
        parser.add_argument('build')
        parser.add_argument('raw')
        parser.add_argument('--quick', action='store_true')
        self.options = parser.parse_args()
        self.quick = self.options.quick
        self.values = {}

    def program(self, name):
        return os.path.join(self.options.build, name)

    def choose(self, full, quick):
        return quick if self.quick else full

    def record(self, name, competitor, value):
        self.values.setdefault(name, {}).setdefault(competitor,
                                                    []).append(value)
        with open(self.options.raw, 'a') as file:
            file.write(f'{name}\t{competitor}\t{value:.9g}\n')

    def median(self, name, competitor):
        return statistics.median(self.values[name][competitor])

    def ratios(self, name, competitor, base):
        """Within each round."""
        return [value / of for value, of in
                zip(self.values[name][competitor], self.values[name][base])]

    def ratio(self, name, competitor, base):
        return statistics.median(self.ratios(name, competitor, base))

    def load(self, mode, server, cores=(FIRST,), **options):
        return Load(self, mode, server, cores, **options).wait()

    def hold(self, server, connections, **options):
        """That many idle connections, for the length of a with statement."""
        load = Load(self, 'hold', server, (SECOND,), c=connections, **options)
        load.expect('held')
        return load

    def system_calls(self, name, programs, per, counts, mode, **options):
        """Records the system calls for each of those that mode counts, divided
        by per: the difference of two runs of different lengths."""
        for competitor, program in programs.items():
            calls = [self.count_calls(program, mode, n=count, **options)
                     for count in counts]
            units = (counts[1] - counts[0]) * per
            for call in sorted(calls[1]):
                more = calls[1][call] - calls[0].get(call, 0)
                if more != 0:
                    self.record(f'{name}.{call}', competitor, more / units)
            self.record(name, competitor,
                        (sum(calls[1].values()) - sum(calls[0].values())) /
                        units)

    def count_calls(self, program, mode, cores=(FIRST,), **options):
        """{system call: how many} of a server during one load. strace slows
        the server so much that whoever can be ready is ready at each wait: the
        count depends on the program and not on luck."""
        calls = {}
        with tempfile.NamedTemporaryFile('r') as file:
            with Server(self, program, cores,
                        ('strace', '-f', '-c', '-o', file.name)) as server:
                self.load(mode, server, cores, **options)
            for line in file:
                fields = line.split()
                if len(fields) >= 5 and fields[3].isdigit():
                    calls[fields[-1]] = int(fields[3])
        calls.pop('total', None)
        if not calls:
            sys.exit('strace: ' + server.stderr)
        return calls


def take_turns(competitors, rounds, measure):
    """measure(competitor) for each in each round; every other round in the
    opposite order, so that what drifts meets all alike."""
    for turn in range(rounds):
        order = list(competitors)
        for competitor in order if turn % 2 == 0 else reversed(order):
            measure(competitor)


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, method='inclusive')
    return first, third


def spread(values, digits):
    """The median, and the quartiles around it."""
    first, third = quartiles(values)
    return (f'{statistics.median(values):.{digits}f} '
            f'({first:.{digits}f}–{third:.{digits}f})')


def table(corner, heads, rows):
    """rows: (label, cells)."""
    print(f"\n| {corner} | {' | '.join(heads)} |")
    print('|---' + '|---:' * len(heads) + '|')
    for label, cells in rows:
        print(f"| {label} | {' | '.join(cells)} |")
    print()
