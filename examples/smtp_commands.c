/*
 * smtp_commands.c - the commands of smtp_sink, which answers them word for
 * word as Python's smtpd.
 */
#include "smtp_address.h"
#include "smtp_sink.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void syntax(session *s, const char *text)
{
    session_answer(s, "501 Syntax: %s%s", text,
                   s->extended ? " [SP <mail-parameters>]" : "");
}

static void no_memory(session *s)
{
    session_answer(s, "452 Error: out of memory");
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c & 0x80) != 0;
}

static void upper(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text >= 'a' && *text <= 'z')
            *text = (char)(*text - 'a' + 'A');
    }
}

/* "NAME=VALUE NAME ...", in capitals, with one space in between. NULL: no
   memory. */
static char *read_options(const char *text)
{
    char *options = malloc(strlen(text) + 1), *out = options;

    if (options == NULL)
        return NULL;
    while (*(text += strspn(text, SMTP_SPACE)) != '\0') {
        size_t size = strcspn(text, SMTP_SPACE);
        if (out != options)
            *out++ = ' ';
        memcpy(out, text, size);
        out += size;
        text += size;
    }
    *out = '\0';
    upper(options);
    return options;
}

static const char *next_option(const char *option)
{
    option += strcspn(option, " ");
    return option + strspn(option, " ");
}

/* Whether every option has a name of letters and digits, and a value if it
   has a "=". */
static bool are_options(const char *option)
{
    for (; *option != '\0'; option = next_option(option)) {
        const char *c = option;
        while (is_letter_or_digit(*c))
            c++;
        if (c == option ||
            (*c == '=' ? c[1] == ' ' || c[1] == '\0' : *c != ' ' && *c != '\0'))
            return false;
    }
    return true;
}

static bool has_name(const char *option, const char *name)
{
    size_t size = strlen(name);

    return strncmp(option, name, size) == 0 && strchr(" =", option[size]);
}

/* The value, up to a space, of the last option of that name, which counts:
   NULL if there is none, empty if it has none. */
static const char *option_value(const char *option, const char *name)
{
    const char *value = NULL;

    for (; *option != '\0'; option = next_option(option)) {
        if (has_name(option, name))
            value = option + strlen(name) + (option[strlen(name)] == '=');
    }
    return value;
}

static bool is_word(const char *value, const char *word)
{
    return strcspn(value, " ") == strlen(word) &&
           strncmp(value, word, strlen(word)) == 0;
}

/* Answers what is wrong with the options of MAIL; false: nothing is. */
static bool refused(session *s, const char *options, const char *mail_syntax)
{
    const char *body = option_value(options, "BODY");
    const char *utf8 =
        settings.smtputf8 ? option_value(options, "SMTPUTF8") : NULL;
    const char *size = option_value(options, "SIZE");

    if (body != NULL && !is_word(body, "7BIT") && !is_word(body, "8BITMIME")) {
        session_answer(s, "501 Error: BODY can only be one of 7BIT, 8BITMIME");
        return true;
    }
    if (utf8 != NULL) {
        if (utf8[-1] == '=') {
            session_answer(s, "501 Error: SMTPUTF8 takes no arguments");
            return true;
        }
        s->utf8 = true;
    }
    if (size != NULL) {
        if (strspn(size, "0123456789") != strcspn(size, " ") ||
            strcspn(size, " ") == 0) {
            syntax(s, mail_syntax);
            return true;
        }
        if (settings.size_limit > 0 &&
            strtoull(size, NULL, 10) > settings.size_limit) {
            session_answer(
                s, "552 Error: message size exceeds fixed maximum message "
                   "size");
            return true;
        }
    }
    for (; *options != '\0'; options = next_option(options)) {
        if (has_name(options, "BODY") || has_name(options, "SIZE") ||
            (settings.smtputf8 && has_name(options, "SMTPUTF8")))
            continue;
        session_answer(s, "555 MAIL FROM parameters not recognized or not "
                          "implemented");
        return true;
    }
    return false;
}

