/* SPDX-License-Identifier: MIT
 *
 * config_file: libconfig's syntax, turned into a list of settings.
 *
 * The happy path:
 *   - the file is read into memory and prepared: integers get the suffix that keeps libconfig from
 *     cutting them to 32 bits;
 *   - libconfig parses it, and its tree is taken apart into settings with dotted keys.
 *
 * Failure modes: the file cannot be read, or a line of it is no libconfig. libconfig stops at the
 * first such line. So that a user gets all errors at once, the line is reported, blanked, and the
 * rest is read; unless the line opens or closes something, or the next complaint is only about what
 * follows directly and thus is a consequence: then the rest of the file stays unread, and that is
 * said.
 */
#include "config_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_prepare.h"
#include "config_value.h"

enum {
    FILE_BYTES_MAX = 1 << 20, /* a longer file is something else, given by mistake */
    FIFO_PATIENCE_MS = 5000,  /* for a FIFO as the file */
    SHOWN_BYTES_MAX = 200,    /* of a value or a line in a message */
    UNREADABLE_MAX = 20       /* lines reported before giving up */
};

/* ---- The list -------------------------------------------------------------------------------- */

static int settings_add(struct settings *settings, const struct setting *setting, const char *text)
{
    struct setting copy = *setting;
    struct setting *items =
        realloc(settings->items, (settings->count + 1) * sizeof *settings->items);

    if (items == NULL)
        return -ENOMEM;
    settings->items = items;
    copy.key = strdup(setting->key);
    copy.text = strdup(text);
    if (copy.key == NULL || copy.text == NULL) {
        free(copy.key);
        free(copy.text);
        return -ENOMEM;
    }
    items[settings->count++] = copy;
    return 0;
}

void settings_clear(struct settings *settings)
{
    for (size_t i = 0; i < settings->count; i++) {
        free(settings->items[i].key);
        free(settings->items[i].text);
    }
    free(settings->items);
    *settings = (struct settings){0};
}

const char *setting_type_name(enum setting_type type)
{
    static const char *const names[] = {
        [SETTING_BARE] = "a word",        [SETTING_STRING] = "a string",
        [SETTING_INTEGER] = "an integer", [SETTING_NUMBER] = "a number that is no 64-bit integer",
        [SETTING_BOOL] = "a boolean",     [SETTING_LIST] = "a list",
        [SETTING_GROUP] = "a group",
    };

    return names[type];
}

void setting_put_place(FILE *errors, const struct setting *setting)
{
    const char *equals = setting->file == NULL ? "=" : " = ";

    if (setting->file == NULL)
        fputs("-o ", errors);
    else if (setting->line == 0)
        fprintf(errors, "%s: ", setting->file);
    else
        fprintf(errors, "%s:%u: ", setting->file, setting->line);
    fputs(setting->key, errors);
    if (setting->type == SETTING_STRING) {
        fputs(equals, errors);
        value_put_quoted(errors, setting->text, SHOWN_BYTES_MAX);
    } else if (setting->type != SETTING_GROUP && setting->type != SETTING_LIST) {
        fprintf(errors, "%s%.*s", equals, SHOWN_BYTES_MAX, setting->text);
    }
    fputs(": ", errors);
}

/* ---- libconfig's tree ------------------------------------------------------------------------ */

static int take_scalar(struct settings *settings, struct setting *setting,
                       const config_setting_t *from)
{
    char text[64];

    switch (config_setting_type(from)) {
    case CONFIG_TYPE_STRING:
        setting->type = SETTING_STRING;
        return settings_add(settings, setting, config_setting_get_string(from));
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        setting->type = SETTING_INTEGER;
        snprintf(text, sizeof text, "%lld", config_setting_get_int64(from));
        break;
    case CONFIG_TYPE_FLOAT:
        setting->type = SETTING_NUMBER;
        snprintf(text, sizeof text, "%g", config_setting_get_float(from));
        break;
    case CONFIG_TYPE_BOOL:
        setting->type = SETTING_BOOL;
        snprintf(text, sizeof text, "%s", config_setting_get_bool(from) ? "true" : "false");
        break;
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST:
        setting->type = SETTING_LIST;
        text[0] = '\0';
        break;
    default: /* the value at which the parser stopped */
        return 0;
    }
    return settings_add(settings, setting, text);
}

/* Not deep: a group within a group is taken like any other, and found to be no key of ours. */
static int take_group(struct settings *settings, const config_setting_t *group, const char *prefix,
                      const char *path)
{
    const int count = config_setting_length(group);
    int rc = 0;

    for (int i = 0; i < count && rc == 0; i++) {
        const config_setting_t *from = config_setting_get_elem(group, (unsigned)i);
        struct setting setting = {.file = path, .line = config_setting_source_line(from)};

        if (asprintf(&setting.key, "%s%s%s", prefix, *prefix != '\0' ? "." : "",
                     config_setting_name(from)) < 0)
            return -ENOMEM;
        if (config_setting_is_group(from)) {
            setting.type = SETTING_GROUP;
            rc = settings_add(settings, &setting, "");
            if (rc == 0)
                rc = take_group(settings, from, setting.key, path);
        } else {
            rc = take_scalar(settings, &setting, from);
        }
        free(setting.key);
    }
    return rc;
}

