/* SPDX-License-Identifier: MIT
 *
 * Happy path: a few properties of dbufd.service, asked for over the bus, say which folders it may
 * write to, and whether it has a network; the folder's owner and mode say whether its user may.
 * Failure: no bus, no such service, an answer that is none: then nothing is said. The start of the
 * service finds out anyway, and says the same.
 */
#include "sandbox.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define UNIT        "dbufd.service"
#define STATE_UPPER "/var/lib/"
#define STATE       STATE_UPPER "dbufd"

/* libsystemd's own answer needs a look at process 1, which is out of a sandboxed service's sight. */
bool sandbox_inside(void)
{
    char line[PATH_MAX + 64];
    bool inside = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return false;
    while (!inside && fgets(line, sizeof(line), file) != NULL) {
        const char *suffix = strrchr(line, '.');
        /* A login is a service too, user@.service: there nothing of this holds. */
        inside =
            suffix != NULL && strcmp(suffix, ".service\n") == 0 && strstr(line, "/user@") == NULL;
    }
    (void)fclose(file);
    return inside;
}

static bool within(const char *path, const char *directory)
{
    const size_t bytes = strlen(directory);
    return strncmp(path, directory, bytes) == 0 && (path[bytes] == '/' || path[bytes] == '\0');
}

static bool within_any(const char *path, const char *const directories[])
{
    for (size_t i = 0; directories[i] != NULL; i++)
        if (within(path, directories[i]))
            return true;
    return false;
}

static bool in_home(const char *path)
{
    static const char *const homes[] = {"/home", "/root", "/run/user", NULL};
    return within_any(path, homes);
}

static bool in_tmp(const char *path)
{
    static const char *const folders[] = {"/tmp", "/var/tmp", NULL};
    return within_any(path, folders);
}

void sandbox_put_remedy(FILE *out, const char *directory)
{
    if (within(directory, STATE))
        return;
    fprintf(out,
            "    install -d -o dbufd -g dbufd %s\n"
            "    systemctl edit " UNIT "\n"
            "        [Unit]\n"
            "        RequiresMountsFor=%s\n"
            "        [Service]\n"
            "        ReadWritePaths=%s\n",
            directory, directory, directory);
    if (in_home(directory))
        fputs("        ProtectHome=read-only\n", out);
    if (in_tmp(directory))
        fputs("        PrivateTmp=no\n", out);
    fputs("    systemctl restart " UNIT "\n", out);
}

void sandbox_put_network_remedy(FILE *out, bool local)
{
    fprintf(out,
            "    systemctl edit " UNIT "\n"
            "        [Service]\n"
            "        PrivateNetwork=no\n"
            "        RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
            "        IPAddressAllow=%s\n"
            "    systemctl restart " UNIT "\n",
            local ? "localhost" : "any");
}

/* ---- Asking the service manager -------------------------------------------------------------- */

struct manager {
    sd_bus *bus;
    char *object; /* the service's */
};

static bool manager_open(struct manager *ret)
{
    struct manager manager = {0};
    if (sd_booted() <= 0 || sd_bus_open_system(&manager.bus) < 0)
        return false;
    if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", UNIT, &manager.object) < 0) {
        sd_bus_unref(manager.bus);
        return false;
    }
    *ret = manager;
    return true;
}

static void manager_close(struct manager *manager)
{
    free(manager->object);
    sd_bus_flush_close_unref(manager->bus);
}

static const char manager_name[] = "org.freedesktop.systemd1";

/* A text among the properties of the unit or the service, to be freed. NULL: there is none. */
static char *get_text(const struct manager *m, const char *kind, const char *property)
{
    char interface[64], *text = NULL;
    (void)snprintf(interface, sizeof(interface), "org.freedesktop.systemd1.%s", kind);
    if (sd_bus_get_property_string(m->bus, manager_name, m->object, interface, property, NULL,
                                   &text) < 0)
        return NULL;
    return text;
}

static bool text_is(const struct manager *m, const char *kind, const char *property,
                    const char *wanted)
{
    char *text = get_text(m, kind, property);
    const bool is = text != NULL && strcmp(text, wanted) == 0;
    free(text);
    return is;
}

/* Whether `path` is within one of the folders of a property, each below `upper`. */
static bool list_holds(const struct manager *m, const char *property, const char *upper,
                       const char *path)
{
    char **list = NULL, folder[PATH_MAX];
    bool holds = false;
    if (sd_bus_get_property_strv(m->bus, manager_name, m->object,
                                 "org.freedesktop.systemd1.Service", property, NULL, &list) < 0)
        return false;
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        /* "-": may be missing; "+": below its root. */
        (void)snprintf(folder, sizeof(folder), "%s%s", upper, list[i] + strspn(list[i], "-+"));
        holds = holds || within(path, folder);
        free(list[i]);
    }
    free(list);
    return holds;
}

