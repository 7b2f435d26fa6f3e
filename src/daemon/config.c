/* SPDX-License-Identifier: MIT
 *
 * config: what is done with the table of options: read, print, explain.
 *
 * The happy path: the defaults are set first, just as if a user had written them; then the settings
 * of the file and those of the command line, in their order, a later one winning; then config_check
 * compares the values with each other and with the machine.
 *
 * Failure modes: a key that is none, a type that is wrong, a value that cannot be. Each costs one
 * line of text and the rest goes on, so that all of them are found in one go.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../disk/store.h"
#include "config_check.h"
#include "config_file.h"
#include "config_options.h"
#include "config_value.h"

/* ---- One value ------------------------------------------------------------------------------- */

static bool type_fits(enum option_kind kind, enum setting_type type)
{
    if (type == SETTING_BARE)
        return true;
    switch (kind) {
    case KIND_BOOL:
        return type == SETTING_BOOL;
    case KIND_COUNT:
        return type == SETTING_INTEGER;
    case KIND_SIZE:
    case KIND_TIME:
        return type == SETTING_INTEGER || type == SETTING_STRING;
    default:
        return type == SETTING_STRING;
    }
}

/* Each of these: NULL and the value is set, or what is wrong with the text ("" if that goes without
 * saying). */
static const char *set_number(const struct config_option *option, const char *text, uint64_t *field)
{
    uint64_t value;
    const char *problem = option->kind == KIND_COUNT  ? value_parse_count(text, &value)
                          : option->kind == KIND_SIZE ? value_parse_size(text, &value)
                                                      : value_parse_time(text, &value);

    if (problem != NULL)
        return problem;
    if (value < option->least || value > option->most)
        return "";
    *field = value;
    return NULL;
}

static const char *set_bool(const char *text, bool *field)
{
    if (strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0)
        return "";
    *field = strcasecmp(text, "true") == 0;
    return NULL;
}

static const char *set_choice(const char *text, const char *const names[], int *field)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            *field = i;
            return NULL;
        }
    }
    return "";
}

/* All texts are paths. */
static const char *set_text(const char *text, char **field, int *ret_rc)
{
    char *copy;

    if (strlen(text) >= PATH_MAX)
        return "is longer than a path can be";
    copy = strdup(text);
    if (copy == NULL) {
        *ret_rc = -ENOMEM;
        return NULL;
    }
    free(*field);
    *field = copy;
    return NULL;
}

static const char *set_value(const struct config_option *option, const char *text,
                             struct config *config, int *ret_rc)
{
    void *field = (char *)config + option->offset;

    switch (option->kind) {
    case KIND_BOOL:
        return set_bool(text, field);
    case KIND_TEXT:
        return set_text(text, field, ret_rc);
    case KIND_CHOICE:
        return set_choice(text, option->names, field);
    case KIND_CPUS:
        return cpus_parse(text, field) < 0 ? "" : NULL;
    default:
        return set_number(option, text, field);
    }
}

/* ---- All of them ----------------------------------------------------------------------------- */

struct load {
    struct config *config;
    struct settings settings;
    struct setting defaults[OPTION_COUNT]; /* borrow their texts from the table */
    struct option_origin origins[OPTION_COUNT];
    FILE *errors;
    unsigned faults;
};

static void report_unknown(FILE *errors, const struct setting *setting)
{
    const bool group = setting->type == SETTING_GROUP;
    size_t bytes = 0;
    const char *nearest = option_nearest(setting->key, group, &bytes);

    setting_put_place(errors, setting);
    fprintf(errors, "there is no such %s", group ? "group" : "key");
    if (nearest != NULL)
        fprintf(errors, ", did you mean %.*s?\n", (int)bytes, nearest);
    else
        fputs("; dbufd --help lists the keys\n", errors);
}

