/* SPDX-License-Identifier: MIT
 *
 * Read from left to right, digit by digit: what strptime lets through (spaces, signs, names of the
 * locale) is no RFC 3339.
 */
#include <ctype.h>
#include <stddef.h>
#include <time.h>

#include "when.h"

/* Exactly `count` digits, moving *text on. */
static bool take_digits(const char **text, int count, int *ret)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)**text)) {
            return false;
        }
        value = value * 10 + (*(*text)++ - '0');
    }
    *ret = value;
    return true;
}

static bool take_char(const char **text, const char *one_of)
{
    for (; *one_of != '\0'; one_of++) {
        if (**text == *one_of) {
            (*text)++;
            return true;
        }
    }
    return false;
}

/* ".5": nanoseconds; nothing there is fine. */
static bool take_fraction(const char **text, uint64_t *ret_ns)
{
    uint64_t ns = 0, digit_ns = 100000000;
    if (take_char(text, ".")) {
        if (!isdigit((unsigned char)**text)) {
            return false;
        }
        for (; isdigit((unsigned char)**text); (*text)++) {
            ns += (uint64_t)(**text - '0') * digit_ns;
            digit_ns /= 10;
        }
    }
    *ret_ns = ns;
    return true;
}

/* "Z", "+01:00" */
static bool take_zone(const char **text, int64_t *ret_seconds)
{
    int hours, minutes;
    if (take_char(text, "Zz")) {
        *ret_seconds = 0;
        return true;
    }
    int64_t sign = **text == '-' ? -1 : 1;
    if (!take_char(text, "+-") || !take_digits(text, 2, &hours) || !take_char(text, ":") ||
        !take_digits(text, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_date_and_time(const char **text, int64_t *ret_seconds)
{
    struct tm parts = {0};
    if (!take_digits(text, 4, &parts.tm_year) || !take_char(text, "-") ||
        !take_digits(text, 2, &parts.tm_mon) || !take_char(text, "-") ||
        !take_digits(text, 2, &parts.tm_mday) || !take_char(text, "Tt ") ||
        !take_digits(text, 2, &parts.tm_hour) || !take_char(text, ":") ||
        !take_digits(text, 2, &parts.tm_min) || !take_char(text, ":") ||
        !take_digits(text, 2, &parts.tm_sec)) {
        return false;
    }
    if (parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) {
        return false;
    }
    int month = parts.tm_mon - 1, day = parts.tm_mday;
    parts.tm_year -= 1900;
    parts.tm_mon = month;
    int64_t days = timegm(&(struct tm){.tm_year = parts.tm_year, .tm_mon = month, .tm_mday = day});
    int64_t seconds = timegm(&parts);
    struct tm back;
    time_t day_start = (time_t)days;
    /* timegm makes a date of anything; a real one comes back as it was. */
    if (gmtime_r(&day_start, &back) == NULL || back.tm_mon != month || back.tm_mday != day) {
        return false;
    }
    *ret_seconds = seconds;
    return true;
}

static bool take_seconds(const char **text, int64_t *ret_seconds)
{
    int64_t seconds = 0;
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    for (; isdigit((unsigned char)**text); (*text)++) {
        seconds = seconds * 10 + (**text - '0');
        if (seconds > INT64_MAX / 20) {
            return false;
        }
    }
    *ret_seconds = seconds;
    return true;
}

bool parse_when(const char *text, uint64_t *ret_ns)
{
    const char *at = text;
    int64_t seconds, zone_seconds = 0;
    uint64_t ns;
    bool valid;

    if (take_date_and_time(&at, &seconds)) {
        valid = take_fraction(&at, &ns) && take_zone(&at, &zone_seconds);
    } else {
        at = text;
        valid = take_seconds(&at, &seconds) && take_fraction(&at, &ns);
    }
    if (!valid || *at != '\0') {
        return false;
    }
    seconds -= zone_seconds;
    if (seconds < 0 || (uint64_t)seconds > UINT64_MAX / 1000000000 - 1) {
        return false;
    }
    *ret_ns = (uint64_t)seconds * 1000000000 + ns;
    return true;
}
