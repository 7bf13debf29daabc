/*
 * tail_f - prints what is appended to a file, until standard input ends: by
 * Ctrl-D, or with the program that holds the other end of the pipe.
 *
 *     tail_f /var/log/syslog         Enter looks at once
 *
 * A regular file is always ready, at its end too: a loop that waited for it
 * there would spin. So reading pauses at the end, and a timer or a line typed
 * has it look again.
 */
#include <asyncore.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 200 };

static const char usage[] = "usage: tail_f FILE";
static asyncore_file_dispatcher file, input, output;
static asyncore_timer again;
static const char *path;
static off_t offset; /* of what is to be printed next */
static bool ending;
static int status;

static void leave(void)
{
    asyncore_timer_cancel(&again);
    asyncore_close_all(NULL);
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "tail_f: %s: %s\n", what, strerror(error));
    leave();
    return status = 1;
}

static void look(void *arg)
{
    (void)arg;
    asyncore_set_readable(&file.dispatcher, true);
}

static void at_end(asyncore_dispatcher *d)
{
    struct stat now;

    if (ending) {
        leave();
        return;
    }
    if (fstat(d->fd, &now) == 0 && now.st_size < offset)
        offset = 0; /* truncated, and written anew */
    asyncore_set_readable(d, false);
    asyncore_call_later(&again, d->map, LOOK_AGAIN_MS, look, NULL);
}

/*
 * Not asyncore_recv, which takes the end of the file for the end of d. What
 * output does not take now is read again: the file is its own queue.
 */
static void file_read(asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t taken, n = pread(d->fd, data, sizeof data, offset);

    if (n > 0) {
        taken = asyncore_send(&output.dispatcher, data, (size_t)n);
        if (taken < 0)
            return;
        offset += taken;
        asyncore_set_readable(d, taken == n);
        asyncore_set_writable(&output.dispatcher, taken < n);
    } else if (n == 0) {
        at_end(d);
    } else {
        fail(path, errno);
    }
}

static const asyncore_handlers file_class = {
    .name = "file",
    .handle_read = file_read,
};

static void output_write(asyncore_dispatcher *d)
{
    asyncore_set_writable(d, false);
    look(NULL);
}

static void output_error(asyncore_dispatcher *d, int error)
{
    (void)d;
    fail("standard output", error);
}

static void output_close(asyncore_dispatcher *d)
{
    output_error(d, d->error);
}

static const asyncore_handlers output_class = {
    .name = "output",
    .handle_write = output_write,
    .handle_error = output_error,
    .handle_close = output_close,
};

static void input_read(asyncore_dispatcher *d)
{
    char line[4096];

    if (asyncore_recv(d, line, sizeof line) > 0)
        look(NULL);
}

/* What was appended before the end is still printed. */
static void input_close(asyncore_dispatcher *d)
{
    ending = true;
    look(d);
}

static const asyncore_handlers input_class = {
    .name = "input",
    .handle_read = input_read,
    .handle_close = input_close,
};

int main(int argc, char **argv)
{
    struct stat now;
    int fd;

    if (argc != 2) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    path = argv[1];
    if (strcmp(path, "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &now) < 0)
        return fail(path, errno);
    if (!S_ISREG(now.st_mode)) {
        close(fd);
        return fail(path, S_ISDIR(now.st_mode) ? EISDIR : ESPIPE);
    }
    offset = now.st_size;
    if (asyncore_file_dispatcher_init(&file, &file_class, fd, NULL) < 0)
        return fail(path, errno);
    if (asyncore_file_dispatcher_init(&output, &output_class, 1, NULL) < 0)
        return fail("standard output", errno);
    if (asyncore_file_dispatcher_init(&input, &input_class, 0, NULL) < 0)
        return fail("standard input", errno);
    asyncore_set_readable(&output.dispatcher, false);
    if (asyncore_loop(NULL, -1, -1) < 0)
        fail("loop", errno);
    return status;
}
