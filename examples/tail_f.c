/*
 * tail_f - prints what is appended to a file, until standard input ends: by
 * Ctrl-D, or with the program that holds the other end of the pipe.
 *
 *     tail_f /var/log/syslog         Enter looks at once
 *
 * A regular file is always ready, at its end too: a loop that waited for it
 * there would spin. So reading pauses at the end, and the turn's timeout or a
 * line typed has it look again.
 */
#include <asyncore.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 200 };

static asyncore_file_dispatcher file, input, output;
static const char *path;
static off_t offset; /* of what is to be printed next */
static bool ending;
static int status;

static int fail(const char *what, const char *why)
{
    asyncore_close_all(NULL);
    fprintf(stderr, "tail_f: %s: %s\n", what, why);
    return status = 1;
}

static void at_end(asyncore_dispatcher *d)
{
    struct stat now;

    asyncore_set_readable(d, false);
    if (ending)
        asyncore_close_all(NULL);
    else if (fstat(d->fd, &now) == 0 && now.st_size < offset)
        offset = 0; /* truncated, and written anew */
}

/*
 * Not asyncore_recv, which takes the end of the file for the end of d. What
 * output does not take now is read again: the file is its own queue.
 */
static void file_read(asyncore_dispatcher *d)
{
    char data[65536];
    ssize_t taken, n = pread(d->fd, data, sizeof data, offset);

    if (n < 0) {
        fail(path, strerror(errno));
        return;
    }
    if (n == 0) {
        at_end(d);
        return;
    }
    taken = asyncore_send(&output.dispatcher, data, (size_t)n);
    if (taken < 0)
        return;
    offset += taken;
    asyncore_set_readable(d, taken == n);
    asyncore_set_writable(&output.dispatcher, taken < n);
}

static const asyncore_handlers file_class = {
    .name = "file",
    .handle_read = file_read,
};

static void output_write(asyncore_dispatcher *d)
{
    asyncore_set_writable(d, false);
    asyncore_set_readable(&file.dispatcher, true);
}

static void output_error(asyncore_dispatcher *d, int error)
{
    (void)d;
    fail("standard output", strerror(error));
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

static void look_again(void)
{
    if (!asyncore_writable(&output.dispatcher))
        asyncore_set_readable(&file.dispatcher, true);
}

static void input_read(asyncore_dispatcher *d)
{
    char ignored[4096];

    if (asyncore_recv(d, ignored, sizeof ignored) > 0)
        look_again();
}

/* What was appended before the end is still printed. */
static void input_close(asyncore_dispatcher *d)
{
    (void)d;
    ending = true;
    look_again();
}

static const asyncore_handlers input_class = {
    .name = "input",
    .handle_read = input_read,
    .handle_close = input_close,
};

int main(int argc, char **argv)
{
    static const char usage[] = "usage: tail_f FILE";
    struct stat now;
    int fd, served;

    if (argc != 2) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0)
        return puts(usage) < 0 || fflush(stdout) != 0;
    path = argv[1];
    fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &now) < 0)
        return fail(path, strerror(errno));
    if (!S_ISREG(now.st_mode))
        return fail(path, "not a regular file");
    offset = now.st_size;
    if (asyncore_file_dispatcher_init(&file, &file_class, fd, NULL) < 0)
        return fail(path, strerror(errno));
    if (asyncore_file_dispatcher_init(&output, &output_class, STDOUT_FILENO,
                                      NULL) < 0)
        return fail("standard output", strerror(errno));
    if (asyncore_file_dispatcher_init(&input, &input_class, STDIN_FILENO,
                                      NULL) < 0)
        return fail("standard input", strerror(errno));
    asyncore_set_readable(&output.dispatcher, false);
    while (asyncore_map_count(NULL) > 0) {
        served = asyncore_poll(NULL, LOOK_AGAIN_MS);
        if (served < 0)
            return fail("poll", strerror(errno));
        if (served == 0)
            look_again();
    }
    return status;
}
