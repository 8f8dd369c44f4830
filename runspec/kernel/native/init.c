/* The interpreter of the op table (ops.h): the only program that runs between clone and the
 * container's own. Static, without a C library, executed from a sealed memfd by spawn.c:
 *   fd 3      control socket, SOCK_SEQPACKET       fd 4      the table, a sealed memfd
 *   fd 10+i   slot i, for i < head.given           0, 1, 2   the program's own
 * No malloc, no stdio; every count and offset of the table is checked before the first op.
 * With RUNSPEC_HOSTED the same source is an ordinary program, for the sanitizers. */
#include <asm/mman.h>
#include <linux/mman.h>
#include <sys/socket.h>
#include "init.h"

#define NEEDED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define LONGEST_PATH 4095

uint32_t at;
uint32_t inherited_umask;
char buffer[BUFFER_BYTES] __attribute__((aligned(8)));

static const struct table_head *head;
static const struct op *ops;
static const char *texts;
static uint32_t text_bytes;
static int good;                    /* all of the table is */
static int slots[TABLE_SLOTS];

/* What the table check demands of an op's fields. */
enum {
  SLOT = 1,            /* slot is 0..TABLE_SLOTS-1 */
  DIR = 2,             /* dir is such a number, or HOST_CWD */
  DIR_SLOT = 4,        /* dir is such a number */
  S1 = 8,              /* s1 is there */
  S1_STRING = 16,      /* s1, where there, holds no NUL and fits a path */
  S1_NAME = 32,        /* s1 is a plain name: no '/', not "." or ".." */
  S1_LIST = 64,        /* s1 ends with NUL */
  S2_STRING = 128,
  S2_LIST = 256,
  PATH = S1 | S1_STRING,
  NAME = S1 | S1_STRING | S1_NAME,
};

static int together;                /* whether data waits for company */
static char packet[sizeof(struct report) + BUFFER_BYTES];
static uint32_t waiting;            /* bytes in it */

static long op_ignore_next(const struct op *op) { (void)op; return 0; }   /* run() looks back at it */
static long op_together(const struct op *op) { (void)op; together = 1; return 0; }