/* A setting whose key is an option's. 0 or -ENOMEM. */
static int apply_option(struct load *load, const struct config_option *option,
                        const struct setting *setting)
{
    struct option_origin *origin = &load->origins[option - config_options];
    const char *problem = NULL;
    int rc = 0;

    *origin = (struct option_origin){.setting = setting};
    if (!type_fits(option->kind, setting->type)) {
        setting_put_place(load->errors, setting);
        fprintf(load->errors, "is %s, must be ", setting_type_name(setting->type));
        option_put_wanted(load->errors, option);
        problem = "";
    } else {
        problem = set_value(option, setting->text, load->config, &rc);
        if (problem == NULL)
            return rc;
        setting_put_place(load->errors, setting);
        fprintf(load->errors, "%s%smust be ", problem, *problem != '\0' ? ", " : "");
        if (*problem == '\0' && option->least < option->most)
            option_put_bounds(load->errors, option);
        else
            option_put_wanted(load->errors, option);
    }
    fputc('\n', load->errors);
    origin->bad = true;
    load->faults++;
    return 0;
}

static int apply_settings(struct load *load)
{
    const char *skipped = NULL; /* a group that is none, or an option: its members are no news */

    for (size_t i = 0; i < load->settings.count; i++) {
        const struct setting *setting = &load->settings.items[i];
        const struct config_option *option = option_find(setting->key);
        const size_t bytes = skipped != NULL ? strlen(skipped) : 0;
        int rc;

        if (skipped != NULL && strncmp(setting->key, skipped, bytes) == 0 &&
            setting->key[bytes] == '.')
            continue;
        skipped = NULL;
        if (option != NULL) {
            rc = apply_option(load, option, setting);
            if (rc < 0)
                return rc;
        } else if (!option_is_group(setting->key)) {
            report_unknown(load->errors, setting);
            load->faults++;
        } else if (setting->type != SETTING_GROUP) {
            setting_put_place(load->errors, setting);
            fprintf(load->errors,
                    "is %s, must be a group: %s: { KEY = VALUE; ... }, or -o %s.KEY=VALUE\n",
                    setting_type_name(setting->type), setting->key, setting->key);
            load->faults++;
        }
        if (setting->type == SETTING_GROUP && (option != NULL || !option_is_group(setting->key)))
            skipped = setting->key;
    }
    return 0;
}