/* What follows the address, which goes to address; NULL: there is none. */
static const char *read_path(const char *argument, const char *keyword,
                             char *address)
{
    size_t size = strlen(keyword);

    return strncasecmp(argument, keyword, size) == 0
               ? smtp_address(argument + size, address)
               : NULL;
}

static void do_mail(session *s, const char *argument)
{
    static const char usual[] = "MAIL FROM: <address>";
    char address[ADDRESS_ROOM];
    const char *rest = read_path(argument, "FROM:", address);
    char *options;

    if (!s->greeted) {
        session_answer(s, "503 Error: send HELO first");
    } else if (rest == NULL || (!s->extended && *rest != '\0')) {
        syntax(s, usual);
    } else if (s->sender != NULL) {
        session_answer(s, "503 Error: nested MAIL command");
    } else if ((options = read_options(rest)) == NULL) {
        no_memory(s);
    } else {
        if (!are_options(options)) {
            syntax(s, usual);
        } else if (!refused(s, options, usual)) {
            s->sender = strdup(address);
            if (s->sender == NULL) {
                no_memory(s);
            } else {
                s->options = options;
                options = NULL;
                session_answer(s, "250 OK");
            }
        }
        free(options);
    }
}

static bool add_recipient(session *s, const char *address)
{
    char **more =
        realloc(s->recipients, (s->recipient_count + 1) * sizeof *more);

    if (more == NULL)
        return false;
    s->recipients = more;
    more[s->recipient_count] = strdup(address);
    if (more[s->recipient_count] == NULL)
        return false;
    s->recipient_count++;
    return true;
}

static void do_rcpt(session *s, const char *argument)
{
    static const char usual[] = "RCPT TO: <address>";
    char address[ADDRESS_ROOM];
    const char *rest = read_path(argument, "TO:", address);
    char *options;

    if (!s->greeted) {
        session_answer(s, "503 Error: send HELO first");
    } else if (s->sender == NULL) {
        session_answer(s, "503 Error: need MAIL command");
    } else if (rest == NULL || (!s->extended && *rest != '\0')) {
        syntax(s, usual);
    } else if ((options = read_options(rest)) == NULL) {
        no_memory(s);
    } else {
        if (!are_options(options))
            syntax(s, usual);
        else if (*options != '\0')
            session_answer(s, "555 RCPT TO parameters not recognized or not "
                              "implemented");
        else if (s->recipient_count == MAX_RECIPIENTS)
            session_answer(s, "452 Error: too many recipients");
        else if (!add_recipient(s, address))
            no_memory(s);
        else
            session_answer(s, "250 OK");
        free(options);
    }
}

static void do_data(session *s, const char *argument)
{
    if (!s->greeted) {
        session_answer(s, "503 Error: send HELO first");
    } else if (s->recipient_count == 0) {
        session_answer(s, "503 Error: need RCPT command");
    } else if (*argument != '\0') {
        session_answer(s, "501 Syntax: DATA");
    } else {
        session_answer(s, "354 End data with <CR><LF>.<CR><LF>");
        session_expect_data(s);
    }
}

static bool greet(session *s, const char *command, const char *argument)
{
    if (*argument == '\0') {
        session_answer(s, "501 Syntax: %s hostname", command);
        return false;
    }
    if (s->greeted) {
        session_answer(s, "503 Duplicate HELO/EHLO");
        return false;
    }
    return s->greeted = true;
}

static void do_helo(session *s, const char *argument)
{
    if (greet(s, "HELO", argument))
        session_answer(s, "250 %s", settings.host);
}

