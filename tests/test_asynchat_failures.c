/*
 * test_asynchat_failures.c - every call of libc that asynchat's output makes
 * fails once, at every place, with every errno of its manual page.
 *
 * One session is run for each: frames come in and are answered, one in two
 * parts and one behind a pause; pieces of every kind are queued for a peer
 * with small buffers; close_when_done ends it. Whatever fails, what the peer
 * gets is the beginning of what was pushed, and all of it if nobody was told
 * that something went wrong, or who was told survives it; it ends, without spinning, with one handle_close
 * or our own close, one handle_free, every producer freed once, and no memory
 * and no descriptor left.
 */
#include "support/faults.h"
#include "support/world.h"

#include <asynchat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef ASYNCORE_HAVE_SENDFILE
#include <sys/sendfile.h>
#endif

/* ---- Files: what support/faults.h does not fail ------------------------- */

static struct {
    int n, error, calls;
    bool reading, struck;
} file_fault;

static bool file_call_fails(bool reading)
{
    if (file_fault.n == 0 || file_fault.reading != reading ||
        ++file_fault.calls != file_fault.n)
        return false;
    file_fault.struck = true;
    errno = file_fault.error;
    return true;
}

/* With large files glibc gives these two names of their own. */
#if defined(__GLIBC__) && defined(__USE_FILE_OFFSET64)
#define REAL(name) __real_##name##64
#define WRAPPED(name) __wrap_##name##64
#else
#define REAL(name) __real_##name
#define WRAPPED(name) __wrap_##name
#endif

ssize_t REAL(pread)(int fd, void *data, size_t size, off_t offset);
ssize_t WRAPPED(pread)(int fd, void *data, size_t size, off_t offset);

#ifdef ASYNCORE_HAVE_SENDFILE
ssize_t REAL(sendfile)(int to, int from, off_t *offset, size_t size);
ssize_t WRAPPED(sendfile)(int to, int from, off_t *offset, size_t size);

ssize_t WRAPPED(sendfile)(int to, int from, off_t *offset, size_t size)
{
    return file_call_fails(false) ? -1 : REAL(sendfile)(to, from, offset, size);
}
#endif

ssize_t WRAPPED(pread)(int fd, void *data, size_t size, off_t offset)
{
    return file_call_fails(true) ? -1 : REAL(pread)(fd, data, size, offset);
}

/* ---- The session ------------------------------------------------------- */

enum { MOST = 200000, WAITS = 5000 };

static char all[MOST], got[MOST];

typedef struct session {
    asynchat chat;
    asyncore_map *map;
    bool begun, by_us, told, got_end, broke;
    int closes, frees, frames;
    int producers_made, producers_freed;
    size_t pushed, got;
    int peer;
    const char *complaint;
} session;

static session s;

static void complain(const char *text)
{
    if (s.complaint == NULL)
        s.complaint = text;
}

static int noted(int result)
{
    s.told |= result < 0;
    return result;
}

static void count_close(asyncore_dispatcher *d)
{
    s.closes++;
    s.told |= d->error != 0;
    s.broke |= d->error != 0;
}

static void count_error(asyncore_dispatcher *d, int error)
{
    s.told = true;
    if (error == 0)
        complain("handle_error without an errno");
    s.broke = true;
    asyncore_base(d)->handle_error(d, error);
}

static void survive_error(asyncore_dispatcher *d, int error)
{
    (void)d, (void)error;
    s.told = true;
}

static void count_free(asyncore_dispatcher *d)
{
    (void)d;
    s.frees++;
}

static void swallow(asyncore_dispatcher *d, const char *message,
                    const char *type)
{
    (void)d, (void)message, (void)type;
}

static const char *next_bytes(size_t size)
{
    s.pushed += size;
    return all + s.pushed - size;
}

static bool is_open(void)
{
    return s.chat.dispatcher.fd >= 0;
}

/* What the push of so many bytes has returned. If it has failed, and did not
   end the connection behind a part of them, they are those of the next. */