static const struct { run_op *run; uint32_t needs; } TABLE[] = {
  [OP_BARRIER] = {op_barrier, 0},
  [OP_SETNS] = {op_setns, SLOT},
  [OP_UNSHARE] = {op_unshare, 0},
  [OP_FORK] = {op_fork, 0},
  [OP_SETSID] = {op_setsid, 0},
  [OP_PRCTL] = {op_prctl, 0},
  [OP_OPEN] = {op_open, SLOT | DIR | PATH},
  [OP_CLOSE] = {op_close, SLOT},
  [OP_DUP] = {op_dup, SLOT},
  [OP_OPEN_TREE] = {op_open_tree, SLOT | DIR | S1_STRING},
  [OP_FSOPEN] = {op_fsopen, SLOT | PATH},
  [OP_FSCONFIG] = {op_fsconfig, SLOT | S1_STRING | S2_STRING},
  [OP_FSMOUNT] = {op_fsmount, SLOT | DIR_SLOT},
  [OP_MOUNT_SETATTR] = {op_mount_setattr, SLOT},
  [OP_MOVE_MOUNT] = {op_move_mount, SLOT | DIR_SLOT},
  [OP_MKDIR] = {op_mkdir, SLOT | DIR | PATH},
  [OP_MKFILE] = {op_mkfile, SLOT | DIR | PATH},
  [OP_MKNOD] = {op_mknod, DIR | NAME},
  [OP_SYMLINK] = {op_symlink, DIR | NAME | S2_STRING},
  [OP_PIVOT] = {op_pivot, SLOT},
  [OP_CHDIR] = {op_chdir, PATH},
  [OP_SETHOSTNAME] = {op_sethostname, S1_STRING},
  [OP_SETDOMAINNAME] = {op_setdomainname, S1_STRING},
  [OP_WRITE] = {op_write, DIR | S1_STRING},
  [OP_READ] = {op_read, DIR | S1_STRING},
  [OP_NETLINK] = {op_netlink, S1},
  [OP_DUMP] = {op_dump, S1},
  [OP_SEND_FD] = {op_send_fd, SLOT},
  [OP_RLIMIT] = {op_rlimit, 0},
  [OP_UMASK] = {op_umask, 0},
  [OP_SETGROUPS] = {op_setgroups, 0},
  [OP_SETGID] = {op_setgid, 0},
  [OP_SETUID] = {op_setuid, 0},
  [OP_BOUNDING] = {op_bounding, 0},
  [OP_CAPSET] = {op_capset, 0},
  [OP_AMBIENT] = {op_ambient, 0},
  [OP_MASK] = {op_mask, SLOT | DIR | PATH},
  [OP_READONLY] = {op_readonly, DIR | PATH},
  [OP_EXEC] = {op_exec, S1 | S1_LIST | S2_LIST},
  [OP_UNAME] = {op_uname, 0},
  [OP_CHECK_NULL] = {op_check_null, SLOT},
  [OP_IGNORE_NEXT] = {op_ignore_next, 0},
  [OP_UMOUNT] = {op_umount, DIR | PATH},
  [OP_REMOVE] = {op_remove, DIR | NAME},
  [OP_RESET_SOCKET] = {op_reset_socket, 0},
  [OP_KEYRING] = {op_keyring, 0},
  [OP_FSPICK] = {op_fspick, SLOT | DIR | PATH},
  [OP_SCHEDULER] = {op_scheduler, S1},
  [OP_IO_PRIORITY] = {op_io_priority, 0},
  [OP_AFFINITY] = {op_affinity, S1},
  [OP_PERSONALITY] = {op_personality, 0},
  [OP_MEMORY_POLICY] = {op_memory_policy, 0},
  [OP_LANDLOCK] = {op_landlock, SLOT},
  [OP_LANDLOCK_PATH] = {op_landlock_path, SLOT | DIR | PATH},
  [OP_LANDLOCK_PORT] = {op_landlock_port, SLOT},
  [OP_LANDLOCK_RESTRICT] = {op_landlock_restrict, SLOT},
  [OP_HOOK_STATE] = {op_hook_state, S1},
  [OP_HOOK] = {op_hook, S1 | S1_LIST | S2_LIST},
  [OP_TERMINAL] = {op_terminal, SLOT | DIR_SLOT},
  [OP_CONTROL_TTY] = {op_control_tty, SLOT},
  [OP_SECCOMP] = {op_seccomp, S1},
  [OP_GATE] = {op_gate, SLOT},
  [OP_FIND_PROGRAM] = {op_find_program, S1 | S1_LIST | S2_LIST},
  [OP_TOGETHER] = {op_together, 0},
};
#define OP_LIMIT (sizeof TABLE / sizeof *TABLE)
#define X(name, number) _Static_assert(number > 0 && number < OP_LIMIT, "no row for " #name);
OPS(X)
#undef X

void leave(int status)
{
  for (;;) {
    SYS(exit_group, status);
    __builtin_trap();   /* a filter refused it */
  }
}

const struct text *text_at(uint32_t offset) { return (const struct text *)(texts + offset); }

long slot_fd(int32_t slot)
{
  if (slot < 0 || slot >= TABLE_SLOTS || slots[slot] < 0)
    return -EBADF;
  return slots[slot];
}

long dir_fd(int32_t dir) { return dir == HOST_CWD ? AT_FDCWD : slot_fd(dir); }

void empty(int32_t slot)
{
  shut(slots[slot]);
  slots[slot] = -1;
}

long fill(int32_t slot, long fd)
{
  if (fd < 0)
    return fd;
  empty(slot);
  slots[slot] = (int)fd;
  return 0;
}

static void send_packet(struct msghdr *message)
{
  long sent;
  do
    sent = SYS(sendmsg, CONTROL_FD, message, MSG_NOSIGNAL);
  while (sent == -EINTR);
  if (sent < 0)
    leave(1);
}

static void send_waiting(void)
{
  struct iovec part = {packet, waiting};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (waiting)
    send_packet(&message);
  waiting = 0;
}

