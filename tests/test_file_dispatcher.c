/*
 * test_file_dispatcher.c - pipes, terminals and regular files, which no two
 * kernel interfaces agree about, behave the same on every backend.
 */
#include "support/recorder.h"
#include "support/world.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static recorder *dispatch(world *w, const asyncore_handlers *handlers, int fd)
{
    recorder *r = lend(w, sizeof *r);

    assert_int_equal(
        asyncore_file_dispatcher_init(&r->file, handlers, fd, w->map), 0);
    assert_true(r->dispatcher.fd >= 0);
    assert_int_not_equal(r->dispatcher.fd, fd);
    assert_true(r->dispatcher.connected);
    return r;
}

static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
}

static bool is_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    assert_true(flags >= 0);
    return (flags & O_NONBLOCK) == 0;
}

static int new_file(world *w, const char *text)
{
    asyncore_address a = fresh_address(w);
    int fd = open(a.un.sun_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* ---- Pipes ------------------------------------------------------------- */

static void pipe_read(void **state)
{
    world *w = world_of(state);
    int ends[2];
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[0]);
    assert_true(fcntl(r->dispatcher.fd, F_GETFD) & FD_CLOEXEC);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read, 0);
    assert_int_equal(write(ends[1], "spam", 4), 4);
    run_until(w->map, r->size == 4);
    assert_memory_equal(r->data, "spam", 4);
    /* The user's end is the user's, from the first moment to the last. */
    close(ends[0]);
    assert_int_equal(write(ends[1], "eggs", 4), 4);
    run_until(w->map, r->size == 8);
    close(ends[1]);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->close_error, 0);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.error + r->ran.warning, 0);
}

static void read_little(asyncore_dispatcher *d)
{
    recorder *r = recorder_of(d);
    char data[1000];
    ssize_t n = asyncore_recv(d, data, sizeof data);

    r->ran.read++;
    if (n > 0)
        r->size += (size_t)n;
}

static const asyncore_handlers slow_reader = {
    .handle_read = read_little,
    .handle_close = record_close,
    .handle_error = record_error,
    .handle_free = record_free,
    .log_info = record_log_info,
};

/* Python's poll loop lost what was unread behind a hangup. */
static void hangup_behind_data(void **state)
{
    world *w = world_of(state);
    char data[5000];
    int ends[2];
    recorder *r;

    make_pipe(ends);
    memset(data, 'x', sizeof data);
    r = dispatch(w, &slow_reader, ends[0]);
    close(ends[0]);
    assert_int_equal(write(ends[1], data, sizeof data), sizeof data);
    close(ends[1]);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->size, sizeof data);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
}

/* One that pauses hears of the end when it has read what is before it. */
static void hangup_behind_a_pause(void **state)
{
    world *w = world_of(state);
    int ends[2];
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &slow_reader, ends[0]);
    close(ends[0]);
    asyncore_set_readable(&r->dispatcher, false);
    assert_int_equal(write(ends[1], "unread", 6), 6);
    close(ends[1]);
    run_turns(w->map, 5);
    assert_int_equal(r->ran.close + r->ran.read, 0);
    asyncore_set_readable(&r->dispatcher, true);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->size, 6);
    assert_int_equal(r->ran.close, 1);
}

static void write_only(void **state)
{
    world *w = world_of(state);
    char data[16];
    int ends[2];
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[1]);
    close(ends[1]);
    assert_false(asyncore_readable(&r->dispatcher));
    run_turns(w->map, 3);
    assert_int_equal(r->ran.read + r->ran.write + r->ran.close, 0);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    assert_int_equal(read(ends[0], data, sizeof data), 4);
    asyncore_set_writable(&r->dispatcher, true);
    run_until(w->map, r->ran.write > 0);
    asyncore_close(&r->dispatcher);
    assert_int_equal(read(ends[0], data, sizeof data), 0);
    close(ends[0]);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.read + r->ran.close, 0);
}

/* What a full pipe does not take is not taken; room is reported. */
static void full(void **state)
{
    static char data[1 << 18];
    world *w = world_of(state);
    int ends[2];
    ssize_t taken, got;
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[1]);
    close(ends[1]);
    taken = asyncore_send(&r->dispatcher, data, sizeof data);
    assert_true(taken > 0 && taken < (ssize_t)sizeof data);
    assert_int_equal(asyncore_send(&r->dispatcher, data, sizeof data), 0);
    asyncore_set_writable(&r->dispatcher, true);
    run_turns(w->map, 3);
    assert_int_equal(r->ran.write, 0);
    got = read(ends[0], data, sizeof data);
    assert_int_equal(got, taken);
    run_until(w->map, r->ran.write > 0);
    assert_int_equal(r->ran.error + r->ran.close, 0);
    close(ends[0]);
}

static void check_no_sigpipe(void)
{
    struct sigaction action;
    sigset_t set;

    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    assert_int_equal(sigpending(&set), 0);
    assert_false(sigismember(&set, SIGPIPE));
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
    assert_false(sigismember(&set, SIGPIPE));
}