static void pushed(int result, size_t size)
{
    if (noted(result) < 0 && is_open())
        s.pushed -= size;
}

/* Answers, and pauses behind the second. */
static void answer(asynchat *chat, const void *data, size_t size)
{
    (void)data, (void)size;
    if (++s.frames == 2)
        asyncore_set_readable(&chat->dispatcher, false);
    pushed(asynchat_push(chat, next_bytes(10), 10), 10);
}

static ssize_t plain_send(asyncore_dispatcher *d, const void *data, size_t size)
{
    return send(d->fd, data, size, MSG_NOSIGNAL);
}

static const asynchat_handlers plain = {
    .dispatcher = { .handle_close = count_close,
                    .handle_error = count_error,
                    .handle_free = count_free,
                    .log_info = swallow },
    .handle_frame = answer,
};

static const asynchat_handlers surviving = {
    .dispatcher = { .handle_close = count_close,
                    .handle_error = survive_error,
                    .handle_free = count_free,
                    .log_info = swallow },
    .handle_frame = answer,
};

static const asynchat_handlers surviving_with_transport = {
    .dispatcher = { .handle_close = count_close,
                    .handle_error = survive_error,
                    .handle_free = count_free,
                    .send = plain_send,
                    .log_info = swallow },
    .handle_frame = answer,
};

static const asynchat_handlers with_transport = {
    .dispatcher = { .handle_close = count_close,
                    .handle_error = count_error,
                    .handle_free = count_free,
                    .send = plain_send,
                    .log_info = swallow },
    .handle_frame = answer,
};

typedef struct source {
    asynchat_producer producer;
    const char *data;
    size_t size;
    bool later;
} source;

