/* SPDX-License-Identifier: MIT
 *
 * config_prepare: what has to be done to a text before libconfig sees it.
 *
 * The happy path: a walk over strings, comments, names and numbers copies all of it, and each
 * integer gets the suffix that makes libconfig take it as 64 bits.
 *
 * Failure modes: what libconfig would misread (a string over several lines, another file's text) is
 * named with its line, and so is the first setting too many; all other errors of syntax are left for
 * libconfig to find.
 */
#include "config_prepare.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

const char config_too_many[] =
    "more than 500 settings; each key stands once, and dbufd --help lists them";
static_assert(CONFIG_SETTINGS_MAX == 500, "config_too_many says so");

/* A text on its way to libconfig. */
struct lexer {
    const char *from;
    char *to; /* room for twice the text: at most two bytes are added, and only to a number */
    unsigned line;
    unsigned settings;
};

static void copy(struct lexer *lexer, size_t bytes)
{
    for (; bytes > 0 && *lexer->from != '\0'; bytes--) {
        lexer->line += *lexer->from == '\n';
        *lexer->to++ = *lexer->from++;
    }
}

/* libconfig 1.5 cuts integers to 32 bits unless they have the suffix L, and both versions cut
 * hexadecimal ones. What does not fit 64 bits becomes a number with a fraction: a wrong type. */
static void copy_number(struct lexer *lexer)
{
    const bool hex = lexer->from[0] == '0' && (lexer->from[1] == 'x' || lexer->from[1] == 'X');
    const size_t sign = *lexer->from == '-' || *lexer->from == '+';
    size_t digits;

    if (hex)
        digits = 2 + strspn(lexer->from + 2, "0123456789abcdefABCDEF");
    else
        digits = sign + strspn(lexer->from + sign, "0123456789");
    if (!hex && lexer->from[digits] != '\0' && strchr(".eE", lexer->from[digits]) != NULL) {
        copy(lexer, digits + strspn(lexer->from + digits, "0123456789.eE+-"));
        return;
    }
    if (digits == sign) { /* a sign alone */
        copy(lexer, 1);
        return;
    }
    errno = 0;
    const intmax_t value = strtoimax(lexer->from, NULL, hex ? 16 : 10);
    const bool fits = errno == 0 && value <= INT64_MAX && value >= INT64_MIN;

    if (fits || !hex)
        copy(lexer, digits);
    else
        lexer->from += digits;
    lexer->from += strspn(lexer->from, "L");
    lexer->to = stpcpy(lexer->to, fits ? "L" : hex ? "1e30" : ".0");
}

/* Copies the string that starts here. A line break in it is nearly always a quote forgotten; no
 * value of ours has any. */
static const char *copy_string(struct lexer *lexer)
{
    copy(lexer, 1);
    while (*lexer->from != '"') {
        if (*lexer->from == '\n' || *lexer->from == '\0')
            return "a string without its closing quote";
        copy(lexer, *lexer->from == '\\' && lexer->from[1] != '\n' ? 2 : 1);
    }
    copy(lexer, 1);
    return NULL;
}

static const char *copy_comment(struct lexer *lexer)
{
    if (lexer->from[0] == '/' && lexer->from[1] == '*') {
        const char *end = strstr(lexer->from + 2, "*/");

        if (end == NULL)
            return "a comment without its closing */";
        copy(lexer, (size_t)(end + 2 - lexer->from));
    } else {
        copy(lexer, strcspn(lexer->from, "\n"));
    }
    return NULL;
}

const char *config_prepare(const char *text, char *to, unsigned *ret_line)
{
    struct lexer lexer = {.from = text, .to = to, .line = 1};
    const char *problem = NULL;

    while (*lexer.from != '\0' && problem == NULL) {
        const char c = *lexer.from;

        *ret_line = lexer.line;
        if (c == '"')
            problem = copy_string(&lexer);
        else if (c == '#' || (c == '/' && (lexer.from[1] == '/' || lexer.from[1] == '*')))
            problem = copy_comment(&lexer);
        else if (c == '@') /* its integers would pass by unprepared */
            problem = "@include is not taken, one file has it all";
        else if ((c == '=' || c == ':') && ++lexer.settings > CONFIG_SETTINGS_MAX)
            problem = config_too_many;
        else if (isalpha((unsigned char)c) || c == '*')
            copy(&lexer, strspn(lexer.from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                            "0123456789-_*"));
        else if (strchr("+-.0123456789", c) != NULL)
            copy_number(&lexer);
        else
            copy(&lexer, 1);
    }
    *lexer.to = '\0';
    return problem;
}