/* One packet: the header, then data; fd < 0 means none. A parent that is gone ends the child. */
void send_report(uint32_t kind, int32_t error, const void *data, uint32_t length, int fd)
{
  struct report report = {kind, at, error, length};
  if (waiting + sizeof report + length > sizeof packet || kind != REPORT_DATA)
    send_waiting();
  if (together && kind == REPORT_DATA && fd < 0 && length <= BUFFER_BYTES) {
    memcpy(packet + waiting, &report, sizeof report);
    memcpy(packet + waiting + sizeof report, data, length);
    waiting += (uint32_t)sizeof report + length;
    return;
  }
  struct iovec parts[2] = {{&report, sizeof report}, {(void *)data, length}};
  union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } rights;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
  memset(&rights, 0, sizeof rights);
  if (fd >= 0) {
    rights.header.cmsg_len = CMSG_LEN(sizeof(int));
    rights.header.cmsg_level = SOL_SOCKET;
    rights.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&rights.header), &fd, sizeof fd);
    message.msg_control = &rights;
    message.msg_controllen = sizeof rights;
  }
  send_packet(&message);
}

long open_below(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  long fd = -EAGAIN;
  /* openat2(2): EAGAIN when ".." could not be resolved safely beside a rename; a hostile image can
   * rename for ever, so the patience ends. */
  for (int i = 0; i < 128 && (fd == -EAGAIN || fd == -EINTR); i++)
    fd = SYS(openat2, dir, path, &how, sizeof how);
  return fd;
}

long file_status(int fd, struct statx *out)
{
  return SYS(statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, out);
}

static int good_text(uint32_t offset)
{
  if (offset % 4 || offset > text_bytes || text_bytes - offset < sizeof(struct text) + 1)
    return 0;
  const struct text *text = text_at(offset);
  return text->length <= text_bytes - offset - sizeof(struct text) - 1 && text->bytes[text->length] == '\0';
}

static int good_string(uint32_t offset)
{
  return !offset || (length_at(offset) <= LONGEST_PATH && strlen(bytes_at(offset)) == length_at(offset));
}

static int good_name(const char *name)
{
  if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
    return 0;
  for (const char *c = name; *c; c++)
    if (*c == '/')
      return 0;
  return *name != '\0';
}

static int good_list(uint32_t offset)
{
  return !offset || (length_at(offset) && bytes_at(offset)[length_at(offset) - 1] == '\0');
}

static int good_op(const struct op *op)
{
  if (op->number >= OP_LIMIT || !TABLE[op->number].run)
    return 0;
  uint32_t needs = TABLE[op->number].needs;
  int dir_is_slot = op->dir >= 0 && op->dir < TABLE_SLOTS;
  if (op->slot >= TABLE_SLOTS || op->slot < ((needs & SLOT) ? 0 : -1))
    return 0;
  if (!dir_is_slot && op->dir != HOST_CWD && (op->dir != -1 || (needs & DIR)))
    return 0;
  if ((needs & DIR_SLOT) && !dir_is_slot)
    return 0;
  if ((op->s1 && !good_text(op->s1)) || (op->s2 && !good_text(op->s2)) || ((needs & S1) && !op->s1))
    return 0;
  return (!(needs & S1_STRING) || good_string(op->s1)) && (!(needs & S1_NAME) || good_name(bytes_at(op->s1)))
         && (!(needs & S1_LIST) || good_list(op->s1)) && (!(needs & S2_STRING) || good_string(op->s2))
         && (!(needs & S2_LIST) || good_list(op->s2));
}

/* Checks all of the table that does not depend on what the ops do; `at` is left at the bad op. */
static long check_table(const void *map, uint64_t size)
{
  at = 0;
  if (size < sizeof *head || size > TABLE_MAX_BYTES)
    return -EBADMSG;
  head = map;
  if (head->magic != TABLE_MAGIC || head->bytes != size || head->given > TABLE_SLOTS
      || head->ops > TABLE_MAX_OPS || head->ops > (size - sizeof *head) / sizeof *ops)
    return -EBADMSG;
  ops = (const struct op *)(head + 1);
  texts = (const char *)(ops + head->ops);
  text_bytes = (uint32_t)(size - sizeof *head - head->ops * sizeof *ops);
  for (at = 0; at < head->ops; at++)
    if (!good_op(&ops[at]))
      return -EBADMSG;
  at = 0;
  return 0;
}