/* ---- Lines that cannot be read --------------------------------------------------------------- */

static char *find_line(char *text, unsigned line)
{
    while (line > 1 && *text != '\0') {
        text += strcspn(text, "\n");
        text += *text == '\n';
        line--;
    }
    return text;
}

static void report_line(FILE *errors, const char *path, unsigned line, char *text,
                        const char *problem)
{
    const char *start = find_line(text, line);

    start += strspn(start, " \t");
    const int shown = (int)strcspn(start, "\r\n");
    const size_t name = strspn(start, "abcdefghijklmnopqrstuvwxyz_");

    fprintf(errors, "%s:%u: ", path, line);
    if (shown > 0)
        fprintf(errors, "%.*s: ", shown < SHOWN_BYTES_MAX ? shown : SHOWN_BYTES_MAX, start);
    else
        fputs("end of the file: ", errors);
    if (name > 0 && start[name] == '.')
        fputs("a key stands in its group, must be GROUP: { KEY = VALUE; };\n", errors);
    else if (strstr(problem, "duplicate") != NULL)
        fprintf(errors, "%s; a key must stand only once\n", problem);
    else if (strcmp(problem, "syntax error") == 0)
        fputs("syntax error, must be KEY = VALUE; or GROUP: { ... }; with strings in \"quotes\"\n",
              errors);
    else
        fprintf(errors, "%s\n", problem);
}

/* Bytes of the line up to its comment and the blanks before that. */
static size_t content_bytes(const char *line)
{
    size_t end = 0;
    bool quoted = false;

    for (size_t i = 0; line[i] != '\0' && line[i] != '\n'; i++) {
        if (!quoted && (line[i] == '#' || (line[i] == '/' && line[i + 1] == '/')))
            break;
        quoted ^= line[i] == '"';
        if (!isspace((unsigned char)line[i]))
            end = i + 1;
    }
    return end;
}

/* Whether the line ends where a value would have to follow. */
static bool ends_open(const char *line)
{
    const size_t bytes = content_bytes(line);

    return bytes > 0 && strchr("=:", line[bytes - 1]) != NULL;
}

/* The line to blame for an error of syntax in `line`: a missing value is noticed one line late. */
static unsigned find_culprit(char *text, unsigned line)
{
    unsigned before = line > 0 ? line - 1 : 0;

    while (before > 0 && content_bytes(find_line(text, before)) == 0)
        before--;
    if (before == 0 || !ends_open(find_line(text, before)))
        return line;
    text = find_line(text, line);
    text += strspn(text, " \t");
    return *text != '\0' && strchr("{[(\"", *text) != NULL ? line : before;
}

/* Takes the line out, so that the rest can be read. False: it holds more than itself; so does one
 * with an open end, if it must be `closed`. */
static bool blank_line(char *text, unsigned line, bool closed)
{
    char *start = find_line(text, line);
    const size_t bytes = content_bytes(start);
    int depth = 0;

    for (size_t i = 0; i < bytes; i++) {
        depth += strchr("{[(", start[i]) != NULL;
        depth -= strchr("}])", start[i]) != NULL;
    }
    if (bytes == 0 || depth != 0 || (closed && ends_open(start)))
        return false;
    memset(start, ' ', bytes);
    return true;
}

/* Reports the line that is no libconfig and blanks it. False: nothing behind it can be read. */
static bool set_aside(struct settings *settings, const char *path, char *text, unsigned line,
                      const char *problem, FILE *errors)
{
    const bool duplicate = strstr(problem, "duplicate") != NULL;
    bool blanked;

    if (strcmp(problem, "syntax error") == 0)
        line = find_culprit(text, line);
    report_line(errors, path, line, text, problem);
    /* The value of a duplicate may go on in the next line; a missing value does not. */
    blanked = blank_line(text, line, duplicate);
    if (!duplicate || !blanked)
        settings->incomplete = true;
    return blanked;
}

