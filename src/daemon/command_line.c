/* SPDX-License-Identifier: MIT */
#include "command_line.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "config.h"
#include "config_value.h"

static void print_help(void)
{
    printf(
        "Usage: dbufd [-c FILE] [-o KEY=VALUE]... [--duration TIME]\n"
        "       dbufd --check | --print-config | --version | --help\n"
        "\n"
        "Records what N writers produce: through one lock-free double buffer, by one reader, to\n"
        "disk, with nothing lost, changed or reordered. Stays in the foreground.\n"
        "\n"
        "  -c, --config FILE      configuration (default: " CONFIG_DEFAULT_PATH ")\n"
        "  -o, --option KEY=VALUE set a key, as if the file did; later ones win\n"
        "      --duration TIME    stop cleanly after that time: 10s, 5min, 2h\n"
        "      --check            check the configuration, tell every error, and exit\n"
        "      --print-config     print the whole configuration in force, and exit\n"
        "      --version          print the version, and exit\n"
        "  -h, --help             print this, and exit\n"
        "\n"
        "Keys and their defaults:\n");
    config_print_help(stdout);
}

static int usage_error(void)
{
    fprintf(stderr, "dbufd: try --help\n");
    return EX_USAGE;
}

/* One option. -1: go on; else the exit status. */
static int take(struct command_line *line, int option)
{
    const char *wrong;
    switch (option) {
    case 'c':
        line->config_path = optarg;
        return -1;
    case 'o':
        line->overrides[line->override_count++] = optarg;
        return -1;
    case 'd':
        wrong = value_parse_time(optarg, &line->duration_ns);
        if (wrong == NULL && line->duration_ns != 0)
            return -1;
        fprintf(stderr,
                "dbufd: --duration %s: %s; a time such as 10s or 5min is wanted (units: %s)\n",
                optarg, wrong != NULL ? wrong : "is no time at all", VALUE_TIME_UNITS);
        return EX_USAGE;
    case 'k':
        line->check = true;
        return -1;
    case 'p':
        line->print_config = true;
        return -1;
    case 'v':
        printf("dbufd %s\n", DBUFD_VERSION);
        return EX_OK;
    case 'h':
        print_help();
        return EX_OK;
    default:
        return usage_error(); /* getopt has said what is wrong */
    }
}

int command_line_parse(struct command_line *ret, int argc, char *argv[])
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},   {"option", required_argument, NULL, 'o'},
        {"duration", required_argument, NULL, 'd'}, {"check", no_argument, NULL, 'k'},
        {"print-config", no_argument, NULL, 'p'},   {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},           {0}};
    struct command_line line = {.overrides = calloc((size_t)argc, sizeof(char *))};
    if (line.overrides == NULL) {
        fprintf(stderr, "dbufd: out of memory\n");
        return EX_OSERR;
    }
    int option, status = -1;
    while (status < 0 && (option = getopt_long(argc, argv, "c:o:h", options, NULL)) != -1)
        status = take(&line, option);
    if (status < 0 && optind < argc) {
        fprintf(stderr, "dbufd: '%s' is no option; a key is set by -o KEY=VALUE\n", argv[optind]);
        status = usage_error();
    }
    if (status >= 0) {
        command_line_free(&line);
        return status;
    }
    *ret = line;
    return -1;
}

void command_line_free(struct command_line *line)
{
    free(line->overrides);
    *line = (struct command_line){0};
}