static long map_table(int fd, int wanted_seals)
{
  /* Only a sealed table stays as it was checked. */
  long seals = SYS(fcntl, fd, F_GET_SEALS);
  if (wanted_seals && (seals < 0 || (seals & wanted_seals) != wanted_seals))
    return seals < 0 ? seals : -EPERM;
  long size = SYS(lseek, fd, 0, 2);
  if (size <= 0)
    return size < 0 ? size : -EBADMSG;
  long map = SYS(mmap, 0, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (map < 0 && map > -4096)
    return map;
  return check_table((const void *)map, (uint64_t)size);
}

/* With the op's number, its a and its first text, for who did not make the table: see GATE. */
static void fail(long error)
{
  uint32_t length = 0;
  if (good && at < head->ops) {
    const struct op *op = &ops[at];
    uint64_t words[2] = {op->number, op->a};
    length = length_at(op->s1) < LONGEST_PATH ? length_at(op->s1) : LONGEST_PATH;
    memcpy(buffer, words, sizeof words);
    memcpy(buffer + sizeof words, bytes_at(op->s1), length);
    length += sizeof words;
  }
  send_report(REPORT_ERROR, (int32_t)-error, buffer, length, -1);
  leave(1);
}

static void run(void)
{
  inherited_umask = (uint32_t)SYS(umask, 0);   /* modes in the table are meant exactly */
  long error = map_table(TABLE_FD, NEEDED_SEALS);
  if (error)
    fail(error);
  good = 1;
  SYS(close, TABLE_FD);
  for (uint32_t i = 0; i < TABLE_SLOTS; i++)
    slots[i] = i < head->given ? (int)(FIRST_SLOT_FD + i) : -1;
  error = SYS(chdir, "/");   /* so that HOST_CWD is the root, and no host directory stays open as cwd */
  if (error)
    fail(error);
  for (at = 0; at < head->ops; at++) {
    error = TABLE[ops[at].number].run(&ops[at]);
    if (!error)
      continue;
    if (!at || ops[at - 1].number != OP_IGNORE_NEXT)
      fail(error);
    send_report(REPORT_DATA, (int32_t)-error, 0, 0, -1);
    uint64_t leap = ops[at - 1].a;
    at = leap < head->ops - at ? at + (uint32_t)leap : head->ops - 1;
  }
  send_report(REPORT_DONE, 0, 0, 0, -1);
  leave(0);
}

#ifdef RUNSPEC_HOSTED
#include <stdio.h>
#include <stdlib.h>

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "exitcode=99:detect_leaks=0"; }

/* With arguments: checks each named table from a heap copy of its exact size, so that one byte read
 * too far is seen, and prints the answers; without: runs as init. */
int main(int argc, char **argv)
{
  if (argc < 2)
    run();
  for (int i = 1; i < argc; i++) {
    FILE *file = fopen(argv[i], "rb");
    if (!file || fseek(file, 0, SEEK_END))
      return 2;
    size_t size = (size_t)ftell(file);
    char *copy = malloc(size ? size : 1);
    rewind(file);
    if (!copy || fread(copy, 1, size, file) != size)
      return 2;
    fclose(file);
    printf("%ld %u\n", check_table(copy, size), at);
    free(copy);
  }
  return 0;
}
#else
void start(void) __attribute__((noreturn, used));
void start(void)
{
  run();
  leave(0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
#else
__asm__(".globl _start\n_start: mov x29, xzr\n mov x30, xzr\n b start\n");
#endif

/* The compiler may call these four on its own. */
void *memcpy(void *to, const void *from, size_t count)
{
  for (size_t i = 0; i < count; i++)
    ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

void *memset(void *to, int byte, size_t count)
{
  for (size_t i = 0; i < count; i++)
    ((char *)to)[i] = (char)byte;
  return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
  const unsigned char *x = a, *y = b;
  for (size_t i = 0; i < count; i++)
    if (x[i] != y[i])
      return x[i] - y[i];
  return 0;
}

size_t strlen(const char *s)
{
  size_t count = 0;
  while (s[count])
    count++;
  return count;
}
#endif