static ssize_t more(asynchat_producer *producer, void *data, size_t size)
{
    source *p = (source *)producer;
    size_t n = p->size < 6000 ? p->size : 6000;

    p->later = !p->later;
    if (p->later && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    n = n < size ? n : size;
    memcpy(data, p->data, n);
    p->data += n;
    p->size -= n;
    return (ssize_t)n;
}

static void free_source(asynchat_producer *producer)
{
    s.producers_freed++;
    free(producer);
}

/* What the peer does, and the rest of the test, does not fail. */
static void peer_takes(void)
{
    faults_pause();
    while (!s.got_end) {
        ssize_t n = recv(s.peer, got + s.got, sizeof got - s.got, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n > 0) {
            s.got += (size_t)n;
            continue;
        }
        s.got_end = true;
        close(s.peer);
        s.peer = -1;
    }
    faults_resume();
}

static void peer_says(const char *text)
{
    faults_pause();
    if (s.peer >= 0)
        send(s.peer, text, strlen(text), MSG_NOSIGNAL);
    faults_resume();
}

/* A turn, in which the peer takes what there is. Each may fail a few times. */
static bool turn(void)
{
    static int failed;

    if (asyncore_poll(s.map, 0) < 0 && ++failed % 5 == 0)
        complain("asyncore_poll fails for ever");
    if (is_open())
        asynchat_producer_resume(&s.chat);
    peer_takes();
    if (faults_waits() > WAITS)
        complain("spins");
    return s.complaint == NULL && is_open();
}

static void push_shared(size_t size)
{
    asynchat_shared *shared = asynchat_shared_new(next_bytes(size), size);

    if (shared == NULL) {
        pushed(-1, size);
        asyncore_close(&s.chat.dispatcher);
        s.by_us = true;
        return;
    }
    pushed(asynchat_push_shared(&s.chat, shared), size);
    asynchat_shared_free(shared);
}

static void push_file(size_t size)
{
    char name[] = "/tmp/asyncore.XXXXXX";
    const char *data = next_bytes(size);
    int fd;

    faults_pause();
    fd = mkstemp(name);
    unlink(name);
    if (fd < 0 || pwrite(fd, data, size, 3) != (ssize_t)size)
        complain("no file");
    faults_resume();
    pushed(asynchat_push_file(&s.chat, fd, 3, (int64_t)size), size);
}

static void push_producer(size_t size)
{
    source *p;

    faults_pause();
    p = calloc(1, sizeof *p);
    faults_resume();
    p->producer.more = more;
    p->producer.free = free_source;
    p->data = next_bytes(size);
    p->size = size;
    s.producers_made++;
    pushed(asynchat_push_with_producer(&s.chat, &p->producer), size);
}

static void talk(void)
{
    noted(asynchat_set_terminator(&s.chat, "\r\n", 2));
    peer_says("par");
    turn();
    turn();
    peer_says("tial\r\none\r\ntwo\r");
    for (int i = 0; i < 50 && s.frames < 2 && turn(); i++)
        ;
    if (is_open())
        asyncore_set_readable(&s.chat.dispatcher, true);
    peer_says("\n");
    for (int i = 0; i < 50 && s.frames < 3 && turn(); i++)
        ;
    if (is_open())
        pushed(asynchat_push(&s.chat, next_bytes(12000), 12000), 12000);
    if (is_open())
        push_shared(9000);
    if (is_open())
        push_file(15000);
    if (is_open())
        push_producer(15000);
    if (is_open())
        pushed(asynchat_push(&s.chat, next_bytes(100), 100), 100);
    if (is_open() && noted(asynchat_close_when_done(&s.chat, 5000)) < 0 &&
        is_open()) {
        asyncore_close(&s.chat.dispatcher);
        s.by_us = true;
    }
    while (turn())
        ;
}

static void run_session(const asynchat_handlers *handlers)
{
    int ends[2], small = 4096;

    memset(&s, 0, sizeof s);
    faults_pause();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        complain("no socket pair");
        return;
    }
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    s.peer = ends[1];
    faults_resume();
    s.map = asyncore_map_new(NULL);
    if (noted(s.map == NULL ? -1 : 0) < 0) {
        faults_pause();
        close(ends[0]);
        faults_resume();
    } else if (noted(asynchat_init(&s.chat, handlers, ends[0], s.map)) == 0) {
        s.begun = true;
        talk();
    }
    if (s.map != NULL && s.begun && is_open()) {
        asyncore_close(&s.chat.dispatcher);
        s.by_us = true;
    }
    asyncore_map_free(s.map);
    peer_takes();
    faults_pause();
    if (s.peer >= 0)
        close(s.peer);
    faults_resume();
}

static void check_session(void)
{
    if (s.got > s.pushed || memcmp(got, all, s.got) != 0)
        complain("what came is not what was sent");
    if (!s.told && s.got != s.pushed)
        complain("something is missing, and nobody was told");
    if (s.begun && !s.broke && !s.by_us && s.got != s.pushed)
        complain("something is missing, and what went wrong was survived");
    if (s.begun && s.closes + s.by_us != 1)
        complain("handle_close ran not once");
    if (s.begun && s.frees != 1)
        complain("handle_free ran not once");
    if (s.producers_freed != s.producers_made)
        complain("a producer was freed not once");
    if (faults_stray_closes() > 0)
        complain("a descriptor was closed twice");
}

/* ---- Every failure ----------------------------------------------------- */

static const struct {
    fault f;
    int errors[20];
} manual[] = {
    { FAULT_malloc, { ENOMEM } },
    { FAULT_calloc, { ENOMEM } },
    { FAULT_realloc, { ENOMEM } },
    { FAULT_send,
      { EACCES, EAGAIN, EALREADY, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT,
        EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK,
        EOPNOTSUPP, EPIPE } },
    { FAULT_sendmsg,
      { EACCES, EAGAIN, EALREADY, EBADF, ECONNRESET, EDESTADDRREQ, EFAULT,
        EINTR, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK,
        EOPNOTSUPP, EPIPE } },
    { FAULT_recv,
      { EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINTR, EINVAL, ENOMEM,
        ENOTCONN, ENOTSOCK, ETIMEDOUT } },
    /* ENOTCONN, which goes with a reset, is for TCP: test_failures.c. */
    { FAULT_shutdown, { EBADF, EINVAL, ENOTSOCK, ENOBUFS } },
    { FAULT_getsockopt, { EBADF, EINVAL, ENOBUFS } },
    { FAULT_fcntl, { EBADF, EINVAL } },
    { FAULT_close, { EINTR, EIO } },
};

