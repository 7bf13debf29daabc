/*
 * names.c - see names.h.
 */
#include "names.h"
#include "clock.h"
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NAMES = 16, ADDRESSES = 64, QUESTIONS = 256, ATTEMPTS = 256 };

/* What fails at once, and what is open until names_end. */
enum { FAILURES = 64, DESCRIPTORS = 64 };

typedef struct name {
    char text[64];
    asyncore_address addresses[ADDRESSES];
    int count, result;
} name;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* Under lock. */
static struct {
    name names[NAMES];
    int count;
    bool held;
    int asked, inside, most_inside, unfreed;
    bool open_to_signals;
    char questions[QUESTIONS][80];
} service;

static struct {
    struct {
        asyncore_address to;
        int error;
    } failures[FAILURES];
    int failure_count;
    int descriptors[DESCRIPTORS];
    int descriptor_count;
    attempt attempts[ATTEMPTS];
    int attempt_count;
} network;

static int threads_before;

int __real_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found);
void __real_freeaddrinfo(struct addrinfo *found);
void __wrap_freeaddrinfo(struct addrinfo *found);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *to, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_clock_gettime(clockid_t clock, struct timespec *time);

/* ---- Time that passes --------------------------------------------------- */

static int64_t real_ms(void)
{
    struct timespec now;

    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define AWAIT(condition) \
    do { \
        int64_t until_ = real_ms() + DEADLINE_MS; \
        while (!(condition)) { \
            if (real_ms() > until_) \
                fail_msg("never came true: %s", #condition); \
            sched_yield(); \
        } \
    } while (0)

void await_readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    assert_int_equal(__real_poll(&p, 1, DEADLINE_MS), 1);
}

int thread_count(void)
{
    DIR *directory = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;

    if (directory == NULL)
        return 0;
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

void await_threads(int count)
{
    AWAIT(thread_count() <= count);
}

/* ---- The service -------------------------------------------------------- */

static name *find_name(const char *text)
{
    int i = 0;

    while (i < service.count && strcmp(service.names[i].text, text) != 0)
        i++;
    return &service.names[i];
}

static name *set_name(const char *text)
{
    name *n = find_name(text);

    if (n == &service.names[service.count])
        service.count++;
    memset(n, 0, sizeof *n);
    snprintf(n->text, sizeof n->text, "%s", text);
    return n;
}

void name_is(const char *text, const asyncore_address *addresses, int count)
{
    name *n;

    pthread_mutex_lock(&lock);
    n = set_name(text);
    memcpy(n->addresses, addresses, (size_t)count * sizeof *addresses);
    n->count = count;
    pthread_mutex_unlock(&lock);
}

void name_fails(const char *text, int result)
{
    pthread_mutex_lock(&lock);
    set_name(text)->result = result;
    pthread_mutex_unlock(&lock);
}

/* The address and what tells about it, in one piece. */
typedef struct answer {
    struct addrinfo info;
    asyncore_address address;
} answer;

static char made_here[] = "made here";

static struct addrinfo *make_answers(const name *n)
{
    struct addrinfo *first = NULL;

    for (int i = n->count - 1; i >= 0; i--) {
        answer *a = calloc(1, sizeof *a);
        if (a == NULL)
            abort();
        a->address = n->addresses[i];
        a->info.ai_family = a->address.any.sa_family;
        a->info.ai_socktype = SOCK_STREAM;
        a->info.ai_addr = &a->address.any;
        a->info.ai_addrlen = a->address.size;
        a->info.ai_canonname = made_here;
        a->info.ai_next = first;
        first = &a->info;
    }
    return first;
}

static void note_question(const char *host, const char *port)
{
    sigset_t blocked;

    snprintf(service.questions[service.asked % QUESTIONS],
             sizeof service.questions[0], "%s %s", host, port);
    service.asked++;
    service.inside++;
    if (service.inside > service.most_inside)
        service.most_inside = service.inside;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGALRM))
        service.open_to_signals = true;
}

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **found)
{
    struct timespec deadline;
    const name *n;
    int result;

    if (hints != NULL && (hints->ai_flags & AI_NUMERICHOST))
        return __real_getaddrinfo(host, port, hints, found);
    __real_clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE_MS / 1000;
    pthread_mutex_lock(&lock);
    note_question(host, port);
    pthread_cond_broadcast(&changed);
    while (service.held &&
           pthread_cond_timedwait(&changed, &lock, &deadline) == 0)
        ;
    n = find_name(host);
    result = n->count > 0 ? 0 : n->result != 0 ? n->result : EAI_NONAME;
    if (result == 0) {
        *found = make_answers(n);
        service.unfreed++;
    }
    service.inside--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return result;
}

void __wrap_freeaddrinfo(struct addrinfo *found)
{
    if (found->ai_canonname != made_here) {
        __real_freeaddrinfo(found);
        return;
    }
    while (found != NULL) {
        struct addrinfo *next = found->ai_next;
        free(found);
        found = next;
    }
    pthread_mutex_lock(&lock);
    service.unfreed--;
    pthread_mutex_unlock(&lock);
}