static int apply_defaults(struct load *load)
{
    int rc = 0;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const bool bare =
            config_options[i].kind == KIND_BOOL || config_options[i].kind == KIND_COUNT;
        const char *problem;

        load->defaults[i] = (struct setting){.file = "default",
                                             .type = bare ? SETTING_BARE : SETTING_STRING,
                                             .key = (char *)config_options[i].key,
                                             .text = (char *)config_options[i].dflt};
        load->origins[i].setting = &load->defaults[i];
        problem = set_value(&config_options[i], config_options[i].dflt, load->config, &rc);
        assert(problem == NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_settings(struct load *load, const char *path, const char *const overrides[],
                         size_t override_count)
{
    int rc = path != NULL ? config_file_read(&load->settings, path, load->errors) : 0;

    if (rc == -ENOMEM)
        return rc;
    load->faults += rc < 0;
    for (size_t i = 0; i < override_count; i++) {
        rc = config_file_override(&load->settings, overrides[i], load->errors);
        if (rc == -ENOMEM)
            return rc;
        load->faults += rc < 0;
    }
    return 0;
}

static int load_config(struct config **ret, const char *path, const char *const overrides[],
                       size_t override_count, FILE *errors)
{
    struct load load = {.errors = errors};
    int rc = -ENOMEM;

    load.config = calloc(1, sizeof *load.config);
    if (load.config != NULL)
        rc = apply_defaults(&load);
    if (rc == 0)
        rc = read_settings(&load, path, overrides, override_count);
    if (rc == 0)
        rc = apply_settings(&load);
    if (rc == 0) {
        /* With lines unread, a key could seem to be missing that is not. */
        if (!load.settings.incomplete)
            load.faults += config_check(load.config, load.origins, errors);
        rc = load.faults > 0 ? -EINVAL : 0;
    }
    settings_clear(&load.settings);
    if (rc == 0)
        *ret = load.config;
    else
        config_free(load.config);
    return rc;
}

/* Bytes of the control character at `text`; 0: it is none. */
static size_t control_bytes(const char *text)
{
    const unsigned char c = (unsigned char)text[0], next = c != '\0' ? (unsigned char)text[1] : 0;
    if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* in UTF-8 */
        return 2;
    return (c != '\0' && c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
}

/* Messages show what stands in the file: nothing in there shall move a terminal's cursor. A line is
 * written at once, as there may be many and nobody else gathers them. */
static void put_visibly(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t plain = 0;
        while (text[plain] != '\0' && control_bytes(text + plain) == 0)
            if (text[plain++] == '\n')
                break;
        (void)fwrite(text, 1, plain, out);
        text += plain;
        for (size_t left = control_bytes(text); left > 0; left--)
            fprintf(out, "\\x%02X", (unsigned char)*text++);
    }
}

int config_load(struct config **ret, const char *path, const char *const overrides[],
                size_t override_count, FILE *errors)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *told = open_memstream(&text, &bytes);
    struct config *config = NULL;

    if (told == NULL)
        return -ENOMEM;
    int rc = load_config(&config, path, overrides, override_count, told);
    if (fclose(told) == 0)
        put_visibly(errors, text);
    else if (rc == 0 || rc == -EINVAL)
        rc = -ENOMEM; /* nobody would be told why */
    free(text);
    if (rc == 0)
        *ret = config;
    else
        config_free(config);
    return rc;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (config_options[i].kind == KIND_TEXT)
            free(*(char **)(void *)((char *)config + config_options[i].offset));
    free(config);
}

/* ---- Out again ------------------------------------------------------------------------------- */

void config_put_value(FILE *out, const struct config_option *option, const struct config *config)
{
    const void *field = (const char *)config + option->offset;
    char text[8192]; /* a list of cores takes at most half of it */

    switch (option->kind) {
    case KIND_BOOL:
        fputs(*(const bool *)field ? "true" : "false", out);
        return;
    case KIND_COUNT:
        fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
        return;
    case KIND_SIZE:
        value_format_size(*(const uint64_t *)field, text);
        break;
    case KIND_TIME:
        value_format_time(*(const uint64_t *)field, text);
        break;
    case KIND_TEXT:
        value_put_quoted(out, *(char *const *)field, SIZE_MAX);
        return;
    case KIND_CHOICE:
        snprintf(text, sizeof text, "%s", option->names[*(const int *)field]);
        break;
    case KIND_CPUS: {
        const struct cpus_choice *choice = field;

        if (choice->kind == CPUS_LIST)
            cpus_format(&choice->list, text, sizeof text);
        else
            snprintf(text, sizeof text, "%s", choice->kind == CPUS_AUTO ? "auto" : "none");
        break;
    }
    }
    value_put_quoted(out, text, SIZE_MAX);
}

void config_print(const struct config *config, FILE *out)
{
    const char *group = "";
    size_t bytes = 0; /* of the open group's name */

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *key = config_options[i].key;
        const size_t key_group = option_group_bytes(key);

        if (key_group != bytes || strncmp(key, group, bytes) != 0) {
            if (bytes > 0)
                fputs("};\n", out);
            if (key_group > 0)
                fprintf(out, "%.*s:\n{\n", (int)key_group, key);
            group = key;
            bytes = key_group;
        }
        fprintf(out, "%s%s = ", bytes > 0 ? "    " : "", bytes > 0 ? key + bytes + 1 : key);
        config_put_value(out, &config_options[i], config);
        fputs(";\n", out);
    }
    if (bytes > 0)
        fputs("};\n", out);
}

static void print_option(FILE *out, const struct config_option *option, int key_width,
                         const char *value, int value_width)
{
    fprintf(out, "  %-*s  %-*s  %s", key_width, option->key, value_width, value, option->help);
    for (size_t i = 0; option->names != NULL && option->names[i] != NULL; i++)
        fprintf(out, "%s\"%s\"", i == 0 ? " (" : ", ", option->names[i]);
    fputs(option->names != NULL ? ")\n" : "\n", out);
}

void config_print_help(FILE *out)
{
    int key_width = 0, value_width = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < OPTION_COUNT; i++) {
            const struct config_option *option = &config_options[i];
            const char *quote = option->kind == KIND_BOOL || option->kind == KIND_COUNT ? "" : "\"";
            char value[64];
            const int bytes = snprintf(value, sizeof value, "%s%s%s", quote, option->dflt, quote);

            assert(bytes < (int)sizeof value);
            if (pass == 1)
                print_option(out, option, key_width, value, value_width);
            if (bytes > value_width)
                value_width = bytes;
            if ((int)strlen(option->key) > key_width)
                key_width = (int)strlen(option->key);
        }
    }
}