static void do_ehlo(session *s, const char *argument)
{
    if (!greet(s, "EHLO", argument))
        return;
    s->extended = true;
    session_answer(s, "250-%s", settings.host);
    if (settings.size_limit > 0)
        session_answer(s, "250-SIZE %zu", settings.size_limit);
    session_answer(s, "250-8BITMIME");
    if (settings.smtputf8)
        session_answer(s, "250-SMTPUTF8");
    session_answer(s, "250 HELP");
}

static void do_noop(session *s, const char *argument)
{
    session_answer(s, *argument == '\0' ? "250 OK" : "501 Syntax: NOOP");
}

static void do_rset(session *s, const char *argument)
{
    if (*argument != '\0') {
        session_answer(s, "501 Syntax: RSET");
    } else {
        session_forget_mail(s);
        session_answer(s, "250 OK");
    }
}

static void do_vrfy(session *s, const char *argument)
{
    char address[ADDRESS_ROOM];

    if (*argument == '\0')
        session_answer(s, "501 Syntax: VRFY <address>");
    else if (smtp_address(argument, address) != NULL)
        session_answer(
            s, "252 Cannot VRFY user, but will accept message and attempt "
               "delivery");
    else
        session_answer(s, "502 Could not VRFY %s", argument);
}

static void do_expn(session *s, const char *argument)
{
    (void)argument;
    session_answer(s, "502 EXPN not implemented");
}

static void do_quit(session *s, const char *argument)
{
    (void)argument;
    session_answer(s, "221 Bye");
    session_finish(s);
}

static void do_help(session *s, const char *argument);

static const struct command {
    const char *name, *help;
    void (*run)(session *s, const char *argument);
} commands[] = {
    { "EHLO", "EHLO hostname", do_ehlo },
    { "HELO", "HELO hostname", do_helo },
    { "MAIL", "MAIL FROM: <address>", do_mail },
    { "RCPT", "RCPT TO: <address>", do_rcpt },
    { "DATA", "DATA", do_data },
    { "RSET", "RSET", do_rset },
    { "NOOP", "NOOP", do_noop },
    { "QUIT", "QUIT", do_quit },
    { "VRFY", "VRFY <address>", do_vrfy },
    { "HELP", NULL, do_help },
    { "EXPN", NULL, do_expn },
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcasecmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static void do_help(session *s, const char *argument)
{
    const struct command *c = find_command(argument);
    bool more = c != NULL && (c->run == do_mail || c->run == do_rcpt);

    if (c != NULL && c->help != NULL)
        session_answer(s, "250 Syntax: %s%s", c->help,
                       more && s->extended ? " [SP <mail-parameters>]" : "");
    else
        session_answer(
            s,
            "%s Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP "
            "QUIT VRFY",
            *argument == '\0' ? "250" : "501");
}

static size_t longest_line(const session *s, const struct command *c)
{
    size_t longest = LINE;

    if (s->extended && c != NULL && c->run == do_mail) {
        longest += settings.size_limit > 0 ? LINE_SIZE : 0;
        longest += settings.smtputf8 ? LINE_SMTPUTF8 : 0;
    }
    return longest;
}

void session_command(session *s, size_t size)
{
    size_t kept = sizeof s->line - 1;
    char *argument = s->line, *end;
    const struct command *c;

    if (size < kept)
        kept = size;
    s->line[kept] = '\0';
    if (strlen(s->line) != kept || size == 0) {
        session_answer(s, "500 Error: bad syntax");
        return;
    }
    argument += strcspn(s->line, " ");
    end = s->line + kept;
    if (argument < end)
        *argument++ = '\0';
    argument += strspn(argument, SMTP_SPACE);
    while (end > argument && strchr(SMTP_SPACE, end[-1]) != NULL)
        *--end = '\0';
    upper(s->line);
    c = find_command(s->line);
    if (size > longest_line(s, c))
        session_answer(s, "500 Error: line too long");
    else if (c == NULL)
        session_answer(s, "500 Error: command \"%s\" not recognized", s->line);
    else
        c->run(s, argument);
}
