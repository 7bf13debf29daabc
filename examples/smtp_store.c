/*
 * smtp_store.c - prints mail as Python's smtpd.DebuggingServer does, or
 * delivers it to a maildir by the book (https://cr.yp.to/proto/maildir.html):
 * written under a unique name to tmp/, made safe, renamed to new/. A reader
 * of new/ never sees half a mail.
 */
#include "smtp_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int temporary = -1, arrived = -1; /* tmp/ and new/; -1: print */

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* As Python writes bytes: b'...'. */
static void print_bytes(FILE *out, const char *data, size_t size)
{
    char quote = '\'';

    if (memchr(data, '\'', size) != NULL && memchr(data, '"', size) == NULL)
        quote = '"';
    fprintf(out, "b%c", quote);
    for (const char *end = data + size; data < end; data++) {
        if (*data == '\n')
            fputs("\\n", out);
        else if (*data == '\r')
            fputs("\\r", out);
        else if (*data == '\t')
            fputs("\\t", out);
        else if (*data == quote || *data == '\\')
            fprintf(out, "\\%c", *data);
        else if (*data < ' ' || *data > '~')
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)*data);
        else
            fputc(*data, out);
    }
    fprintf(out, "%c\n", quote);
}

static void print_options(FILE *out, const char *options)
{
    const char *separator = "mail options: [";

    while (*options != '\0') {
        int size = (int)strcspn(options, " ");
        fprintf(out, "%s'%.*s'", separator, size, options);
        separator = ", ";
        options += size;
        options += strspn(options, " ");
    }
    fputs(*separator == ',' ? "]\n" : "", out);
}

/* To Python a CR ends a line too. */
static void print(FILE *out, const struct mail *m)
{
    const char *line = m->data, *end = m->data + m->size, *p;
    char peer[128];
    int size = snprintf(peer, sizeof peer, "X-Peer: %s", m->peer);
    int in_headers = 1;

    fputs("---------- MESSAGE FOLLOWS ----------\n", out);
    print_options(out, m->options);
    for (; line < end; line = p < end ? p + 1 : end) {
        for (p = line; p < end && *p != '\n' && *p != '\r'; p++)
            ;
        if (in_headers && p == line) {
            print_bytes(out, peer, (size_t)size);
            in_headers = 0;
        }
        print_bytes(out, line, (size_t)(p - line));
        if (end - p > 1 && p[0] == '\r' && p[1] == '\n')
            p++;
    }
    fputs("------------ END MESSAGE ------------\n", out);
}

/* What a stranger wrote into an envelope ends no header. */
static void print_address(FILE *out, const char *name, const char *address)
{
    const char *bracket = strcmp(address, "<>") == 0 ? "" : "<";

    fprintf(out, "%s: %s", name, bracket);
    for (; *address != '\0'; address++)
        fputc((unsigned char)*address < ' ' || *address == 0x7f ? '?'
                                                                : *address,
              out);
    fputs(*bracket != '\0' ? ">\n" : "\n", out);
}

static void print_file(FILE *out, const struct mail *m)
{
    print_address(out, "Return-Path", m->sender);
    for (size_t i = 0; i < m->recipient_count; i++)
        print_address(out, "Delivered-To", m->recipients[i]);
    fprintf(out, "X-Peer: %s\n", m->peer);
    fwrite(m->data, 1, m->size, out);
    if (m->size > 0 && m->data[m->size - 1] != '\n')
        fputc('\n', out);
}

/* Time, process, count and host: no two are the same. */
static void make_name(char *name, size_t size)
{
    static unsigned long count;
    char host[65] = "localhost";
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p != '\0'; p++) {
        if (*p == '/' || *p == ':')
            *p = '_';
    }
    snprintf(name, size, "%lld.M%06ldP%ldQ%lu.%s", (long long)t.tv_sec,
             t.tv_nsec / 1000, (long)getpid(), ++count, host);
}

static int deliver(const char *text, size_t size)
{
    char name[160];
    int fd, error;

    make_name(name, sizeof name);
    fd = openat(temporary, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if (write_all(fd, text, size) < 0 || fsync(fd) < 0) {
        error = errno;
        close(fd);
    } else if (close(fd) < 0 || renameat(temporary, name, arrived, name) < 0) {
        error = errno;
    } else {
        /* Some file systems have nothing to make safe here. */
        return fsync(arrived) < 0 && errno != EINVAL ? -1 : 0;
    }
    unlinkat(temporary, name, 0);
    errno = error;
    return -1;
}

int store_mail(const struct mail *m)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    int result;

    if (out == NULL)
        return -1;
    if (arrived < 0)
        print(out, m);
    else
        print_file(out, m);
    if (fclose(out) != 0) {
        free(text);
        errno = ENOMEM;
        return -1;
    }
    result = arrived < 0 ? write_all(STDOUT_FILENO, text, size)
                         : deliver(text, size);
    free(text);
    return result;
}

static int open_directory(int parent, const char *name)
{
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int store_open(const char *directory)
{
    int parent = open_directory(AT_FDCWD, directory), current = -1;

    if (parent < 0)
        return -1;
    current = open_directory(parent, "cur");
    temporary = open_directory(parent, "tmp");
    arrived = open_directory(parent, "new");
    close(parent);
    if (current >= 0)
        close(current);
    return current < 0 || temporary < 0 || arrived < 0 ? -1 : 0;
}