/* Takes all that can be read of `text`, in which it blanks lines; `prepared` is room for it. */
static int parse(struct settings *settings, const char *path, char *text, char *prepared,
                 FILE *errors)
{
    int rc = 0;

    for (unsigned round = 0;; round++) {
        config_t tree;
        unsigned line;
        const char *problem = config_prepare(text, prepared, &line);
        bool stop = false;

        /* Also where there is a problem already: the tree then has what stands before it. */
        config_init(&tree);
        if (config_read_string(&tree, prepared) != CONFIG_TRUE && problem == NULL) {
            problem = config_error_text(&tree);
            line = (unsigned)config_error_line(&tree);
        }
        if (problem != NULL) {
            rc = -EINVAL;
            stop = !set_aside(settings, path, text, line, problem, errors) ||
                   problem == config_too_many || round >= UNREADABLE_MAX;
            if (stop)
                fprintf(errors, "%s:%u: nothing behind this line could be checked\n", path, line);
        }
        if ((problem == NULL || stop) &&
            take_group(settings, config_root_setting(&tree), "", path) < 0)
            rc = -ENOMEM;
        config_destroy(&tree);
        if (problem == NULL || stop)
            return rc;
    }
}

/* ---- The file -------------------------------------------------------------------------------- */

/* A FIFO without a writer would never open, and one whose writer says nothing would never end: it has
 * a moment. NULL: errno says why. */
static FILE *open_text(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, FIFO_PATIENCE_MS) <= 0) {
            (void)close(fd);
            errno = ETIMEDOUT;
            return NULL;
        }
    }
    FILE *file = fcntl(fd, F_SETFL, O_RDONLY) < 0 ? NULL : fdopen(fd, "r");
    if (file == NULL)
        (void)close(fd);
    return file;
}

/* Reads all of it, with a newline at the end (libconfig 1.5 wants one behind a comment). 0,
 * -ENOMEM, or what is wrong with it in *ret_problem. */
static int read_text(const char *path, char **ret, const char **ret_problem)
{
    FILE *file = open_text(path);
    char *text;
    size_t bytes;
    int rc = -EINVAL;

    if (file == NULL) {
        *ret_problem = strerror(errno);
        return -EINVAL;
    }
    text = malloc(FILE_BYTES_MAX + 2);
    if (text == NULL) {
        fclose(file);
        return -ENOMEM;
    }
    bytes = fread(text, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        *ret_problem = strerror(errno);
    } else if (bytes > FILE_BYTES_MAX || memchr(text, '\0', bytes) != NULL) {
        *ret_problem = "it is no text, or over 1 MiB long";
    } else {
        if (bytes > 0 && text[bytes - 1] == '\n')
            bytes--;
        memcpy(text + bytes, "\n", 2);
        rc = 0;
    }
    fclose(file);
    if (rc == 0)
        *ret = text;
    else
        free(text);
    return rc;
}

int config_file_read(struct settings *settings, const char *path, FILE *errors)
{
    const char *problem;
    char *text;
    int rc = read_text(path, &text, &problem);

    if (rc == -EINVAL) {
        settings->incomplete = true;
        fprintf(errors, "%s: cannot be read: %s; give another file with -c FILE\n", path, problem);
    }
    if (rc < 0)
        return rc;
    char *prepared = malloc(CONFIG_PREPARED_BYTES(strlen(text)));

    rc = prepared != NULL ? parse(settings, path, text, prepared, errors) : -ENOMEM;
    free(prepared);
    free(text);
    return rc;
}

/* ---- The command line ------------------------------------------------------------------------ */

/* The content of a quoted value, by libconfig's own rules. -EINVAL: it is no such thing. */
static int unquote(const char *value, char **ret)
{
    config_t tree;
    char *text = NULL;
    const char *content = NULL;
    int rc = -EINVAL;

    if (asprintf(&text, "value = %s;\n", value) < 0)
        return -ENOMEM;
    config_init(&tree);
    if (strpbrk(value, "\n@") == NULL && config_read_string(&tree, text) == CONFIG_TRUE &&
        config_setting_length(config_root_setting(&tree)) == 1 &&
        config_lookup_string(&tree, "value", &content) == CONFIG_TRUE) {
        *ret = strdup(content);
        rc = *ret != NULL ? 0 : -ENOMEM;
    }
    config_destroy(&tree);
    free(text);
    return rc;
}

int config_file_override(struct settings *settings, const char *override, FILE *errors)
{
    const char *equals = strchr(override, '=');
    const char *value = equals != NULL ? equals + 1 : "";
    struct setting setting = {.type = SETTING_BARE};
    char *content = NULL;
    int rc;

    if (equals == NULL || equals == override) {
        fprintf(errors, "-o %s: must be KEY=VALUE, such as writer_count=4 or source.type=pipe\n",
                override);
        return -EINVAL;
    }
    setting.key = strndup(override, (size_t)(equals - override));
    if (setting.key == NULL)
        return -ENOMEM;
    if (*value == '"') {
        setting.type = SETTING_STRING;
        rc = unquote(value, &content);
        if (rc == -EINVAL)
            fprintf(errors, "-o %s: must have its value in a pair of quotes, or in none\n",
                    override);
    } else {
        content = strdup(value);
        rc = content != NULL ? 0 : -ENOMEM;
    }
    if (rc == 0)
        rc = settings_add(settings, &setting, content);
    free(content);
    free(setting.key);
    return rc;
}