/* Under the default disposition a SIGPIPE would end this program. */
static void reader_gone(void **state)
{
    world *w = world_of(state);
    int ends[2];
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[1]);
    close(ends[1]);
    close(ends[0]);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), -1);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, EPIPE);
    assert_int_equal(r->dispatcher.fd, -1);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(r->ran.free, 0);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->ran.error, 0);
    check_no_sigpipe();
}

/* With nothing to write, the loop notices. */
static void reader_gone_unasked(void **state)
{
    world *w = world_of(state);
    int ends[2];
    recorder *r;

    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[1]);
    close(ends[1]);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.close, 0);
    close(ends[0]);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->close_error, EPIPE);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.read + r->ran.write + r->ran.error, 0);
}

/* A SIGPIPE that the user holds blocked and pending is left to the user. */
static void sigpipe_of_the_user(void **state)
{
    world *w = world_of(state);
    sigset_t sigpipe, before, pending;
    int ends[2], taken;
    recorder *r;

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &sigpipe, &before), 0);
    raise(SIGPIPE);
    make_pipe(ends);
    r = dispatch(w, &recorder_handlers, ends[1]);
    close(ends[1]);
    close(ends[0]);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), -1);
    assert_int_equal(r->close_error, EPIPE);
    assert_int_equal(sigpending(&pending), 0);
    assert_true(sigismember(&pending, SIGPIPE));
    assert_int_equal(sigwait(&sigpipe, &taken), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    run_turns(w->map, 1);
    check_no_sigpipe();
}

/* ---- What the two ends share ------------------------------------------- */

static void blocking_mode(void **state)
{
    world *w = world_of(state);
    int ends[2];
    recorder *r;

    make_pipe(ends);
    assert_true(is_blocking(ends[0]));
    r = dispatch(w, &recorder_handlers, ends[0]);
    assert_false(is_blocking(ends[0]));
    asyncore_close(&r->dispatcher);
    assert_true(is_blocking(ends[0]));

    /* By handle_close's default, too. */
    r = dispatch(w, &recorder_handlers, ends[0]);
    close(ends[1]);
    run_until(w->map, r->ran.close > 0);
    assert_true(is_blocking(ends[0]));
    close(ends[0]);

    /* As it was: one that was non-blocking stays so. */
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    r = dispatch(w, &recorder_handlers, ends[0]);
    asyncore_close(&r->dispatcher);
    assert_false(is_blocking(ends[0]));
    close(ends[0]);
    close(ends[1]);
    run_turns(w->map, 1);
}

static void blocking_mode_by_close_all(void **state)
{
    world *w = world_of(state);
    int ends[2];

    make_pipe(ends);
    dispatch(w, &recorder_handlers, ends[0]);
    asyncore_close_all(w->map);
    assert_true(is_blocking(ends[0]));
    close(ends[0]);
    close(ends[1]);
}

static int open_terminal(int *master)
{
    struct termios raw;
    const char *name;
    int slave;

    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*master < 0 || grantpt(*master) < 0 || unlockpt(*master) < 0)
        return -1;
    name = ptsname(*master);
    slave = name != NULL ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (slave >= 0 && tcgetattr(slave, &raw) == 0) {
        raw.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(slave, TCSANOW, &raw);
    }
    return slave;
}

/* A shell that gets its terminal back non-blocking reads EAGAIN and dies. */
static void terminal(void **state)
{
    world *w = world_of(state);
    char data[16];
    int master, slave = open_terminal(&master);
    recorder *r;

    if (slave < 0) {
        if (master >= 0)
            close(master);
        skip();
    }
    r = dispatch(w, &recorder_handlers, slave);
    assert_false(is_blocking(slave));
    assert_int_equal(write(master, "spam\n", 5), 5);
    run_until(w->map, r->size == 5);
    assert_memory_equal(r->data, "spam\n", 5);
    assert_int_equal(asyncore_send(&r->dispatcher, "eggs", 4), 4);
    assert_int_equal(read(master, data, sizeof data), 4);
    assert_memory_equal(data, "eggs", 4);
    asyncore_close(&r->dispatcher);
    assert_true(is_blocking(slave));
    run_turns(w->map, 1);

    /* It hangs up: once, whatever the terminal calls it. */
    r = dispatch(w, &slow_reader, slave);
    close(slave);
    close(master);
    run_until(w->map, r->ran.close + r->ran.error > 0);
    run_turns(w->map, 2);
    if (r->ran.close == 0) {
        assert_int_equal(r->error, EIO);
        asyncore_close(&r->dispatcher);
        run_turns(w->map, 1);
    }
    assert_true(r->ran.close <= 1);
    assert_int_equal(r->ran.free, 1);
}

/* ---- Regular files ----------------------------------------------------- */

