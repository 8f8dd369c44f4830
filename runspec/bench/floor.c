/*
 * The floor of the benchmarks: nothing but the system calls that a container consists of, one after another.
 *
 *     floor start FILE     all containers of FILE, detached; ends when the program of each runs
 *     floor run FILE       the first of them, to its end; its status is the program's
 *     floor exec FILE PID PROGRAM [ARG...]     a further program beside PID, with what the first container of FILE has
 *
 * FILE holds one act a line, its words parted by tabs: a letter and what it is done with. What is done before the
 * clone comes first, then `c` with the flags of clone(2), then what the child does, then `x`. There is no planning, no
 * state, no undoing, no check of what somebody else might have done: a runtime does these same calls, and more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 256, ENVIRONMENT = 64 };

static char *environment[ENVIRONMENT];
static int report = -1;         /* the child's end of the pipe that tells a failure; closed by exec */

static void fail(char act, const char *word)
{
    int error = errno;
    char text[512];
    int length = snprintf(text, sizeof text, "floor: %c %s: %s\n", act, word, strerror(error));
    if (length > (int)sizeof text - 1)
        length = sizeof text - 1;
    if (write(report < 0 ? 2 : report, text, length) < 0)
        _exit(126);
    _exit(127);
}

static unsigned long number(const char *word)
{
    return strtoul(word, NULL, 0);
}

static void put(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd))
        fail('w', file);
}

static void lo_up(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) || close(fd))
        fail('l', "lo");
}

static void keep_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int one = 0; prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; one++)
        if (!(kept >> one & 1) && prctl(PR_CAPBSET_DROP, one, 0, 0, 0))
            fail('k', "bounding set");
    for (int half = 0; half < 2; half++) {
        data[half].effective = data[half].permitted = (uint32_t)(kept >> 32 * half);
        data[half].inheritable = 0;
    }
    if (syscall(SYS_capset, &head, data))
        fail('k', "capset");
}