static bool is_yes(const struct manager *m, const char *property)
{
    int is = 0;
    return sd_bus_get_property_trivial(m->bus, manager_name, m->object,
                                       "org.freedesktop.systemd1.Service", property, NULL, 'b',
                                       &is) >= 0 &&
           is != 0;
}

/* Whether the sandbox lets the service write there. */
static bool sandbox_lets(const struct manager *m, const char *directory)
{
    if (in_tmp(directory) && is_yes(m, "PrivateTmp"))
        return false;
    if (in_home(directory) && (text_is(m, "Service", "ProtectHome", "yes") ||
                               text_is(m, "Service", "ProtectHome", "tmpfs")))
        return false;
    return !text_is(m, "Service", "ProtectSystem", "strict") ||
           list_holds(m, "ReadWritePaths", "", directory) ||
           list_holds(m, "StateDirectory", STATE_UPPER, directory);
}

/* Whether the service's user may write there, by owner and mode alone. */
static bool mode_lets(const struct manager *m, const char *directory)
{
    char *user = get_text(m, "Service", "User");
    const struct passwd *passwd = user != NULL && user[0] != '\0' ? getpwnam(user) : NULL;
    struct stat st;
    bool lets = true; /* root, or a user that is made at the start */
    if (passwd != NULL && passwd->pw_uid != 0 && stat(directory, &st) == 0) {
        const mode_t wanted = S_IWOTH | S_IXOTH;
        const unsigned shift = st.st_uid == passwd->pw_uid   ? 6
                               : st.st_gid == passwd->pw_gid ? 3
                                                             : 0;
        lets = (st.st_mode >> shift & wanted) == wanted;
    }
    free(user);
    return lets;
}

bool sandbox_check(FILE *out, const char *key, const char *path)
{
    char given[PATH_MAX], directory[PATH_MAX];
    struct manager manager;
    const char *slash = strrchr(path, '/');
    const size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);
    if (bytes == 0 || bytes >= sizeof(given) || within(path, "/dev") || !manager_open(&manager))
        return true;
    memcpy(given, path, bytes);
    given[bytes] = '\0';
    if (realpath(given, directory) == NULL)
        (void)snprintf(directory, sizeof(directory), "%s", given);

    const bool mine = within(directory, STATE); /* systemd makes it at the start */
    const bool lets = !text_is(&manager, "Unit", "LoadState", "loaded") || mine ||
                      (sandbox_lets(&manager, directory) && mode_lets(&manager, directory));
    manager_close(&manager);
    if (!lets) {
        fprintf(out, "%s \"%s\": " UNIT " may not write to %s; this lets it:\n", key, path,
                directory);
        sandbox_put_remedy(out, directory);
    }
    return lets;
}

/* ---- The network ----------------------------------------------------------------------------- */

bool sandbox_network_closed(void)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool closed = fd < 0 && (errno == EAFNOSUPPORT || errno == EPERM || errno == EACCES);
    if (fd >= 0)
        (void)close(fd);
    return closed;
}

/* Whether a family is among those that the service may use: a list of those, or of all others. */
static bool family_let(const struct manager *m, const char *family)
{
    sd_bus_message *answer = NULL;
    int allows = 0;
    char **names = NULL;
    bool named = false, known;
    known = sd_bus_get_property(m->bus, manager_name, m->object, "org.freedesktop.systemd1.Service",
                                "RestrictAddressFamilies", NULL, &answer, "(bas)") >= 0 &&
            sd_bus_message_enter_container(answer, 'r', "bas") >= 0 &&
            sd_bus_message_read(answer, "b", &allows) >= 0 &&
            sd_bus_message_read_strv(answer, &names) >= 0;
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        named = named || strcmp(names[i], family) == 0;
        free(names[i]);
    }
    free(names);
    sd_bus_message_unref(answer);
    return !known || named == (allows != 0);
}

bool sandbox_check_network(FILE *out, const char *key, const char *text,
                           const struct address *address)
{
    struct manager manager;
    if (!manager_open(&manager))
        return true;
    const bool lets =
        !text_is(&manager, "Unit", "LoadState", "loaded") ||
        (!is_yes(&manager, "PrivateNetwork") &&
         family_let(&manager, address->any.sa_family == AF_INET6 ? "AF_INET6" : "AF_INET"));
    const bool local = address_is_local(address);
    manager_close(&manager);
    if (!lets) {
        fprintf(out, "%s \"%s\": " UNIT " has no network; this gives it one%s:\n", key, text,
                local ? ", of this machine alone" : "");
        sandbox_put_network_remedy(out, local);
    }
    return lets;
}