static void regular_file(void **state)
{
    world *w = world_of(state);
    int fd = new_file(w, "spam, eggs");
    recorder *r = dispatch(w, &recorder_handlers, fd);

    close(fd);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, 1), 0);
    assert_int_equal(r->size, 10);
    assert_memory_equal(r->data, "spam, eggs", 10);
    assert_int_equal(asyncore_loop(w->map, DEADLINE_MS, -1), 0);
    assert_int_equal(r->ran.close, 1);
    assert_int_equal(r->close_error, 0);
    assert_int_equal(r->ran.free, 1);
    assert_int_equal(r->ran.error + r->ran.warning, 0);
}

static void regular_file_written(void **state)
{
    world *w = world_of(state);
    char data[16];
    int fd = new_file(w, "");
    recorder *r = dispatch(w, &recorder_handlers, fd);
    int64_t begin;

    asyncore_set_readable(&r->dispatcher, false);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.read + r->ran.write, 0);
    asyncore_set_writable(&r->dispatcher, true);
    run_turns(w->map, 2);
    assert_int_equal(r->ran.write, 2);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    assert_int_equal(pread(fd, data, sizeof data, 0), 4);
    asyncore_set_writable(&r->dispatcher, false);

    /* Asked for nothing, it must not keep the loop from waiting. select finds
       out what it means that it is readable in the first turn. */
    run_turns(w->map, 1);
    begin = now_ms();
    assert_int_equal(asyncore_loop(w->map, 30, 1), 0);
    assert_true(now_ms() - begin >= 29);
    asyncore_close(&r->dispatcher);
    close(fd);
    run_turns(w->map, 1);
}

/* Always ready must not mean always first. */
static void files_and_sockets(void **state)
{
    static const asyncore_handlers tailing = {
        .handle_read = record_write, /* reads nothing: it stays ready */
        .handle_free = record_free,
    };
    world *w = world_of(state);
    recorder *files[3], *r = lend(w, sizeof *r);
    int ends[2];

    for (int i = 0; i < 3; i++) {
        int fd = new_file(w, "endless");

        files[i] = dispatch(w, &tailing, fd);
        close(fd);
    }
    peer_pair(SOCK_STREAM, ends);
    assert_int_equal(asyncore_dispatcher_init(
                         &r->dispatcher, &recorder_handlers, ends[0], w->map),
                     0);
    peer_write(ends[1], "x", 1);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.read, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(files[i]->ran.write, 1);
    asyncore_close(&files[1]->dispatcher);
    peer_write(ends[1], "x", 1);
    run_turns(w->map, 1);
    assert_int_equal(r->ran.read, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(files[i]->ran.write, i == 1 ? 1 : 2);
    assert_int_equal(files[1]->ran.free, 1);
    close(ends[1]);
}

static void null_device(void **state)
{
    world *w = world_of(state);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    recorder *r;

    assert_true(fd >= 0);
    r = dispatch(w, &recorder_handlers, fd);
    close(fd);
    assert_int_equal(asyncore_send(&r->dispatcher, "spam", 4), 4);
    run_until(w->map, r->ran.close > 0);
    assert_int_equal(r->close_error, 0);
    assert_int_equal(r->size, 0);
}

/* ---- What cannot be ---------------------------------------------------- */

static void refused(void **state)
{
    world *w = world_of(state);
    recorder *r = lend(w, sizeof *r);
    int ends[2];

    assert_int_equal(asyncore_file_dispatcher_init(&r->file, &recorder_handlers,
                                                   2000000, w->map),
                     -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(r->dispatcher.fd, -1);
    assert_int_equal(asyncore_map_count(w->map), 0);
    asyncore_close(&r->dispatcher);
    run_turns(w->map, 1);

    make_pipe(ends);
    memset(r, 0, sizeof *r);
    /* A pipe is no socket: the plain dispatcher refuses it, and closes it. */
    assert_int_equal(asyncore_dispatcher_init(
                         &r->dispatcher, &recorder_handlers, ends[0], w->map),
                     -1);
    assert_int_equal(errno, ENOTSOCK);
    assert_int_equal(fcntl(ends[0], F_GETFD), -1);
    assert_int_equal(r->dispatcher.fd, -1);

    memset(r, 0, sizeof *r);
    assert_int_equal(asyncore_file_dispatcher_init(&r->file, &recorder_handlers,
                                                   ends[1], w->map),
                     0);
    assert_int_equal(asyncore_shutdown(&r->dispatcher), -1);
    assert_int_equal(errno, ENOTSOCK);
    asyncore_close(&r->dispatcher);
    close(ends[1]);
    run_turns(w->map, 1);
}

#define ONCE(test) \
    { \
#test, test, begin_unix, end_world, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONCE(pipe_read),
        ONCE(hangup_behind_data),
        ONCE(hangup_behind_a_pause),
        ONCE(write_only),
        ONCE(full),
        ONCE(reader_gone),
        ONCE(reader_gone_unasked),
        ONCE(sigpipe_of_the_user),
        ONCE(blocking_mode),
        ONCE(blocking_mode_by_close_all),
        ONCE(terminal),
        ONCE(regular_file),
        ONCE(regular_file_written),
        ONCE(files_and_sockets),
        ONCE(null_device),
        ONCE(refused),
    };

    signal(SIGPIPE, SIG_DFL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