static void set_held(bool held)
{
    pthread_mutex_lock(&lock);
    service.held = held;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void names_hold(void)
{
    set_held(true);
}

void names_let_go(void)
{
    set_held(false);
}

static int locked(const int *number)
{
    int value;

    pthread_mutex_lock(&lock);
    value = *number;
    pthread_mutex_unlock(&lock);
    return value;
}

int names_asked(void)
{
    return locked(&service.asked);
}

int names_most_inside(void)
{
    return locked(&service.most_inside);
}

void names_await_inside(int count)
{
    AWAIT(locked(&service.inside) == count);
}

const char *names_question(int i)
{
    return service.questions[i];
}

bool names_was_open_to_signals(void)
{
    bool open;

    pthread_mutex_lock(&lock);
    open = service.open_to_signals;
    pthread_mutex_unlock(&lock);
    return open;
}

/* ---- The network -------------------------------------------------------- */

/* Where there is no IPv6, one that fails without it will do. */
int __wrap_socket(int family, int type, int protocol)
{
    int fd = __real_socket(family, type, protocol);

    if (fd == -1 && family == AF_INET6 && errno == EAFNOSUPPORT)
        fd = __real_socket(AF_INET, type, protocol);
    return fd;
}

static int fails_with(const struct sockaddr *to, socklen_t size)
{
    for (int i = 0; i < network.failure_count; i++)
        if (network.failures[i].to.size == size &&
            memcmp(&network.failures[i].to.any, to, size) == 0)
            return network.failures[i].error;
    return 0;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size)
{
    int error;

    if (network.attempt_count < ATTEMPTS) {
        attempt *a = &network.attempts[network.attempt_count++];
        memset(&a->to, 0, sizeof a->to);
        memcpy(&a->to.storage, to, size);
        a->to.size = size;
        a->fd = fd;
        a->at = clock_now();
    }
    error = fails_with(to, size);
    if (error == 0)
        return __real_connect(fd, to, size);
    errno = error;
    return -1;
}

static int keep(int fd)
{
    assert_true(fd >= 0);
    assert_true(network.descriptor_count < DESCRIPTORS);
    network.descriptors[network.descriptor_count++] = fd;
    return fd;
}

static asyncore_address bound_address(int *fd)
{
    asyncore_address address;

    *fd = keep(__real_socket(AF_INET, SOCK_STREAM, 0));
    assert_int_equal(asyncore_address_parse(&address, "127.0.0.1:0"), 0);
    assert_int_equal(bind(*fd, &address.any, address.size), 0);
    assert_int_equal(getsockname(*fd, &address.any, &address.size), 0);
    return address;
}

asyncore_address refusing_address(void)
{
    int fd;

    return bound_address(&fd);
}

/* The backlog is full, and Linux drops what does not fit. */
asyncore_address silent_address(void)
{
    int listener;
    asyncore_address address = bound_address(&listener);

    assert_int_equal(listen(listener, 0), 0);
    for (int i = 0; i < 8; i++)
        (void)__real_connect(
            keep(__real_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)),
            &address.any, address.size);
    return address;
}

asyncore_address serving_address(int *listener)
{
    asyncore_address address = bound_address(listener);

    assert_int_equal(listen(*listener, 128), 0);
    return address;
}

asyncore_address failing_address(const char *text, int error)
{
    asyncore_address address;

    assert_int_equal(asyncore_address_parse(&address, text), 0);
    assert_true(network.failure_count < FAILURES);
    network.failures[network.failure_count].to = address;
    network.failures[network.failure_count++].error = error;
    return address;
}

int attempts(void)
{
    return network.attempt_count;
}

attempt attempt_at(int i)
{
    return network.attempts[i];
}

const char *port_of(const asyncore_address *address)
{
    static char text[8];

    snprintf(text, sizeof text, "%u", (unsigned)ntohs(address->in.sin_port));
    return text;
}

/* ---- The test ----------------------------------------------------------- */

static void *end_at_once(void *arg)
{
    return arg;
}

/* The thread sanitizer makes one of its own with the first. */
static void make_a_thread(void)
{
    static bool made;
    pthread_t thread;

    if (!made && pthread_create(&thread, NULL, end_at_once, NULL) == 0)
        pthread_join(thread, NULL);
    made = true;
}

void names_begin(void)
{
    make_a_thread();
    memset(&service, 0, sizeof service);
    memset(&network, 0, sizeof network);
    threads_before = thread_count();
}

void names_end(void)
{
    names_let_go();
    await_threads(threads_before);
    while (network.descriptor_count > 0)
        close(network.descriptors[--network.descriptor_count]);
    assert_int_equal(locked(&service.unfreed), 0);
    assert_int_equal(locked(&service.inside), 0);
}