static void pivot(const char *root, int readonly)
{
    if (chdir(root) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
        fail('p', root);
    if (readonly && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
        fail('p', root);
}

/* One act; `words` are its words, the letter first. Returns whether it is the last of its container. */
static int act(char **words, int count, char **program)
{
    const char *one = count > 1 ? words[1] : "", *two = count > 2 ? words[2] : "";
    static int variables;
    switch (words[0][0]) {
    case 'd':                                   /* d PATH MODE: a directory, which may be there */
        if (mkdir(one, number(two)) && errno != EEXIST)
            fail('d', one);
        break;
    case 'w':                                   /* w FILE TEXT: into a control file */
        put(one, two);
        break;
    case 'm':                                   /* m SOURCE TARGET TYPE FLAGS DATA */
        if (count != 6 || mount(one, two, words[3], number(words[4]), words[5]))
            fail('m', two);
        break;
    case 'n':                                   /* n PATH MAJOR MINOR: a character device for all */
        if (count != 4 || mknod(one, S_IFCHR | 0666, makedev(number(two), number(words[3]))))
            fail('n', one);
        break;
    case 's':                                   /* s PATH TARGET: a symbolic link */
        if (symlink(two, one))
            fail('s', one);
        break;
    case 'u':                                   /* u FLAGS: unshare(2) */
        if (unshare(number(one)))
            fail('u', one);
        break;
    case 'j': {                                 /* j FILE: into a network namespace that is there */
        int fd = open(one, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNET) || close(fd))
            fail('j', one);
        break;
    }
    case 'l':                                   /* l: lo is up */
        lo_up();
        break;
    case 'h':                                   /* h NAME */
        if (sethostname(one, strlen(one)))
            fail('h', one);
        break;
    case 'p':                                   /* p ROOT READONLY: pivot_root(2) */
        pivot(one, *two == '1');
        break;
    case 'r': {                                 /* r RESOURCE SOFT HARD: setrlimit(2) */
        struct rlimit limit = {number(two), count > 3 ? number(words[3]) : 0};
        if (setrlimit((int)number(one), &limit))
            fail('r', one);
        break;
    }
    case 'g':                                   /* g DIRECTORY UMASK: the last of the process's own */
        umask(number(two));
        if (chdir(one) || setsid() < 0)
            fail('g', one);
        break;
    case 'k':                                   /* k MASK: capabilities that stay; no new privileges */
        keep_capabilities(strtoull(one, NULL, 0));
        if (*two == '1' && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            fail('k', "no_new_privs");
        break;
    case 'e':                                   /* e NAME=VALUE */
        if (variables < ENVIRONMENT - 1)
            environment[variables++] = words[1];
        break;
    case 'x':                                   /* x PROGRAM ARG... */
        if (!program) {
            words[count] = NULL;
            program = words + 1;
        }
        execve(program[0], program, environment);
        fail('x', program[0]);
    }
    return 0;
}

/* Cuts the next line into words. */
static int next(char **at, char **words)
{
    char *line = *at, *end = strchr(line, '\n');
    int count = 0;
    if (!end)
        return 0;
    *end = 0;
    *at = end + 1;
    for (char *word = line; word && count < WORDS - 1; count++) {
        words[count] = word;
        word = strchr(word, '\t');
        if (word)
            *word++ = 0;
    }
    return count;
}

static void skip(char **at)
{
    char *words[WORDS];
    while (next(at, words) && words[0][0] != 'x')
        ;
}

static void child(char **at, int keep, char **program)
{
    char *words[WORDS];
    int count, null = keep ? -1 : open("/dev/null", O_RDWR);
    if (!keep && (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || (null > 2 && close(null))))
        fail('o', "/dev/null");
    while ((count = next(at, words)))
        act(words, count, program);
    _exit(127);
}

/* All acts up to the clone, and the clone; returns the child's pid, or 0 at the end of the file. */
static pid_t one(char **at, int keep)
{
    char *words[WORDS];
    int count;
    while ((count = next(at, words))) {
        if (words[0][0] != 'c') {
            act(words, count, NULL);
            continue;
        }
        struct clone_args how = {.flags = number(words[1]), .exit_signal = SIGCHLD};
        long pid = syscall(SYS_clone3, &how, sizeof how);
        if (pid < 0)
            fail('c', words[1]);
        if (!pid)
            child(at, keep, NULL);
        skip(at);
        return pid;
    }
    return 0;
}

static int start(char *text)
{
    int ends[2];
    char why[512];
    if (pipe2(ends, O_CLOEXEC))
        fail('o', "pipe");
    report = ends[1];
    while (one(&text, 0))
        ;
    close(ends[1]);
    report = -1;
    ssize_t got = read(ends[0], why, sizeof why);       /* its end: each child has become its program */
    if (got > 0 && write(2, why, got) < 0)
        return 126;
    return got ? 127 : 0;
}

static int wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) < 0)
        fail('o', "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Into the groups and namespaces of a process, and on with what its container's child does behind the root. */
static int exec(char *text, const char *beside, char **program)
{
    char *words[WORDS];
    int count, target = syscall(SYS_pidfd_open, (pid_t)number(beside), 0), spaces = 0;
    if (target < 0)
        fail('o', beside);
    while ((count = next(&text, words)) && words[0][0] != 'c')
        ;
    if (!count)
        fail('c', "nothing");
    spaces = number(words[1]);
    while ((count = next(&text, words)) && words[0][0] != 'p') {
        if (words[0][0] == 'w' || words[0][0] == 'j')
            act(words, count, NULL);
        else if (words[0][0] == 'u')
            spaces |= number(words[1]);
    }
    if (setns(target, spaces))
        fail('u', beside);
    pid_t pid = fork();
    if (pid < 0)
        fail('c', "fork");
    if (!pid)
        child(&text, 1, program);
    return wait_for(pid);
}

int main(int count, char **words)
{
    if (count < 3)
        return 126;
    int fd = open(words[2], O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (fd < 0 || fstat(fd, &found))
        fail('o', words[2]);
    /* One page more, so that the text has an end. */
    char *text = mmap(NULL, found.st_size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED || read(fd, text, found.st_size) != found.st_size || close(fd))
        fail('o', words[2]);
    if (!strcmp(words[1], "start"))
        return start(text);
    if (!strcmp(words[1], "run"))
        return wait_for(one(&text, 1));
    if (!strcmp(words[1], "exec") && count > 4)
        return exec(text, words[3], words + 4);
    return 126;
}
