/*
 * start.c - the time from starting a server to its first echo.
 *
 *     start ROUNDS PROGRAM...
 *
 * In each round each PROGRAM is started, says on which port it listens, is
 * sent 64 bytes, and sends them back. Prints "PROGRAM MICROSECONDS" for each.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static pid_t start(char *program, int *output)
{
    char *arguments[] = { program, NULL };
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;

    if (pipe(ends) < 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1) != 0 ||
        posix_spawn_file_actions_addclose(&actions, ends[0]) != 0 ||
        posix_spawn_file_actions_addclose(&actions, ends[1]) != 0 ||
        posix_spawn(&pid, program, &actions, NULL, arguments, environ) != 0)
        fail(program);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *output = ends[0];
    return pid;
}

/* What it prints is less than a pipe passes on at once. */
static int port_of(int output)
{
    char line[64];
    ssize_t n = read(output, line, sizeof line - 1);
    int port;

    line[n > 0 ? n : 0] = '\0';
    if (sscanf(line, "listening on %d", &port) != 1)
        fail("the server's output");
    return port;
}

static void exchange(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((unsigned short)port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct linger at_once = { .l_onoff = 1 };
    char message[64] = "hello", echo[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        send(fd, message, sizeof message, 0) != (ssize_t)sizeof message ||
        recv(fd, echo, sizeof echo, MSG_WAITALL) != (ssize_t)sizeof echo ||
        memcmp(message, echo, sizeof echo) != 0)
        fail("the first echo");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

static double microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double time_one(char *program)
{
    double begun = microseconds(), took;
    int output;
    pid_t pid = start(program, &output);

    exchange(port_of(output));
    took = microseconds() - begun;
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    close(output);
    return took;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 0, i;

    alarm(120);
    for (; rounds > 0; rounds--)
        for (i = 2; i < argc; i++)
            printf("%s %.1f\n", argv[i], time_one(argv[i]));
    return 0;
}