static const int sendfile_errors[] = { EAGAIN,    EBADF,  EINTR,     EINVAL,
                                       EIO,       ENOMEM, EOVERFLOW, ESPIPE,
                                       EPIPE,     ENOSYS, ENOTSOCK,  EFAULT,
                                       ECONNRESET };
static const int pread_errors[] = { EBADF,  EFAULT, EINTR,     EINVAL, EIO,
                                    EISDIR, ENXIO,  EOVERFLOW, ESPIPE };

static int allocations, descriptors;

static void settle_accounts(const char *what, int n, int error)
{
    check_session();
    if (faults_allocations() != allocations)
        complain("memory is left");
    if (faults_descriptors() != descriptors)
        complain("descriptors are left");
    if (s.complaint != NULL)
        fail_msg("%s %d, %s: %s", what, n, strerror(error), s.complaint);
}

static void fail_each(const asynchat_handlers *handlers, fault f, int error)
{
    for (int n = 1;; n++) {
        bool struck;

        allocations = faults_allocations();
        descriptors = faults_descriptors();
        faults_arm(f, n, 1, error);
        run_session(handlers);
        struck = faults_disarm();
        settle_accounts(fault_names[f], n, error);
        if (!struck)
            return;
    }
}

static void fail_each_file_call(const asynchat_handlers *handlers, bool reading,
                                int error)
{
    for (int n = 1;; n++) {
        allocations = faults_allocations();
        descriptors = faults_descriptors();
        file_fault.struck = false;
        file_fault.calls = 0;
        file_fault.error = error;
        file_fault.reading = reading;
        file_fault.n = n;
        faults_arm(FAULT_malloc, 0, 0, 0);
        run_session(handlers);
        faults_disarm();
        file_fault.n = 0;
        settle_accounts(reading ? "pread" : "sendfile", n, error);
        if (!file_fault.struck)
            return;
    }
}

static void fail_all_but_files(const asynchat_handlers *handlers)
{
    for (size_t i = 0; i < sizeof manual / sizeof *manual; i++)
        for (int j = 0; j < 20 && manual[i].errors[j] != 0; j++)
            fail_each(handlers, manual[i].f, manual[i].errors[j]);
    for (size_t i = 0; i < sizeof sendfile_errors / sizeof(int); i++)
        fail_each_file_call(handlers, false, sendfile_errors[i]);
}

static void fail_everything(const asynchat_handlers *handlers)
{
    fail_all_but_files(handlers);
    for (size_t i = 0; i < sizeof pread_errors / sizeof(int); i++)
        fail_each_file_call(handlers, true, pread_errors[i]);
}

static void nothing_fails(void **state)
{
    (void)state;
    faults_arm(FAULT_malloc, 0, 0, 0);
    run_session(&plain);
    faults_disarm();
    check_session();
    assert_null(s.complaint);
    assert_false(s.told);
    assert_int_equal(s.frames, 3);
    assert_int_equal(s.got, s.pushed);
    assert_true(s.got > 50000);
}

static void sent_by_the_library(void **state)
{
    (void)state;
    fail_everything(&plain);
}

static void sent_by_the_class(void **state)
{
    (void)state;
    fail_everything(&with_transport);
}

/* A file that cannot be read is missing then: nothing to survive. */
static void survived(void **state)
{
    (void)state;
    fail_all_but_files(&surviving);
    fail_all_but_files(&surviving_with_transport);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_fails),
        cmocka_unit_test(sent_by_the_library),
        cmocka_unit_test(sent_by_the_class),
        cmocka_unit_test(survived),
    };

    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)(i * 7 + i / 251);
    return cmocka_run_group_tests_name("asynchat_failures", tests, NULL, NULL);
}
