#include "chat_text.h"

#include <string.h>

enum {
    TELNET_SE = 240,
    TELNET_SB = 250,
    TELNET_WILL = 251, /* this, WONT, DO and DONT are followed by an option */
    TELNET_DO = 253,
    TELNET_IAC = 255,
    TIMING_MARK = 6
};

size_t telnet_filter(struct telnet *telnet, void *data, size_t size)
{
    unsigned char *in = data, *out = data;

    for (size_t i = 0; i < size; i++) {
        unsigned char byte = in[i];
        switch (telnet->state) {
        case DATA:
        case CR:
            if (byte == TELNET_IAC) {
                telnet->state = IAC;
                break;
            }
            if (telnet->state == DATA || (byte != '\n' && byte != '\0'))
                *out++ = byte == '\r' ? '\n' : byte;
            telnet->state = byte == '\r' ? CR : DATA;
            break;
        case IAC:
            telnet->command = byte;
            if (byte == TELNET_SB)
                telnet->state = SUB;
            else if (byte >= TELNET_WILL && byte < TELNET_IAC)
                telnet->state = OPTION;
            else
                telnet->state = DATA;
            break;
        case OPTION:
            if (telnet->command == TELNET_DO && byte == TIMING_MARK)
                telnet->wants_mark = true;
            telnet->state = DATA;
            break;
        case SUB:
            if (byte == TELNET_IAC)
                telnet->state = SUB_IAC;
            break;
        case SUB_IAC: telnet->state = byte == TELNET_SE ? DATA : SUB; break;
        }
    }
    return (size_t)(out - in);
}

/* The size of the sequence at s by the Unicode standard's table 3-7; 0: it is
   no UTF-8. */
static size_t utf8_size(const unsigned char *s, size_t size)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (n > size || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4 ||
        (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

void plain_text(char *text, const void *data, size_t size)
{
    const unsigned char *in = data;
    char *end = text;

    for (size_t n, i = 0; i < size; i += n) {
        n = utf8_size(in + i, size - i);
        if (n == 0) {
            n = 1;
            *end++ = '?';
        } else if (in[i] == '\t') {
            *end++ = ' ';
        } else if (in[i] >= ' ' && in[i] != 0x7f &&
                   (in[i] != 0xc2 || in[i + 1] >= 0xa0)) {
            memcpy(end, in + i, n);
            end += n;
        }
    }
    while (end > text && end[-1] == ' ')
        end--;
    *end = '\0';
}
